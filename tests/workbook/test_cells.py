"""Cells: texts that stay texts."""

from pathlib import Path

from openpyxl import Workbook, load_workbook

from metareview.workbook.cells import CELL_LIMIT, number_format, write_value


def test_texts_never_become_formulas_and_stay_within_a_cell(tmp_path: Path) -> None:
    workbook = Workbook()
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "plain", "bad\x00character", "x" * 40_000]
    replaced = [write_value(workbook.active.cell(row, 1), text) for row, text in enumerate(texts, start=1)]
    workbook.save(tmp_path / "texts.xlsx")
    loaded = [row[0] for row in load_workbook(tmp_path / "texts.xlsx").active.iter_rows()]
    assert all(cell.data_type in ("s", "inlineStr") for cell in loaded)
    assert [cell.value for cell in loaded[:7]] == [text.replace("\r", "\n") for text in texts[:7]]
    assert loaded[7].value == "bad\ufffdcharacter" and replaced == [0] * 7 + [1, 0]
    assert len(loaded[8].value) == CELL_LIMIT and loaded[8].value.endswith("[cut]")


def test_number_formats() -> None:
    assert [number_format(form) for form in (".3f", ".0f", ".0%", ".1%")] == ["0.000", "0", "0%", "0.0%"]
