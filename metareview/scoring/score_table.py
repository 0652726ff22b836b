"""Mean scores as tables: one for how close texts are to the reference, one for what can be told of a text alone."""

from typing import Any

from metareview.common.cli import format_table
from metareview.scoring.comparison import Averages
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


def tabulate(averages: Averages, table: int) -> list[list[str]]:
    """Means as text, a row for each system; some with their interval."""
    metrics = find_metrics(averages, table)
    rows = [["", *(METRICS[name].title for name in metrics)]]
    for system, estimates in averages.items():
        row = [system]
        for name in metrics:
            mean, low, high = estimates.get(name, (None, None, None))
            form = METRICS[name].format
            text = "-" if mean is None else format(mean, form)
            interval = f" ({low:{form}} to {high:{form}})" if name in SHOWN_INTERVALS and low is not None else ""
            row.append(text + interval)
        rows.append(row)
    return rows


def format_scores(averages: Averages) -> str:
    """All means as tables for a terminal or a card."""
    parts = [format_table(tabulate(averages, table)) for table in (0, 1) if find_metrics(averages, table)]
    if any("named" in estimates for estimates in averages.values()):
        parts.append(RELIABILITY)
    return "\n\n".join(parts)


def describe_others(test: dict[str, Any]) -> str:
    """In words, how many cases are not of the data, but of a person's in the results."""
    return f", {test['others']} of them not from there" if test.get("others") else ""
