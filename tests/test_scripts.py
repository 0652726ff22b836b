"""Whole scripts: what they leave and print, what they refuse, how a run goes on after an interruption; LoRA.

What is wrong is told in one or two lines, with exit status 2, and nothing is overwritten.
"""

import json
import math
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import weakref
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from conftest import (
    EVALUATE,
    FINE_TUNING,
    PROCESS,
    ROOT,
    TUNE,
    WEIGHTS,
    make_model,
    make_rows,
    make_tokenizer,
    plain_losses,
    run_script,
    same_weights,
    write_csv,
)
from datasets import load_from_disk
from openpyxl import Workbook, load_workbook
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

import fine_tune
from metareview.common.files import lock
from metareview.common.model import load_model
from metareview.data.prompts import encode_prompts
from metareview.training.batching import LengthGroupedSampler
from metareview.training.checkpoints import find_checkpoint, find_fault, list_checkpoints, write_manifest

SMALL = ["--max_summary_tokens", 100]  # what the tiny context of the tests' model has room for
LORA = [*FINE_TUNING, "--use_lora", "--lora_r", 4, "--lora_alpha", 8]
ADAPTER = "adapter_model.safetensors"


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


def test_the_tokenized_set_is_used_when_it_fits(fine_tuned: Path) -> None:
    assert "Tokenizing" not in (fine_tuned / "fine_tune_stdout.txt").read_text()


def test_the_saved_loss_is_that_of_the_saved_model(fine_tuned: Path) -> None:
    """The output layer of GPT-NeoX is lost by the Trainer's own loading: the loss would be another one."""
    folder = fine_tuned / "pythia_finetuned"
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    validation = load_from_disk(str(fine_tuned / "tokenized_meta_review"))["validation"].to_list()
    with torch.no_grad():
        loss = torch.cat(plain_losses(model, validation)).mean().item()
    recorded = json.loads((folder / "training_record.json").read_text())["results"]["eval_loss"]
    assert loss == pytest.approx(recorded, rel=5e-3)  # recorded under bf16 where the hardware has it


@pytest.fixture(scope="module")
def worsening(fine_tuned: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run begun again with validation summaries unlike all that is trained on: they only get worse."""
    folder = tmp_path_factory.mktemp("worsening")
    shutil.copytree(fine_tuned / "pythia_finetuned", folder / "pythia_finetuned")
    texts = load_from_disk(str(fine_tuned / "processed_meta_review"))
    texts["validation"] = texts["validation"].map(lambda row: {"summary": "ZQX7 " * 8 + "JKV9"})
    texts.save_to_disk(folder / "processed_meta_review")
    flags = ["--model_name_or_path", base, "--restart", *FINE_TUNING, "--learning_rate", 0.03]
    flags += ["--eval_strategy", "epoch", "--lr_scheduler_type", "constant", "--num_train_epochs", 4]
    result = run_script(TUNE, *flags, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "pythia_finetuned"


def test_the_saved_weights_are_the_best_checkpoints_in_fp32(worsening: Path) -> None:
    losses = {}
    last = max(worsening.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    for entry in json.loads((last / "trainer_state.json").read_text())["log_history"]:
        if "eval_loss" in entry and entry["step"]:
            losses[entry["step"]] = entry["eval_loss"]
    assert list(losses) == [6, 12, 18, 24]  # once an epoch, as asked for
    best = min(losses, key=losses.get)
    assert best != 24
    assert json.loads((worsening / "training_record.json").read_text())["results"]["eval_loss"] == losses[best]
    saved, kept = (load_file(path / "model.safetensors") for path in (worsening, worsening / f"checkpoint-{best}"))
    assert saved.keys() == kept.keys() and "embed_out.weight" in saved
    assert all(torch.equal(saved[name], kept[name]) and saved[name].dtype == torch.float32 for name in saved)


def test_beginning_again_replaces_model_and_checkpoints(worsening: Path, fine_tuned: Path) -> None:
    assert not (worsening / "checkpoint-10").exists()  # of the first run
    before, after = (load_file(folder / "model.safetensors") for folder in (fine_tuned / "pythia_finetuned", worsening))
    assert not torch.equal(before["embed_out.weight"], after["embed_out.weight"])
    assert "0.03, schedule constant" in (worsening / "README.md").read_text()


def test_a_chat_model_keeps_its_template_and_the_card_gives_the_right_prompt(
    processed: Path, base: Path, tmp_path: Path
) -> None:
    chat = tmp_path / "chat"
    shutil.copytree(base, chat)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"
    tokenizer.save_pretrained(chat)
    flags = ["--dataset_name", processed / "processed_meta_review", "--model_name_or_path", chat, *FINE_TUNING]
    result = run_script(TUNE, *flags, "--max_steps", 1, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    saved = AutoTokenizer.from_pretrained(tmp_path / "pythia_finetuned")
    assert saved.chat_template == tokenizer.chat_template
    code = (tmp_path / "pythia_finetuned" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    with chdir(tmp_path):
        exec(code, {})
    assert "### Review:\\nfirst review\\n\\nsecond review\\n\\n### Summary:\\n" in code


def test_the_folder_explains_itself_to_plain_transformers(fine_tuned: Path, base: Path) -> None:
    folder = fine_tuned / "pythia_finetuned"
    names = {file.name for file in folder.iterdir() if file.is_file()}
    assert {"model.safetensors", "tokenizer.json", "generation_config.json", "loss_curve.png", "README.md"} <= names
    assert not any(name.endswith((".bin", ".pt", ".new")) for name in names)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    review = load_from_disk(str(fine_tuned / "processed_meta_review"))["test"][0]["review"]
    messages = [{"role": "user", "content": review}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert inputs["input_ids"][0].tolist() == encode_prompts([review], tokenizer)[0]
    settings = GenerationConfig.from_pretrained(folder)
    assert settings.eos_token_id == tokenizer.eos_token_id and settings.max_new_tokens == 40
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
    fine_tune.main()
    assert len(trained) == 2


def test_same_seed_same_weights_bit_for_bit(fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    for name in ("processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(fine_tuned / name, tmp_path / name)
    result = run_script(TUNE, "--model_name_or_path", base, *FINE_TUNING, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    first, again = (load_file(where / "pythia_finetuned" / "model.safetensors") for where in (fine_tuned, tmp_path))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_going_on_from_a_checkpoint_ends_where_the_unbroken_run_ends(
    fine_tuned: Path, base: Path, tmp_path: Path
) -> None:
    finished = fine_tuned / "pythia_finetuned"
    checkpoint = min(finished.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    assert int(checkpoint.name.split("-")[1]) < 12
    flags = [
        "--dataset_name",
        fine_tuned / "processed_meta_review",
        "--resume_from_checkpoint",
        checkpoint,
        *FINE_TUNING,
    ]
    result = run_script(TUNE, "--model_name_or_path", base, *flags, "--output_dir", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    expected = load_file(finished / "checkpoint-12" / "model.safetensors")
    got = load_file(tmp_path / "out" / "checkpoint-12" / "model.safetensors")
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_the_model_that_the_data_was_made_for_is_trained(processed: Path, base: Path, tmp_path: Path) -> None:
    """Where no flag names another one."""
    for name in ("processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(processed / name, tmp_path / name)
    flags = ["--max_new_tokens", 33, "--max_steps", 1, "--eval_strategy", "no", "--eval_on_start", "False"]
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
    assert without.returncode == 2 and "or name the model with --model" in without.stderr.splitlines()[-1]


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


# Interruptions


def run_fine_tune(fine_tuned: Path, base: Path, cwd: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    data = ["--dataset_name", fine_tuned / "processed_meta_review", "--tokenized_dir"]
    data += [fine_tuned / "tokenized_meta_review", "--model_name_or_path", base]
    return run_script(TUNE, *data, *FINE_TUNING, *flags, cwd=cwd)


def test_a_broken_checkpoint_is_passed_over_and_the_end_is_the_same(
    interrupted: Path, fine_tuned: Path, base: Path
) -> None:
    """The newest is of step 12, the one before of step 10: in the middle of the second epoch."""
    newest, before = list_checkpoints(interrupted).values()
    os.truncate(newest / "optimizer.pt", 1000)
    done = run_fine_tune(fine_tuned, base, interrupted.parent)
    assert done.returncode == 0, done.stderr
    assert f"Passed over pythia_finetuned/{newest.name}: optimizer.pt has 1,000 bytes instead of" in done.stdout
    assert f"Going on from step 10 of 12: pythia_finetuned/{before.name}" in done.stdout
    for name in (f"{newest.name}/{WEIGHTS}", f"{newest.name}/optimizer.pt", WEIGHTS):
        if name.endswith(".pt"):
            first, second = (torch.load(folder / name, weights_only=True)["state"] for folder in (
                interrupted, fine_tuned / "pythia_finetuned"))  # fmt: skip
            assert all(torch.equal(first[key]["exp_avg"], second[key]["exp_avg"]) for key in first)
        else:
            assert same_weights(interrupted / name, fine_tuned / "pythia_finetuned" / name)
    histories = [
        json.loads((folder / newest.name / "trainer_state.json").read_text())["log_history"]
        for folder in (interrupted, fine_tuned / "pythia_finetuned")
    ]
    losses = [
        [(entry["step"], entry["eval_loss"]) for entry in history if "eval_loss" in entry] for history in histories
    ]
    assert losses[0] == losses[1]


def test_damage_that_keeps_the_size_is_seen(interrupted: Path, fine_tuned: Path, base: Path) -> None:
    """Of the last checkpoint and of the best one: weights and optimizer, half of them zeros."""
    newest, before = list_checkpoints(interrupted).values()
    state = json.loads((newest / "trainer_state.json").read_text())
    state["best_global_step"], state["best_metric"] = 10, 0.001  # nothing that comes is better
    (newest / "trainer_state.json").write_text(json.dumps(state, indent=2))
    write_manifest(newest)
    content = (before / WEIGHTS).read_bytes()
    (before / WEIGHTS).write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    done = run_fine_tune(fine_tuned, base, interrupted.parent)
    assert done.returncode == 0, done.stderr
    assert (
        "The best checkpoint, pythia_finetuned/checkpoint-10, cannot be used: model.safetensors is damaged"
        in done.stdout
    )
    assert same_weights(interrupted / WEIGHTS, newest / WEIGHTS)
    record = json.loads((interrupted / "training_record.json").read_text())
    assert record["results"]["eval_loss"] == pytest.approx(state["log_history"][-1]["eval_loss"])


def test_the_older_whole_checkpoint_serves_where_the_newest_is_damaged(
    interrupted: Path, fine_tuned: Path, base: Path
) -> None:
    newest, _ = list_checkpoints(interrupted).values()
    for name in ("trainer_state.json", "optimizer.pt", WEIGHTS, "run_settings.json", "manifest.json"):
        content = (newest / name).read_bytes()
        (newest / name).write_bytes(bytes(len(content)))
        assert find_checkpoint(interrupted) == interrupted / "checkpoint-10", name
        (newest / name).write_bytes(content)
    (newest / "trainer_state.json").write_bytes(bytes((newest / "trainer_state.json").stat().st_size))
    done = run_fine_tune(fine_tuned, base, interrupted.parent)
    assert done.returncode == 0, done.stderr
    assert "trainer_state.json is damaged" in done.stdout and "Going on from step 10 of 12" in done.stdout
    assert same_weights(interrupted / WEIGHTS, fine_tuned / "pythia_finetuned" / WEIGHTS)


class Intruder:
    """What a pickle may bring along: a command that is run when it is read."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("intruded",)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"])
def test_nothing_in_a_checkpoint_is_ever_run(name: str, interrupted: Path, fine_tuned: Path, base: Path) -> None:
    newest, older = list_checkpoints(interrupted).values()
    shutil.rmtree(newest)
    (older / name).write_bytes(pickle.dumps(Intruder()))
    write_manifest(older)
    done = run_fine_tune(fine_tuned, base, interrupted.parent)
    assert not (interrupted.parent / "intruded").exists() and "Traceback" not in done.stderr
    if name == "training_args.bin":  # which nobody reads
        assert done.returncode == 0
    else:
        assert done.returncode == 2 and "nothing of it was run" in done.stderr


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


def test_other_weights_in_the_same_base_folder_make_another_run(data: Path, base: Path) -> None:
    shutil.copytree(base, data / "base")
    for _ in range(2):
        done = run_script(TUNE, *QUICK, "--model", "base", cwd=data)
        assert done.returncode == 0, done.stderr
        assert "A new run of 2 steps" in done.stdout
        weights = load_file(data / "base" / WEIGHTS)
        save_file({name: weight * 1.01 for name, weight in weights.items()}, data / "base" / WEIGHTS, {"format": "pt"})
    assert len(list_models(data)) == 2


@pytest.mark.parametrize(
    "flags",
    [
        ["--data_seed", 7, "--neftune_noise_alpha", 5, "--label_smoothing_factor", 0.1, "--dataloader_num_workers", 1],
        ["--data_seed", 7, "--train_sampling_strategy", "random", "--optim", "adafactor", "--max_grad_norm", 0],
        ["--use_lora", "--learning_rate", 1e-3],
    ],
    ids=["noise", "random", "LoRA"],
)
def test_a_run_with_flags_of_the_trainer_goes_on_as_if_never_interrupted(
    flags: list[object], fine_tuned: Path, base: Path, tmp_path: Path
) -> None:
    flags = [*flags, "--num_train_epochs", 1, "--eval_steps", 3, "--save_steps", 3]
    whole = run_fine_tune(fine_tuned, base, tmp_path, *flags, "--output_dir", "whole")
    assert whole.returncode == 0, whole.stderr
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "interrupted" / "checkpoint-3")
    done = run_fine_tune(fine_tuned, base, tmp_path, *flags, "--output_dir", "interrupted")
    assert "Going on from step 3 of 6" in done.stdout, done.stderr
    weights = f"checkpoint-6/{ADAPTER if '--use_lora' in flags else WEIGHTS}"
    assert same_weights(tmp_path / "whole" / weights, tmp_path / "interrupted" / weights)
    other = run_fine_tune(fine_tuned, base, tmp_path, *flags, "--weight_decay", 0.5, "--output_dir", "interrupted")
    assert other.returncode == 2 and "WEIGHT_DECAY: 0 there, 0.5 now" in other.stderr


def test_killed_while_the_model_was_put_in_its_place(fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    finished, folder = fine_tuned / "pythia_finetuned", tmp_path / "pythia_finetuned"
    shutil.copytree(finished, folder)
    (folder / ".new").mkdir()
    for name in ("config.json", "training_record.json", WEIGHTS):
        (folder / name).replace(folder / ".new" / name)
    done = run_fine_tune(fine_tuned, base, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Going on from step 12 of 12" in done.stdout
    assert same_weights(folder / WEIGHTS, finished / WEIGHTS) and not (folder / ".new").exists()
    before, after = (json.loads((where / "training_record.json").read_text()) for where in (finished, folder))
    assert before["results"] == after["results"]


def test_a_finished_run_says_so_and_changes_nothing(fine_tuned: Path, base: Path) -> None:
    folder = fine_tuned / "pythia_finetuned"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    done = run_fine_tune(fine_tuned, base, fine_tuned)
    assert done.returncode == 0, done.stderr
    assert "pythia_finetuned holds the finished model" in done.stdout
    assert "evaluation.py" in done.stdout and "--restart" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_more_epochs_go_on_from_the_last_checkpoint(fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    """In a folder of their own, from the last checkpoint of an earlier run."""
    shutil.copytree(fine_tuned / "pythia_finetuned", tmp_path / "earlier")
    flags = ["--num_train_epochs", 3, "--resume_from_checkpoint", "earlier/checkpoint-12"]
    done = run_fine_tune(fine_tuned, base, tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    assert "Going on from step 12 of 18" in done.stdout and "planned for 12 steps" in done.stdout
    results = json.loads((tmp_path / "pythia_finetuned" / "training_record.json").read_text())["results"]
    assert (results["steps"], results["epochs"]) == (18, 3)
    history = json.loads((tmp_path / "pythia_finetuned/checkpoint-18/trainer_state.json").read_text())["log_history"]
    rates = {entry["step"]: entry["learning_rate"] for entry in history if "learning_rate" in entry}
    assert max(rate for step, rate in rates.items() if step > 13) == pytest.approx(5e-3 * 5 / 18, rel=0.3)


def test_another_cadence_is_allowed_and_changes_no_weight(interrupted: Path, fine_tuned: Path, base: Path) -> None:
    shutil.rmtree(interrupted / "checkpoint-12")
    flags = ["--logging_steps", 1, "--eval_steps", 11, "--save_steps", 11]
    done = run_fine_tune(fine_tuned, base, interrupted.parent, *flags)
    assert done.returncode == 0, done.stderr
    history = json.loads((interrupted / "checkpoint-12" / "trainer_state.json").read_text())["log_history"]
    assert {11, 12} <= {entry["step"] for entry in history if "loss" in entry}
    assert {11, 12} <= {entry["step"] for entry in history if "eval_loss" in entry}
    finished = fine_tuned / "pythia_finetuned"
    assert same_weights(interrupted / "checkpoint-12" / WEIGHTS, finished / "checkpoint-12" / WEIGHTS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_first(number: signal.Signals, fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    """Fewer evaluations than steps: what is saved is the step that was under way, not the last evaluation."""
    flags = ["--dataset_name", fine_tuned / "processed_meta_review", "--model_name_or_path", base, *FINE_TUNING]
    flags += [
        "--tokenized_dir",
        fine_tuned / "tokenized_meta_review",
        "--num_train_epochs",
        200,
        "--eval_strategy",
        "epoch",
    ]
    command = [sys.executable, ROOT / "fine_tune.py", *map(str, flags)]
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while not find_checkpoint(tmp_path / "pythia_finetuned") and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(60) == 1
        log.seek(0)
        said = log.read()
    assert "Stopping after this step" in said and "Traceback" not in said
    newest = find_checkpoint(tmp_path / "pythia_finetuned")
    state = json.loads((newest / "trainer_state.json").read_text())
    assert f"Stopped at step {state['global_step']} of 1200, which is saved" in said
    evaluated = [entry["step"] for entry in state["log_history"] if "eval_loss" in entry]
    assert all(step % 6 == 0 for step in evaluated)
    logged = [entry["step"] for entry in state["log_history"] if "loss" in entry]
    assert logged[-1] == state["global_step"]


def test_a_full_disk_leaves_the_checkpoint_before(interrupted: Path, fine_tuned: Path, base: Path) -> None:
    """A limit on the size of a file stands in for the disk: weights fit, the optimizer's state does not."""
    shutil.rmtree(interrupted / "checkpoint-12")
    limit = (interrupted / "checkpoint-10" / "optimizer.pt").stat().st_size - 1000
    assert limit > (interrupted / "checkpoint-10" / WEIGHTS).stat().st_size
    flags = ["--dataset_name", fine_tuned / "processed_meta_review", "--model_name_or_path", base, *FINE_TUNING]
    flags += ["--tokenized_dir", fine_tuned / "tokenized_meta_review"]
    done = subprocess.run(
        [sys.executable, ROOT / "fine_tune.py", *map(str, flags)],
        cwd=interrupted.parent, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    message = done.stderr[done.stderr.rindex("failed: ") :].strip()
    assert "checkpoint-12 was not saved" in message and "\n" not in message and "Traceback" not in done.stderr
    assert message.endswith("the same command goes on from checkpoint-10")
    assert find_checkpoint(interrupted).name == "checkpoint-10"
    again = run_fine_tune(fine_tuned, base, interrupted.parent)
    assert again.returncode == 0, again.stderr
    assert same_weights(interrupted / WEIGHTS, fine_tuned / "pythia_finetuned" / WEIGHTS)


def test_a_loss_that_is_no_number_stops_the_run_and_names_step_and_examples(
    fine_tuned: Path, base: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    weights = load_file(broken / WEIGHTS)
    weights["embed_out.weight"][:] = math.nan
    save_file(weights, broken / WEIGHTS, metadata={"format": "pt"})
    done = run_fine_tune(fine_tuned, broken, tmp_path, "--eval_strategy", "no")
    assert done.returncode == 1
    message = done.stderr[done.stderr.rindex("failed: ") :].strip()
    tokenized = fine_tuned / "tokenized_meta_review" / "train"
    lengths = load_from_disk(str(tokenized))["length"][:]
    rows = ", ".join(map(str, list(LengthGroupedSampler(lengths, 4, 42))[:4]))
    assert message.startswith("failed: step 1: the loss is nan") and f"rows {rows} of" in message
    assert "--learning_rate" in message and "\n" not in message


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
    assert "This model cannot be trained in fp16: the loss of a batch is nan in fp16" in result.stdout
    assert "weights in fp32, matrix products in fp32" in (tmp_path / "pythia_finetuned" / "README.md").read_text()

    monkeypatch.setattr("metareview.generation.writing.choose_device", lambda: ("cpu", torch.float16))
    flags = ["--models", "pythia_finetuned", "--dataset_name", processed / "processed_meta_review"]
    flags += ["--num_examples", 2, "--max_new_tokens", 8]
    for is_said in (True, False):  # the second time, all texts are there
        result = run_script(EVALUATE, *flags, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert ("base cannot write in fp16: the loss of a batch is nan" in result.stdout) == is_said
        header, *rows = load_workbook(tmp_path / "eval_test.xlsx")["runs"].iter_rows(values_only=True)
        decodings = {row[0]: row[header.index("decoding")] for row in rows}
        assert len(rows) == 4 and "float32" in decodings["base"] and "float32" in decodings["pythia_finetuned"]


# LoRA


@pytest.fixture(scope="module", params=["gpt_neox", "llama", "4bit"])
def adapted(request: pytest.FixtureRequest, processed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which an adapter was trained, for the base in `base/`, which may be kept in 4 bits."""
    folder = tmp_path_factory.mktemp(request.param)
    make_model("llama" if request.param == "4bit" else request.param).half().save_pretrained(folder / "base")
    make_tokenizer().save_pretrained(folder / "base")
    for name in ("processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(processed / name, folder / name)
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


def test_it_goes_on_and_ends_with_the_same_adapter(adapted: Path, tmp_path: Path) -> None:
    for name in ("base", "processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(adapted / name, tmp_path / name)
    shutil.copytree(adapted / "pythia_finetuned/checkpoint-10", tmp_path / "pythia_finetuned/checkpoint-10")
    result = run_script(TUNE, *flags_of_adapted(adapted), cwd=tmp_path)
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


def test_an_adapter_takes_the_place_of_a_whole_model(
    processed: Path, fine_tuned: Path, base: Path, tmp_path: Path
) -> None:
    for name in ("processed_meta_review", "tokenized_meta_review", "pythia_finetuned"):
        shutil.copytree(fine_tuned / name, tmp_path / name)
    flags = ["--model_name_or_path", base, *LORA, "--max_steps", 1, "--restart"]
    result = run_script(TUNE, *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    names = {file.name for file in (tmp_path / "pythia_finetuned").iterdir() if file.is_file()}
    assert ADAPTER in names and not {"model.safetensors", "config.json"} & names


# What is refused


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        (PROCESS, ["--max_len", 10], ["unknown argument", "--max_len", "did you mean --max_length?"]),
        (PROCESS, ["--max_length", "long"], ["--max_length", "invalid int value", "long"]),
        (PROCESS, ["--max_length", 0], ["--max_length", "at least 1"]),
        (PROCESS, ["--keep", "z-a"], ["--keep", "z-a"]),
        (PROCESS, ["--split_seed", -1], ["--split_seed", "-1"]),
        (PROCESS, ["--encoding", "utf-9"], ["--encoding", "utf-9", "cp1252"]),
        (EVALUATE, ["--encoding", "utf-9"], ["--encoding", "utf-9", "cp1252"]),
        (PROCESS, ["--hub_dataset_id", "me/a", "--hub_tokenized_id", "me/a"], ["--hub_dataset_id", "differ", "me/a"]),
        (PROCESS, ["--prompt", "no place"], ["{review}", "no place"]),
        (TUNE, ["--prompt", "word_limt"], ["plain, instruction, word_limit", "word_limt"]),
        (EVALUATE, ["--prompt", "word_limt"], ["plain, instruction, word_limit", "word_limt"]),
        (TUNE, ["--learning_rate=-1e-5"], ["--learning_rate", "greater than 0", "-1e-05"]),
        (TUNE, ["--num_train_epochs", 0], ["--num_train_epochs", "greater than 0"]),
        (TUNE, ["--num_train_epochs", "inf"], ["--num_train_epochs", "finite"]),
        (TUNE, ["--seed", -1], ["--seed", "-1"]),
        (TUNE, ["--max_steps", 0], ["--max_steps", "at least 1"]),
        (TUNE, ["--eval_steps", -1], ["--eval_steps", "-1"]),
        (TUNE, ["--adam_beta2", 1.5], ["--adam_beta2", "1.5"]),
        (TUNE, ["--optim", "galore_adamw"], ["--optim"]),
        (TUNE, ["--batch_eval_metrics"], ["--batch_eval_metrics", "cannot be used here"]),
        (TUNE, ["--dataloader_drop_last"], ["--dataloader_drop_last", "each example once"]),
        (TUNE, ["--save_only_model", "True"], ["--save_only_model", "could not go on"]),
        (TUNE, ["--greater_is_better", "True"], ["--greater_is_better", "lowest eval_loss"]),
        (TUNE, ["--metric_for_best_model", "eval_runtime"], ["--metric_for_best_model", "eval_loss"]),
        (TUNE, ["--learning", "1e-5"], ["unknown argument", "--learning"]),
        (TUNE, ["--per_device_train_batch_size", 0], ["--per_device_train_batch_size"]),
        (TUNE, ["--lr_scheduler_type", "wavy"], ["wavy"]),
        (TUNE, ["--max_new_tokens", 600], ["--max_new_tokens", "512"]),
        (TUNE, ["--save_strategy", "best"], ["--save_strategy", "no, steps or epoch", "best"]),
        (EVALUATE, ["--num_examples", 0], ["--num_examples", "at least 1"]),
        (EVALUATE, ["--num_examples", 2, "extra"], ["unknown argument", "extra"]),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_loaded(refused, script: str, flags: list, words: list[str]) -> None:
    message = refused(script, "--model_name_or_path", "no_such_folder/that/could/load", *flags)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"Input": "caf\xe9 a", "Output": "b"}\n' * 9, "--encoding cp1252"),
        ("a.csv", b"Input,Output\n" + b"caf\xe9 a,b\n" * 9, "--encoding cp1252"),
        ("a.jsonl", b"", "has no rows"),
    ],
)
def test_a_file_that_is_no_text_is_named(
    name: str, content: bytes, words: str, refused, base: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert words in refused(PROCESS, "--dataset_name", name, "--model_name_or_path", base, *SMALL)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_damaged_record_is_named(content: bytes, refused, tmp_path: Path) -> None:
    for name in ("tokenized_meta_review/processing_record.json", "b/training_record.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "b" / "config.json").write_text("{}")
    assert "'tokenized_meta_review/processing_record.json' is damaged" in refused(TUNE)
    assert "'b/training_record.json' is damaged" in refused(EVALUATE, "--models", "b")


def test_missing_columns_are_named_with_those_that_are_there(refused, base: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [{"text": "a", "target": "b"}])
    message = refused(PROCESS, "--dataset_name", "a.csv", "--model_name_or_path", base, *SMALL)
    assert "'Input', 'review'" in message and "--review_column" in message and "SUMMARY_COLUMN" in message
    assert message.endswith("The columns are text, target")


def test_empty_split_and_empty_file(refused, base: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", make_rows(30))
    write_csv(tmp_path / "validation.csv", [{"Input": "!", "Output": "?"}])
    write_csv(tmp_path / "test.csv", make_rows(3))
    assert "'validation'" in refused(PROCESS, "--dataset_name", tmp_path, "--model_name_or_path", base, *SMALL)
    (tmp_path / "b.csv").write_text("Input,Output\n")
    refused(PROCESS, "--dataset_name", "b.csv", "--model_name_or_path", base, *SMALL)
    assert not (tmp_path / "processed_meta_review").exists()


def test_file_of_another_kind_and_broken_file(refused, base: Path, tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("x")
    assert ".csv, .tsv" in refused(PROCESS, "--dataset_name", "a.docx", "--model_name_or_path", base, *SMALL)
    (tmp_path / "b.json").write_text("{ this is not JSON")
    flags = ["--dataset_name", "b.json", "--model_name_or_path", base, *SMALL]
    result = run_script(PROCESS, *flags, cwd=tmp_path)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "error: 'b.json' is no JSON" in result.stderr


def test_context_too_small(refused, base: Path, source: Path) -> None:
    message = refused(PROCESS, "--dataset_name", source, "--model_name_or_path", base)
    assert "context of 256 tokens is too small" in message and "512" in message and "--max_summary_tokens" in message
    message = refused(PROCESS, "--dataset_name", source, "--model_name_or_path", base, "--max_length", 300)
    assert "--max_length is 300" in message and "256" in message


def test_folder_that_is_no_model(refused, source: Path) -> None:
    assert "cannot read the model" in refused(PROCESS, "--dataset_name", source, "--model_name_or_path", source)


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


def test_links_in_an_output_folder_are_not_followed(interrupted: Path, fine_tuned: Path, base: Path) -> None:
    """What they point to is somebody else's."""
    elsewhere = interrupted.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.txt").write_text("mine")
    for name in (".new", "checkpoint-3", "best-checkpoint"):
        (interrupted / name).symlink_to(elsewhere, target_is_directory=True)
    done = run_fine_tune(fine_tuned, base, interrupted.parent, "--restart")
    assert done.returncode == 0, done.stderr
    assert [file.name for file in elsewhere.iterdir()] == ["mine.txt"]
    assert same_weights(interrupted / WEIGHTS, fine_tuned / "pythia_finetuned" / WEIGHTS)


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


def test_restart_deletes_nothing_before_all_else_is_right(refused, fine_tuned: Path, tmp_path: Path) -> None:
    shutil.copytree(fine_tuned / "pythia_finetuned", tmp_path / "pythia_finetuned")
    before = sorted(tmp_path.rglob("*"))
    refused(TUNE, "--restart", "--model_name_or_path", fine_tuned / "pythia_finetuned", "--dataset_name", "nowhere")
    assert sorted(tmp_path.rglob("*")) == before


def test_resuming_something_else_is_refused(refused, fine_tuned: Path, base: Path) -> None:
    checkpoint = fine_tuned / "pythia_finetuned" / "checkpoint-12"
    data = ["--dataset_name", fine_tuned / "processed_meta_review", "--model_name_or_path", base, *FINE_TUNING[:-2]]
    message = refused(TUNE, *data, "--num_train_epochs", 1, "--resume_from_checkpoint", checkpoint)
    assert "beyond the 6 steps asked for" in message and "--num_train_epochs" in message
    flags = [*data, "--num_train_epochs", 2, "--learning_rate", 1e-4, "--seed", 1]
    message = refused(TUNE, *flags, "--resume_from_checkpoint", checkpoint)
    assert "differs in LEARNING_RATE: 0.005 there, 0.0001 now; SEED: 42 there, 1 now" in message
    assert "not whole" in refused(TUNE, *data, "--resume_from_checkpoint", fine_tuned)


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (["--learning_rate", "1e-4"], "LEARNING_RATE: 0.005 there, 0.0001 now"),
        (["--seed", "1"], "SEED: 42 there, 1 now"),
        (["--num_train_epochs", "1"], "EPOCHS: 2 there, 1 now"),
        (["--num_train_epochs", "3"], "EPOCHS: 2 there, 3 now"),
        (["--per_device_train_batch_size", "2"], "BATCH_SIZE, ACCUMULATION_STEPS: 4 there, 2 now"),
        (["--use_lora"], "USE_LORA: False there, True now"),
        (["--prompt", "instruction"], "PROMPT: '### Review:"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(
    flags: list, difference: str, refused, fine_tuned: Path, base: Path, tmp_path: Path
) -> None:
    """Finished, and interrupted: the same words, and nothing changes."""
    data = ["--dataset_name", fine_tuned / "processed_meta_review", "--model_name_or_path", base, *FINE_TUNING]
    shutil.copytree(fine_tuned / "pythia_finetuned", tmp_path / "finished")
    for name in ("finished/checkpoint-10", "finished/checkpoint-12"):
        shutil.copytree(tmp_path / name, tmp_path / name.replace("finished", "interrupted"))
    for folder in ("finished", "interrupted"):
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / folder).rglob("*")}
        message = refused(TUNE, *data, *flags, "--output_dir", folder)
        assert f"is of a run that differs in {difference}" in message
        assert "--restart" in message and "OUTPUT_DIR" in message
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / folder).rglob("*")} == before


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


def test_data_that_was_not_processed(refused, base: Path, source: Path) -> None:
    message = refused(TUNE, "--model_name_or_path", base, "--dataset_name", source, *SMALL, "--max_new_tokens", 40)
    assert "review and summary" in message and "python processing_meta_review.py" in message


def test_tokenized_set_alone_of_another_tokenizer(refused, processed: Path, base: Path, tmp_path: Path) -> None:
    shutil.copytree(processed / "tokenized_meta_review", tmp_path / "tokenized_meta_review")
    other = tmp_path / "other"
    shutil.copytree(base, other)
    make_tokenizer("<end>").save_pretrained(other)
    message = refused(TUNE, "--model_name_or_path", other, *SMALL, "--max_new_tokens", 40)
    assert "differs in tokenizer" in message and "no 'processed_meta_review' here" in message


def test_evaluation_before_training(refused, tmp_path: Path) -> None:
    assert "First: python fine_tune.py" in refused(EVALUATE)
    (tmp_path / "pythia_finetuned").mkdir()
    assert "no finished model" in refused(EVALUATE)


def test_bad_workbooks(refused, fine_tuned: Path, tmp_path: Path) -> None:
    model = ["--model_name_or_path", fine_tuned / "pythia_finetuned"]
    assert "no workbook 'eval_examples.xlsx'" in refused(EVALUATE, *model)
    (tmp_path / "a.xlsx").write_text("this is text")
    assert "no .xlsx workbook" in refused(EVALUATE, *model, "--test_cases", "a.xlsx")
    assert (tmp_path / "a.xlsx").read_text() == "this is text"
    for name, rows, words in (
        ("b.xlsx", [["text", "other"], ["a", "b"]], ["'review'", "text, other"]),
        ("c.xlsx", [["review", "reference"]], ["no row with a review"]),
        ("d.xlsx", [], ["'review'", "none"]),
        ("f.xlsx", [["review", "reference"], ["=A1", "b"]], ["row 2", "formula"]),
    ):
        workbook = Workbook()
        for row in rows:
            workbook.active.append(row)
        workbook.save(tmp_path / name)
        before = (tmp_path / name).read_bytes()
        message = refused(EVALUATE, *model, "--test_cases", name)
        assert all(word in message for word in words), message
        assert (tmp_path / name).read_bytes() == before


def test_num_examples_never_touches_the_test_cases(refused, fine_tuned: Path) -> None:
    flags = ["--model_name_or_path", fine_tuned / "pythia_finetuned", "--num_examples", 2]
    assert "never writes" in refused(EVALUATE, *flags, "--output", "eval_examples.xlsx")
    data = ["--dataset_name", fine_tuned / "processed_meta_review"]
    assert "no split 'dev'" in refused(EVALUATE, *flags, *data, "--split", "dev")


# A folder for every setting


QUICK = ["--max_new_tokens", 40, "--max_steps", 2, "--eval_strategy", "no", "--eval_on_start", "False"]


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


def test_a_restart_that_was_interrupted_goes_on(fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    """With the same command, and without --restart; with other settings it is another run."""
    folder, finished = tmp_path / "pythia_finetuned", fine_tuned / "pythia_finetuned"
    shutil.copytree(finished, folder)
    settings = json.loads((finished / "training_record.json").read_text())["settings"]
    (folder / "under_way.json").write_text(json.dumps({"settings": settings, "restarted": True}))
    shutil.rmtree(folder / "checkpoint-12")
    refused_run = run_fine_tune(fine_tuned, base, tmp_path, "--seed", 1)
    assert refused_run.returncode == 2 and "SEED: 42 there, 1 now" in refused_run.stderr
    done = run_fine_tune(fine_tuned, base, tmp_path, "--restart")
    assert done.returncode == 0, done.stderr
    assert "Going on from step 10 of 12" in done.stdout and not (folder / "under_way.json").exists()
    assert same_weights(folder / WEIGHTS, finished / WEIGHTS)
    again = run_fine_tune(fine_tuned, base, tmp_path, "--restart")
    assert again.returncode == 0 and "A new run of 12 steps" in again.stdout


def test_going_on_elsewhere_brings_the_best_along_and_replaces_no_other_run(
    fine_tuned: Path, base: Path, tmp_path: Path
) -> None:
    shutil.copytree(fine_tuned / "pythia_finetuned", tmp_path / "earlier")
    last = tmp_path / "earlier" / "checkpoint-12"
    state = json.loads((last / "trainer_state.json").read_text())
    state["best_global_step"], state["best_metric"] = 10, 0.001  # nothing that comes is better
    (last / "trainer_state.json").write_text(json.dumps(state, indent=2))
    write_manifest(last)
    flags = ["--num_train_epochs", 3, "--resume_from_checkpoint", last]
    occupied = tmp_path / "occupied"
    shutil.copytree(fine_tuned / "pythia_finetuned", occupied)
    before = {path: path.stat().st_mtime_ns for path in occupied.rglob("*")}
    refused_run = run_fine_tune(fine_tuned, base, tmp_path, *flags, "--output_dir", "occupied")
    assert refused_run.returncode == 2 and "'occupied' holds another run" in refused_run.stderr
    assert {path: path.stat().st_mtime_ns for path in occupied.rglob("*")} == before
    for _ in range(2):  # the same command once more says that it is done
        done = run_fine_tune(fine_tuned, base, tmp_path, *flags, "--output_dir", "longer")
        assert done.returncode == 0, done.stderr
    assert "holds the finished model" in done.stdout
    assert same_weights(tmp_path / "longer" / WEIGHTS, tmp_path / "earlier" / "checkpoint-10" / WEIGHTS)


@pytest.mark.parametrize("files", [("trainer_state.json", "model.safetensors"), ("manifest.json",)])
def test_checkpoints_of_another_tool_are_left_alone(files: tuple[str, ...], refused, base: Path, data: Path) -> None:
    checkpoint = data / "theirs" / "checkpoint-500"
    checkpoint.mkdir(parents=True)
    for name in files:
        (checkpoint / name).write_text("{}")
    assert "holds something else" in refused(TUNE, *QUICK, "--output_dir", "theirs")
    assert {path.name for path in checkpoint.iterdir()} == set(files)
