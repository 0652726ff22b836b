"""The card of a data set, and how both go to the Hub."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import huggingface_hub
from datasets import DatasetDict
from huggingface_hub import DatasetCard, DatasetCardData

from metareview.common.files import TEMPLATES, write_json
from metareview.common.hub import explain_hub
from metareview.data.splits import RECORD


def push_splits(splits: DatasetDict, record: dict[str, Any], model: str | None, tables: Any, repo_id: str) -> None:
    """Push splits (texts, or token ids for `model`), record and card in one commit, or raise `OSError`."""
    files = [{"split": name, "path": f"data/{name}.parquet"} for name in splits]
    configs = [{"config_name": "default", "data_files": files}]
    metadata = DatasetCardData(task_categories=["summarization"], tags=["meta-review", "peer-review"], configs=configs)
    other_columns = [name for name in splits["train"].column_names if name not in ("review", "summary")]
    texts = {**record, **tables, "title": repo_id, "model": model, "other_columns": other_columns}
    later = ". Both are saved here; run the same command again to push them"
    with TemporaryDirectory() as folder, explain_hub(f"{repo_id} was not pushed", OSError, later):
        for file in files:
            splits[file["split"]].to_parquet(Path(folder, file["path"]))
        DatasetCard.from_template(metadata, TEMPLATES / "dataset.md", **texts).save(Path(folder, "README.md"))
        write_json(Path(folder, RECORD), record)
        repository = {"repo_id": repo_id, "repo_type": "dataset", "delete_patterns": "data/*"}
        huggingface_hub.upload_folder(folder_path=folder, **repository, commit_message="Add data and card")
    print(f"Pushed {repo_id} to the Hub.")
