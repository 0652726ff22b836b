"""Model cards: what a card says of a base, of a prompt, of losses, and what it does not say."""

from pathlib import Path
from typing import Any

import pytest
from conftest import make_arguments
from huggingface_hub import ModelCard

from metareview.training.model_card import model_card

SETTINGS = {"learning_rate": 1e-5, "seed": 42, "examples_per_step": 4, "validation_examples": 300, "use_lora": False}
RESULTS = {"epochs": 2.0, "steps": 12, "saved_step": 8, "saved_epoch": 1.5}
RESULTS |= {"train_loss": 3.5, "eval_loss_before": None, "eval_loss": 3.0}


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    """The record of a training from a base in a folder."""
    (tmp_path / "base").mkdir()
    data = {"dataset_name": "zqz979/meta-review", "keep": "a-z", "max_length": 256, "max_summary_tokens": 100}
    training = {"precision": "fp32", "results": RESULTS, "settings": SETTINGS}
    return data | training | {"base_model": str(tmp_path / "base")}


def test_it_says_what_it_is_made_from_and_how_good_the_saved_weights_are(record: dict, tmp_path: Path) -> None:
    card = ModelCard(str(model_card(make_arguments(tmp_path), record, "me/tuned")))
    assert card.data.base_model is None  # a folder is no name on the Hub
    assert card.text.startswith("# tuned") and 'model="me/tuned"' in card.text
    assert "Fine-tuned from `base`." in card.text and str(tmp_path) not in card.text
    assert "truncate them to 156 tokens" in card.text and "weights in fp32, matrix products in fp32" in card.text
    assert "initial | not evaluated |" in card.text and "of a shorter run" not in card.text
    record["settings"] = record["settings"] | {"continued_from": "step 4 of 4"}
    assert "continued from step 4 of 4 of a shorter run |" in str(model_card(make_arguments(tmp_path), record, "tuned"))
    assert "this model (the weights of step 8, epoch 1.5) | 3.0000 (perplexity 20.09) |" in card.text


def test_it_says_what_else_the_model_reads_and_how_it_answers(record: dict[str, Any], tmp_path: Path) -> None:
    plain = record | {"prompt_template": "{review}\n", "completion": "{summary}"}
    assert "Its prompt" not in str(model_card(make_arguments(tmp_path), plain, "tuned"))
    other = record | {"prompt_template": "{ratings}\n{review}\n", "completion": "{decision}: {summary}"}
    card = str(model_card(make_arguments(tmp_path), other, "tuned"))
    assert r'Its prompt, `"{ratings}\n{review}\n"`, has more columns' in card
    assert 'It writes `"{decision}: {summary}"`.\nWith greedy decoding' in card
