"""The sheet `runs`: a row for each model and test; a run that repeats another takes the place of its row."""

from openpyxl import Workbook

from metareview.workbook.runs import write_runs


def test_a_row_for_each_model_and_test() -> None:
    """A figure that a later run lacks is emptied: else the row would show the score of another encoder."""
    workbook = Workbook()
    first = {"model": "=a", "weights": "1", "prompt": "plain", "data": "d", "split": "test", "cases": 3}
    lead = {"model": "lead", "data": "d", "split": "test", "cases": 3}
    write_runs(workbook, [first | {"ROUGE-L": 0.25, "date": "1", "BERTScore": 0.5}, lead | {"date": "1"}])
    sheet = workbook["runs"]
    assert sheet["A2"].data_type == "s" and sheet["A2"].value == "=a" and sheet["G2"].number_format == "0.000"
    sheet.cell(1, 10).value, sheet.cell(2, 10).value = "my remark", "good"
    again = first | {"ROUGE-L": 0.5, "date": "2", "words": 7, "BERTScore": None}
    write_runs(workbook, [again, first | {"weights": "2"}, first | {"prompt": "other"}, lead | {"date": "2"}])
    header, *values = sheet.iter_rows(values_only=True)
    rows = [dict(zip(header, row, strict=True)) for row in values]
    assert [row["model"] for row in rows] == ["=a", "lead", "=a", "=a"]
    assert rows[0] == again | {"my remark": "good"} and rows[1]["date"] == "2"
