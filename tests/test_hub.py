"""The exact default commands against a Hub on loopback that the real clients talk to."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, make_model, make_rows, make_tokenizer, run_script, write_csv
from datasets import load_from_disk
from hub import Hub
from openpyxl import load_workbook


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub with the data set and the model that the constants name: the data written by us, the weights random."""
    data, model = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("model")
    rows = make_rows(60)
    for name, part in (("train", rows[:40]), ("validation", rows[40:50]), ("test", rows[50:])):
        write_csv(data / f"{name}.csv", part)
    make_model("gpt_neox", context=1024).half().save_pretrained(model)
    make_tokenizer().save_pretrained(model)
    with Hub() as server:
        for kind, name, folder in (("dataset", "zqz979/meta-review", data), ("model", "EleutherAI/pythia-70m", model)):
            server.add_repo(kind, name, {file.name: file.read_bytes() for file in folder.iterdir()})
        yield server


def test_the_three_commands_without_a_flag(hub: Hub, tmp_path: Path) -> None:
    shutil.copy(ROOT / "eval_examples.xlsx", tmp_path)
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache")}
    for script in ("processing_meta_review.py", "fine_tune.py", "evaluation.py"):
        result = run_script(script, cwd=tmp_path, HF_HUB_DISABLE_XET="1", **environment)
        assert result.returncode == 0, result.stderr
    sheet = load_workbook(tmp_path / "eval_examples.xlsx").active
    header = [cell.value for cell in sheet[1]]
    assert header[:7] == ["case", "field", "situation", "review", "reference", "base", "fine_tuned"]
    assert sheet.max_row == 21
    card = (tmp_path / "pythia_finetuned" / "README.md").read_text()
    assert "base_model: EleutherAI/pythia-70m" in card and "zqz979/meta-review" in card


def test_pushed_data_sets_load_without_this_project(hub: Hub, tmp_path: Path) -> None:
    hub.tokens["hf_writer"] = ("reader", "write")
    environment = {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "cache"),
        "HF_TOKEN": "hf_writer",
    }
    result = run_script(
        "processing_meta_review.py", "--push_to_hub", cwd=tmp_path, HF_HUB_DISABLE_XET="1", **environment
    )
    assert result.returncode == 0, result.stderr
    assert "hf_writer" not in result.stdout + result.stderr
    code = (
        "from datasets import load_dataset\n"
        "print(load_dataset('reader/processed_meta_review')['test'][0]['review'])\n"
        "print(sorted(load_dataset('reader/tokenized_meta_review')['train'].column_names))\n"
    )
    environment["HF_HOME"] = str(tmp_path / "fresh")
    loaded = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )
    assert loaded.returncode == 0, loaded.stderr
    local = load_from_disk(str(tmp_path / "processed_meta_review"))["test"][0]["review"]
    assert loaded.stdout.strip() == f"{local}\n['input_ids', 'labels', 'length']"
    assert hub.repos["dataset", "reader/processed_meta_review"].private
