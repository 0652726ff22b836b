"""Mean scores as tables: one for how close texts are to the reference, one for what can be told of a text alone."""

from typing import Any

from metareview.common.cli import format_table
from metareview.scoring.comparison import Averages, Estimate
from metareview.scoring.metrics import METRICS
from metareview.scoring.verdicts import RELIABILITY

NOTES = (
    "reference: the meta-review by a person. lead: the opening words of each review, together as many as the reference "
    "has. other paper: the reference of another case.",
    "repetition: 4-grams that repeat an earlier one. copied: words in fragments of 4 or more from a review.",
    "ROUGE: F1 with stemming, both texts cleaned. right verdict: of the texts that name one. terms in no review: "
    "numbers and acronyms per text that need checking.",
)
SHOWN_INTERVALS = ("rougeL", "named", "right")  # in a terminal, which has no room for all


def find_metrics(averages: Averages, table: int) -> list[str]:
    """The METRICS of a table (0: closeness to the reference, 1: of the text alone) that a system has."""
    names = [name for name, metric in METRICS.items() if metric.table == table]
    return [name for name in names if any(name in estimates for estimates in averages.values())]


def _format_estimate(name: str, estimate: Estimate) -> str:
    mean, low, high = estimate
    form = METRICS[name].format
    interval = f" ({low:{form}} to {high:{form}})" if name in SHOWN_INTERVALS and low is not None else ""
    return f"{mean:{form}}{interval}"


def format_scores(averages: Averages) -> str:
    """All means as tables for a terminal or a card, a row for each system; some with their interval."""
    parts = []
    for names in (find_metrics(averages, 0), find_metrics(averages, 1)):
        rows = [["", *(METRICS[name].title for name in names)]]
        for system, estimates in averages.items():
            cells = [_format_estimate(name, estimates[name]) if name in estimates else "-" for name in names]
            rows.append([system, *cells])
        if names:
            parts.append(format_table(rows))
    if any("named" in estimates for estimates in averages.values()):
        parts.append(RELIABILITY)
    return "\n\n".join(parts)


def describe_others(test: dict[str, Any]) -> str:
    """In words, how many cases are not of the data, but of a person's in the results."""
    return f", {test['others']} of them not from there" if test.get("others") else ""
