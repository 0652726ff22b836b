"""Cells: reading and writing values, and making a sheet easy to read."""

import re
import textwrap
from copy import copy
from typing import Any

from openpyxl import Workbook
from openpyxl.cell.cell import Cell, MergedCell
from openpyxl.comments import Comment
from openpyxl.formula.translate import Translator
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

FORBIDDEN = r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]"  # what XML 1.0 cannot hold
CELL_LIMIT = 32_767  # characters that Excel takes in one cell
CUT_MARK = " [cut]"
HIGHEST_ROW = 409  # points, Excel's limit
DEFAULT_SIZE, SMALL_SIZE = 11, 9  # points: of letters
LINE_HEIGHT = 4 / 3  # in the size of the letters
LETTERS, BOLD = 1.05, 0.8  # letters in the width of a digit, by which widths are counted
REST = "The rest of the text:\n"  # begins a note on a cell that no row is high enough for
NOTE_WIDTH = 600  # pixels
WIDEST = 85  # characters: of a column of reviews, so that two texts are beside it on a screen
LAST_ROW = 1_048_576  # Excel's limit: drop-downs hold for rows that are added later too
NARROW = 11  # characters: the width of a column of numbers
CENTERED_BELOW = 20  # characters: numbers and choices
CASE_WIDTHS = {"row": 7, "case": 24, "review": 60, "reference": 40}  # characters


def find_sheet(workbook: Workbook, title: str) -> Worksheet | None:
    """The sheet of this title (in lower case); Excel does not tell upper from lower case either."""
    return next((sheet for sheet in workbook.worksheets if sheet.title.lower() == title), None)


def read_header(sheet: Worksheet) -> dict[str, int]:
    """Column numbers by the header in row 1, in lower case."""
    return {str(cell.value).strip().lower(): cell.column for cell in sheet[1] if cell.value is not None}


def fit_text(text: str) -> str:
    """A text as a cell can hold it: cut with a mark at Excel's limit, forbidden characters replaced."""
    text = re.sub(FORBIDDEN, "\ufffd", re.sub("\r\n?", "\n", text))  # XML reads a return as a line break
    return text if len(text) <= CELL_LIMIT else text[: CELL_LIMIT - len(CUT_MARK)] + CUT_MARK


def free_cell(sheet: Worksheet, row: int, column: int) -> Cell:
    """A cell that can be written to: merged cells that it is part of are taken apart."""
    cell = sheet.cell(row, column)
    if isinstance(cell, MergedCell):
        sheet.unmerge_cells(next(cells.coord for cells in sheet.merged_cells.ranges if cell.coordinate in cells))
    return sheet.cell(row, column)


def write_value(sheet: Worksheet, row: int, column: int, value: Any) -> Cell:
    """Put a value into a cell, a text never as a formula; returns the cell."""
    cell = free_cell(sheet, row, column)
    cell.value = fit_text(value) if isinstance(value, str) else value
    if isinstance(value, str):
        cell.data_type = "s"
    return cell


def copy_cell(cell: Cell, sheet: Worksheet, row: int, column: int) -> None:
    """Copy a cell with its look and its note into another sheet; a formula refers to the cells of its new place."""
    target = free_cell(sheet, row, column)
    target.value = cell.value
    if cell.data_type == "f" and isinstance(cell.value, str):
        target.value = Translator(cell.value, cell.coordinate).translate_formula(target.coordinate)
    for name in ("data_type", "number_format", "font", "fill", "border", "alignment", "protection", "comment"):
        setattr(target, name, copy(getattr(cell, name)))


def new_workbook(rows: list[dict[str, Any]]) -> Workbook:
    """A workbook with these rows, which have the same keys, as its sheet `examples`."""
    workbook = Workbook()
    workbook.active.title = "examples"
    for column, name in enumerate(rows[0], start=1):
        for number, value in enumerate([name, *(row[name] for row in rows)], start=1):
            write_value(workbook.active, number, column, value)
        style_column(workbook.active, column, CASE_WIDTHS.get(name.lower(), NARROW))
    return workbook


def number_format(form: str) -> str:
    """Excel's number format for one of Python's, such as .3f or .0%."""
    return format(0, form)  # a zero in it: 0.000, 0%


def change_font(font: Font, **changes: Any) -> Font:
    """A font with some attributes changed."""
    changed = copy(font)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def mark_header(cell: Cell) -> None:
    """Make a cell bold, with a background."""
    cell.font = change_font(cell.font, bold=True)
    cell.fill = PatternFill("solid", fgColor="DDE6F0")


def style_column(sheet: Worksheet, column: int, width: float, choices: str = "") -> None:
    """Make a column readable: this width (in characters), wrapped, narrow ones centered, with a marked header.

    `choices` is what a drop-down offers: a list in quotes, or the name of a range of cells.
    """
    letter = get_column_letter(column)
    sheet.column_dimensions[letter].width = width
    alignment = Alignment(wrap_text=True, vertical="top", horizontal="center" if width < CENTERED_BELOW else None)
    for row in range(1, sheet.max_row + 1):
        sheet.cell(row, column).alignment = alignment
    mark_header(sheet.cell(1, column))
    if choices:
        cells = f"{letter}2:{letter}{LAST_ROW}"
        sheet.add_data_validation(DataValidation("list", choices, showErrorMessage=True, sqref=cells))


def ungroup_columns(sheet: Worksheet) -> None:
    """Give each column its own width: programs set one for a group of columns, often up to the end of the sheet."""
    for letter, group in list(sheet.column_dimensions.items()):
        if group.min is not None:
            del sheet.column_dimensions[letter]
            for column in range(group.min, min(group.max, sheet.max_column) + 1):
                single = copy(group)
                single.index, single.min, single.max = get_column_letter(column), column, column
                sheet.column_dimensions[single.index] = single


def _measure(text: Any, size: float, width: float, letters: float = LETTERS) -> float:
    """About how high a text is (points) in a font of this size (points), in a column of this width (characters)."""
    room = letters * width * DEFAULT_SIZE / size
    return round(size * LINE_HEIGHT) * sum(1 + int(len(line) // room) for line in str(text).split("\n"))


def fit_column(sheet: Worksheet, column: int) -> None:
    """Make a column of texts as wide as it takes, up to WIDEST, to show them whole.

    If that is not enough, the letters become smaller, and notes on the cells have the rest of what is still too long.
    """
    texts = [cell for cell in next(sheet.iter_cols(column, column, 2)) if cell.value]
    dimension = sheet.column_dimensions[get_column_letter(column)]
    widths = [dimension.width, *range(int(dimension.width), WIDEST + 1)]
    choices = [(size, width) for size in (DEFAULT_SIZE, SMALL_SIZE) for width in widths]
    hidden = [sum(max(0, _measure(cell.value, *choice) - HIGHEST_ROW) for cell in texts) for choice in choices]
    size, dimension.width = choices[hidden.index(min(hidden))]
    for cell in texts:
        cell.font = change_font(cell.font, size=size)
        if cell.comment is None or cell.comment.text.startswith(REST):
            cell.comment = _note_rest(str(cell.value), dimension.width, size)


def _note_rest(text: str, width: float, size: float) -> Comment | None:
    """A note with what is below the highest row of a text in a column of this width, if anything is."""
    room = int(LETTERS * width * DEFAULT_SIZE / size)
    lines = [part for line in text.split("\n") for part in textwrap.wrap(line, room) or [""]]
    rest = lines[int(HIGHEST_ROW / round(size * LINE_HEIGHT)) :]
    return Comment(REST + "\n".join(rest), "", width=NOTE_WIDTH, height=20 * len(rest) + 40) if rest else None


def fit_rows(sheet: Worksheet) -> None:
    """Make all rows as high as their longest text needs, within Excel's limit; what is folded away does not count."""
    for number, row in enumerate(sheet.iter_rows(), start=1):
        height = LINE_HEIGHT * DEFAULT_SIZE
        for cell in row:
            column, font = sheet.column_dimensions[get_column_letter(cell.column)], cell.font
            if isinstance(cell.value, str) and not column.hidden:
                height = max(height, _measure(cell.value, font.size, column.width, BOLD if font.bold else LETTERS))
        sheet.row_dimensions[number].height = min(HIGHEST_ROW, round(height))
