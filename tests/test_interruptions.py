"""Whole scripts: a run that is interrupted, killed or damaged resumes and ends as the uninterrupted one."""

import json
import math
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import (
    ADAPTER,
    FINE_TUNING,
    ROOT,
    TUNE,
    WEIGHTS,
    all_checkpoints_kept,
    interrupt,
    run_script,
    same_weights,
)
from datasets import load_from_disk
from safetensors.torch import load_file, save_file

from metareview.training.batching import LengthGroupedSampler
from metareview.training.checkpoints import RUN, find_checkpoint, list_checkpoints, write_manifest


def run_fine_tune(fine_tuned: Path, base: Path, cwd: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    data = ["--dataset_name", fine_tuned / "processed_meta_review", "--tokenized_dir"]
    data += [fine_tuned / "tokenized_meta_review", "--model_name_or_path", base]
    return run_script(TUNE, *data, *FINE_TUNING, *flags, cwd=cwd)


def test_a_broken_checkpoint_is_skipped_and_the_end_is_the_same(
    interrupted: Path, fine_tuned: Path, base: Path
) -> None:
    """The newest is of step 12, the one before of step 10: in the middle of the second epoch."""
    newest, before = list_checkpoints(interrupted).values()
    os.truncate(newest / "optimizer.pt", 1000)
    done = run_fine_tune(fine_tuned, base, interrupted.parent)
    assert done.returncode == 0, done.stderr
    assert f"Skipped pythia_finetuned/{newest.name}: optimizer.pt is not as it was saved" in done.stdout
    assert f"Resuming from step 10 of 12: pythia_finetuned/{before.name}" in done.stdout
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
        assert done.returncode == 2 and "none of it was run" in done.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ["--data_seed", 7, "--neftune_noise_alpha", 5, "--label_smoothing_factor", 0.1, "--dataloader_num_workers", 1],
        ["--use_lora", "--learning_rate", 1e-3],
    ],
    ids=["noise", "LoRA"],
)
def test_a_run_with_flags_of_the_trainer_resumes_as_if_never_interrupted(
    flags: list[object], fine_tuned: Path, base: Path, tmp_path: Path
) -> None:
    flags = [*flags, "--num_train_epochs", 1, "--eval_steps", 3, "--save_steps", 3]
    with all_checkpoints_kept():
        whole = run_fine_tune(fine_tuned, base, tmp_path, *flags, "--output_dir", "whole")
    assert whole.returncode == 0, whole.stderr
    interrupt(tmp_path / "whole", tmp_path / "interrupted", 3)
    done = run_fine_tune(fine_tuned, base, tmp_path, *flags, "--output_dir", "interrupted")
    assert "Resuming from step 3 of 6" in done.stdout, done.stderr
    weights = f"checkpoint-6/{ADAPTER if '--use_lora' in flags else WEIGHTS}"
    assert same_weights(tmp_path / "whole" / weights, tmp_path / "interrupted" / weights)
    other = run_fine_tune(fine_tuned, base, tmp_path, *flags, "--weight_decay", 0.5, "--output_dir", "interrupted")
    assert other.returncode == 2 and "differs in TRAINER: {" in other.stderr


def test_killed_while_the_model_was_put_in_its_place(fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    finished, folder = fine_tuned / "pythia_finetuned", tmp_path / "pythia_finetuned"
    shutil.copytree(finished, folder)
    (folder / ".new").mkdir()
    about = json.loads((folder / RUN).read_text())
    (folder / RUN).write_text(json.dumps(about | {"is_finished": False}))
    for name in ("config.json", "training_record.json", WEIGHTS):
        (folder / name).replace(folder / ".new" / name)
    done = run_fine_tune(fine_tuned, base, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Resuming from step 12 of 12" in done.stdout
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


def test_more_epochs_resume_from_the_last_checkpoint(fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    """In a folder of their own, from the last checkpoint of an earlier run."""
    shutil.copytree(fine_tuned / "pythia_finetuned", tmp_path / "earlier")
    flags = ["--num_train_epochs", 3, "--resume_from_checkpoint", "earlier/checkpoint-12"]
    done = run_fine_tune(fine_tuned, base, tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    assert "Resuming from step 12 of 18" in done.stdout and "planned for 12 steps" in done.stdout
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
    assert message.endswith("the same command resumes from checkpoint-10")
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
    assert "LEARNING_RATE" in message and "\n" not in message


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


def test_restart_deletes_nothing_before_all_else_is_right(refused, fine_tuned: Path, tmp_path: Path) -> None:
    shutil.copytree(fine_tuned / "pythia_finetuned", tmp_path / "pythia_finetuned")
    before = sorted(tmp_path.rglob("*"))
    refused(TUNE, "--restart", "--model_name_or_path", fine_tuned / "pythia_finetuned", "--dataset_name", "nowhere")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (["--learning_rate", "1e-4"], "LEARNING_RATE: 0.005 there, 0.0001 now"),
        (["--num_train_epochs", "3"], "EPOCHS: 2 there, 3 now"),
        (["--batch_size", "2"], "BATCH_SIZE, ACCUMULATION_STEPS: 4 there, 2 now"),
        (["--prompt", "instruction"], "PROMPT: '### Review:"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(
    flags: list, difference: str, refused, fine_tuned: Path, base: Path, tmp_path: Path
) -> None:
    """Finished, and interrupted: the same words, and nothing changes."""
    data = ["--dataset_name", fine_tuned / "processed_meta_review", "--model_name_or_path", base, *FINE_TUNING]
    shutil.copytree(fine_tuned / "pythia_finetuned", tmp_path / "finished")
    interrupt(tmp_path / "finished", tmp_path / "interrupted", 10)
    for folder in ("finished", "interrupted"):
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / folder).rglob("*")}
        message = refused(TUNE, *data, *flags, "--output_dir", folder)
        assert f"is of a run that differs in {difference}" in message
        assert "--restart" in message and "OUTPUT_DIR" in message
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / folder).rglob("*")} == before
