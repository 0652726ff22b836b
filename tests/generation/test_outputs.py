"""Outputs: the log of texts, and what distinguishes the models that wrote them."""

import json
from pathlib import Path

from metareview.generation.outputs import Output, identify, open_log, read_outputs


def test_an_interrupted_log_gives_its_complete_lines(tmp_path: Path) -> None:
    log = tmp_path / "a_outputs.jsonl"
    assert read_outputs(log) == {}
    with open_log(log) as file:
        file.write('{"key": "a", "text": "one", "stopped": true, "tokens": 3}\n{"key": "b", "te')
    assert read_outputs(log) == {"a": Output("one", True, 3)}
    with open_log(log) as file:
        file.write('{"key": "b", "text": "two", "stopped": false, "tokens": 5}\n')
    assert read_outputs(log) == {"a": Output("one", True, 3), "b": Output("two", False, 5)}


def test_a_folder_is_known_by_its_weights_wherever_it_is(tmp_path: Path) -> None:
    """An adapter by those of its base too, which may be replaced in their place."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text("weights")
        (tmp_path / name / "README.md").write_text(name)
    assert identify(str(tmp_path / "a")) == identify(str(tmp_path / "b"))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_text("adapter")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "a")}))
    before = identify(str(adapter))
    (tmp_path / "a" / "model.safetensors").write_text("replace")
    assert identify(str(tmp_path / "a")) != identify(str(tmp_path / "b"))
    assert identify(str(adapter)) != before
