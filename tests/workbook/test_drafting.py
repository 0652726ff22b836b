"""Drafting: papers that become test cases. What is printed for a paper is tested with the whole script."""

from pathlib import Path

import pytest
from openpyxl import Workbook, load_workbook

from metareview.common.cli import InputError
from metareview.workbook.drafting import add_case


def test_a_saved_case_goes_below_everything_once_and_all_else_stays(tmp_path: Path) -> None:
    workbook, path = Workbook(), tmp_path / "mine.xlsx"
    for row in (["note", "review", "case"], ["=1+1", "an old case", "old"], ["below it", None, None]):
        workbook.active.append(row)
    workbook.active.column_dimensions["B"].width = 33
    workbook.create_sheet("mine").append(["precious"])
    workbook.save(path)
    case = {"case": "", "review": "=SUM(1) is no formula\n<REVBREAK>\nIt lacks a baseline.", "reference": "r"}
    for _ in range(2):  # the second time it is there already
        assert add_case(str(path), case) == 4
    saved = load_workbook(path)
    rows = [[cell.value for cell in row] for row in saved.active.iter_rows()]
    assert rows == [["note", "review", "case", "reference"], ["=1+1", "an old case", "old", None],
                    ["below it", None, None, None], [None, case["review"], None, "r"]]  # fmt: skip
    assert saved.active["B4"].data_type == "s" and saved.active["A2"].data_type == "f"
    assert saved.active.column_dimensions["B"].width == 33 and saved["mine"]["A1"].value == "precious"
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"the review has 40,000 characters.*nothing was saved"):
        add_case(str(path), case | {"review": "word " * 8_000})
    assert path.read_bytes() == before
