"""The sheet `runs`: a row for each model and test; a run that repeats another replaces its row."""

from openpyxl import Workbook

from metareview.workbook.runs import write_runs


def rows(workbook: Workbook) -> list[dict]:
    header, *others = workbook["runs"].iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in others]


def test_a_row_for_each_model_and_test() -> None:
    workbook = Workbook()
    test = {"data": "cases", "split": None, "cases": 20, "decoding": "greedy", "weights": "1", "prompt": "plain"}
    write_runs(workbook, [{"model": "=one", "ROUGE-L": 0.25} | test, {"model": "two", "ROUGE-L": 0.5} | test])
    write_runs(workbook, [{"model": "two", "ROUGE-L": 0.75} | test, {"model": "three", "new": 3} | test])
    found = rows(workbook)
    assert [row["model"] for row in found] == ["=one", "two", "three"]
    assert [row["ROUGE-L"] for row in found] == [0.25, 0.75, None] and found[2]["new"] == 3
    assert workbook["runs"]["A2"].data_type == "s"
    write_runs(workbook, [{"model": "two", "ROUGE-L": 0.1} | test | {"cases": 30}])
    assert [row["ROUGE-L"] for row in rows(workbook)] == [0.25, 0.75, None, 0.1]
