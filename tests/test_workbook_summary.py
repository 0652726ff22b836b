"""The sheet `summary`: formulas that calculate, in a program as a person has it."""

import shutil
import subprocess
from pathlib import Path

import pytest
from openpyxl import load_workbook
from workbooks import AVERAGES, judge, put, three_cases

from metareview.workbook.opening import open_workbook, save_workbook
from metareview.workbook.summary import write_summary

SOFFICE = shutil.which("soffice")
LOSSES = {"tuned": [[0, 3.0], [0.5, 2.0], [1, 1.5]], "base": None}


def test_it_is_written_anew_with_its_charts() -> None:
    sheet = three_cases()
    columns = put(sheet, base=["a"] * 3, tuned=["b"] * 3)
    for sentence in ("=first", "=second"):
        write_summary(sheet, [sentence], AVERAGES, {"both (2 seeds)": AVERAGES["tuned"]}, columns, LOSSES)
    summary = sheet.parent["summary"]
    values = [cell.value for cell in summary["A"]]
    assert "=second" in values and "=first" not in values and summary["A2"].data_type == "s"
    assert [name for name in ("base", "tuned", "lead", "both (2 seeds)") if name not in values] == []
    assert len(summary._charts) == 2


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed")
def test_formulas_calculate_in_libreoffice_and_nothing_is_lost_there(tmp_path: Path) -> None:
    save_workbook(three_cases().parent, tmp_path / "a.xlsx")
    convert = [SOFFICE, f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to", "xlsx"]
    convert += ["--outdir", tmp_path / "out", tmp_path / "a.xlsx"]
    subprocess.run(convert, check=True, capture_output=True)
    sheet = open_workbook(str(tmp_path / "out" / "a.xlsx")).active
    columns = put(sheet, base=["a", "b", "c"], tuned=["d", "e", "f"])
    for row, (base, tuned, preferred) in enumerate(((2, 5, "tuned"), (3, "none", "tie"), (9, 1, "base")), start=2):
        judge(sheet, columns, row, "rating", "base", base)
        judge(sheet, columns, row, "rating", "tuned", tuned)
        judge(sheet, columns, row, "preferred", "", preferred)
    columns = put(sheet, base=["a", "b", "c"], tuned=["d", "e", "f"])
    write_summary(sheet, ["a sentence"], AVERAGES, {}, columns, LOSSES)
    save_workbook(sheet.parent, tmp_path / "a.xlsx")
    subprocess.run(convert, check=True, capture_output=True)
    rows = list(load_workbook(tmp_path / "out" / "a.xlsx", data_only=True)["summary"].values)
    header = next(row for row in rows if row[0] == "model")
    first = header.index("preferred")
    found = {row[0]: row[first : first + 3] for row in rows if row[0] in ("base", "tuned")}
    assert found == {"base": (1, 2.5, 2), "tuned": (1, 3, 2)}  # the 9 and the text do not count
    saved = open_workbook(str(tmp_path / "out" / "a.xlsx"))  # as a person saves it there: we go on with it
    assert {"Sheet", "summary", "judgements"} == set(saved.sheetnames)
    columns = put(saved.active, base=["a", "b", "c"], tuned=["d", "e", "f"])
    assert saved.active.cell(2, columns["rating", "tuned"]).value == 5
