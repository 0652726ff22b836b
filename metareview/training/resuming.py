"""Where a run belongs and where it begins: at a checkpoint of its own, at the base, or not at all if it is finished."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from transformers.trainer_callback import TrainerState

from metareview.common.cli import InputError
from metareview.common.files import read_json, replacing, write_json
from metareview.common.model import MODELS_DIR, TRAINING_RECORD, hash_weights, is_model
from metareview.training.arguments import SummaryTrainingArguments
from metareview.training.checkpoints import (
    RUN_SETTINGS,
    delete_checkpoints,
    find_best,
    find_checkpoint,
    find_fault,
    load_state,
)
from metareview.training.hub_checkpoints import fetch_checkpoints
from metareview.training.run_name import hash_settings, name_run
from metareview.training.trainer_flags import COURSE

UNDER_WAY = "under_way.json"  # in an output folder from the beginning of a run until its model is saved
LENGTH = ("num_train_epochs", "max_steps")
SETTINGS = ("learning_rate", *COURSE, *LENGTH, "seed", "validation_examples", "use_lora")
LORA_SETTINGS = ("lora_r", "lora_alpha", "lora_targets", "load_in_4bit")
DATA_SETTINGS = ("texts", "tokenizer", "prompt_template", "max_length", "max_summary_tokens")
CONSTANTS = {  # which one a user edits, where it is not the name of the setting in capitals
    "base_model": "MODEL",
    "base_weights": "the weights of MODEL",
    "num_train_epochs": "EPOCHS",
    "max_steps": "--max_steps",
    "examples_per_step": "BATCH_SIZE, ACCUMULATION_STEPS",
    "prompt_template": "PROMPT",
    "dataset_name": "DATASET",
    "texts": "the texts",
    "tokenizer": "the tokenizer of MODEL",
}


def run_settings(arguments: SummaryTrainingArguments, record: dict[str, Any]) -> dict[str, Any]:
    """What decides the course of a run: a checkpoint of another one must not be continued."""
    names = SETTINGS + LORA_SETTINGS if arguments.use_lora else SETTINGS
    settings = {name: getattr(arguments, name) for name in names}
    settings["base_model"] = Path(arguments.model_name_or_path).name  # the rest of a path may change with the machine
    if weights := hash_weights(Path(arguments.model_name_or_path)):
        settings["base_weights"] = weights
    settings["examples_per_step"] = arguments.step_size
    settings |= {name: record.get(name) for name in ("dataset_name", "keep")}
    settings |= {name: record[name] for name in DATA_SETTINGS}
    return json.loads(json.dumps(settings))  # as they are read again


def read_run(path: Path) -> dict[str, Any]:
    """What a file says of a run, with its `settings`. Raises `InputError` where it is damaged."""
    run = read_json(path)
    if not isinstance(run.get("settings"), dict):
        raise InputError(f"{str(path)!r} is damaged: it has no settings; delete that file, or make its folder anew")
    return run


def read_under_way(folder: Path) -> dict[str, Any] | None:
    """The `settings` of the run that is under way in a folder and whether it was `restarted`; None if there is none."""
    path = folder / UNDER_WAY
    return read_run(path) if path.is_file() else None


def find_settings(folder: Path) -> dict[str, Any] | None:
    """The settings of the run in a folder, under way or finished; None where there is no run."""
    if run := read_under_way(folder):
        return run["settings"]
    if (folder / TRAINING_RECORD).is_file():
        return read_run(folder / TRAINING_RECORD)["settings"]
    checkpoints = sorted(folder.glob(f"*checkpoint*/{RUN_SETTINGS}"))
    return read_json(checkpoints[0]) if checkpoints else None


def choose_folder(arguments: SummaryTrainingArguments, settings: dict[str, Any], asked_max_length: int | None) -> Path:
    """The folder that is asked for, or one in MODELS_DIR that is named by the settings.

    What has no place in a name, such as texts that have changed, is told apart by a hash. Raises `InputError` where the
    result would take the place of its base.
    """
    if arguments.asked_output_dir:
        folder = Path(arguments.asked_output_dir)
        if folder.resolve() == Path(arguments.model_name_or_path).resolve():
            raise InputError(f"{str(folder)!r} is the model to start from; name another --output_dir")
        return folder
    name = name_run(arguments.model_name_or_path, settings | {"max_length": asked_max_length})
    folder = Path(MODELS_DIR, name)
    hashed = Path(MODELS_DIR, f"{name}_{hash_settings(settings)}")
    if hashed.exists() or find_differences(find_settings(folder) or settings, settings):
        return hashed
    return folder


def check_output_folder(folder: Path) -> None:
    """Raise `InputError` where the folder holds something else than a run of ours, or cannot be written to.

    Checkpoints alone may be another tool's: those of ours say so, or UNDER_WAY stands beside them.
    """
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    ours = {TRAINING_RECORD, UNDER_WAY, ".new"} & names or any(folder.glob(f"*checkpoint*/{RUN_SETTINGS}"))
    others = {name for name in names if name != "runs" and not name.startswith(".")}
    if folder.is_file() or (others and not ours):
        raise InputError(f"{str(folder)!r} exists and holds something else; nothing was written. Choose another folder")
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK):
        raise InputError(f"{str(there)!r} is read-only; choose another --output_dir")


def find_differences(before: dict[str, Any], settings: dict[str, Any], but: tuple[str, ...] = ()) -> list[str]:
    """The names of the settings that differ; what `before` does not know is not compared."""
    return [name for name, value in settings.items() if name not in but and before.get(name, value) != value]


def format_setting(value: Any) -> str:
    """A setting as one would write it: 2 for 2.0."""
    return f"{value:g}" if isinstance(value, float) else repr(value)


def check_settings(before: dict[str, Any], settings: dict[str, Any], what: str, but: tuple[str, ...] = ()) -> None:
    """Raise `InputError` where a checkpoint or a finished model is one of another run, with both values."""
    differences = find_differences(before, settings, but)
    if len(differences) > 1 and "texts" in differences:
        differences.remove("texts")  # the others tell why
    if not differences:
        return
    values = []
    for name in differences[:3]:
        constant = CONSTANTS.get(name, name.upper())
        there, now = (format_setting(value) for value in (before[name], settings[name]))
        hashes = name in ("texts", "tokenizer", "base_weights")
        values.append(constant if hashes else f"{constant}: {there} there, {now} now")
    more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
    raise InputError(
        f"{what} is of a run that differs in {'; '.join(values)}{more}.\n"
        "Leave OUTPUT_DIR at None (a folder for each setting), name another one, or replace that run with --restart"
    )


def is_finished(arguments: SummaryTrainingArguments, folder: Path, settings: dict[str, Any]) -> bool:
    """Whether the output folder holds the finished model of this run. Raises `InputError` where it is of another."""
    if arguments.restart or read_under_way(folder):
        return False
    if not (folder / TRAINING_RECORD).is_file() or not is_model(folder):
        return False
    before = read_run(folder / TRAINING_RECORD)["settings"]
    if not arguments.resume_from_checkpoint:  # else `find_start` says whether it may be replaced
        check_settings(before, settings, f"the finished model in {str(folder)!r}")
    return not find_differences(before, settings)


def find_start(
    arguments: SummaryTrainingArguments, folder: Path, settings: dict[str, Any], repo_id: str | None
) -> Path | None:
    """The checkpoint to go on from: the newest whole one of this run here, one that a flag names, or that on the Hub.

    None where there is none, or with a --restart that is not under way yet. Raises `InputError` for one that is not
    whole or is of another run; of the one that a flag names, the run may have had another length.
    """
    run = read_under_way(folder)
    if arguments.restart and not (run and run.get("restarted") and run["settings"] == settings):
        return None
    if run and not arguments.resume_from_checkpoint:
        check_settings(run["settings"], settings, f"the run in {str(folder)!r}")
    own = find_checkpoint(folder)
    if arguments.resume_from_checkpoint:
        start = Path(arguments.resume_from_checkpoint)
        if fault := find_fault(start):
            raise InputError(f"the checkpoint {str(start)!r} is not whole: {fault}")
        check_settings(read_settings(start), settings, repr(str(start)), but=LENGTH)
        is_own = own and not find_differences(read_settings(own), settings)
        if is_own and load_state(own).global_step > load_state(start).global_step:
            return own
        check_room(folder, settings, start)
        return start
    if own is None and repo_id:
        own = fetch_checkpoints(repo_id, folder)
        if own and (fault := find_fault(own)):
            raise InputError(f"the checkpoint {str(own)!r} is not whole: {fault}")
    if own:
        check_settings(read_settings(own), settings, repr(str(own)))
    return own


def read_settings(checkpoint: Path) -> dict[str, Any]:
    """The settings of the run that a checkpoint belongs to."""
    return read_json(checkpoint / RUN_SETTINGS)


def check_room(folder: Path, settings: dict[str, Any], start: Path) -> None:
    """Raise `InputError` where going on from a checkpoint of another folder would replace another run in this one."""
    before = find_settings(folder)
    if before and find_differences(before, settings) and start.resolve().parent != folder.resolve():
        raise InputError(
            f"{str(folder)!r} holds another run than that of {str(start)!r}. "
            "Leave OUTPUT_DIR at None, or name another one"
        )


def begin(arguments: SummaryTrainingArguments, folder: Path, settings: dict[str, Any], start: Path | None) -> None:
    """Make the folder ready for a run: no checkpoints of later steps, and the best one before `start` at hand."""
    is_elsewhere = start is not None and start.resolve().parent != folder.resolve()
    delete_checkpoints(folder, None if is_elsewhere else start)
    restarted = arguments.restart or bool((read_under_way(folder) or {}).get("restarted"))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / UNDER_WAY, {"settings": settings, "restarted": restarted})
    if is_elsewhere and (best := find_best(load_state(start), start.parent)):
        with replacing(folder / f"checkpoint-{load_state(best).global_step}") as new:
            shutil.copytree(best, new)


def finish(folder: Path) -> None:
    """Say that the run in a folder is no longer under way: its model is saved."""
    (folder / UNDER_WAY).unlink(missing_ok=True)


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
