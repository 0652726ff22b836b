"""The sheets `summary` and `runs`: formulas that calculate, runs that are never overwritten."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from openpyxl import Workbook, load_workbook
from openpyxl.utils import get_column_letter
from workbooks import AVERAGES, METRICS, changed, judge, put, three_cases

from metareview.workbook.opening import open_workbook, save_workbook
from metareview.workbook.results import JUDGED
from metareview.workbook.summary import append_run, write_summary

SOFFICE = shutil.which("soffice")


def test_runs_are_never_overwritten() -> None:
    workbook = Workbook()
    append_run(workbook, {"date": "1", "prompt": "=plain", "base rougeL": 0.25})
    append_run(workbook, {"date": "2", "new": 3})
    rows = list(workbook["runs"].iter_rows(values_only=True))
    workbook["runs"].insert_cols(2)
    append_run(workbook, {"prompt": "word_limit"})
    assert workbook["runs"]["C4"].value == "word_limit" and workbook["runs"]["B4"].value is None
    workbook["runs"].delete_cols(2)
    assert rows == [("date", "prompt", "base rougeL", "new"), ("1", "=plain", 0.25, None), ("2", None, None, 3)]
    assert workbook["runs"]["B2"].data_type == "s"


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed")
def test_formulas_calculate_in_libreoffice_and_nothing_is_lost_there(tmp_path: Path) -> None:
    save_workbook(three_cases().parent, tmp_path / "a.xlsx")
    convert = [SOFFICE, f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to", "xlsx"]
    convert += ["--outdir", tmp_path / "out", tmp_path / "a.xlsx"]
    subprocess.run(convert, check=True, capture_output=True)
    sheet = open_workbook(str(tmp_path / "out" / "a.xlsx")).active
    columns = put(sheet, *[("a", "b")] * 3)
    widths = sheet.column_dimensions
    assert widths[get_column_letter(columns["base"])].width == 60 and widths[get_column_letter(columns[JUDGED])].hidden
    judge(sheet, 2, preferred="fine_tuned", rating_base=2, rating_fine_tuned=5)
    judge(sheet, 3, preferred="tie", rating_base=3, rating_fine_tuned="none")
    judge(sheet, 4, preferred="base", rating_base=5, rating_fine_tuned=1)
    columns = put(sheet, ("a", "b"), ("a", "b"), ("a", "new"))
    write_summary(sheet, ["a sentence"], METRICS, AVERAGES, columns)
    append_run(sheet.parent, {"date": "today"})
    save_workbook(sheet.parent, tmp_path / "a.xlsx")
    subprocess.run(convert, check=True, capture_output=True)
    rows = list(load_workbook(tmp_path / "out" / "a.xlsx", data_only=True)["summary"].values)
    found = {row[0]: row[1:5] for row in rows if row[0]}
    assert found["preferred"] == (0, 1, 1, 0)  # the row whose text changed does not count
    assert found["mean rating, 1 to 5"][:2] == (2.5, 5) and found["cases rated"][:2] == (2, 1)
    assert next(row[1] for row in rows if re.match("judged, but", str(row[0]))) == 1
    saved = open_workbook(str(tmp_path / "out" / "a.xlsx"))  # as a person saves it there: we go on with it
    assert saved.sheetnames == ["Sheet", "summary", "runs"]
    assert len(saved["summary"]._charts) == 1 and len(saved.active.conditional_formatting) == 2
    columns = put(saved.active, ("a", "b"), ("a", "b"), ("a", "b"))
    assert not changed(saved.active, 4) and columns["base"] == 3
