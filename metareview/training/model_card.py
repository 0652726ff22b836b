"""The card of a model: what it was made from and how, and how to use it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.errors import HTTPError
from transformers import TrainingArguments
from yaml import YAMLError

from metareview.common.files import TEMPLATES
from metareview.common.hub import public_name
from metareview.training.results import describe_loss


def model_card(args: TrainingArguments, record: dict[str, Any], name: str) -> ModelCard:
    """README.md of a saved model: how to use it, how it was made. `name` is its Hub id or its folder."""
    base, data = record["base_model"], record["dataset_name"]
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["meta-review", "peer-review"],
        base_model=None if Path(base).exists() else base,
        datasets=[data] if data.count("/") == 1 and not Path(data).exists() else None,
    )
    with suppress(OSError, ValueError, YAMLError, HTTPError):  # the base may have no card, or one that cannot be read
        metadata.license = ModelCard.load(Path(base, "README.md") if Path(base).exists() else base).data.license
    return ModelCard.from_template(
        metadata,
        TEMPLATES / "model.md",
        title=Path(name).name,
        load_from=public_name(name),
        base=public_name(base),
        losses={key: describe_loss(value) for key, value in record["results"].items() if "loss" in key},
        args=args,
        record=record,
        software=f"transformers {transformers.__version__}, torch {torch.__version__}",
    )
