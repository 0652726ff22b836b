"""Checkpoints: which are complete, which is the best, which are kept.

The Trainer saves a checkpoint into `checkpoint-STEP` of the output folder. `CheckpointKeeper` completes it with a
manifest of its files, without which it is incomplete. Only then are older ones deleted.
"""

import hashlib
import math
import os
import re
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainingArguments
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

from metareview.common.cli import InputError
from metareview.common.files import read_json, remove, write_json

MANIFEST = "manifest.json"  # in a checkpoint, written last: the sizes of its files, and the hashes of its weights
TRAINER_STATE = "trainer_state.json"  # in a checkpoint, by the Trainer
UNREAD = "training_args.bin"  # in a checkpoint, by the Trainer: a pickle that nothing reads


def checkpoint_folder(args: TrainingArguments, state: TrainerState) -> Path:
    """Where the Trainer saves a checkpoint of the step that it is at."""
    return Path(args.output_dir, f"checkpoint-{state.global_step}")


def write_manifest(checkpoint: Path) -> None:
    """Note the files of a checkpoint when all of them are on the disk: only then is it complete."""
    for file in filter(Path.is_file, checkpoint.rglob("*")):
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
    write_json(checkpoint / MANIFEST, _describe_files(checkpoint))


def _describe_files(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """By their names, the sizes of the files in a checkpoint, and the SHA-256 of weights."""
    described = {}
    for file in sorted(checkpoint.rglob("*")):
        if file.is_file() and file.name not in (MANIFEST, UNREAD):
            about: dict[str, Any] = {"size": file.stat().st_size}
            if file.suffix == ".safetensors":
                with file.open("rb") as opened:
                    about["sha256"] = hashlib.file_digest(opened, "sha256").hexdigest()
            described[file.relative_to(checkpoint).as_posix()] = about
    return described


def find_fault(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be used, None if all of its files are as they were saved."""
    try:
        manifest = read_json(checkpoint / MANIFEST)
    except (InputError, OSError):
        return f"it has no intact {MANIFEST}: its saving was not finished, or only its weights were kept"
    files = _describe_files(checkpoint)
    for name, about in manifest.items():
        if files.get(name) != about:
            return f"{name} is not as it was saved"
    try:
        is_whole = load_state(checkpoint).global_step > 0
    except (InputError, OSError, TypeError):
        is_whole = False
    return None if is_whole else f"its {TRAINER_STATE} is damaged"


def list_checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder, complete or not, by their steps: the newest first."""
    paths = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    by_step = {int(path.name.removeprefix("checkpoint-")): path for path in paths}
    return dict(sorted(by_step.items(), reverse=True))


def find_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; prints which ones were skipped and why."""
    for checkpoint in list_checkpoints(folder).values():
        fault = find_fault(checkpoint)
        if fault is None:
            return checkpoint
        print(f"Skipped {checkpoint}: {fault}.")
    return None


def load_state(checkpoint: Path | None) -> TrainerState:
    """What the Trainer knew when it saved a checkpoint: steps, losses, the best; without one, a new state."""
    return TrainerState(**read_json(checkpoint / TRAINER_STATE)) if checkpoint else TrainerState()


def find_best(state: TrainerState, folder: Path) -> Path | None:
    """The checkpoint with the lowest validation loss, None if it was not saved completely. Its files are not read."""
    best = folder / f"checkpoint-{state.best_global_step}"
    return best if (best / MANIFEST).is_file() else None


def choose_result(state: TrainerState, folder: Path, last: Path, save: str) -> Path:
    """The checkpoint whose model is the result of a run: the last one, or with `save` "best" the best one.

    Prints where the best one is damaged: then it is the last one.
    """
    best = find_best(state, folder) if save == "best" else None
    if best is None:
        return last
    if fault := find_fault(best):
        print(f"The model is that of the last step, because {best} cannot be used: {fault}.")
        return last
    return best


def keep_weights(folder: Path, last: Path, best: Path | None) -> None:
    """Of a finished run, keep the last checkpoint whole and of the best one what a model needs; delete the others."""
    for checkpoint in list_checkpoints(folder).values():
        if checkpoint == best and best != last:
            for file in checkpoint.iterdir():
                if file.suffix in (".pt", ".pth", ".bin", ".pkl") or file.name in (MANIFEST, TRAINER_STATE):
                    file.unlink()
        elif checkpoint != last:
            remove(checkpoint)


class CheckpointKeeper(TrainerCallback):
    """Completes each checkpoint that the Trainer has saved, then deletes older ones; the last step is always saved."""

    def __init__(self, number: int | None) -> None:
        self.number = number  # of checkpoints that are kept besides the best one, None: all

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if args.save_strategy == "no" and state.global_step >= state.max_steps:
            control.should_save = True

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: dict[str, float], **_: Any
    ) -> None:
        """Save the best weights and, if PATIENCE ends the run here, the last ones, whatever the intervals are."""
        is_best = metrics["eval_loss"] < (state.best_metric or math.inf)
        if control.should_training_stop or (is_best and args.save_strategy != "no"):
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        PartialState().wait_for_everyone()  # each process writes a file of its own
        if not args.should_save:
            return
        folder = Path(args.output_dir)
        write_manifest(checkpoint_folder(args, state))
        checkpoints = list(list_checkpoints(folder).values())
        kept = [*checkpoints[: self.number], find_best(state, folder)]
        for checkpoint in checkpoints:
            if checkpoint not in kept:
                remove(checkpoint)
