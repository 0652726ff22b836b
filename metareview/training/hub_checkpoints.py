"""Checkpoints and finished models on the Hub."""

from pathlib import Path
from shlex import quote
from typing import Any

import huggingface_hub
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from transformers import TrainingArguments
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

from metareview.common.hub import explain_hub
from metareview.training.checkpoints import BEST, LAST, RUN, TRAINER_STATE, UNREAD, checkpoint_folder, find_best


class CheckpointPusher(TrainerCallback):
    """Pushes each checkpoint together with the best one.

    Both are in one commit, and training waits for it: the Trainer's own pushing skips checkpoints while one is being
    pushed, never pushes the best one and swallows errors. A failed push is reported; the next one comes soon.
    """

    def __init__(self, repo_id: str) -> None:
        self.repo_id = repo_id

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        last = checkpoint_folder(args, state)
        files = {
            f"{name}/{file.name}": file
            for name, folder in ((LAST, last), (BEST, find_best(state, Path(args.output_dir)) or last))
            for file in folder.iterdir()
            if file.name != UNREAD
        }
        files[RUN] = Path(args.output_dir, RUN)
        try:
            with explain_hub(f"the checkpoint of step {state.global_step} was not pushed", OSError):
                pushed = huggingface_hub.list_repo_files(self.repo_id)
                stale = {path for path in pushed if path.startswith((f"{LAST}/", f"{BEST}/"))} - files.keys()
                operations = [CommitOperationAdd(path, file) for path, file in files.items()]
                operations += map(CommitOperationDelete, stale)
                message = f"Checkpoint of step {state.global_step}"
                huggingface_hub.create_commit(self.repo_id, operations, commit_message=message)
        except OSError as error:
            print(error)


def fetch_checkpoints(repo_id: str, folder: Path) -> Path | None:
    """Download the last and the best checkpoint into `folder`; the path of the last one, None if there is none."""
    with explain_hub(f"cannot fetch the checkpoints of {repo_id}", OSError):
        if not {RUN, f"{LAST}/{TRAINER_STATE}"} <= set(huggingface_hub.list_repo_files(repo_id)):
            return None
        huggingface_hub.snapshot_download(repo_id, allow_patterns=[RUN, f"{LAST}/*", f"{BEST}/*"], local_dir=folder)
    return folder / LAST


def push_model(names: list[str], folder: Path, repo_id: str, private: bool | None) -> None:
    """Push these files of a folder in one commit. Raises `OSError` with the command that pushes them later."""
    later = f'hf upload {repo_id} {quote(str(folder))} . --exclude "checkpoint-*" --exclude "*-checkpoint/*"'
    later += " --private" if private else ""
    advice = f". The model is saved in {folder}; to push it later: {later}"
    earlier = ["model*.safetensors*", "adapter_*"]  # weights of an earlier model, in other shards
    files: dict[str, Any] = {"folder_path": folder, "allow_patterns": names, "delete_patterns": earlier}
    with explain_hub(f"the model was not pushed to {repo_id}", OSError, advice):
        huggingface_hub.upload_folder(repo_id=repo_id, **files, commit_message="Add the fine-tuned model")
