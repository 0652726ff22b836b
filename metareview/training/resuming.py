"""Where a run starts: at a checkpoint of its own, at the base, or not at all if it is finished."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_callback import TrainerState

from metareview.common.cli import InputError
from metareview.common.files import read_json, write_json
from metareview.common.model import MODELS_DIR, RUN, TRAINING_RECORD, hash_weights, is_model
from metareview.data.constants import find_edited
from metareview.training.arguments import Flags, count_step_examples
from metareview.training.checkpoints import (
    TRAINER_STATE,
    delete_checkpoints,
    find_best,
    find_checkpoint,
    find_fault,
    load_state,
)
from metareview.training.run_name import format_value, hash_run, name_run

LENGTH = ("num_train_epochs", "max_steps", "evaluations", "continued_from")  # in which a longer run may differ
FLAG_SETTINGS = ("learning_rate", "max_steps", "seed", "validation_examples", "save", "patience", "use_lora", "trainer")
LORA_SETTINGS = ("lora_r", "lora_alpha", "lora_targets", "load_in_4bit")
DATA_SETTINGS = ("dataset_name", "keep", "drop_sentences", "texts", "tokenizer", "prompt_template", "completion")
DATA_SETTINGS += ("max_length", "max_summary_tokens")
HASHES = {"texts": "the texts", "tokenizer": "the tokenizer of MODEL", "base_weights": "the weights of MODEL"}
CONSTANTS = {  # what a user edits, unless it is the name of the setting in capitals
    "base_model": "MODEL",
    "num_train_epochs": "EPOCHS",
    "max_steps": "--max_steps",
    "examples_per_step": "BATCH_SIZE, ACCUMULATION_STEPS",
    "precision": "--bf16, --fp16",
    "evaluations": "EVALUATIONS_PER_EPOCH",
    "prompt_template": "PROMPT",
    "dataset_name": "DATASET",
    "continued_from": "--resume_from_checkpoint",
}


def run_settings(flags: Flags, args: TrainingArguments, base: str, record: dict[str, Any]) -> dict[str, Any]:
    """What decides the course of a run: a checkpoint of a run with other settings must not be resumed.

    `record` is that of the tokenized data.
    """
    settings: dict[str, Any] = {
        "base_model": Path(base).name,  # the rest of a path may change with the machine
        "num_train_epochs": flags.epochs,
        "examples_per_step": count_step_examples(args),
        "precision": None,  # what the hardware is fast with
        "evaluations": None,  # they change no weights
    }
    if flags.bf16 is not None or flags.fp16 is not None:
        settings["precision"] = f"bf16 {bool(flags.bf16)}, fp16 {bool(flags.fp16)}"
    if flags.save == "best" or flags.patience:
        settings["evaluations"] = [args.eval_strategy.value, args.eval_steps]
    if weights := hash_weights(Path(base)) if Path(base).is_dir() else base:  # two of the Hub may share a last name
        settings["base_weights"] = weights
    names = FLAG_SETTINGS + (LORA_SETTINGS if flags.use_lora else ())
    settings |= {name: getattr(flags, name) for name in names}
    settings |= {name: record.get(name) for name in DATA_SETTINGS}
    settings = json.loads(json.dumps(settings, default=str))  # as they are read again
    if origin := _describe_origin(flags.resume_from_checkpoint, settings):
        settings["continued_from"] = origin
    return settings


def _describe_origin(checkpoint: str | None, settings: dict[str, Any]) -> str | None:
    """The step of the shorter run from which a run continues: it is none of its length from the start."""
    run = read_run(Path(checkpoint).parent) if checkpoint else None
    if run is None or find_fault(Path(checkpoint), read=False):
        return None  # no checkpoint that could be continued
    origin = run.settings.get("continued_from")
    if not find_differences(run.settings, settings | ({"continued_from": origin} if origin else {})):
        return origin  # a checkpoint of this very run
    state = load_state(Path(checkpoint))
    return ", ".join(filter(None, [origin, f"step {state.global_step} of {state.max_steps}"]))


@dataclass
class Run:
    """What `RUN` says of the run in a folder."""

    settings: dict[str, Any]
    is_finished: bool
    is_restart: bool = False  # whether --restart began it
    precision: str = "unknown"  # of the matrix products


def read_run(folder: Path) -> Run | None:
    """The run in a folder, None if there is none. Raises `InputError` where the file is damaged."""
    for name in (RUN, TRAINING_RECORD):  # the second alone, where somebody has copied a model
        if (folder / name).is_file():
            content = read_json(folder / name)
            if not isinstance(content.get("settings"), dict):
                raise InputError(f"{str(folder / name)!r} is damaged: it has no settings; delete that file")
            known = {key: content[key] for key in ("is_restart", "precision") if key in content}
            return Run(content["settings"], content.get("is_finished", name == TRAINING_RECORD), **known)
    return None


def choose_folder(flags: Flags, base: str, settings: dict[str, Any], asked: dict[str, Any]) -> Path:
    """OUTPUT_DIR, or a folder in MODELS_DIR that is named after the settings.

    What has no place in a name, such as texts that have changed, is distinguished by a hash. Raises `InputError` where
    the result would replace its base, or where the folder holds something else than a run.
    """
    if flags.output_dir:
        folder = Path(flags.output_dir)
        if Path(base).exists() and folder.resolve() in (Path(base).resolve(), *Path(base).resolve().parents):
            told = f"{base!r} is the model to start from, and {str(folder)!r} would replace it"
            raise InputError(f"{told}; choose another OUTPUT_DIR (--output_dir)")
    else:
        name = name_run(base, settings | asked)
        folder, hashed = Path(MODELS_DIR, name), Path(MODELS_DIR, f"{name}_{hash_run(settings)}")
        run = read_run(folder)
        if hashed.exists() or (run and find_differences(run.settings, settings)):
            folder = hashed
    check_output_folder(folder)
    return folder


def check_output_folder(folder: Path) -> None:
    """Raise `InputError` where the folder holds something else than a run of ours, or cannot be written to."""
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    others = {name for name in names if name != "runs" and not name.startswith(".")}
    if folder.is_file() or (others and not {TRAINING_RECORD, RUN, ".new"} & names):
        raise InputError(
            f"{str(folder)!r} exists and holds something else; nothing was written. "
            "Choose another OUTPUT_DIR (--output_dir)"
        )
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not os.access(existing, os.W_OK):
        raise InputError(f"{str(existing)!r} is read-only; choose another OUTPUT_DIR (--output_dir)")


def find_differences(before: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """The names of the settings that differ; what only one of both knows, such as `lora_r`, follows from another."""
    names = [name for name in settings if name in before and before[name] != settings[name]]
    is_told = "base_weights" in before  # runs of earlier versions do not say from which one they continue
    origins = {run.get("continued_from") for run in (before, settings)}
    return [*names, "continued_from"] if is_told and len(origins) > 1 and "continued_from" not in names else names


def check_settings(before: dict[str, Any], settings: dict[str, Any], what: str) -> None:
    """Raise `InputError` where a checkpoint or a finished model is one of another run, with both values."""
    differences = find_differences(before, settings)
    if len(differences) > 1 and "texts" in differences:
        differences.remove("texts")  # the others tell why
    if not differences:
        return
    told = []
    for name in differences[:3]:
        values = f"{_format_setting(before.get(name))} there, {_format_setting(settings.get(name))} now"
        told.append(HASHES.get(name) or f"{CONSTANTS.get(name, name.upper())}: {values}")
    more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
    raise InputError(
        f"{what} is of a run that differs in {'; '.join(told)}{more}.\n"
        "Leave OUTPUT_DIR at None (a folder for each setting), name another one, or replace that run with --restart"
    )


def _format_setting(value: Any) -> str:
    """A setting as one would write it: 2 for 2.0."""
    return f"{value:g}" if isinstance(value, float) else repr(value)


@dataclass
class Start:
    """Where a run stands: finished, or to be trained from a checkpoint (None: from the base)."""

    checkpoint: Path | None = None
    is_finished: bool = False


def find_start(folder: Path, settings: dict[str, Any], restart: bool, resume_from: str | None) -> Start:
    """Where the run with these settings starts. Raises `InputError` where it is refused.

    | the folder holds           | otherwise                               | with --restart                        |
    |----------------------------|-----------------------------------------|---------------------------------------|
    | no run                     | starts at the base                      | starts at the base                    |
    | this run, interrupted      | resumes from its last complete checkpoint | starts over, unless it is a restart |
    | this run, finished         | is finished                             | starts over                           |
    | another run                | is refused                              | starts over and replaces it           |

    With --resume_from_checkpoint a run that has no checkpoint of its own starts at that one, which may be of a run of
    another length.
    """
    run = read_run(folder)
    is_this = run is not None and not find_differences(run.settings, settings)
    if is_this and run.is_finished and is_model(folder) and not restart:
        return Start(is_finished=True)
    if resume_from:
        _check_checkpoint(Path(resume_from), settings)
    given = Path(resume_from) if resume_from else None
    if run is None or (restart and not (is_this and run.is_restart and not run.is_finished)):
        return Start(given)
    check_settings(run.settings, settings, f"{'the model' if run.is_finished else 'the run'} in {str(folder)!r}")
    found = [checkpoint for checkpoint in (find_checkpoint(folder), given) if checkpoint]
    return Start(max(found, key=lambda checkpoint: load_state(checkpoint).global_step, default=None))


def _check_checkpoint(checkpoint: Path, settings: dict[str, Any]) -> None:
    """Raise `InputError` where a checkpoint is incomplete, or of a run that differs in more than its length."""
    run = read_run(checkpoint.parent)
    if run and run.is_finished and is_model(checkpoint) and not (checkpoint / TRAINER_STATE).is_file():
        told = f"of {str(checkpoint)!r} only the weights were kept, when its run had finished"
        raise InputError(f"{told}; to train on from them, make them the MODEL (--model)")
    if fault := find_fault(checkpoint):
        raise InputError(f"the checkpoint {str(checkpoint)!r} is incomplete: {fault}")
    if run is None:
        raise InputError(f"there is no {RUN} beside {str(checkpoint)!r} that says what run it belongs to; copy it, too")
    before, now = ({name: one[name] for name in one if name not in LENGTH} for one in (run.settings, settings))
    check_settings(before, now, repr(str(checkpoint)))


def mark_started(folder: Path, run: Run, start: Path | None) -> None:
    """Make the folder ready for a run: no checkpoints of later steps, and the best one before `start` at hand."""
    state, before = load_state(start), read_run(folder)
    is_elsewhere = start is not None and start.resolve().parent != folder.resolve()
    delete_checkpoints(folder, 0 if is_elsewhere else state.global_step)
    folder.mkdir(parents=True, exist_ok=True)
    run.is_restart = run.is_restart or (before is not None and before.is_restart and not before.is_finished)
    write_json(folder / RUN, vars(run))
    if is_elsewhere and (best := find_best(state, start.parent)):
        shutil.copytree(best, folder / best.name)


def mark_finished(folder: Path) -> None:
    """Say that the run in a folder is finished: its model is saved."""
    write_json(folder / RUN, vars(read_run(folder)) | {"is_finished": True})


def describe_run(flags: Flags, base: str, record: dict[str, Any]) -> str:
    """What is trained on what; and which constants of the first script were edited after the data were made."""
    data, keep = record["dataset_name"], record.get("keep", "whatever they hold")
    prompt = format_value("prompt_template", record["prompt_template"])
    line = f"Model {base}; texts of {data}, cleaned to {keep}; prompt {prompt}"
    folders = {"PROCESSED_DIR": flags.processed_dir, "TOKENIZED_DIR": flags.tokenized_dir}
    edited = find_edited(record.get("constants", {}), folders)
    edited = [name for name in edited if getattr(flags, name.lower(), None) is None]  # else it is as the flag says
    if edited:
        line += f"\nNot in these data: {', '.join(edited)}, edited since. To apply: python processing_meta_review.py"
    return line


def describe_start(state: TrainerState, checkpoint: Path, steps: int) -> str:
    """Where a run resumes, and what another length than before does to its learning rate. Raises `InputError`."""
    if state.global_step > steps:
        raise InputError(
            f"{str(checkpoint)!r} is of step {state.global_step}, beyond the {steps} steps asked for; "
            "set more EPOCHS, or another OUTPUT_DIR"
        )
    text = f"Resuming from step {state.global_step} of {steps}: {checkpoint}"
    if state.max_steps != steps:
        text += (
            f"\nIt was planned for {state.max_steps} steps. From here on the learning rate is that of {steps} "
            "steps: not the same run as one of that length from the start."
        )
    return text
