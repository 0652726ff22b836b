"""The model: what is loaded is what was saved; an adapter in its place."""

import io
import json
from pathlib import Path

import pytest
import torch
from conftest import make_model
from peft import LoraConfig

from metareview.common.cli import InputError
from metareview.common.model import Adapter, count_parameters, is_model, load_model, prepare_model
from metareview.data.tokenization import TokenizationArguments, load_tokenizer

LORA = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama", "gpt2"])
def test_logits_after_loading_are_those_before_saving(architecture: str, tmp_path: Path) -> None:
    model = make_model(architecture).eval()
    ids = torch.arange(1, 50)[None]
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(load_model(str(tmp_path)).eval()(ids).logits, model(ids).logits)


def test_what_is_not_trained_need_not_be_fp32(base: Path) -> None:
    adapter = Adapter(LORA, torch.bfloat16)
    model = prepare_model(str(base), adapter)
    trained = {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}
    frozen = {parameter.dtype for parameter in model.parameters() if not parameter.requires_grad}
    assert (trained, frozen) == ({torch.float32}, {torch.bfloat16})


def test_a_new_adapter_is_drawn_with_the_seed(base: Path) -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.rand(3)  # whatever else was drawn before
        weights = prepare_model(str(base), Adapter(LORA, torch.float32, seed=seed)).state_dict()
        drawn.append(torch.cat([weight.flatten() for name, weight in weights.items() if "lora_A" in name]))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_layers_that_are_not_there_are_named(base: Path) -> None:
    adapter = Adapter(LoraConfig(target_modules=["foo", "bar"]), torch.float32)
    with pytest.raises(InputError, match="--lora_targets 'bar,foo' does not suit GPTNeoXForCausalLM"):
        prepare_model(str(base), adapter)


def test_a_model_in_4_bits_takes_less_memory_and_computes_about_the_same(tmp_path: Path) -> None:
    make_model("llama").save_pretrained(tmp_path)
    whole, small = load_model(str(tmp_path)).eval(), load_model(str(tmp_path), load_in_4bit=True).eval()
    layers = [layer for layer in whole.modules() if isinstance(layer, torch.nn.Linear)][:-1]  # the last stays whole
    saved = sum(layer.weight.nbytes for layer in layers)
    assert small.get_memory_footprint() < whole.get_memory_footprint() - 0.8 * saved
    ids = torch.arange(1, 50)[None]
    with torch.no_grad():
        expected, logits = whole(ids).logits, small(ids).logits
    assert 0 < (logits - expected).norm() < 0.3 * expected.norm()


def test_4_bits_without_the_package_are_refused_in_a_line(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metareview.common.model.find_spec", lambda _: None)
    with pytest.raises(InputError, match="need a package: pip install bitsandbytes"):
        load_model(str(base), load_in_4bit=True)


def test_parameters_are_counted_without_loading_them(base: Path) -> None:
    (parameters,) = {count_parameters(str(base)), make_model("gpt_neox").num_parameters()}
    assert parameters > 0


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the model"):
        load_model(str(tmp_path))
    assert not is_model(tmp_path)


def test_code_that_comes_with_a_model_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if somebody answers yes to what `transformers` asks: `yes | python fine_tune.py`."""
    make_model("gpt_neox").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    own = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model", "AutoTokenizer": ["own.Tokens", None]}
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "unknown", "auto_map": own}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Tokens", "auto_map": own}))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    for load in (
        load_model,
        count_parameters,
        lambda name: load_tokenizer(TokenizationArguments(name, "plain", None, 9)),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
        with pytest.raises(InputError, match="cannot read the model"):
            load(str(tmp_path))
        assert not (tmp_path / "was_run").exists()
