"""Checkpoints and finished models on the Hub."""

from pathlib import Path
from shlex import quote
from typing import Any

import huggingface_hub
from transformers import TrainingArguments
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

from metareview.common.cli import InputError
from metareview.common.files import read_json
from metareview.common.hub import explain_hub
from metareview.common.model import RUN
from metareview.training.checkpoints import UNREAD
from metareview.training.resuming import find_differences


class CheckpointPusher(TrainerCallback):
    """Pushes each checkpoint together with the best one; those that were pushed before are deleted.

    All is in one commit, and training waits for it: the Trainer's own pushing skips checkpoints while one is being
    pushed, never pushes the best one and swallows errors. A failed push is reported; the next one comes soon.
    """

    def __init__(self, repo_id: str) -> None:
        self.repo_id = repo_id

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        try:
            with explain_hub(f"the checkpoint of step {state.global_step} was not pushed", OSError):
                huggingface_hub.upload_folder(
                    repo_id=self.repo_id,
                    folder_path=args.output_dir,
                    allow_patterns=[RUN, f"checkpoint-{state.global_step}/*", f"checkpoint-{state.best_global_step}/*"],
                    ignore_patterns=f"*/{UNREAD}",
                    delete_patterns="checkpoint-*",
                    commit_message=f"Checkpoint of step {state.global_step}",
                )
        except OSError as error:
            print(error)


def fetch_run(repo_id: str, folder: Path, settings: dict[str, Any]) -> None:
    """Download the checkpoints that were pushed, if there are any. Raises `InputError` if they are of another run."""
    with explain_hub(f"cannot fetch the checkpoints of {repo_id}", OSError):
        if RUN not in huggingface_hub.list_repo_files(repo_id):
            return
        before = read_json(Path(huggingface_hub.hf_hub_download(repo_id, RUN)))["settings"]
        if names := find_differences(before, settings):
            told = f"{repo_id} has the checkpoints of a run that differs in {', '.join(names)}"
            raise InputError(f"{told}: give another --hub_model_id, or replace them: --restart")
        huggingface_hub.snapshot_download(repo_id, allow_patterns=[RUN, "checkpoint-*"], local_dir=folder)


def push_model(names: list[str], folder: Path, repo_id: str, private: bool | None) -> None:
    """Push these files of a folder in one commit. Raises `OSError` with the command that pushes them later."""
    later = f'hf upload {repo_id} {quote(str(folder))} . --exclude "checkpoint-*"' + (" --private" if private else "")
    advice = f". The model is saved in {folder}; to push it later: {later}"
    with explain_hub(f"the model was not pushed to {repo_id}", OSError, advice):
        huggingface_hub.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            allow_patterns=names,
            delete_patterns=["model*.safetensors*", "adapter_*"],  # weights of an earlier model, in other shards
            commit_message="Add the fine-tuned model",
        )
