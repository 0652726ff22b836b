"""What an output folder holds, and so where a run starts: at a checkpoint, at the base, or not at all."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_callback import TrainerState

from metareview.common.cli import InputError
from metareview.common.files import read_json, remove, write_json
from metareview.common.model import MODELS_DIR, RUN, TRAINING_RECORD, hash_weights, is_model
from metareview.data.constants import find_edited
from metareview.training.arguments import Flags, count_step_examples
from metareview.training.checkpoints import find_best, find_checkpoint, find_fault, list_checkpoints, load_state
from metareview.training.run_name import format_value, hash_run, name_run

LENGTH = ("num_train_epochs", "max_steps", "evaluations", "continued_from")  # in which a longer run may differ
FLAG_SETTINGS = ("learning_rate", "max_steps", "seed", "validation_examples", "save", "patience", "use_lora", "trainer")
LORA_SETTINGS = ("lora_r", "lora_alpha", "lora_targets", "load_in_4bit")
DATA_SETTINGS = ("dataset_name", "keep", "drop_sentences", "texts", "tokenizer", "prompt_template", "completion")
DATA_SETTINGS += ("max_length", "max_summary_tokens")
CONSTANTS = {  # what a user edits, unless it is the name of the setting in capitals
    "base_model": "MODEL",
    "base_weights": "MODEL (its id or a hash of its weights)",
    "num_train_epochs": "EPOCHS",
    "max_steps": "--max_steps",
    "precision": "--bf16, --fp16",
    "examples_per_step": "BATCH_SIZE, ACCUMULATION_STEPS",
    "evaluations": "EVALUATIONS_PER_EPOCH",
    "texts": "the texts (their hash)",
    "tokenizer": "the tokenizer of MODEL (its hash)",
    "prompt_template": "PROMPT",
    "dataset_name": "DATASET",
    "continued_from": "--resume_from_checkpoint",
}


@dataclass
class Run:
    """What `RUN` says of the run in a folder."""

    settings: dict[str, Any]
    is_finished: bool
    is_restart: bool = False  # whether --restart began it
    precision: str = "unknown"  # of the matrix products


@dataclass
class Start:
    """Where a run stands: finished, or to be trained from a checkpoint (None: from the base)."""

    checkpoint: Path | None = None
    is_finished: bool = False


def run_settings(flags: Flags, args: TrainingArguments, base: str, record: dict[str, Any]) -> dict[str, Any]:
    """What decides the course of a run: a checkpoint of a run with other settings must not be resumed.

    `record` is that of the tokenized data. Raises `InputError` where --resume_from_checkpoint names such a checkpoint.
    """
    settings: dict[str, Any] = {
        "base_model": Path(base).name,  # the rest of a path may change with the machine
        "base_weights": hash_weights(Path(base)) if Path(base).is_dir() else base,  # two may have the same last name
        "num_train_epochs": flags.epochs,
        "examples_per_step": count_step_examples(args),
        "precision": None,  # what the hardware is fast with
        "evaluations": None,  # they change no weights
    }
    if flags.bf16 is not None or flags.fp16 is not None:
        settings["precision"] = f"bf16 {bool(flags.bf16)}, fp16 {bool(flags.fp16)}"
    if flags.save == "best" or flags.patience:
        settings["evaluations"] = [args.eval_strategy.value, args.eval_steps]
    names = FLAG_SETTINGS + (LORA_SETTINGS if flags.use_lora else ())
    settings |= {name: getattr(flags, name) for name in names}
    settings |= {name: record.get(name) for name in DATA_SETTINGS}
    settings = json.loads(json.dumps(settings, default=str))  # as they are read again
    if flags.resume_from_checkpoint and (origin := _find_origin(Path(flags.resume_from_checkpoint), settings)):
        settings["continued_from"] = origin
    return settings


def _find_origin(checkpoint: Path, settings: dict[str, Any]) -> str | None:
    """The step of a shorter run from which a run continues; None if the checkpoint is its own.

    Raises `InputError` where the checkpoint cannot be used, or its run differs in more than its length.
    """
    run = read_run(checkpoint.parent)
    origin = run.settings.get("continued_from") if run else None
    is_own = run is not None and not find_differences(run.settings, settings | {"continued_from": origin})
    if is_own and run.is_finished:
        return origin  # the checkpoint may be deleted
    fault = find_fault(checkpoint)
    if run is None and fault is None:
        fault = f"there is no {RUN} beside it that says what run it belongs to"
    if fault:
        raise InputError(f"cannot resume from {str(checkpoint)!r}: {fault}")
    if is_own:
        return origin
    same_length = {name: settings.get(name) for name in LENGTH}
    check_settings(run.settings | same_length, settings, repr(str(checkpoint)))
    state = load_state(checkpoint)
    step = f"step {state.global_step} of {state.max_steps}"
    return f"{origin}, {step}" if origin else step


def choose_folder(flags: Flags, base: str, settings: dict[str, Any], asked: dict[str, Any]) -> Path:
    """OUTPUT_DIR, or a folder in MODELS_DIR that is named after the settings.

    What has no place in a name, such as texts that have changed, is distinguished by a hash. Raises `InputError` where
    the result would replace its base, or where the folder holds something else than a run.
    """
    if flags.output_dir:
        folder = Path(flags.output_dir)
        if Path(base).exists() and Path(base).resolve().is_relative_to(folder.resolve()):
            told = f"{base!r} is the model to start from, and {str(folder)!r} would replace it"
            raise InputError(f"{told}; choose another OUTPUT_DIR (--output_dir)")
    else:
        folder = Path(MODELS_DIR, name_run(base, settings | asked))
        hashed = folder.with_name(f"{folder.name}_{hash_run(settings)}")
        run = read_run(folder)
        if hashed.exists() or (run and find_differences(run.settings, settings)):
            folder = hashed
    check_output_folder(folder)
    return folder


def check_output_folder(folder: Path) -> None:
    """Raise `InputError` where the folder holds something else than a run of ours, or cannot be written to."""
    if folder.is_file() or (any(folder.glob("[!.]*")) and read_run(folder) is None):
        told = f"{str(folder)!r} exists and holds something else; nothing was written"
        raise InputError(f"{told}. Choose another OUTPUT_DIR (--output_dir)")
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK):
        raise InputError(f"{str(existing)!r} is read-only; choose another OUTPUT_DIR (--output_dir)")


def read_run(folder: Path) -> Run | None:
    """The run in a folder, None if there is none. Raises `InputError` where the file is damaged."""
    for name in (RUN, TRAINING_RECORD):  # the second alone, where somebody has copied a model
        if (folder / name).is_file():
            content = {"is_finished": name == TRAINING_RECORD} | read_json(folder / name)
            if not isinstance(content.get("settings"), dict):
                raise InputError(f"{str(folder / name)!r} is damaged: it has no settings; delete that file")
            return Run(**{field: content[field] for field in Run.__annotations__ if field in content})
    return None


def find_start(folder: Path, settings: dict[str, Any], restart: bool, resume_from: str | None) -> Start:
    """Where the run with these settings starts. Raises `InputError` where it is refused.

    | the folder holds      | otherwise                            | with --restart                      |
    |-----------------------|--------------------------------------|-------------------------------------|
    | no run                | starts at the base                   | starts at the base                  |
    | another run           | is refused, with what differs        | starts over and replaces it         |
    | this run, finished    | is finished if its model is there    | starts over                         |
    | this run, interrupted | resumes from its complete checkpoint | starts over, unless it is a restart |

    With --resume_from_checkpoint a run that has no checkpoint of its own starts at that one, which may be of a run of
    another length.
    """
    run = read_run(folder)
    given = Path(resume_from) if resume_from else None
    if run is None:
        return Start(given)
    is_restart = run.is_restart and not run.is_finished and not find_differences(run.settings, settings)
    if restart and not is_restart:
        return Start(given)
    check_settings(run.settings, settings, repr(str(folder)))
    if run.is_finished and is_model(folder):
        return Start(is_finished=True)
    found = [checkpoint for checkpoint in (find_checkpoint(folder), given) if checkpoint]
    return Start(max(found, key=lambda checkpoint: load_state(checkpoint).global_step, default=None))


def find_differences(before: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """The names of the settings that differ; what only one of both knows, such as `lora_r`, follows from another."""
    names = [name for name in settings if name in before and name != "continued_from"]
    if "base_weights" in before:  # runs of earlier versions do not say from which one they continue
        names.append("continued_from")
    return [name for name in names if before.get(name) != settings.get(name)]


def check_settings(before: dict[str, Any], settings: dict[str, Any], what: str) -> None:
    """Raise `InputError` where a checkpoint or a finished model is one of another run, with both values."""
    differences = [
        f"{CONSTANTS.get(name, name.upper())}: {before.get(name)!r} there, {settings.get(name)!r} now"
        for name in find_differences(before, settings)
    ]
    if differences:
        raise InputError(
            f"{what} is of a run that differs in {'; '.join(differences)}.\n"
            "Leave OUTPUT_DIR at None (a folder for each setting), name another one, or replace that run with --restart"
        )


def mark_started(folder: Path, run: Run, start: Path | None) -> None:
    """Make the folder ready for a run: no checkpoints of later steps, and the best one before `start` at hand."""
    state = load_state(start)
    before = read_run(folder)
    run.is_restart = run.is_restart or (before is not None and before.is_restart and not before.is_finished)
    is_elsewhere = start is not None and start.resolve().parent != folder.resolve()
    for step, checkpoint in list_checkpoints(folder).items():
        if is_elsewhere or step > state.global_step:  # else it would be taken for one of this run
            remove(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RUN, vars(run))
    if is_elsewhere and (best := find_best(state, start.parent)):
        shutil.copytree(best, folder / best.name)


def mark_finished(folder: Path) -> None:
    """Say that the run in a folder is finished: its model is saved."""
    write_json(folder / RUN, vars(read_run(folder)) | {"is_finished": True})


def describe_run(flags: Flags, base: str, record: dict[str, Any]) -> str:
    """What is trained on what; and which constants of the first script were edited after the data were made."""
    prompt = format_value("prompt_template", record["prompt_template"])
    keep = record.get("keep", "whatever they hold")
    line = f"Model {base}; texts of {record['dataset_name']}, cleaned to {keep}; prompt {prompt}"
    folders = {"PROCESSED_DIR": flags.processed_dir, "TOKENIZED_DIR": flags.tokenized_dir}
    edited = find_edited(record.get("constants", {}), folders)
    edited = [name for name in edited if getattr(flags, name.lower(), None) is None]  # else it is as the flag says
    if edited:
        line += f"\nNot in these data: {', '.join(edited)}, edited since. To apply: python processing_meta_review.py"
    return line


def describe_start(state: TrainerState, checkpoint: Path, steps: int) -> str:
    """Where a run resumes, and what another length than before does to its learning rate. Raises `InputError`."""
    if state.global_step > steps:
        told = f"{str(checkpoint)!r} is of step {state.global_step}, beyond the {steps} steps asked for"
        raise InputError(f"{told}; set more EPOCHS, or another OUTPUT_DIR")
    line = f"Resuming from step {state.global_step} of {steps}: {checkpoint}"
    if state.max_steps != steps:
        line += f"\nIt was planned for {state.max_steps} steps; from here on the learning rate is that of {steps}."
    return line
