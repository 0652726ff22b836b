"""The scores of a run in the model's card on the Hub: as text, and as metadata that the Hub shows."""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard

from metareview.cli import InputError, format_table
from metareview.hub import check_token, explain_hub
from metareview.scoring import METRICS, ROUGE, Estimate, tabulate


def choose_card(model: str, hub_model_id: str | None, record: dict[str, Any]) -> str:
    """The Hub id of the model whose card gets the scores. Raises `InputError` where there is none to write to."""
    pushed_to = record.get("hub_model_id") if Path(model).exists() else model
    repo_id = hub_model_id or pushed_to
    if repo_id is None:
        raise InputError(f"{model!r} was not pushed; push it, or name it with --hub_model_id")
    check_token()
    with explain_hub(f"cannot read the card of {repo_id!r}"):
        ModelCard.load(repo_id)
    return repo_id


def add_scores(
    card: ModelCard, run: dict[str, Any], averages: dict[str, dict[str, Estimate]], verdicts: list[str]
) -> None:
    """Put the scores of a run into a model card, replacing those on the same data: as text and as metadata.

    `run` is the line of the sheet `runs`, of which data, split, cases and base are read.
    """
    data, split = run["data"], run["split"]
    where = f"the split `{split}` of `{data}`" if split else f"`{data}`"
    begin, end = f"<!-- scores on {where} -->", "<!-- end of scores -->"
    before, _, earlier = card.text.partition(begin)
    card.text = f"""{before.rstrip()}

{begin}
## Scores on {run["cases"]} cases of {where}

{format_table(tabulate(averages))}

{" ".join(verdicts)}

Means and 95 % intervals over the cases; base: `{run["base"]}`; lead: the opening words of each review. ROUGE is F1 with
stemming against the reference, both texts cleaned.
{end}
{earlier.partition(end)[2].lstrip()}"""
    new = []
    for name in ROUGE:
        if name in averages["fine_tuned"]:
            value, title = round(averages["fine_tuned"][name][0], 4), METRICS[name][0]
            new.append(EvalResult("summarization", data, data, "rouge", value, dataset_split=split, metric_name=title))
    old = [result for result in card.data.eval_results or [] if not any(map(result.is_equal_except_value, new))]
    card.data.eval_results = [*old, *new] or None
    card.data.model_name = card.data.model_name or "fine-tuned model"  # results need one


def push_scores(
    repo_id: str, run: dict[str, Any], averages: dict[str, dict[str, Estimate]], verdicts: list[str], workbook: Path
) -> None:
    """Add the scores of a run to a model's card on the Hub. Raises `OSError`, which names the workbook with them."""
    with explain_hub(f"the card of {repo_id} was not pushed", OSError, f". The scores are in {workbook}"):
        card = ModelCard.load(repo_id)
        add_scores(card, run, averages, verdicts)
        card.push_to_hub(repo_id, commit_message="Add scores")
    print(f"Added the scores to the card of {repo_id} on the Hub.")
