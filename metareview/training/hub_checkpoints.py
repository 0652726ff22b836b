"""Checkpoints on the Hub: pushed while a run trains, fetched to resume it on another machine."""

from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from transformers import TrainingArguments
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

from metareview.common.hub import explain_hub
from metareview.training.checkpoints import BEST, LAST, RUN, TRAINER_STATE, UNREAD, checkpoint_folder, find_best


class CheckpointPusher(TrainerCallback):
    """Puts each checkpoint and the best one on the Hub.

    Both go in one commit, and training waits for it: the Trainer's own pushing leaves checkpoints out while one is on
    its way, never pushes the best one and swallows errors. A push that fails is reported; the next one comes soon.
    """

    def __init__(self, repo_id: str) -> None:
        self.repo_id = repo_id
        self.pushed_step: int | None = None

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        last = checkpoint_folder(args, state)
        folders = {LAST: last, BEST: find_best(state, Path(args.output_dir)) or last}
        files = {f"{name}/{file.name}": file for name, folder in folders.items() for file in folder.iterdir()}
        files[RUN] = Path(args.output_dir, RUN)
        try:
            with explain_hub(f"the checkpoint of step {state.global_step} was not pushed", OSError):
                there = huggingface_hub.list_repo_files(self.repo_id)
                stale = [path for path in there if path.startswith((f"{LAST}/", f"{BEST}/")) and path not in files]
                operations = [CommitOperationAdd(path, files[path]) for path in files if not path.endswith(UNREAD)]
                operations += [CommitOperationDelete(path) for path in stale]
                message = f"Checkpoint of step {state.global_step}"
                huggingface_hub.create_commit(self.repo_id, operations, commit_message=message)
            self.pushed_step = state.global_step
        except OSError as error:
            print(error)

    def describe(self, last_step: int) -> str:
        """In a sentence, which checkpoints are on the Hub after a run of this many steps."""
        pushed = f"step {self.pushed_step}, and the best" if self.pushed_step else "none of those saved now"
        return f"Checkpoints in {self.repo_id} on the Hub: {pushed}; the last one is of step {last_step}"


def fetch_checkpoints(repo_id: str, folder: Path) -> Path | None:
    """Bring the last and the best checkpoint from the Hub into `folder`; where the last one lies, None if none is."""
    with explain_hub(f"cannot fetch the checkpoints of {repo_id}", OSError):
        if not {RUN, f"{LAST}/{TRAINER_STATE}"} <= set(huggingface_hub.list_repo_files(repo_id)):
            return None
        huggingface_hub.snapshot_download(repo_id, allow_patterns=[RUN, f"{LAST}/*", f"{BEST}/*"], local_dir=folder)
    return folder / LAST
