"""The card of a model: scores in it, those on the same data once, and nothing lost where it cannot be read."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from metareview.common.cli import InputError
from metareview.data.prompts import PROMPTS
from metareview.data.tokenization import TokenizationArguments
from metareview.generation.variants import Variant
from metareview.scoring.score_card import choose_cards, save_scores

TEST = {"data": "eval_examples.xlsx", "split": None, "cases": 20}
SCORES = {name: {"rougeL": (0.5, 0.4, 0.6)} for name in ("base", "a", "b", "lead")}


def make_variant(name: str, model: Path | str, **record: object) -> Variant:
    settings = TokenizationArguments(str(model), "plain")
    return Variant(name, str(model), record, "base", True, settings, "a-z", 20)


def test_a_card_has_its_own_model_its_base_and_lead(tmp_path: Path) -> None:
    model, path = make_variant("a", tmp_path), tmp_path / "README.md"
    save_scores(model, TEST, SCORES, "a is better.")
    assert not path.exists()  # a model of another origin has none
    path.write_text("---\nlicense: mit\n---\n# A\n\nText.\n")
    for score in (0.5, 0.25):
        save_scores(model, TEST, SCORES | {"a": {"rougeL": (score, None, None)}}, "a is better.")
    model.record["prompt_template"] = PROMPTS["word_limit"]
    save_scores(model, TEST | {"data": "other.xlsx"}, SCORES, "a is better.")
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]
    card = ModelCard(path.read_text())
    before, first, second = card.text.split("## Scores on 20 cases of ")
    assert "Text." in before and first.startswith("`eval_examples.xlsx`") and second.startswith("`other.xlsx`")
    assert "| a    |   " in first and "| base |" in first and "| lead |" in first and "| b " not in first
    assert "0.250" in first and "0.500 (0.400 to 0.600)" in first and "The prompt is not" not in first
    assert 'The prompt is not that of the training, but `"### Review:' in second
    assert card.data.license == "mit" and sorted(each.metric_value for each in card.data.eval_results) == [0.25, 0.5]


def test_there_must_be_a_card_to_push_to(tmp_path: Path) -> None:
    here = make_variant("a", tmp_path)
    with pytest.raises(InputError, match="no model is on the Hub"):
        choose_cards([here], None)
    with pytest.raises(InputError, match="--hub_model_id names the card of one model, got 2"):
        choose_cards([here, make_variant("b", "me/b")], "me/a")


def test_a_card_that_cannot_be_read_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    card, damaged = tmp_path / "README.md", "---\nmodel-index: [\n---\n# A\n"
    card.write_text(damaged)
    save_scores(make_variant("a", tmp_path), TEST, SCORES, "a is better.")
    assert card.read_text() == damaged and f"The scores are not in {card}: " in capsys.readouterr().out
