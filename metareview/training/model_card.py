"""The card of a model: what it was made from and how, and how to use it."""

from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import ModelCard, ModelCardData
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers import TrainingArguments

from metareview.common.files import TEMPLATES
from metareview.common.hub import is_transport_error, public_name
from metareview.data.prompts import PROMPT_MARK
from metareview.training.results import describe_loss, find_perplexity


def find_license(name: str) -> str | None:
    """The license that the card of a model names, None where that is not known."""
    try:
        return ModelCard.load(Path(name, "README.md") if Path(name).exists() else name).data.license
    except Exception as error:
        if isinstance(error, (OSError, ValueError)) or is_transport_error(error):
            return None
        raise


def model_card(args: TrainingArguments, record: dict[str, Any], tokenizer: Tokenizer, name: str) -> ModelCard:
    """README.md of a saved model: how to use it, what it was made with. `name` is its Hub id or its folder."""
    base, data, results = record["base_model"], record["dataset_name"], record["results"]
    message = "first review\n\nsecond review"
    if not tokenizer.chat_template.startswith(PROMPT_MARK):  # it is the base's, and does not bring the prompt along
        message = record["prompt_template"].replace("{review}", message)
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
        args=args,
        record=record,
        settings=record["settings"],
        versions={"transformers": transformers.__version__, "torch": torch.__version__},
    )
