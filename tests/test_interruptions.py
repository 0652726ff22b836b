"""Whole scripts: a run that is interrupted, killed or damaged resumes and ends as the uninterrupted one."""

import json
import math
import os
import pickle
import resource
import shutil
import signal
from pathlib import Path

import pytest
from conftest import (
    FINE_TUNING,
    TOKENIZED,
    TUNE,
    WEIGHTS,
    all_checkpoints_kept,
    from_data,
    interrupt,
    read_logged,
    read_record,
    run_script,
    run_to_end,
    same_weights,
)
from datasets import load_from_disk
from safetensors.torch import load_file, save_file
from transformers import TrainerState, TrainingArguments

from metareview.common.model import RUN
from metareview.training.batching import LengthGroupedSampler
from metareview.training.callbacks import Progress
from metareview.training.checkpoints import find_checkpoint, list_checkpoints, write_manifest


@pytest.fixture
def run(fine_tuned: Path, base: Path) -> list[object]:
    """The flags of the run of `fine_tuned`, from anywhere; its previews change nothing."""
    return [*from_data(fine_tuned), "--model_name_or_path", base, *FINE_TUNING, "--previews", 0]


@pytest.fixture
def finished(fine_tuned: Path) -> Path:
    return fine_tuned / "pythia_finetuned"


def test_a_broken_checkpoint_is_skipped_and_the_end_is_the_same(
    run: list[object], interrupted: Path, finished: Path, tmp_path: Path
) -> None:
    """The newest is of step 12, the one before of step 10: in the middle of the second epoch."""
    os.truncate(interrupted / "checkpoint-12" / "optimizer.pt", 1000)
    printed = run_to_end(TUNE, *run, cwd=tmp_path)
    assert "Skipped pythia_finetuned/checkpoint-12: optimizer.pt is not as it was saved" in printed
    assert "Resuming from step 10 of 12: pythia_finetuned/checkpoint-10" in printed
    for name in (WEIGHTS, f"checkpoint-12/{WEIGHTS}"):
        assert same_weights(interrupted / name, finished / name)
    first, second = (read_logged(folder / "checkpoint-12", "eval_loss") for folder in (interrupted, finished))
    assert first == second


class Intruder:
    """What a pickle may bring along: a command that is run when it is read."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("intruded",)


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "training_args.bin"])
def test_nothing_in_a_checkpoint_is_ever_run(name: str, run: list[object], interrupted: Path) -> None:
    newest, older = list_checkpoints(interrupted).values()
    shutil.rmtree(newest)
    (older / name).write_bytes(pickle.dumps(Intruder()))
    write_manifest(older)
    done = run_script(TUNE, *run, cwd=interrupted.parent)
    assert not (interrupted.parent / "intruded").exists() and "Traceback" not in done.stderr
    is_read = name != "training_args.bin"
    assert done.returncode == (2 if is_read else 0) and ("none of it was run" in done.stderr) == is_read


def test_with_flags_of_the_trainer_it_ends_the_same_too(refused, run: list[object], tmp_path: Path) -> None:
    flags = [*run, "--data_seed", 7, "--neftune_noise_alpha", 5, "--dataloader_num_workers", 1]
    flags += ["--num_train_epochs", 1, "--eval_steps", 3, "--save_steps", 3, "--output_dir"]
    with all_checkpoints_kept:
        run_to_end(TUNE, *flags, "unbroken", cwd=tmp_path)
    interrupt(tmp_path / "unbroken", tmp_path / "interrupted", 3)
    assert "Resuming from step 3 of 6" in run_to_end(TUNE, *flags, "interrupted", cwd=tmp_path)
    assert same_weights(*(tmp_path / name / "checkpoint-6" / WEIGHTS for name in ("unbroken", "interrupted")))
    assert "differs in TRAINER: {" in refused(TUNE, *flags, "interrupted", "--weight_decay", 0.5)


def test_killed_while_the_model_was_put_in_its_place(run: list[object], finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "pythia_finetuned")
    (folder / ".new").mkdir()
    about = json.loads((folder / RUN).read_text())
    (folder / RUN).write_text(json.dumps(about | {"is_finished": False}))
    for name in ("config.json", "training_record.json", WEIGHTS):
        (folder / name).replace(folder / ".new" / name)
    assert "Resuming from step 12 of 12" in run_to_end(TUNE, *run, cwd=tmp_path)
    assert same_weights(folder / WEIGHTS, finished / WEIGHTS) and not (folder / ".new").exists()
    assert read_record(folder)["results"] == read_record(finished)["results"]


def test_a_finished_run_says_so_and_changes_nothing_but_the_saved_length(
    run: list[object], finished: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished, tmp_path / "pythia_finetuned")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    printed = run_to_end(TUNE, *run, cwd=tmp_path)
    assert all(word in printed for word in ("pythia_finetuned holds the finished model", "--restart", "evaluation.py"))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert "MAX_NEW_TOKENS is saved anew with it: 30" in run_to_end(TUNE, *run, "--max_new_tokens", 30, cwd=tmp_path)
    assert json.loads((folder / "generation_config.json").read_text())["max_new_tokens"] == 30


def test_more_epochs_resume_from_the_last_checkpoint(run: list[object], finished: Path, tmp_path: Path) -> None:
    """In a folder of their own, from the last checkpoint of an earlier run."""
    shutil.copytree(finished, tmp_path / "earlier")
    flags = ["--num_train_epochs", 3, "--resume_from_checkpoint", "earlier/checkpoint-12"]
    printed = run_to_end(TUNE, *run, *flags, cwd=tmp_path)
    assert "Resuming from step 12 of 18" in printed and "planned for 12 steps" in printed
    assert read_record(tmp_path / "pythia_finetuned")["results"]["epochs"] == 3
    rates = read_logged(tmp_path / "pythia_finetuned" / "checkpoint-18", "learning_rate")
    assert max(rates[step] for step in rates if step > 13) == pytest.approx(5e-3 * 5 / 18, rel=0.3)


def test_another_cadence_is_allowed_and_changes_no_weight(run: list[object], interrupted: Path, finished: Path) -> None:
    shutil.rmtree(interrupted / "checkpoint-12")
    run_to_end(TUNE, *run, "--logging_steps", 1, "--eval_steps", 11, "--save_steps", 11, cwd=interrupted.parent)
    for name in ("loss", "eval_loss"):
        assert {11, 12} <= read_logged(interrupted / "checkpoint-12", name).keys()
    assert same_weights(*(folder / "checkpoint-12" / WEIGHTS for folder in (interrupted, finished)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_first(number: signal.Signals, run: list[object], tmp_path: Path, monkeypatch) -> None:
    """Fewer evaluations than steps: what is saved is the step that was under way, not the last evaluation."""

    def send(_: Progress, args: TrainingArguments, state: TrainerState, *__: object, **more: object) -> None:
        if state.global_step == 8:
            signal.raise_signal(number)

    monkeypatch.setattr(Progress, "on_step_end", send)
    done = run_script(TUNE, *run, "--num_train_epochs", 200, "--eval_strategy", "epoch", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "Stopping after this step" in done.stdout
    assert "Stopped at step 9 of 1200, which is saved" in done.stdout
    newest = find_checkpoint(tmp_path / "pythia_finetuned")
    assert list(read_logged(newest, "eval_loss")) == [0, 6] and max(read_logged(newest, "loss")) == 9


def test_a_full_disk_leaves_the_checkpoint_before(run: list[object], interrupted: Path, finished: Path) -> None:
    """A limit on the size of a file stands in for the disk: weights fit, the optimizer's state does not."""
    shutil.rmtree(interrupted / "checkpoint-12")
    weights, optimizer = ((interrupted / "checkpoint-10" / name).stat().st_size for name in (WEIGHTS, "optimizer.pt"))
    assert optimizer - 1000 > weights
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (optimizer - 1000, usual[1]))
    try:
        done = run_script(TUNE, *run, cwd=interrupted.parent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    message = done.stderr[done.stderr.rindex("failed: ") :].strip()
    assert "checkpoint-12 was not saved" in message and "\n" not in message
    assert message.endswith("the same command resumes from checkpoint-10")
    assert find_checkpoint(interrupted).name == "checkpoint-10"
    run_to_end(TUNE, *run, cwd=interrupted.parent)
    assert same_weights(interrupted / WEIGHTS, finished / WEIGHTS)


def test_a_loss_that_is_no_number_stops_the_run_and_names_step_and_examples(
    run: list[object], fine_tuned: Path, base: Path, tmp_path: Path
) -> None:
    shutil.copytree(base, tmp_path / "broken")
    weights = load_file(base / WEIGHTS)
    weights["embed_out.weight"][:] = math.nan
    save_file(weights, tmp_path / "broken" / WEIGHTS, metadata={"format": "pt"})
    done = run_script(TUNE, *run, "--model", "broken", "--eval_strategy", "no", cwd=tmp_path)
    assert done.returncode == 1
    message = done.stderr[done.stderr.rindex("failed: ") :].strip()
    lengths = load_from_disk(str(fine_tuned / TOKENIZED))["train"]["length"][:]
    rows = ", ".join(map(str, list(LengthGroupedSampler(lengths, 4, 42))[:4]))
    assert message.startswith("failed: step 1: the loss is nan") and f"rows {rows} of" in message
    assert "LEARNING_RATE" in message and "\n" not in message


def test_restart_deletes_nothing_before_all_else_is_right(refused, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "pythia_finetuned")
    before = sorted(tmp_path.rglob("*"))
    refused(TUNE, "--restart", "--model_name_or_path", finished, "--dataset_name", "nowhere")
    assert sorted(tmp_path.rglob("*")) == before
