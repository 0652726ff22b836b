"""The sheet `summary`: formulas that calculate, figures in their places, a font that is that of the workbook."""

import shutil
import subprocess
from pathlib import Path

import pytest
from openpyxl import load_workbook
from workbooks import AVERAGES, judge, judged, put, three_cases

from metareview.workbook.runs import write_runs
from metareview.workbook.saving import open_workbook, save_workbook
from metareview.workbook.summary import write_summary

SOFFICE = shutil.which("soffice")
LOSSES = {"tuned": [[0.0, 12.0], [0.5, 1.5], [1.0, 1.0]], "base": None}


def find_row(sheet, first: str) -> list:
    return next([cell.value for cell in row] for row in sheet.iter_rows() if row[0].value == first)


def test_a_row_for_each_model_and_the_spread_of_seeds() -> None:
    sheet = three_cases()
    columns = put(sheet, base=["a"] * 3, tuned=["b"] * 3)
    spread = {"tuned (2 seeds)": {"rougeL": (0.25, 0.2, 0.3)}}
    for _ in range(2):  # written anew, not twice
        write_summary(sheet, ["a sentence", "=not a formula", ""], AVERAGES, spread, columns, LOSSES)
    summary = sheet.parent["summary"]
    assert [cell.value for cell in summary["A"][:3]][1:] == ["a sentence", "=not a formula"]
    assert summary["A3"].data_type == "s"
    header = find_row(summary, "model")
    assert header[:10] == ["model", "ROUGE-1", "from", "to", "ROUGE-2", "from", "to", "ROUGE-L", "from", "to"]
    for name in ("base", "tuned", "lead"):
        assert find_row(summary, name)[1:4] == [0.2, 0.1, 0.3]
    assert find_row(summary, "tuned (2 seeds)")[7:10] == [0.25, 0.2, 0.3]
    assert find_row(summary, "tuned: epoch")[1:4] == [0.0, 0.5, 1.0]
    assert len(summary._charts) == 2
    fonts = {(cell.font.name, cell.font.size) for row in summary.iter_rows() for cell in row}
    assert fonts == {("Calibri", 11)}


def test_without_references_and_losses_there_is_no_chart() -> None:
    sheet = three_cases()
    columns = put(sheet, base=["a"] * 3)
    write_summary(sheet, [], {"base": {"words": (3.0, None, None)}}, {}, columns, {})
    summary = sheet.parent["summary"]
    assert find_row(summary, "model")[:3] == ["model", "words", None] and not summary._charts


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed")
def test_formulas_calculate_in_libreoffice_and_nothing_is_lost_there(tmp_path: Path) -> None:
    save_workbook(three_cases().parent, tmp_path / "a.xlsx")
    convert = [SOFFICE, f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to", "xlsx"]
    convert += ["--outdir", tmp_path / "out", tmp_path / "a.xlsx"]
    subprocess.run(convert, check=True, capture_output=True)
    sheet = open_workbook(str(tmp_path / "out" / "a.xlsx")).active
    texts = {"base": ["a"] * 3, "tuned": ["b\nc"] * 3}
    put(sheet, **texts)
    judge(sheet, 2, "preferred", "tuned")
    judge(sheet, 3, "preferred", "tie")
    for row, value in ((2, 2), (3, 4), (4, 9)):  # a 9 does not count
        judge(sheet, row, "rating", value, "base")
    judge(sheet, 2, "rating", "none", "tuned")
    judge(sheet, 4, "comment", "short")
    columns = put(sheet, **texts)
    write_summary(sheet, ["a sentence"], AVERAGES, {}, columns, LOSSES)
    write_runs(sheet.parent, [{"model": "tuned", "date": "today"}])
    save_workbook(sheet.parent, tmp_path / "a.xlsx")
    subprocess.run(convert, check=True, capture_output=True)
    summary = load_workbook(tmp_path / "out" / "a.xlsx", data_only=True)["summary"]
    header, base, tuned = (find_row(summary, name) for name in ("model", "base", "tuned"))
    place = header.index("preferred")
    assert base[place : place + 3] == [0, 3, 2] and tuned[place] == 1 and tuned[place + 2] == 0
    saved = open_workbook(str(tmp_path / "out" / "a.xlsx"))  # as a person saves it there: we go on with it
    assert {"summary", "runs", "judgements"} < set(saved.sheetnames)
    assert len(saved["summary"]._charts) == 2 and len(saved.active.conditional_formatting) == 2
    again = put(saved.active, **texts)
    assert again == columns and len(saved.active.conditional_formatting) == 2
    assert len(saved.active.data_validations.dataValidation) == 3
    ratings = [judged(saved.active, row, "rating", "base") for row in (2, 3, 4)]
    assert ratings == [2, 4, 9] and judged(saved.active, 4, "comment") == "short"
    put(saved.active, base=["a"] * 3)
    put(saved.active, **texts)
    assert judged(saved.active, 2, "preferred") == "tuned" and judged(saved.active, 2, "rating", "tuned") == "none"
