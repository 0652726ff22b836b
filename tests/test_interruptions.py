"""Interruptions: what is whole is known, the same command goes on and ends with the weights of an unbroken run."""

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import FINE_TUNING, ROOT, run_script
from datasets import load_from_disk
from safetensors.torch import load_file, save_file
from transformers.trainer_callback import TrainerState

from fine_tune import (
    MANIFEST,
    FineTuningArguments,
    LengthGroupedOrder,
    check_output_folder,
    delete_checkpoints,
    find_best,
    find_checkpoint,
    find_fault,
    list_checkpoints,
    write_manifest,
)
from processing_meta_review import InputError

WEIGHTS = "model.safetensors"


def same_weights(first: Path, second: Path) -> bool:
    one, other = load_file(first), load_file(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def run_fine_tune(fine_tuned: Path, base: Path, cwd: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    data = ["--dataset_name", fine_tuned / "processed_meta_review", "--tokenized_dir"]
    data += [fine_tuned / "tokenized_meta_review", "--model_name_or_path", base]
    return run_script("fine_tune.py", *data, *FINE_TUNING, *flags, cwd=cwd)


@pytest.fixture
def interrupted(fine_tuned: Path, tmp_path: Path) -> Path:
    """The folder of `fine_tuned` as it was before the model was saved: only its checkpoints."""
    for checkpoint in list_checkpoints(fine_tuned / "pythia_finetuned").values():
        shutil.copytree(checkpoint, tmp_path / "pythia_finetuned" / checkpoint.name)
    return tmp_path / "pythia_finetuned"


def test_a_checkpoint_is_whole_when_each_file_is_there_in_its_size(interrupted: Path) -> None:
    newest, before = list_checkpoints(interrupted).values()
    assert find_checkpoint(interrupted) == newest
    names = json.loads((newest / MANIFEST).read_text())
    needed = {WEIGHTS, "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "run_settings.json"}
    assert needed <= names.keys() and "training_args.bin" not in names
    for name in (*names, MANIFEST):
        content = (newest / name).read_bytes()
        for damaged in (content[:-2], content[: len(content) // 2], b"", None):
            (newest / name).unlink()
            if damaged is not None:
                (newest / name).write_bytes(damaged)
            assert name in str(find_fault(newest)), (name, damaged)
            assert find_checkpoint(interrupted) == before
        (newest / name).write_bytes(content)
    assert find_fault(newest) is None
    (newest / MANIFEST).unlink()
    assert "not finished" in str(find_fault(newest))
    write_manifest(newest)
    assert find_checkpoint(interrupted) == newest


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
    assert all(way in done.stdout for way in ("evaluation.py", "--num_train_epochs", "--restart", "--output_dir"))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_more_epochs_go_on_from_the_last_checkpoint(fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    shutil.copytree(fine_tuned / "pythia_finetuned", tmp_path / "pythia_finetuned")
    done = run_fine_tune(fine_tuned, base, tmp_path, "--num_train_epochs", 3)
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


def test_a_folder_that_is_read_only_is_named(tmp_path: Path) -> None:
    folder = Path("/tmp") / f"read_only_{os.getpid()}"  # pytest's own folders are closed to other users
    folder.mkdir(mode=0o555)
    user = os.getresuid()
    try:
        if user[0] == 0:
            os.setresuid(65534, 65534, 0)  # root may write everywhere
        with pytest.raises(InputError, match="read-only"):
            check_output_folder(folder / "deeper" / "pythia_finetuned")
    finally:
        os.setresuid(*user)
        folder.rmdir()


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
    rows = ", ".join(map(str, list(LengthGroupedOrder(lengths, 4, 42))[:4]))
    assert message.startswith("failed: step 1: the loss is nan") and f"rows {rows} of" in message
    assert "--learning_rate" in message and "\n" not in message


def test_fewer_than_two_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        FineTuningArguments(output_dir=str(tmp_path), save_total_limit=1, use_cpu=True)


@pytest.mark.parametrize("goes_on", [True, False])
def test_what_a_run_leaves_behind_is_not_taken_for_that_of_the_next(goes_on: bool, interrupted: Path) -> None:
    _, older = list_checkpoints(interrupted).values()
    shutil.copytree(older, interrupted / "best-checkpoint")
    delete_checkpoints(interrupted, older if goes_on else None)
    left = {path.name for path in interrupted.iterdir() if "checkpoint" in path.name}
    assert left == ({older.name, "best-checkpoint"} if goes_on else set())


def test_the_best_checkpoint_is_found_where_it_lies(interrupted: Path) -> None:
    newest, _ = list_checkpoints(interrupted).values()
    state = TrainerState.load_from_json(str(newest / "trainer_state.json"))
    assert find_best(state, interrupted) == interrupted / f"checkpoint-{state.best_global_step}"
    (interrupted / f"checkpoint-{state.best_global_step}").replace(interrupted / "best-checkpoint")
    assert find_best(state, interrupted) == interrupted / "best-checkpoint"
    state.best_global_step = 3  # evaluated and not saved
    assert find_best(state, interrupted) is None
