"""Whole scripts: what they leave and print, a folder for each setting, adapters, and what they refuse."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import weakref
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from conftest import (
    ADAPTER,
    EVALUATE,
    FINE_TUNING,
    PROCESS,
    ROOT,
    TUNE,
    WEIGHTS,
    all_checkpoints_kept,
    interrupt,
    make_model,
    make_tokenizer,
    plain_losses,
    run_script,
    same_weights,
)
from datasets import load_from_disk
from openpyxl import load_workbook
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

import fine_tune
from metareview.common.cli import parse_flags
from metareview.common.files import lock
from metareview.common.model import load_model
from metareview.data.constants import SCRIPT
from metareview.data.learned import hash_text, load_learned
from metareview.data.prompts import encode_prompts
from metareview.training.checkpoints import find_fault
from metareview.training.trainer_flags import PASSED

SMALL = ["--max_summary_tokens", 100]  # what the tiny context of the tests' model has room for
LORA = [*FINE_TUNING, "--use_lora", "--lora_r", 4, "--lora_alpha", 8]


# What processing leaves


def test_what_the_script_leaves(processed: Path) -> None:
    texts = load_from_disk(str(processed / "processed_meta_review"))
    tokens = load_from_disk(str(processed / "tokenized_meta_review"))
    assert {name: len(split) for name, split in texts.items()} == {"train": 24, "validation": 8, "test": 8}
    assert texts["train"].column_names == ["review", "summary"]
    assert tokens["train"].column_names == ["input_ids", "labels", "length"]
    assert texts["train"][0]["review"].count("\n\n") == 2  # three reviews
    record = json.loads((processed / "tokenized_meta_review" / "processing_record.json").read_text())
    assert record["max_length"] == 256 and record["max_summary_tokens"] == 100
    assert record["prompt_template"].startswith("### Review:")
    assert "Next: python fine_tune.py" in (processed / "stdout.txt").read_text()
    assert not list(processed.glob("*.new"))


def test_running_again_replaces_the_old_data_with_the_same(
    processed: Path, source: Path, base: Path, tmp_path: Path
) -> None:
    flags = ["--dataset_name", source, "--model_name_or_path", base, "--max_summary_tokens", 100]
    for _ in range(2):
        result = run_script(PROCESS, *flags, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    for folder in ("processed_meta_review", "tokenized_meta_review"):
        first, again = (load_from_disk(str(where / folder)) for where in (processed, tmp_path))
        assert all(first[name].to_list() == again[name].to_list() for name in first)


# What training leaves


def test_training_made_the_model_better_and_said_so(fine_tuned: Path) -> None:
    record = json.loads((fine_tuned / "pythia_finetuned" / "training_record.json").read_text())
    results = record["results"]
    assert results["steps"] == 12 and results["epochs"] == 2
    assert results["eval_loss"] < results["eval_loss_before"] - 0.5
    printed = (fine_tuned / "fine_tune_stdout.txt").read_text()
    after = f"{results['eval_loss']:.4f} (perplexity {math.exp(results['eval_loss']):.2f}) after"
    assert f"validation loss {results['eval_loss_before']:.4f} (" in printed and after in printed
    assert "2 epochs, 12 steps" in printed and "Next: python evaluation.py" in printed


def test_the_saved_loss_is_that_of_the_saved_model(fine_tuned: Path) -> None:
    """The output layer of GPT-NeoX is lost by the Trainer's own loading: the loss would be another one."""
    folder = fine_tuned / "pythia_finetuned"
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    validation = load_from_disk(str(fine_tuned / "tokenized_meta_review"))["validation"].to_list()
    with torch.no_grad():
        loss = torch.cat(plain_losses(model, validation)).mean().item()
    recorded = json.loads((folder / "training_record.json").read_text())["results"]["eval_loss"]
    assert loss == pytest.approx(recorded, rel=5e-3)  # recorded under bf16 where the hardware has it


def test_a_finished_model_knows_what_it_has_learned(fine_tuned: Path) -> None:
    train = load_from_disk(str(fine_tuned / "processed_meta_review"))["train"]
    learned = load_learned(fine_tuned / "pythia_finetuned")
    assert learned == {hash_text(text) for name in ("review", "summary") for text in train[name]}


def test_what_a_run_trains_on_is_said_first_with_edits_that_are_not_in_its_data(
    fine_tuned: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = SCRIPT.read_text().replace('PROMPT = "plain"', 'PROMPT = "instruction"')
    edited = edited.replace("SPLIT_SEED = 42", "SPLIT_SEED = 7")
    monkeypatch.setattr("metareview.data.constants.SCRIPT", tmp_path / SCRIPT.name)
    (tmp_path / SCRIPT.name).write_text(edited)
    flags = ["--model", base, *FINE_TUNING]
    for more, names in (([], "SPLIT_SEED, PROMPT"), (["--prompt", "plain"], "SPLIT_SEED")):
        lines = run_script(TUNE, *flags, *more, cwd=fine_tuned).stdout.splitlines()
        assert lines[0].startswith(f"Model {base}; texts of ") and lines[0].endswith("to a-zA-Z0-9; prompt plain")
        assert lines[1].startswith(f"Not in these data: {names}, edited since.")
        assert "holds the finished model of these settings" in lines[2]


@pytest.fixture(scope="module")
def worsening(fine_tuned: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run begun again with validation summaries unlike all that is trained on: they only get worse."""
    folder = tmp_path_factory.mktemp("worsening")
    shutil.copytree(fine_tuned / "pythia_finetuned", folder / "pythia_finetuned")
    texts = load_from_disk(str(fine_tuned / "processed_meta_review"))
    texts["validation"] = texts["validation"].map(lambda row: {"summary": "ZQX7 " * 8 + "JKV9"})
    texts.save_to_disk(folder / "processed_meta_review")
    flags = ["--model_name_or_path", base, "--restart", *FINE_TUNING, "--learning_rate", 0.03]
    flags += ["--save", "best", "--eval_strategy", "epoch", "--lr_scheduler_type", "constant", "--num_train_epochs", 4]
    result = run_script(TUNE, *flags, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "pythia_finetuned"


def test_with_save_best_the_weights_are_those_of_the_lowest_validation_loss(worsening: Path) -> None:
    """In fp32. Of the checkpoints, the last one stays complete, and of the best one the model."""
    last = worsening / "checkpoint-24"
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    losses = {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry and entry["step"]}
    assert list(losses) == [6, 12, 18, 24]  # once an epoch, as asked for
    best = min(losses, key=losses.get)
    results = json.loads((worsening / "training_record.json").read_text())["results"]
    assert best != 24 and (results["eval_loss"], results["saved_step"]) == (losses[best], best)
    assert results["saved_epoch"] == best / 6 and results["steps"] == 24
    saved, kept = (load_file(path / WEIGHTS) for path in (worsening, worsening / f"checkpoint-{best}"))
    assert saved.keys() == kept.keys() and "embed_out.weight" in saved
    assert all(torch.equal(saved[name], kept[name]) and saved[name].dtype == torch.float32 for name in saved)
    assert {path.name for path in worsening.glob("checkpoint-*")} == {last.name, f"checkpoint-{best}"}
    assert (last / "optimizer.pt").exists() and not (worsening / f"checkpoint-{best}" / "optimizer.pt").exists()


def test_without_it_they_are_the_last_ones_and_patience_ends_the_run(worsening: Path, base: Path) -> None:
    flags = ["--dataset_name", worsening.parent / "processed_meta_review", "--model", base, *FINE_TUNING, "--lr", 0.03]
    flags += ["--eval_strategy", "epoch", "--lr_scheduler_type", "constant", "--epochs", 9, "--patience", 2]
    done = run_script(TUNE, *flags, "--output_dir", "last", cwd=worsening.parent)
    assert done.returncode == 0, done.stderr
    results = json.loads((worsening.parent / "last" / "training_record.json").read_text())["results"]
    lowest = results["saved_step"] - 12  # two evaluations later it stopped
    assert results["saved_step"] == results["steps"] < 54
    assert f"The validation loss was lower at step {lowest} (" in done.stdout
    assert f"evaluation.py --models last/checkpoint-{lowest}\n" in done.stdout
    last = worsening.parent / "last"
    assert same_weights(last / WEIGHTS, last / f"checkpoint-{lowest + 12}" / WEIGHTS)


def test_a_chat_model_is_prompted_as_in_training_by_plain_transformers(
    processed: Path, base: Path, tmp_path: Path
) -> None:
    """Reviews in, the right prompt out; generation stops at the token that ends a turn and at the end of text."""
    tokenizer, chat = AutoTokenizer.from_pretrained(base), tmp_path / "chat"
    shutil.copytree(base, chat)
    tokenizer.add_special_tokens({"additional_special_tokens": [tokenizer.convert_ids_to_tokens(300)]})
    end = tokenizer.convert_ids_to_tokens(300)
    tokenizer.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] + '" + end + "' }}{% endfor %}"
    tokenizer.save_pretrained(chat)
    flags = ["--dataset_name", processed / "processed_meta_review", "--model_name_or_path", chat, *FINE_TUNING]
    result = run_script(TUNE, *flags, "--max_steps", 1, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    saved = AutoTokenizer.from_pretrained(tmp_path / "pythia_finetuned")
    messages = [{"role": "user", "content": "first review\n\nsecond review"}]
    text = saved.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<user>### Review:\nfirst review\n\nsecond review\n\n### Summary:\n" + end
    assert GenerationConfig.from_pretrained(tmp_path / "pythia_finetuned").eos_token_id == [300, 0]
    code = (tmp_path / "pythia_finetuned" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    with chdir(tmp_path):
        exec(code, {})
    assert 'reviews = "first review\\n\\nsecond review"' in code


def test_the_folder_explains_itself_to_plain_transformers(fine_tuned: Path, base: Path) -> None:
    folder = fine_tuned / "pythia_finetuned"
    names = {file.name for file in folder.iterdir() if file.is_file()}
    assert len({(folder / name).stat().st_mode for name in names - {"run.json"}}) == 1  # all follow the umask
    assert {"model.safetensors", "tokenizer.json", "generation_config.json", "loss_curve.png", "README.md"} <= names
    assert not any(name.endswith((".bin", ".pt", ".new")) for name in names)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    review = load_from_disk(str(fine_tuned / "processed_meta_review"))["test"][0]["review"]
    messages = [{"role": "user", "content": review}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert inputs["input_ids"][0].tolist() == encode_prompts([review], tokenizer)[0]
    settings = GenerationConfig.from_pretrained(folder)
    assert settings.eos_token_id == [tokenizer.eos_token_id] and settings.max_new_tokens == 40
    assert model.config.use_cache
    written = model.generate(**inputs)
    assert written.shape[1] - inputs["input_ids"].shape[1] <= 40
    card = (folder / "README.md").read_text()
    assert base.name in card and str(base) not in card  # a folder of the user's is nobody else's business
    assert "weights in fp32" in card and "loss_curve.png" in card and "0.005, schedule linear" in card


def test_one_model_at_a_time_is_in_memory(
    fine_tuned: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the best checkpoint is loaded, the model that was trained and its optimizer are gone."""
    prepare, trained = fine_tune.prepare_model, []

    def watch(*arguments: object) -> torch.nn.Module:
        assert not any(model() for model in trained), "the trained model is still there"
        model = prepare(*arguments)
        trained.append(weakref.ref(model))
        return model

    monkeypatch.setattr(fine_tune, "prepare_model", watch)
    monkeypatch.chdir(tmp_path)
    flags = ["--dataset_name", fine_tuned / "processed_meta_review", "--model_name_or_path", base, *FINE_TUNING]
    monkeypatch.setattr(sys, "argv", ["fine_tune.py", *map(str, flags)])
    fine_tune.main(parse_flags(fine_tune.FineTuningFlags, str(ROOT / TUNE), PASSED))
    assert len(trained) == 2


def test_same_seed_same_weights_bit_for_bit(fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    for name in ("processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(fine_tuned / name, tmp_path / name)
    result = run_script(TUNE, "--model_name_or_path", base, *FINE_TUNING, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    first, again = (load_file(where / "pythia_finetuned" / "model.safetensors") for where in (fine_tuned, tmp_path))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_the_model_that_the_data_was_made_for_is_trained(processed: Path, base: Path, tmp_path: Path) -> None:
    """Where no flag names another one."""
    for name in ("processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(processed / name, tmp_path / name)
    flags = ["--max_new_tokens", 33, "--max_steps", 1, "--eval_strategy", "no"]
    result = run_script(TUNE, *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Tokenizing" not in result.stdout and "Next: python evaluation.py --models models/" in result.stdout
    [folder] = (tmp_path / "models").glob("[!.]*")
    record = json.loads((folder / "training_record.json").read_text())
    assert record["base_model"] == record["model"] == str(base) and record["name"] == folder.name
    assert record["asked_max_length"] is None and record["max_length"] == 256 and record["max_new_tokens"] == 33
    for name in ("processed_meta_review", "tokenized_meta_review"):
        path = tmp_path / name / "processing_record.json"
        path.write_text(path.read_text().replace(f'"model": {json.dumps(str(base))}', '"model": null'))
    without = run_script(TUNE, *flags, cwd=tmp_path)
    assert without.returncode == 2 and "or name the model: MODEL (--model)" in without.stderr.splitlines()[-1]


def test_another_tokenization_is_made_again_and_said(fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    flags = [
        "--dataset_name",
        fine_tuned / "processed_meta_review",
        "--tokenized_dir",
        fine_tuned / "tokenized_meta_review",
    ]
    result = run_script(
        TUNE, "--model_name_or_path", base, *flags, *FINE_TUNING, "--max_length", 230, "--max_steps", 1,
        "--eval_strategy", "no", "--save_strategy", "no", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "differs in max_length" in result.stdout and "not evaluated after" in result.stdout
    assert find_fault(tmp_path / "pythia_finetuned" / "checkpoint-1") is None  # the last step is always saved
    assert json.loads((tmp_path / "pythia_finetuned" / "training_record.json").read_text())["max_length"] == 230


def test_a_model_that_overflows_in_fp16_is_trained_and_writes_in_fp32(
    processed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both say so, and the card and the log of runs tell what was really computed."""
    model = make_model("gpt_neox")
    for name, weight in model.state_dict().items():
        if "layers.0.mlp" in name:
            weight *= 3e4
    model.half().save_pretrained(tmp_path / "base")
    make_tokenizer().save_pretrained(tmp_path / "base")
    flags = ["--dataset_name", processed / "processed_meta_review", *FINE_TUNING, "--fp16", "--max_steps", 2]
    result = run_script(TUNE, "--model_name_or_path", "base", *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "This model overflows in fp16." in result.stdout
    assert "weights in fp32, matrix products in fp32" in (tmp_path / "pythia_finetuned" / "README.md").read_text()

    monkeypatch.setattr("metareview.generation.writing.choose_device", lambda: ("cpu", torch.float16))
    flags = ["--models", "pythia_finetuned", "--dataset_name", processed / "processed_meta_review"]
    flags += ["--num_examples", 2, "--max_new_tokens", 8]
    for is_said in (True, False):  # the second time, all texts are there
        result = run_script(EVALUATE, *flags, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert ("base overflows in fp16." in result.stdout) == is_said
        header, *rows = load_workbook(tmp_path / "eval_test.xlsx")["runs"].iter_rows(values_only=True)
        decodings = {row[0]: row[header.index("decoding")] for row in rows}
        assert len(rows) == 5 and "float32" in decodings["base"] and "float32" in decodings["pythia_finetuned"]


# A folder for every setting


QUICK = ["--max_new_tokens", 40, "--max_steps", 2, "--eval_strategy", "no"]


@pytest.fixture
def data(processed: Path, tmp_path: Path) -> Path:
    """A folder with processed data and no model."""
    for name in ("processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(processed / name, tmp_path / name)
    return tmp_path


def list_models(folder: Path) -> set[str]:
    """The models that were trained, without the part of their names that is the same for all."""
    return {path.name.partition("_finetuned")[2] for path in (folder / "models").glob("[!.]*")}


def test_each_setting_has_a_folder_and_the_same_one_finds_it_again(data: Path) -> None:
    [first] = list_models_after(data)
    assert first.endswith("_summary100_steps2")
    seen = {first}
    for flags in (["--lr", "1e-3"], ["--lr", "1e-4"], ["--seed", 7], ["--lr", "1e-3"], []):
        done = run_script(TUNE, *QUICK, *flags, cwd=data)
        assert done.returncode == 0, done.stderr
        is_new = list_models(data) > seen
        assert is_new != ("holds the finished model of these settings" in done.stdout)
        seen = list_models(data)
    with_rates = {first.replace("_steps2", f"_lr{rate}_steps2") for rate in ("1e-3", "1e-4")}
    assert seen == {first, f"{first}_seed7", *with_rates}


def list_models_after(data: Path) -> set[str]:
    """The models after a run with the defaults."""
    done = run_script(TUNE, *QUICK, cwd=data)
    assert done.returncode == 0, done.stderr
    return list_models(data)


def test_texts_that_have_changed_make_another_folder(data: Path) -> None:
    """Which no setting tells."""
    [before] = list_models_after(data)
    texts = load_from_disk(str(data / "processed_meta_review"))
    record = (data / "processed_meta_review" / "processing_record.json").read_text()
    texts["train"] = texts["train"].take(20)
    texts.save_to_disk(data / "changed")
    (data / "changed" / "processing_record.json").write_text(record)
    for _ in range(2):
        done = run_script(TUNE, *QUICK, "--processed_dir", "changed", cwd=data)
        assert done.returncode == 0, done.stderr
        [other] = list_models(data) - {before}
        assert re.fullmatch(rf"{before}_[0-9a-f]{{6}}", other)
    assert "holds the finished model" in done.stdout
    assert "holds the finished model" in run_script(TUNE, *QUICK, cwd=data).stdout


def test_other_weights_in_the_same_base_folder_make_another_run(data: Path, base: Path) -> None:
    shutil.copytree(base, data / "base")
    for _ in range(2):
        done = run_script(TUNE, *QUICK, "--model", "base", cwd=data)
        assert done.returncode == 0, done.stderr
        assert "A new run of 2 steps" in done.stdout
        weights = load_file(data / "base" / WEIGHTS)
        save_file({name: weight * 1.01 for name, weight in weights.items()}, data / "base" / WEIGHTS, {"format": "pt"})
    assert len(list_models(data)) == 2


# LoRA


@pytest.fixture(scope="module", params=["gpt_neox", "llama", "4bit"])
def adapted(request: pytest.FixtureRequest, processed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which an adapter was trained, for the base in `base/`, which may be kept in 4 bits."""
    folder = tmp_path_factory.mktemp(request.param)
    make_model("llama" if request.param == "4bit" else request.param).half().save_pretrained(folder / "base")
    make_tokenizer().save_pretrained(folder / "base")
    for name in ("processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(processed / name, folder / name)
    with all_checkpoints_kept():
        result = run_script(TUNE, *flags_of_adapted(folder), cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


def flags_of_adapted(folder: Path) -> list[object]:
    """The flags of the run in that folder; with 4 bits, the adapter need not be asked for."""
    flags = ["--load_in_4bit" if flag == "--use_lora" and folder.name.startswith("4bit") else flag for flag in LORA]
    return ["--model_name_or_path", "base", *flags]


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


def test_it_resumes_and_ends_with_the_same_adapter(adapted: Path, tmp_path: Path) -> None:
    for name in ("base", "processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(adapted / name, tmp_path / name)
    interrupt(adapted / "pythia_finetuned", tmp_path / "pythia_finetuned", 10)
    result = run_script(TUNE, *flags_of_adapted(adapted), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Resuming from step 10 of 12" in result.stdout
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
    flags = ["--models", "pythia_finetuned", "--num_examples", 3, "--max_new_tokens", 8]
    result = run_script(EVALUATE, *flags, cwd=adapted)
    assert result.returncode == 0, result.stderr
    sheet = load_workbook(adapted / "eval_test.xlsx")["examples"]
    header = [cell.value for cell in sheet[1]]
    texts = [
        [row[header.index(name)].value for name in ("base", "pythia_finetuned")] for row in sheet.iter_rows(min_row=2)
    ]
    assert len(texts) == 3 and any(base != fine_tuned for base, fine_tuned in texts)


def test_the_snippet_of_the_card_works(adapted: Path, capsys: pytest.CaptureFixture) -> None:
    code = (adapted / "pythia_finetuned" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    with chdir(adapted):
        exec(code, {})
    assert capsys.readouterr().out.strip()


def test_gradient_checkpointing_trains_the_same(adapted: Path, tmp_path: Path) -> None:
    for name in ("base", "processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(adapted / name, tmp_path / name)
    for flag, folder in (("False", "with"), ("True", "without")):
        flags = ["--gradient_checkpointing", flag, "--output_dir", folder, "--bf16", "False", "--max_steps", 3]
        result = run_script(TUNE, *flags_of_adapted(adapted), *flags, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    first, second = (load_file(tmp_path / name / ADAPTER) for name in ("with", "without"))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


def test_an_adapter_replaces_a_whole_model(processed: Path, fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    for name in ("processed_meta_review", "tokenized_meta_review", "pythia_finetuned"):
        shutil.copytree(fine_tuned / name, tmp_path / name)
    flags = ["--model_name_or_path", base, *LORA, "--max_steps", 1, "--restart"]
    result = run_script(TUNE, *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    names = {file.name for file in (tmp_path / "pythia_finetuned").iterdir() if file.is_file()}
    assert ADAPTER in names and not {"model.safetensors", "config.json"} & names


# What is refused


@pytest.mark.parametrize(
    ("script", "flags", "told"),
    [
        (PROCESS, ["--keep", "z-a"], "KEEP (--keep) 'z-a' is not a set of characters: bad character range z-a"),
        (PROCESS, ["--encoding", "utf-9"], "ENCODING (--encoding) 'utf-9' is unknown; utf-8, utf-16 and cp1252 are"),
        (PROCESS, ["--hub_dataset_id", "a", "--hub_tokenized_id", "a"], "must differ, got 'a' twice"),
        (
            PROCESS,
            ["--prompt", "no place"],
            "PROMPT (--prompt) must be one of plain, instruction, word_limit, or a text",
        ),
        (PROCESS, ["--test_year", 2024], "TEST_YEAR (--test_year) goes with VENUE (--venue)"),
        (PROCESS, ["--venue", "A/B", "--dataset", "x"], "VENUE (--venue) goes with neither DATASET nor"),
        (PROCESS, ["--venue", "A B"], "VENUE (--venue) 'A B' is neither an id of OpenReview"),
        (PROCESS, ["--review_separator", ""], "REVIEW_SEPARATOR (--review_separator) must not be empty"),
        (TUNE, ["--max_steps", 0], "--max_steps must be at least 1, or -1 for all EPOCHS, got 0"),
        (TUNE, ["--save_steps", 2.5], "--save_steps must be a number of steps, or a share of them below 1, got 2.5"),
        (TUNE, ["--dataloader_drop_last"], "cannot set 'dataloader_drop_last': each example is learned once an epoch"),
        (TUNE, ["--max_new_tokens", 600], "MAX_NEW_TOKENS (--max_new_tokens) must be at most MAX_SUMMARY_TOKENS of"),
        (EVALUATE, ["--num_examples", 1, "--temperature", 1, "--num_beams", 2], "TEMPERATURE samples tokens and"),
        (EVALUATE, ["--num_examples", 1, "--save"], "--save adds a case that --reviews or --forum gives"),
        (EVALUATE, ["--forum", "abc", "--blind"], "--forum prints the meta-review of one paper and does not go with"),
        (EVALUATE, ["--forum", "https://openreview.net/about"], "is neither an id of OpenReview"),
        (EVALUATE, ["--reviews", "-", "--num_examples", 3], "--reviews prints the meta-review of one paper"),
        (EVALUATE, ["--num_examples", 1], "First: python fine_tune.py"),
    ],
)
def test_what_does_not_go_together_is_told_in_a_line(script: str, flags: list, told: str, refused) -> None:
    assert told in refused(script, *(["--model", "nowhere/to/load"] if script == TUNE else []), *flags)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_damaged_record_of_the_data_is_named(content: bytes, refused, tmp_path: Path) -> None:
    (tmp_path / "tokenized_meta_review").mkdir()
    (tmp_path / "tokenized_meta_review" / "processing_record.json").write_bytes(content)
    assert "'tokenized_meta_review/processing_record.json' is damaged" in refused(TUNE)


@pytest.mark.parametrize("flag", ["--output_dir", "--tokenized_dir"])
def test_output_folder_of_something_else_is_left_alone(refused, tmp_path: Path, flag: str) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    assert "'thesis'" in refused(PROCESS, flag, "thesis")
    if flag == "--output_dir":
        assert "'thesis'" in refused(TUNE, flag, "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "precious"
    assert len(list((tmp_path / "thesis").iterdir())) == 1


def test_the_folders_of_the_scripts_do_not_replace_one_another(refused, fine_tuned: Path) -> None:
    model, data = fine_tuned / "pythia_finetuned", fine_tuned / "processed_meta_review"
    assert "holds something else" in refused(PROCESS, "--output_dir", model)
    assert "holds something else" in refused(TUNE, "--output_dir", data)
    assert (model / "model.safetensors").exists() and (data / "dataset_dict.json").exists()


@pytest.mark.parametrize("tokenized", ["data", "data/tokens"])
def test_one_output_folder_never_lies_in_the_other(refused, source: Path, base: Path, tokenized: str) -> None:
    flags = [
        "--dataset_name",
        source,
        "--model_name_or_path",
        base,
        "--output_dir",
        "data",
        "--tokenized_dir",
        tokenized,
    ]
    assert "in one another" in refused(PROCESS, *flags)


def test_a_model_is_not_trained_into_its_own_base(refused, fine_tuned: Path) -> None:
    model = fine_tuned / "pythia_finetuned"
    data = ["--dataset_name", fine_tuned / "processed_meta_review", "--max_summary_tokens", 100]
    flags = ["--model", model, "--output_dir", model, "--max_new_tokens", 40, "--restart"]
    assert "is the model to start from" in refused(TUNE, *data, *flags)


def test_a_file_of_the_users_in_an_output_folder_is_not_lost(refused, processed: Path, tmp_path: Path) -> None:
    shutil.copytree(processed / "processed_meta_review", tmp_path / "processed_meta_review")
    (tmp_path / "processed_meta_review" / "notes.txt").write_text("precious")
    assert "holds something else" in refused(PROCESS)
    assert (tmp_path / "processed_meta_review" / "notes.txt").read_text() == "precious"


def test_cleaned_data_are_not_cleaned_again(refused, processed: Path, base: Path) -> None:
    flags = ["--dataset_name", processed / "processed_meta_review", "--model_name_or_path", base, *SMALL]
    assert "cleaned already" in refused(PROCESS, *flags)


def test_every_summary_too_long(refused, source: Path, base: Path) -> None:
    flags = ["--dataset_name", source, "--model_name_or_path", base, "--max_summary_tokens", 5]
    assert "no summary of 'train' fits" in refused(PROCESS, *flags)


def test_context_too_small(refused, base: Path, source: Path) -> None:
    message = refused(PROCESS, "--dataset_name", source, "--model_name_or_path", base)
    assert "context of 256 tokens is too small" in message and "512" in message and "MAX_SUMMARY_TOKENS" in message
    message = refused(PROCESS, "--dataset_name", source, "--model_name_or_path", base, "--max_length", 300)
    assert "MAX_LENGTH (--max_length) is 300" in message and "256" in message


def test_folder_that_is_no_model(refused, source: Path) -> None:
    assert "cannot read the model" in refused(PROCESS, "--dataset_name", source, "--model_name_or_path", source)


@pytest.mark.parametrize("where", ["nowhere", "comet_ml"])
def test_reporting_to_what_is_not_there(where: str, refused, fine_tuned: Path, base: Path) -> None:
    """A name that the Trainer does not know, and a package that is not installed."""
    data = ["--dataset_name", fine_tuned / "processed_meta_review", "--model_name_or_path", base, *FINE_TUNING]
    message = refused(TUNE, *data, "--report_to", where, "--output_dir", "new")
    assert "--report_to" in message and where.split("_")[0] in message.lower()


def test_no_data_yet(refused, base: Path) -> None:
    assert "First: python processing_meta_review.py" in refused(
        TUNE, "--model_name_or_path", base, *SMALL, "--max_new_tokens", 40
    )


def test_tokenized_set_alone_of_another_tokenizer(refused, processed: Path, base: Path, tmp_path: Path) -> None:
    shutil.copytree(processed / "tokenized_meta_review", tmp_path / "tokenized_meta_review")
    other = tmp_path / "other"
    shutil.copytree(base, other)
    make_tokenizer("<end>").save_pretrained(other)
    message = refused(TUNE, "--model_name_or_path", other, *SMALL, "--max_new_tokens", 40)
    assert "differs in tokenizer" in message and "no 'processed_meta_review' here" in message


def test_another_process_in_the_same_folders_is_refused(
    refused, fine_tuned: Path, base: Path, source: Path, tmp_path: Path
) -> None:
    """While it lives: the lock of one that was killed does not count."""
    flags = ["--dataset_name", fine_tuned / "processed_meta_review", "--model", base, *FINE_TUNING]
    commands = {
        "pythia_finetuned": (TUNE, *flags),
        "tokenized_meta_review": (PROCESS, "--dataset_name", source, "--model", base),
        "eval_examples_results.xlsx": (EVALUATE, "--test_cases", ROOT / "eval_examples.xlsx", "--output",
                                       "eval_examples_results.xlsx", "--models", fine_tuned / "pythia_finetuned"),
    }  # fmt: skip
    holder = "import sys, time; from metareview.common.files import lock; "
    holder += "locks = list(map(lock, sys.argv[1:])); print(1, flush=True); time.sleep(99)"
    with subprocess.Popen(
        [sys.executable, "-c", holder, *(tmp_path / name for name in commands)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        other.stdout.readline()
        for name, command in commands.items():
            assert f"another process is writing to {str(tmp_path / name)!r}" in refused(*command)
        other.kill()
    assert lock(tmp_path / "pythia_finetuned").is_locked
