"""Mean scores as tables."""

from metareview.scoring.score_table import format_scores, tabulate


def test_tables_have_intervals_but_no_column_of_dashes_and_none_is_empty() -> None:
    averages = {"a": {"words": (2.0, None, None), "ended": (1.0, None, None), "rougeL": (0.5, 0.25, 0.75)}}
    assert tabulate(averages, 0) == [["", "ROUGE-L", "words", "ended"], ["a", "0.500 (0.250 to 0.750)", "2", "100%"]]
    assert format_scores(averages).count("| a") == 1
    averages["lead"] = {"named": (0.5, 0.25, 0.75)}
    assert format_scores(averages).count("| a") == 2 and "| 50% (25% to 75%) |" in format_scores(averages)
