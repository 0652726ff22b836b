"""Whole scripts: what they leave and print, a folder for each setting, adapters, and what they refuse."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from conftest import (
    ADAPTER,
    EVALUATE,
    FINE_TUNING,
    FOLDERS,
    PROCESS,
    PROCESSED,
    ROOT,
    TOKENIZED,
    TUNE,
    WEIGHTS,
    all_checkpoints_kept,
    copy_data,
    from_data,
    interrupt,
    plain_losses,
    read_logged,
    read_record,
    run_to_end,
    same_weights,
    save_base,
)
from datasets import load_from_disk
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from workbooks import read_rows

from metareview.common.cli import InputError
from metareview.common.files import lock
from metareview.data.learned import load_learned
from metareview.data.prompts import PROMPTS
from metareview.data.tokenization import TokenizationArguments, load_tokenizer
from metareview.training.checkpoints import MANIFEST, find_fault


@pytest.fixture
def data(processed: Path, tmp_path: Path) -> Path:
    """A folder with processed data and no model."""
    return copy_data(processed, tmp_path)


# What processing and training leave


def test_processing_leaves_the_same_data_each_time(processed: Path, data: Path, source: Path, base: Path) -> None:
    flags = ["--dataset_name", source, "--model_name_or_path", base, "--max_summary_tokens", 100]
    assert "Next: python fine_tune.py" in run_to_end(PROCESS, *flags, cwd=data)
    assert {path.name for path in data.glob("[!.]*")} == set(FOLDERS)
    columns = (["review", "summary"], ["input_ids", "labels", "length"])
    for name, wanted in zip(FOLDERS, columns, strict=True):
        before, after = (load_from_disk(str(folder / name)) for folder in (processed, data))
        assert before.column_names == dict.fromkeys(("train", "validation", "test"), wanted)
        assert {split: len(rows) for split, rows in before.items()} == {"train": 24, "validation": 8, "test": 8}
        assert all(before[split].to_list() == after[split].to_list() for split in before)
    printed = run_to_end(PROCESS, *flags, "--drop_sentences", "a paper on sorting", cwd=data)
    record = json.loads((data / TOKENIZED / "processing_record.json").read_text())
    texts = load_from_disk(str(data / PROCESSED))["train"]["summary"]
    assert "sentences dropped" in printed and not any("sorting" in text for text in texts)
    assert (record["max_length"], record["drop_sentences"]) == (256, "a paper on sorting")


def test_training_lowers_the_loss_which_is_that_of_the_saved_model(fine_tuned: Path) -> None:
    """The output layer of GPT-NeoX is lost by the Trainer's own loading: the loss would be another one."""
    results = read_record(fine_tuned / "pythia_finetuned")["results"]
    assert (results["steps"], results["epochs"]) == (12, 2)
    assert results["eval_loss"] < results["eval_loss_before"] - 0.5
    printed = (fine_tuned / "fine_tune_stdout.txt").read_text()
    assert "2 epochs, 12 steps" in printed and "Next: python evaluation.py" in printed
    model = AutoModelForCausalLM.from_pretrained(fine_tuned / "pythia_finetuned").eval()
    with torch.no_grad():
        losses = plain_losses(model, load_from_disk(str(fine_tuned / TOKENIZED))["validation"].to_list())
    assert torch.cat(losses).mean().item() == pytest.approx(results["eval_loss"], rel=5e-3)  # recorded under bf16


SHORT = [*FINE_TUNING, "--max_steps", 1, "--eval_strategy", "no"]
FLAT = [*FINE_TUNING, "--learning_rate", 0.03, "--eval_strategy", "epoch", "--lr_scheduler_type", "constant"]
FLAT += ["--previews", 0]


@pytest.fixture(scope="module")
def worsening(fine_tuned: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run begun again with validation summaries unlike all that is trained on: they only get worse."""
    folder = tmp_path_factory.mktemp("worsening")
    shutil.copytree(fine_tuned / "pythia_finetuned", folder / "pythia_finetuned")
    texts = load_from_disk(str(fine_tuned / PROCESSED))
    texts["validation"] = texts["validation"].map(lambda row: {"summary": "ZQX7 " * 8 + "JKV9"})
    texts.save_to_disk(folder / PROCESSED)
    run_to_end(TUNE, "--model", base, "--restart", *FLAT, "--save", "best", "--num_train_epochs", 3, cwd=folder)
    return folder / "pythia_finetuned"


def test_with_save_best_the_weights_are_those_of_the_lowest_validation_loss(worsening: Path) -> None:
    """In fp32. Of the checkpoints, the last one stays complete, and of the best one the model."""
    losses = read_logged(worsening / "checkpoint-18", "eval_loss")
    assert list(losses) == [0, 6, 12, 18]  # once an epoch, as asked for
    step = min(list(losses)[1:], key=losses.get)
    best, results = worsening / f"checkpoint-{step}", read_record(worsening)["results"]
    assert step != 18 and (results["eval_loss"], results["saved_step"]) == (losses[step], step)
    assert results["saved_epoch"] == step / 6 and results["steps"] == 18
    saved = load_file(worsening / WEIGHTS)
    assert same_weights(worsening / WEIGHTS, best / WEIGHTS) and "embed_out.weight" in saved
    assert {weight.dtype for weight in saved.values()} == {torch.float32}
    assert {path.name for path in worsening.glob("checkpoint-*")} == {"checkpoint-18", best.name}
    assert find_fault(worsening / "checkpoint-18") is None
    assert {"config.json", "tokenizer.json", WEIGHTS} <= {path.name for path in best.iterdir()}
    assert not list(best.glob("*.pt*")) and not (best / MANIFEST).exists()


def test_without_it_they_are_the_last_ones_and_patience_ends_the_run(worsening: Path, base: Path) -> None:
    flags = ["--model", base, *FLAT, "--epochs", 9, "--patience", 1, "--output_dir", "last"]
    printed, last = run_to_end(TUNE, *flags, cwd=worsening.parent), worsening.parent / "last"
    results = read_record(last)["results"]
    lowest = results["saved_step"] - 6  # an evaluation later it stopped
    assert results["saved_step"] == results["steps"] < 54
    assert f"evaluation.py --models last/checkpoint-{lowest}\n" in printed
    final = last / f"checkpoint-{lowest + 6}" / WEIGHTS
    assert same_weights(last / WEIGHTS, final)
    (last / "config.json").unlink()  # as if the disk had been full when the model was to be saved
    run_to_end(TUNE, *flags, cwd=worsening.parent)
    assert read_record(last)["results"] == results and same_weights(last / WEIGHTS, final)


def test_a_best_model_of_which_only_weights_were_kept_is_said_to_be_gone(worsening: Path, base: Path) -> None:
    """Where its run is continued from its last checkpoint; from then on the lowest loss counts."""
    flags = ["--model", base, *FLAT, "--save", "best", "--epochs", 4, "--output_dir", "longer"]
    flags += ["--resume_from_checkpoint", worsening / "checkpoint-18"]
    printed = run_to_end(TUNE, *flags, cwd=worsening.parent)
    step = read_record(worsening)["results"]["saved_step"]
    assert f"The weights of step {step}, the best so far, are gone" in printed
    record = read_record(worsening.parent / "longer")
    assert (record["results"]["saved_step"], record["settings"]["continued_from"]) == (24, "step 18 of 18")


@pytest.fixture(scope="module")
def chat(processed: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of a base that has a chat template."""
    folder = copy_data(processed, tmp_path_factory.mktemp("chat"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    end = tokenizer.convert_ids_to_tokens(300)
    tokenizer.add_special_tokens({"additional_special_tokens": [end]})
    tokenizer.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] + '" + end + "' }}{% endfor %}"
    shutil.copytree(base, folder / "chat")
    tokenizer.save_pretrained(folder / "chat")
    run_to_end(TUNE, "--model", "chat", *SHORT, "--output_dir", "first", cwd=folder)
    return folder


def read_prompt(model: Path) -> str:
    """The prompt with a paper's reviews, as plain transformers makes it."""
    messages = [{"role": "user", "content": "first review\n\nsecond review"}]
    return AutoTokenizer.from_pretrained(model).apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )


def test_plain_transformers_stops_a_chat_model_where_training_did(chat: Path) -> None:
    """At the token that ends a turn and at the end of text."""
    end = AutoTokenizer.from_pretrained(chat / "chat").convert_ids_to_tokens(300)
    assert read_prompt(chat / "first") == f"<user>### Review:\nfirst review\n\nsecond review\n\n### Summary:\n{end}"
    assert GenerationConfig.from_pretrained(chat / "first").eos_token_id == [300, 0]


def test_training_goes_on_from_a_fine_tuned_model_in_the_frame_that_it_knows(chat: Path) -> None:
    """From its last checkpoint too; and what it has learned stays known, whatever is learned next."""
    texts = load_from_disk(str(chat / PROCESSED))
    texts["train"] = texts["train"].map(lambda row: {name: f"new {row[name]}" for name in ("review", "summary")})
    texts.save_to_disk(chat / "other")
    flags = [*SHORT, "--processed_dir", "other", "--prompt", "instruction", "--output_dir"]
    expected = read_prompt(chat / "first").replace("<user>", f"<user>{PROMPTS['instruction'].partition('###')[0]}")
    for model in ("first", "first/checkpoint-1"):
        run_to_end(TUNE, "--model", model, *flags, f"{model}_second", cwd=chat)
        assert read_prompt(chat / f"{model}_second") == expected
        first, second = load_learned(chat / "first"), load_learned(chat / f"{model}_second")
        assert first < second and len(second) == 2 * len(first)
    copied = shutil.copytree(chat / "first/checkpoint-1", chat / "copied")
    with pytest.raises(InputError, match=r"has no training_record.json .* name the folder of its run"):
        load_tokenizer(TokenizationArguments(str(copied), "plain"))


def test_the_folder_explains_itself_to_plain_transformers(fine_tuned: Path) -> None:
    folder = fine_tuned / "pythia_finetuned"
    names = {file.name for file in folder.iterdir() if file.is_file()}
    assert len({(folder / name).stat().st_mode for name in names - {"run.json"}}) == 1  # all follow the umask
    assert {WEIGHTS, "tokenizer.json", "generation_config.json", "loss_curve.png", "README.md"} <= names
    assert not any(name.endswith((".bin", ".pt", ".new")) for name in names)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    review = load_from_disk(str(fine_tuned / PROCESSED))["test"][0]["review"]
    messages = [{"role": "user", "content": review}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id] and model.config.use_cache
    assert model.generate(**inputs).shape[1] - inputs["input_ids"].shape[1] <= 40


def test_a_model_that_overflows_in_fp16_writes_in_fp32(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the log of runs says also when all texts are there."""
    weights = load_file(save_base(data / "base", context=1024) / WEIGHTS)
    for name, weight in weights.items():
        weight *= 3e4 if "layers.0.mlp" in name else 1
    save_file(weights, data / "base" / WEIGHTS, {"format": "pt"})
    monkeypatch.setattr("metareview.generation.writing.choose_device", lambda: ("cpu", torch.float16))
    flags = ["--models", "base", "--base_model", "base", "--num_examples", 2, "--max_new_tokens", 8]
    for is_said in (True, False):
        assert ("base overflows in fp16." in run_to_end(EVALUATE, *flags, cwd=data)) == is_said
        rows = read_rows(data / "eval_test.xlsx", "runs")
        assert all("float32" in row["decoding"] for row in rows if row["model"] == "base")


# A sweep


QUICK = ["--max_new_tokens", 40, "--max_steps", 2, "--eval_strategy", "no", "--previews", 0]


def test_several_values_are_several_runs_and_finished_ones_are_skipped(data: Path, base: Path, refused) -> None:
    """Each in a folder of its own."""
    flags = [*QUICK, "--eval_strategy", "epoch", "--model", base, "--learning_rate", "1e-3"]
    run_to_end(TUNE, *flags, cwd=data)
    [finished] = data.glob(f"models/*/{WEIGHTS}")
    written = finished.stat().st_mtime_ns
    printed = run_to_end(TUNE, *flags, "1e-4", cwd=data)
    assert "Run 2 of 2: LEARNING_RATE = 0.0001" in printed and finished.stat().st_mtime_ns == written
    names = [weights.parent.name.partition("_finetuned")[2] for weights in data.glob(f"models/*/{WEIGHTS}")]
    assert len(names) == 2 and all(re.search(rf"{name} +\|.* [0-9.]+ \|", printed) for name in names)
    assert "Next: python evaluation.py --models models/" in printed.splitlines()[-1]
    assert "Their curves: models/losses.png" in printed and (data / "models/losses.png").stat().st_size > 5_000
    assert "OUTPUT_DIR must be None for several runs" in refused(TUNE, *flags, "1e-4", "--output_dir", "m")


# LoRA


@pytest.fixture(scope="module", params=["gpt_neox", "4bit"])
def adapted(request: pytest.FixtureRequest, fine_tuned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which an adapter was trained in the place of a complete model.

    Its base is in `base/`, and may be kept in 4 bits.
    """
    folder = copy_data(fine_tuned, tmp_path_factory.mktemp(request.param))
    save_base(folder / "base", "llama" if request.param == "4bit" else "gpt_neox")
    shutil.copytree(fine_tuned / "pythia_finetuned", folder / "pythia_finetuned")
    with all_checkpoints_kept:
        run_to_end(TUNE, *flags_of(folder), "--restart", cwd=folder)
    return folder


def flags_of(folder: Path) -> list[object]:
    """The flags of the run in that folder; with 4 bits, the adapter need not be asked for."""
    kind = "--load_in_4bit" if folder.name.startswith("4bit") else "--use_lora"
    return ["--model_name_or_path", "base", *FINE_TUNING, kind, "--lora_r", 4, "--lora_alpha", 8]


def test_only_the_adapter_is_trained_and_saved(adapted: Path) -> None:
    saved = adapted / "pythia_finetuned"
    names = {file.name for file in saved.iterdir()}
    assert {ADAPTER, "adapter_config.json", "generation_config.json", "tokenizer.json"} <= names
    assert not names & {WEIGHTS, "config.json"}
    weights = load_file(saved / ADAPTER)
    assert all("lora_" in name and value.dtype == torch.float32 for name, value in weights.items())
    assert not any("embed" in name or "lm_head" in name for name in weights)
    assert len({name.split(".lora_")[0] for name in weights}) in (2 * 4, 2 * 7)  # layers times linear maps in each
    results = read_record(saved)["results"]
    assert results["eval_loss"] < results["eval_loss_before"]


def test_it_resumes_and_ends_with_the_same_adapter(adapted: Path, tmp_path: Path) -> None:
    shutil.copytree(adapted / "base", copy_data(adapted, tmp_path) / "base")
    interrupt(adapted / "pythia_finetuned", tmp_path / "pythia_finetuned", 10)
    assert "Resuming from step 10 of 12" in run_to_end(TUNE, *flags_of(adapted), cwd=tmp_path)
    name = f"pythia_finetuned/checkpoint-12/{ADAPTER}"
    assert same_weights(tmp_path / name, adapted / name)


def test_merged_it_is_a_plain_model_that_writes_the_same(adapted: Path) -> None:
    """Other texts than the base without it; no seed of the same training."""
    printed = run_to_end(TUNE, "--merge", "pythia_finetuned", cwd=adapted)
    assert "Merged: pythia_finetuned_merged; largest difference of the logits " in printed
    names = {file.name for file in (adapted / "pythia_finetuned_merged").iterdir()}
    assert WEIGHTS in names and ADAPTER not in names and "3 of 3 texts are the same" in printed
    flags = ["--models", "pythia_finetuned", "pythia_finetuned_merged", "--num_examples", 3, "--max_new_tokens", 8]
    assert "(2 seeds)" not in run_to_end(EVALUATE, *flags, cwd=adapted)
    rows = read_rows(adapted / "eval_test.xlsx")
    assert len(rows) == 3 and any(row["base"] != row["finetuned"] for row in rows)


def test_merging_replaces_nothing_of_the_users(adapted: Path, refused) -> None:
    folder = adapted / "other"
    shutil.copytree(adapted / "pythia_finetuned", folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    (adapted / "other_merged").mkdir()
    (adapted / "other_merged" / "thesis.txt").write_text("mine")
    assert "exists and is no merged model; nothing was written" in refused(TUNE, "--merge", folder)
    assert (adapted / "other_merged" / "thesis.txt").read_text() == "mine"
    (folder / "training_record.json").unlink()
    assert "no training_record.json there; name the folder of a finished run" in refused(TUNE, "--merge", folder)


def test_the_snippet_of_the_card_works(adapted: Path, capsys: pytest.CaptureFixture) -> None:
    code = (adapted / "pythia_finetuned" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    with chdir(adapted):
        exec(code, {})
    assert capsys.readouterr().out.strip()


def test_gradient_checkpointing_trains_the_same(adapted: Path) -> None:
    for choice in ("True", "False"):
        flags = ["--gradient_checkpointing", choice, "--output_dir", choice, "--bf16", "False"]
        run_to_end(TUNE, *flags_of(adapted), *flags, *QUICK, cwd=adapted)
    first, second = (load_file(adapted / choice / ADAPTER) for choice in ("True", "False"))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


# What is refused


@pytest.mark.parametrize(
    ("script", "flags", "told"),
    [
        (PROCESS, ["--keep", "z-a"], "KEEP (--keep) 'z-a' is not a set of characters: bad character range z-a"),
        (PROCESS, ["--encoding", "utf-9"], "ENCODING (--encoding) 'utf-9' is unknown; utf-8, utf-16 and cp1252 are"),
        (PROCESS, ["--test_year", 2024], "TEST_YEAR (--test_year) goes with VENUE (--venue)"),
        (PROCESS, ["--venue", "A/B", "--dataset", "x"], "VENUE (--venue) goes with neither DATASET nor"),
        (TUNE, ["--max_steps", 0], "--max_steps must be at least 1, or -1 for all EPOCHS, got 0"),
        (TUNE, ["--save_steps", 2.5], "--save_steps must be a number of steps, or a share of them below 1, got 2.5"),
        (EVALUATE, ["--num_examples", 1, "--save"], "--save adds a case that --reviews or --forum gives"),
        (EVALUATE, ["--forum", "abc", "--blind"], "--forum prints the meta-review of one paper and does not go with"),
    ],
)
def test_what_does_not_go_together_is_told_in_a_line(script: str, flags: list, told: str, refused) -> None:
    assert told in refused(script, *flags)


def test_a_folder_of_another_script_is_left_alone(refused, fine_tuned: Path) -> None:
    """What else is such a folder: test_splits.py, test_resuming.py."""
    for script, folder in ((PROCESS, fine_tuned / "pythia_finetuned"), (TUNE, fine_tuned / PROCESSED)):
        before = sorted(folder.rglob("*"))
        assert "holds something else" in refused(script, "--output_dir", folder)
        assert sorted(folder.rglob("*")) == before


def test_another_process_in_the_same_folders_is_refused(
    refused, fine_tuned: Path, base: Path, source: Path, tmp_path: Path
) -> None:
    """While it lives: the lock of one that was killed does not count."""
    results, cases = "eval_examples_results.xlsx", ROOT / "eval_examples.xlsx"
    commands = {
        "pythia_finetuned": (TUNE, *from_data(fine_tuned), "--model", base, *FINE_TUNING),
        TOKENIZED: (PROCESS, "--dataset_name", source, "--model", base),
        results: (EVALUATE, "--test_cases", cases, "--output", results, "--models", fine_tuned / "pythia_finetuned"),
    }
    holder = "import sys, time; from metareview.common.files import lock; "
    holder += "locks = list(map(lock, sys.argv[1:])); print(1, flush=True); time.sleep(99)"
    command = [sys.executable, "-c", holder, *(tmp_path / name for name in commands)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        for name, command in commands.items():
            assert f"another process is writing to {str(tmp_path / name)!r}" in refused(*command)
        other.kill()
    assert lock(tmp_path / "pythia_finetuned").is_locked
