"""Cells: texts that stay texts."""

from pathlib import Path

from openpyxl import Workbook, load_workbook
from openpyxl.comments import Comment

from metareview.workbook.cells import CELL_LIMIT, fit_column, write_value


def test_texts_never_become_formulas_and_stay_within_a_cell(tmp_path: Path) -> None:
    workbook = Workbook()
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "plain", "bad\x00character", "x" * 40_000]
    for row, text in enumerate(texts, start=1):
        write_value(workbook.active, row, 1, text)
    workbook.save(tmp_path / "texts.xlsx")
    loaded = [row[0] for row in load_workbook(tmp_path / "texts.xlsx").active.iter_rows()]
    assert all(cell.data_type in ("s", "inlineStr") for cell in loaded)
    assert [cell.value for cell in loaded[:7]] == [text.replace("\r", "\n") for text in texts[:7]]
    assert loaded[7].value == "bad\ufffdcharacter"
    assert len(loaded[8].value) == CELL_LIMIT and loaded[8].value.endswith("[cut]")


def test_a_column_grows_and_its_letters_shrink_until_texts_are_seen_whole() -> None:
    """The rest of what is too long even then is in a note; a note of the user's stays."""
    sheet = Workbook().active
    for words, width, size in ((100, 30, 11), (400, 71, 11), (500, 58, 9), (5_000, 85, 9)):
        sheet["A2"], sheet.column_dimensions["A"].width = "word " * words, 30
        fit_column(sheet, 1)
        assert (sheet.column_dimensions["A"].width, sheet["A2"].font.size) == (width, size)
        assert (sheet["A2"].comment is None) == (words < 5_000)
    title, *rest = sheet["A2"].comment.text.split("\n")
    assert title == "The rest of the text:" and len(rest) == 228 - 34 and set(" ".join(rest).split()) == {"word"}
    sheet["A2"].comment = Comment("mine", "me")
    fit_column(sheet, 1)
    assert sheet["A2"].comment.text == "mine"
