"""Mean scores as tables: one for how close texts are to the reference, one for what can be told of a text alone."""

from metareview.cli import format_table
from metareview.rouge import ROUGE
from metareview.scoring import METRICS, Averages
from metareview.verdicts import RELIABILITY

GROUPS = (("rouge1", "rouge2", "rougeL", "words", "stopped"), ("repetition", "copied", "named", "right", "unsupported"))
SHOWN_INTERVALS = ("rougeL", "named", "right")  # in a terminal; the workbook has room for those of KEPT_INTERVALS
KEPT_INTERVALS = (*ROUGE, "named", "right", "unsupported")


def find_metrics(averages: Averages, group: tuple[str, ...] = tuple(METRICS)) -> list[str]:
    """Those of a group of METRICS that a system has, in their order."""
    return [name for name in group if any(name in estimates for estimates in averages.values())]


def tabulate(averages: Averages, group: tuple[str, ...]) -> list[list[str]]:
    """Means as text, a row for each system; some with their interval."""
    metrics = find_metrics(averages, group)
    table = [["", *(METRICS[name][0] for name in metrics)]]
    for system, estimates in averages.items():
        row = [system]
        for name in metrics:
            mean, low, high = estimates.get(name, (None, None, None))
            form = METRICS[name][1]
            text = "-" if mean is None else format(mean, form)
            interval = f" ({low:{form}} to {high:{form}})" if name in SHOWN_INTERVALS and low is not None else ""
            row.append(text + interval)
        table.append(row)
    return table


def format_scores(averages: Averages) -> str:
    """All means as tables for a terminal or a card."""
    groups = [group for group in GROUPS if find_metrics(averages, group)]
    parts = [format_table(tabulate(averages, group)) for group in groups]
    if find_metrics(averages, ("named",)):
        parts.append(RELIABILITY)
    return "\n\n".join(parts)
