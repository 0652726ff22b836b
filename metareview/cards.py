"""Model cards and data set cards: what an artefact was made from and how, and how to use it."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import huggingface_hub
import torch
import transformers
from datasets import DatasetDict
from huggingface_hub import DatasetCard, DatasetCardData, ModelCard, ModelCardData
from transformers import PreTrainedTokenizerBase as Tokenizer

from metareview.arguments import SummaryTrainingArguments
from metareview.data import RECORD
from metareview.files import write_json
from metareview.hub import explain_hub, is_transport_error, public_name
from metareview.prompts import PROMPT_MARK
from metareview.report import describe_loss, find_perplexity

TEMPLATES = Path(__file__).resolve().parent / "templates"
SHOWN = {"input_ids": slice(20), "labels": slice(-20, None), "review": slice(300), "summary": slice(300)}  # of a row


def find_license(name: str) -> str | None:
    """The license that the card of a model names, None where that is not known."""
    try:
        return ModelCard.load(Path(name, "README.md") if Path(name).exists() else name).data.license
    except Exception as error:
        if isinstance(error, (OSError, ValueError)) or is_transport_error(error):
            return None
        raise


def model_card(
    arguments: SummaryTrainingArguments, record: dict[str, Any], tokenizer: Tokenizer, name: str
) -> ModelCard:
    """README.md of a saved model: how to use it, what it was made with. `name` is its Hub id or its folder."""
    base, data, results = arguments.model_name_or_path, record["dataset_name"], record["results"]
    message = "first review\n\nsecond review"
    if not tokenizer.chat_template.startswith(PROMPT_MARK):  # it is the base's, and does not bring the prompt along
        message = arguments.prompt_template.replace("{review}", message)
    return ModelCard.from_template(
        ModelCardData(),  # the template has the metadata
        str(TEMPLATES / "model.md"),
        title=Path(name).name,
        load_from=public_name(name),
        message=repr(message),
        base=public_name(base),
        base_on_hub=not Path(base).exists(),
        data_on_hub=data.count("/") == 1 and not Path(data).exists(),
        license=find_license(base),
        losses={key: describe_loss(value) for key, value in results.items() if "loss" in key},
        perplexity=find_perplexity(results["eval_loss"]),
        arguments=arguments,
        record=record,
        settings=record["settings"],
        versions={"transformers": transformers.__version__, "torch": torch.__version__},
    )


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
