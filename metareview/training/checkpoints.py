"""Checkpoints: which are whole, which is the best, which are kept.

The Trainer saves a checkpoint into `checkpoint-STEP` of the output folder. `CheckpointKeeper` completes it: with what
run it is of and, last of all, with a manifest of its files, without which it is not whole. Only then do older ones go.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainingArguments
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

from metareview.common.cli import InputError
from metareview.common.files import read_json, remove, write_json

RUN_SETTINGS = "run_settings.json"  # in a checkpoint: what the run is that it belongs to
MANIFEST = "manifest.json"  # in a checkpoint, written last: its files, their sizes and hashes
TRAINER_STATE = "trainer_state.json"  # in a checkpoint, by the Trainer
UNREAD = "training_args.bin"  # in a checkpoint, by the Trainer: a pickle that nothing reads
LAST, BEST = "last-checkpoint", "best-checkpoint"  # folders on the Hub, and of what was fetched from there


def checkpoint_folder(arguments: TrainingArguments, state: TrainerState) -> Path:
    """Where the Trainer saves a checkpoint of the step that it is at."""
    return Path(arguments.output_dir, f"checkpoint-{state.global_step}")


def write_manifest(checkpoint: Path) -> None:
    """Note size and hash of each file of a checkpoint, when all of them are on the disk: only then is it whole."""
    manifest = {}
    for file in sorted(checkpoint.rglob("*")):
        if file.is_file() and file.name not in (MANIFEST, UNREAD):
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
            manifest[file.relative_to(checkpoint).as_posix()] = {"size": file.stat().st_size, "sha256": hash_file(file)}
    write_json(checkpoint / MANIFEST, manifest)


def hash_file(file: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def find_fault(checkpoint: Path, read: bool = True) -> str | None:
    """Why a checkpoint is not whole, None if it is; without `read` only by the sizes of its files, which is quicker."""
    if not (checkpoint / MANIFEST).is_file():
        return f"its saving was not finished (no {MANIFEST})"
    try:
        manifest = read_json(checkpoint / MANIFEST)
        files = [(checkpoint / name, int(known["size"]), str(known["sha256"])) for name, known in manifest.items()]
    except (InputError, KeyError, TypeError, ValueError):
        return f"its {MANIFEST} is damaged"
    if TRAINER_STATE not in manifest:
        return f"its {MANIFEST} lacks {TRAINER_STATE}"
    for file, size, sha256 in files:
        if not file.is_file():
            return f"{file.name} is missing"
        if file.stat().st_size != size:
            return f"{file.name} has {file.stat().st_size:,} bytes instead of {size:,}"
        if read and hash_file(file) != sha256:
            return f"{file.name} is damaged: it is not as it was saved"
    return None if is_state(checkpoint / TRAINER_STATE) else f"its {TRAINER_STATE} is not that of a run"


def is_state(file: Path) -> bool:
    """Whether a file holds what the Trainer knows of a run: the numbers that are read again are numbers."""
    try:
        state = TrainerState.load_from_json(str(file))
        entries = [(entry["step"], *entry.values()) for entry in state.log_history]
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    best = 0 if state.best_global_step is None else state.best_global_step
    counts = isinstance(state.global_step, int) and state.global_step > 0 and isinstance(best, int)
    numbers = [state.epoch, state.max_steps, *(value for entry in entries for value in entry)]
    return counts and all(isinstance(number, int | float) for number in numbers)


def list_checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder, whole or not, by their steps: the newest first."""
    found = {}
    for path in folder.glob("checkpoint-*"):
        if number := re.fullmatch(r"checkpoint-(\d+)", path.name):
            found[int(number[1])] = path
    return dict(sorted(found.items(), reverse=True))


def find_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; prints which ones were passed over and why."""
    for checkpoint in list_checkpoints(folder).values():
        if (fault := find_fault(checkpoint)) is None:
            return checkpoint
        print(f"Passed over {checkpoint}: {fault}.")
    return None


def load_state(checkpoint: Path | None) -> TrainerState:
    """What the Trainer knew when it saved a checkpoint: steps, losses, the best; without one, a new state."""
    return TrainerState.load_from_json(str(checkpoint / TRAINER_STATE)) if checkpoint else TrainerState()


def find_best(state: TrainerState, folder: Path) -> Path | None:
    """The checkpoint with the lowest validation loss: one of this machine, or the one fetched from the Hub."""
    for checkpoint in (folder / f"checkpoint-{state.best_global_step}", folder / BEST):
        if find_fault(checkpoint, read=False) is None and load_state(checkpoint).global_step == state.best_global_step:
            return checkpoint
    return None


def choose_result(state: TrainerState, folder: Path, last: Path) -> Path:
    """The checkpoint whose model is the result of a run: the best one, or the last where no best one was saved.

    Prints where the best one is damaged. Raises `OSError` where the last one is, too.
    """
    best = find_best(state, folder)
    if best and best != last:
        if (fault := find_fault(best)) is None:
            return best
        print(f"The best checkpoint, {best}, cannot be used: {fault}. The model is that of the last step instead.")
    if fault := find_fault(last):
        raise OSError(f"{last} cannot be used: {fault}. The same command goes on from the checkpoint before it")
    return last


def delete_checkpoints(folder: Path, start: Path | None) -> None:
    """Delete the checkpoints of steps after `start`, so that they are not taken for the new ones; all, without it."""
    step = load_state(start).global_step
    doomed = [path for number, path in list_checkpoints(folder).items() if number > step]
    if start is None:
        doomed += [folder / LAST, folder / BEST]
    for checkpoint in doomed:
        remove(checkpoint)


def rotate_checkpoints(folder: Path, state: TrainerState, number: int | None) -> None:
    """Keep the newest `number` whole checkpoints (None: all) and the best one; delete the others."""
    checkpoints = list(list_checkpoints(folder).values())
    kept = [checkpoint for checkpoint in checkpoints if find_fault(checkpoint, read=False) is None][:number]
    best = find_best(state, folder)
    for checkpoint in checkpoints:
        if checkpoint not in kept and checkpoint != best:
            remove(checkpoint)


class CheckpointKeeper(TrainerCallback):
    """Completes each checkpoint that the Trainer has saved, then deletes older ones; the last step is always saved."""

    def __init__(self, settings: dict[str, Any], number: int | None) -> None:
        """`settings` are those of the run; `number` of whole checkpoints are kept besides the best one, None: all."""
        self.settings, self.number = settings, number

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if args.save_strategy == "no" and state.global_step >= state.max_steps:
            control.should_save = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if args.should_save and control.should_save:  # perhaps once more the same step, which is not whole meanwhile
            (checkpoint_folder(args, state) / MANIFEST).unlink(missing_ok=True)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        PartialState().wait_for_everyone()  # each process writes a file of its own
        if args.should_save:
            checkpoint = checkpoint_folder(args, state)
            precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
            write_json(checkpoint / RUN_SETTINGS, {**self.settings, "precision": precision})
            write_manifest(checkpoint)
            rotate_checkpoints(checkpoint.parent, state, self.number)
