"""Mean scores as tables."""

from metareview.scoring.metrics import METRICS
from metareview.scoring.score_table import format_scores, tabulate


def test_the_tables_fit_into_a_terminal() -> None:
    estimates = dict.fromkeys(METRICS, (0.5, 0.25, 0.75))
    text = format_scores({"pythia_finetuned_lr1": estimates, "lead": {"rougeL": (0.1, None, None)}})
    assert max(map(len, text.splitlines())) <= 110
    assert "| 50% (25% to 75%) |" in text and "| 0.500 (0.250 to 0.750) |" in text and "  0.100 |" in text


def test_there_is_no_column_of_dashes_and_no_empty_table() -> None:
    averages = {"a": {"words": (2.0, None, None), "ended": (1.0, None, None), "copied": (0.0, None, None)}}
    assert tabulate(averages, 0) == [["", "words", "ended"], ["a", "2", "100%"]]
    assert format_scores(averages).count("| a") == 2
    del averages["a"]["copied"]
    assert format_scores(averages).count("| a") == 1
