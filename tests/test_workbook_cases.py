"""Test cases: where they are found in a workbook."""

from pathlib import Path

import pytest
from openpyxl import load_workbook
from workbooks import AVERAGES, make_workbook, put, three_cases

from metareview.cli import InputError
from metareview.workbook.cases import find_case_sheet, read_cases
from metareview.workbook.cells import read_header
from metareview.workbook.summary import write_summary


def test_cases_are_the_rows_with_a_review(tmp_path: Path) -> None:
    path = make_workbook(
        tmp_path / "a.xlsx", ["No", " Review ", "reference"], [1, "a", "r"], [2, None, "r"], [3, "b", None]
    )
    sheet = load_workbook(path).active
    assert read_header(sheet) == {"no": 1, "review": 2, "reference": 3}
    assert [(case.row, case.review, case.reference) for case in read_cases(sheet, "a")] == [(2, "a", "r"), (4, "b", "")]


def test_the_cases_are_found_when_another_sheet_was_left_open(tmp_path: Path) -> None:
    sheet = three_cases()
    workbook = sheet.parent
    columns = put(sheet, base=["x"] * 3, tuned=["y"] * 3)
    write_summary(sheet, ["a sentence"], AVERAGES, {}, columns, {})
    workbook.active = workbook["summary"]
    assert find_case_sheet(workbook, "a.xlsx") is sheet
    workbook.remove(sheet)
    with pytest.raises(InputError, match="has a column 'review' in row 1"):
        find_case_sheet(workbook, "a.xlsx")
