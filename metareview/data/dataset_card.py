"""The card of a data set, and how both go to the Hub."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import huggingface_hub
from datasets import DatasetDict
from huggingface_hub import DatasetCard, DatasetCardData

from metareview.common.files import TEMPLATES, write_json
from metareview.common.hub import explain_hub
from metareview.data.splits import RECORD

SHOWN = {"input_ids": slice(20), "labels": slice(-20, None), "review": slice(300), "summary": slice(300)}  # of a row


def push_splits(splits: DatasetDict, record: dict[str, Any], model: str | None, tables: Any, repo_id: str) -> None:
    """Put splits, record and card on the Hub in one commit; `model` is whose token ids they are, None for texts."""
    later = ". Both are saved here; the same command pushes them later"
    with TemporaryDirectory() as folder, explain_hub(f"{repo_id} was not pushed", OSError, later):
        for name, split in splits.items():
            split.to_parquet(Path(folder, "data", f"{name}.parquet"))
        row = splits["train"][0].items()
        example = {column: value[SHOWN[column]] if column in SHOWN else value for column, value in row}
        texts = {"title": repo_id, "model": model, "example": json.dumps(example), **tables, **record}
        card = DatasetCard.from_template(DatasetCardData(), TEMPLATES / "dataset.md", **(texts | {"model": model}))
        card.save(Path(folder, "README.md"))
        write_json(Path(folder, RECORD), record)
        whole = {"repo_id": repo_id, "repo_type": "dataset", "folder_path": folder, "delete_patterns": "data/*"}
        huggingface_hub.upload_folder(**whole, commit_message="Add data and card")
    print(f"Pushed {repo_id} to the Hub.")
