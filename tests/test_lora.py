"""LoRA: only an adapter is trained and saved; it goes on after an interruption, loads, merges, is evaluated."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import FINE_TUNING, make_model, make_tokenizer, run_script
from openpyxl import load_workbook
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from test_interruptions import same_weights
from transformers import AutoModelForCausalLM

from fine_tune import FineTuningArguments, load_model, prepare_model
from processing_meta_review import InputError

LORA = [*FINE_TUNING, "--use_lora", "--lora_r", 4, "--lora_alpha", 8]
ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module", params=["gpt_neox", "llama"])
def adapted(request: pytest.FixtureRequest, processed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which an adapter was trained, for the base in `base/`."""
    folder = tmp_path_factory.mktemp(request.param)
    make_model(request.param).half().save_pretrained(folder / "base")
    make_tokenizer().save_pretrained(folder / "base")
    for name in ("processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(processed / name, folder / name)
    result = run_script("fine_tune.py", "--model_name_or_path", "base", *LORA, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_only_the_adapter_is_trained_and_saved(adapted: Path) -> None:
    saved = adapted / "pythia_finetuned"
    assert (saved / ADAPTER).is_file() and not (saved / "model.safetensors").exists()
    weights = load_file(saved / ADAPTER)
    assert all("lora_" in name and value.dtype == torch.float32 for name, value in weights.items())
    assert not any("embed" in name or "lm_head" in name for name in weights)
    assert len({name.split(".lora_")[0] for name in weights}) in (2 * 4, 2 * 7)  # layers times linear maps in each
    results = json.loads((saved / "training_record.json").read_text())["results"]
    assert results["eval_loss"] < results["eval_loss_before"]
    names = {file.name for file in saved.iterdir()}
    assert {"adapter_config.json", "generation_config.json", "tokenizer.json"} <= names and "config.json" not in names


def test_what_is_not_trained_need_not_be_fp32(adapted: Path) -> None:
    model = prepare_model(
        FineTuningArguments(
            model_name_or_path=str(adapted / "base"), output_dir="out", use_lora=True, use_cpu=True, bf16=True
        )
    )
    trained = {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}
    frozen = {parameter.dtype for parameter in model.parameters() if not parameter.requires_grad}
    assert (trained, frozen) == ({torch.float32}, {torch.bfloat16})


def test_it_goes_on_and_ends_with_the_same_adapter(adapted: Path, tmp_path: Path) -> None:
    for name in ("base", "processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(adapted / name, tmp_path / name)
    shutil.copytree(adapted / "pythia_finetuned/checkpoint-10", tmp_path / "pythia_finetuned/checkpoint-10")
    result = run_script("fine_tune.py", "--model_name_or_path", "base", *LORA, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Going on from step 10 of 12" in result.stdout
    name = f"pythia_finetuned/checkpoint-12/{ADAPTER}"
    assert same_weights(tmp_path / name, adapted / name)


def test_merged_it_is_a_plain_model_that_writes_the_same(adapted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three lines of the README."""
    monkeypatch.chdir(adapted)
    model = AutoPeftModelForCausalLM.from_pretrained("pythia_finetuned", dtype="float32").merge_and_unload()
    model.save_pretrained("merged")
    ids = torch.arange(1, 60)[None]
    merged, adapter = (load_model(name).eval() for name in ("merged", "pythia_finetuned"))
    with torch.no_grad():
        logits, expected = merged(ids).logits, adapter(ids).logits
        base = AutoModelForCausalLM.from_pretrained("base", dtype=torch.float32).eval()(ids).logits
    assert torch.allclose(logits, expected, atol=1e-4) and not torch.allclose(logits, base, atol=1e-2)


def test_evaluation_loads_the_adapter_with_its_base(adapted: Path) -> None:
    flags = ["--num_examples", 3, "--max_new_tokens", 8]
    result = run_script("evaluation.py", *flags, cwd=adapted)
    assert result.returncode == 0, result.stderr
    sheet = load_workbook(adapted / "eval_test.xlsx")["examples"]
    header = [cell.value for cell in sheet[1]]
    texts = [[row[header.index(name)].value for name in ("base", "fine_tuned")] for row in sheet.iter_rows(min_row=2)]
    assert len(texts) == 3 and any(base != fine_tuned for base, fine_tuned in texts)


def test_the_snippet_of_the_card_works(adapted: Path) -> None:
    code = (adapted / "pythia_finetuned" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=adapted, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_gradient_checkpointing_trains_the_same(adapted: Path, tmp_path: Path) -> None:
    for name in ("base", "processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(adapted / name, tmp_path / name)
    for flag, folder in (("False", "with"), ("True", "without")):
        flags = ["--gradient_checkpointing", flag, "--output_dir", folder, "--bf16", "False", "--max_steps", 3]
        result = run_script("fine_tune.py", "--model_name_or_path", "base", *LORA, *flags, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    first, second = (load_file(tmp_path / name / ADAPTER) for name in ("with", "without"))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


def test_an_adapter_takes_the_place_of_a_whole_model(
    processed: Path, fine_tuned: Path, base: Path, tmp_path: Path
) -> None:
    for name in ("processed_meta_review", "tokenized_meta_review", "pythia_finetuned"):
        shutil.copytree(fine_tuned / name, tmp_path / name)
    flags = ["--model_name_or_path", base, *LORA, "--max_steps", 1, "--restart"]
    result = run_script("fine_tune.py", *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    names = {file.name for file in (tmp_path / "pythia_finetuned").iterdir() if file.is_file()}
    assert ADAPTER in names and not {"model.safetensors", "config.json"} & names


def test_layers_that_are_not_there_are_named(adapted: Path) -> None:
    arguments = FineTuningArguments(
        model_name_or_path=str(adapted / "base"), output_dir="out", use_lora=True, lora_targets="foo,bar", use_cpu=True
    )
    with pytest.raises(InputError, match="foo"):
        prepare_model(arguments)
