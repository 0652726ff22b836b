"""The scores of a model in its card, here and on the Hub: as text, and as metadata that the Hub shows."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard

from metareview.common.cli import InputError
from metareview.common.files import replacing
from metareview.common.hub import check_token, explain_hub
from metareview.common.model import read_training_record
from metareview.generation.outputs import describe_decoding
from metareview.generation.variants import Variant
from metareview.scoring.comparison import Averages
from metareview.scoring.metrics import METRICS, OTHERS, ROUGE
from metareview.scoring.score_table import NOTES, describe_others, format_scores

CARD = "README.md"


def choose_cards(models: list[Variant], hub_model_id: str | None) -> dict[str, str]:
    """The Hub ids of the models whose cards get scores, by name; models that were not pushed are skipped.

    Raises `InputError` if there is no card to write to, or one id for several models.
    """
    if hub_model_id and len(models) > 1:
        raise InputError(f"--hub_model_id names the card of one model, got {len(models)} models")
    cards = {}
    for model in models:
        pushed_to = model.record.get("hub_model_id") if Path(model.model).exists() else model.model
        if hub_model_id or pushed_to:
            cards[model.name] = hub_model_id or pushed_to
            there = None if hub_model_id else read_training_record(pushed_to).get("finished")
            if there and there != model.record.get("finished"):
                told = f"{cards[model.name]} has another model than {model.name} by now"
                raise InputError(f"{told}: push this one again, or name its card with --hub_model_id")
        else:
            print(f"{model.name} was not pushed: its scores do not go to the Hub.")
    if not cards:
        raise InputError("--push_to_hub: no model is on the Hub; push one first, or name its card with --hub_model_id")
    check_token()
    for repo_id in cards.values():
        with explain_hub(f"cannot read the card of {repo_id!r}"):
            ModelCard.load(repo_id)
    return cards


def _add_scores(card: ModelCard, test: dict[str, Any], model: Variant, averages: Averages, verdict: str) -> None:
    """Put the scores of a model into its card, as text and as metadata, in place of those on the same data.

    `test` has the name of the data, of its split (None for test cases), the number of cases and, if there is a
    BERTScore, its encoder.
    """
    data, split, systems = test["data"], test["split"], (model.base, model.name, *OTHERS)
    where = f"the split `{split}` of `{data}`" if split else f"`{data}`"
    begin, end = f"<!-- scores on {where} -->", "<!-- end of scores -->"
    before, _, earlier = card.text.partition(begin)
    heading = f"## Scores on {test['cases']} cases of {where}{describe_others(test)}"
    scores = format_scores({name: averages[name] for name in systems if name in averages})
    encoder = [f"BERTScore: F1 by {test['encoder']}."] if test.get("encoder") else []
    notes = " ".join(["Means over the cases, some with a 95% interval.", *NOTES, *encoder])
    decoding = f"Decoding: {describe_decoding(model)}."
    if model.settings.prompt_template != model.record.get("prompt_template", model.settings.prompt_template):
        decoding += f" The prompt is not that of the training, but `{json.dumps(model.settings.prompt_template)}`."
    text = "\n\n".join([begin, heading, scores, verdict, decoding, notes, end])
    card.text = f"{before.rstrip()}\n\n{text}\n{earlier.partition(end)[2].lstrip()}"
    new = []
    for name in ROUGE:
        if name in averages[model.name]:
            value, title = round(averages[model.name][name][0], 4), METRICS[name].title
            new.append(EvalResult("summarization", data, data, "rouge", value, dataset_split=split, metric_name=title))
    old = [result for result in card.data.eval_results or [] if not any(map(result.is_equal_except_value, new))]
    card.data.eval_results = [*old, *new] or None
    card.data.model_name = card.data.model_name or model.name  # results need one


def save_scores(model: Variant, test: dict[str, Any], averages: Averages, verdict: str) -> None:
    """Add the scores of a model in a folder to the card next to it, if it has one that can be read."""
    path = Path(model.model, CARD)
    if not path.is_file():
        return
    try:
        card = ModelCard.load(path)
        _add_scores(card, test, model, averages, verdict)
        with replacing(path) as new:
            card.save(new)
    except Exception as error:  # the results are worth more than the card
        print(f"The scores are not in {path}: {' '.join(str(error).split())[:200]}")


def push_scores(
    repo_id: str, model: Variant, test: dict[str, Any], averages: Averages, verdict: str, workbook: Path
) -> None:
    """Add the scores of a model to its card on the Hub. Raises `OSError`, which names the workbook with them."""
    with explain_hub(f"the card of {repo_id} was not pushed", OSError, f". The scores are in {workbook}"):
        card = ModelCard.load(repo_id)
        _add_scores(card, test, model, averages, verdict)
        card.push_to_hub(repo_id, commit_message="Add scores")
    print(f"Added the scores to the card of {repo_id} on the Hub.")
