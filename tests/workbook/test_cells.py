"""Cells: texts that stay texts, rows that are high enough."""

from pathlib import Path

from openpyxl import Workbook, load_workbook
from workbooks import put

from metareview.workbook.cells import A3, A4, CELL_LIMIT, write_text
from metareview.workbook.saving import save_workbook


def test_texts_never_become_formulas_and_stay_within_a_cell(tmp_path: Path) -> None:
    workbook = Workbook()
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "plain", "bad\x00character", "x" * 40_000]
    replaced = [write_text(workbook.active.cell(row, 1), text) for row, text in enumerate(texts, start=1)]
    save_workbook(workbook, tmp_path / "texts.xlsx")
    loaded = [row[0] for row in load_workbook(tmp_path / "texts.xlsx").active.iter_rows()]
    assert all(cell.data_type in ("s", "inlineStr") for cell in loaded)
    assert [cell.value for cell in loaded[:7]] == [text.replace("\r", "\n") for text in texts[:7]]
    assert loaded[7].value == "bad\ufffdcharacter" and replaced == [0] * 7 + [1, 0]
    assert len(loaded[8].value) == CELL_LIMIT and loaded[8].value.endswith("[cut]")


def test_rows_are_as_high_as_the_longest_text_needs() -> None:
    sheet = Workbook().active
    sheet.append(["review"])
    sheet.append(["a"])
    sheet.append(["b"])
    sheet.row_dimensions[3].height = 20
    put(sheet, base=["word " * 10] * 2, tuned=["word " * 60] * 2)
    assert sheet.row_dimensions[2].height == 15 * 6  # 300 characters in a column 45 wide: 54 letters a line
    assert sheet.row_dimensions[3].height == 20  # a person's own


def test_one_font_throughout_and_pages_that_can_be_read() -> None:
    sheet = Workbook().active
    for row in (["review", "reference"], ["a", "b"]):
        sheet.append(row)
    put(sheet, base=["x"])
    assert {(cell.font.name, cell.font.size) for row in sheet.iter_rows() for cell in row} == {("Calibri", 11)}
    assert sheet.page_setup.paperSize == A4
    put(sheet, **{name: ["x"] for name in "abcdef"})
    assert sheet.page_setup.paperSize == A3
