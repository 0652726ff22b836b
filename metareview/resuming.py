"""Where a run begins: at a checkpoint of its own, at the base, or not at all because it is finished."""

import json
import os
import re
from pathlib import Path
from typing import Any

from transformers.trainer_callback import TrainerState

from metareview.arguments import SummaryTrainingArguments
from metareview.checkpoints import BEST, LAST, RUN_SETTINGS, fetch_checkpoints, find_checkpoint, find_fault
from metareview.cli import InputError
from metareview.model import TRAINING_RECORD, is_model

SETTINGS = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "optim",
    "weight_decay",
    "max_grad_norm",
    "seed",
    "validation_examples",
    "train_sampling_strategy",
    "use_lora",
)
LORA_SETTINGS = ("lora_r", "lora_alpha", "lora_targets")
DATA_SETTINGS = ("texts", "tokenizer", "prompt_template", "max_length", "max_summary_tokens")


def check_output_folder(folder: Path) -> None:
    """Raise `InputError` where the folder holds something else than a run of ours, or cannot be written to."""
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    others = {name for name in names if not re.fullmatch(rf"checkpoint-\d+|\.new|\.cache|runs|{LAST}|{BEST}", name)}
    # `.new` and a checkpoint of ours: a run that was killed while it put its result in its place.
    ours = {TRAINING_RECORD, ".new"} & names or any(folder.glob(f"checkpoint-*/{RUN_SETTINGS}"))
    if folder.is_file() or (others and not ours):
        raise InputError(f"{str(folder)!r} exists and holds something else; nothing was written. Choose another folder")
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK):
        raise InputError(f"{str(there)!r} is read-only; choose another --output_dir")


def run_settings(arguments: SummaryTrainingArguments, record: dict[str, Any]) -> dict[str, Any]:
    """What decides the course of a run: a checkpoint of another one must not be continued."""
    names = SETTINGS + LORA_SETTINGS if arguments.use_lora else SETTINGS
    settings = {name: getattr(arguments, name) for name in names}
    settings["base_model"] = Path(arguments.model_name_or_path).name  # the rest of a path may change with the machine
    settings["examples_per_step"] = arguments.step_size
    return settings | {name: record[name] for name in DATA_SETTINGS}


def check_settings(before: dict[str, Any], settings: dict[str, Any], what: str) -> None:
    """Raise `InputError` where a checkpoint or a finished model is one of another run."""
    if differences := [name for name in settings if before.get(name) != settings[name]]:
        raise InputError(
            f"{what} is of a run that differs in {', '.join(differences)}; give them again, "
            "or begin anew with --restart, or in another --output_dir or --hub_model_id"
        )


def is_finished(
    arguments: SummaryTrainingArguments, settings: dict[str, Any], steps: int, checkpoint_step: int
) -> bool:
    """Whether the output folder holds the finished model of this run, of so many steps or more.

    `checkpoint_step` is that of the newest checkpoint, 0 where there is none. Raises `InputError` where the model is of
    another run, or where more steps are asked for and no checkpoint is left.
    """
    folder = Path(arguments.output_dir)
    asked_otherwise = arguments.restart or arguments.resume_from_checkpoint
    if asked_otherwise or not (folder / TRAINING_RECORD).is_file() or not is_model(folder):
        return False
    record = json.loads((folder / TRAINING_RECORD).read_text())
    done = record["results"]["steps"]
    if 0 < checkpoint_step < done:
        return False  # a run that began anew and was interrupted
    check_settings(record["settings"], settings, f"the finished model in {str(folder)!r}")
    if not checkpoint_step and done < steps:
        raise InputError(
            f"{str(folder)!r} holds a finished model of {done} steps and no checkpoint to go on from; "
            "begin anew with --restart, or in another --output_dir"
        )
    return done >= steps


def find_start(arguments: SummaryTrainingArguments, settings: dict[str, Any], repo_id: str | None) -> Path | None:
    """The checkpoint to go on from: the one that a flag names, or the newest whole one here or in `repo_id` on the Hub.

    None where there is none, or with --restart. Raises `InputError` for one that is not whole or is of another run.
    """
    folder = Path(arguments.output_dir)
    if arguments.resume_from_checkpoint:
        checkpoint = Path(arguments.resume_from_checkpoint)
    elif arguments.restart:
        checkpoint = None
    else:
        checkpoint = find_checkpoint(folder)
        if not checkpoint and repo_id:
            checkpoint = fetch_checkpoints(repo_id, folder)
    if not checkpoint:
        return None
    if fault := find_fault(checkpoint):
        raise InputError(f"the checkpoint {str(checkpoint)!r} is not whole: {fault}")
    check_settings(json.loads((checkpoint / RUN_SETTINGS).read_text()), settings, repr(str(checkpoint)))
    return checkpoint


def describe_start(state: TrainerState, checkpoint: Path, steps: int) -> str:
    """Where a run goes on, and what another length than before does to its learning rate. Raises `InputError`."""
    if state.global_step > steps:
        raise InputError(
            f"{str(checkpoint)!r} is of step {state.global_step}, beyond the {steps} steps asked for; "
            "give more --num_train_epochs, or another --output_dir"
        )
    text = f"Going on from step {state.global_step} of {steps}: {checkpoint}"
    if state.max_steps != steps:
        text += (
            f"\nIt was planned for {state.max_steps} steps. From here on the learning rate is that of {steps} "
            "steps: not the same run as one of that length from its beginning."
        )
    return text
