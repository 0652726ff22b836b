"""Cells, columns and sheets: reading and writing values, and making them pleasant to read."""

import re
from collections.abc import Iterable
from typing import Any

from openpyxl import Workbook
from openpyxl.cell.cell import Cell
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.worksheet import Worksheet

FORBIDDEN = r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]"  # what XML 1.0 cannot hold
CELL_LIMIT = 32_767  # characters that Excel takes in one cell
CUT_MARK = " [cut]"
LAST_ROW = 1_048_576  # Excel's limit: rules for a column hold for rows that are added later too
HIGHEST_ROW = 409  # points, Excel's limit
LINE_HEIGHT = 15  # points
TEXT_WIDTHS = {  # of columns whose texts decide how high a row is, in characters
    "review": 90,
    "reference": 60,
    "base": 60,
    "fine_tuned": 60,
    "A": 60,
    "B": 60,
    "comment": 40,
    "changed_since": 24,
}


def find_sheet(workbook: Workbook, title: str) -> Worksheet | None:
    """The sheet of this title (in lower case); Excel does not tell upper from lower case either."""
    return next((sheet for sheet in workbook.worksheets if sheet.title.lower() == title), None)


def read_header(sheet: Worksheet) -> dict[str, int]:
    """Column numbers by the header in row 1, in lower case."""
    return {str(cell.value).strip().lower(): cell.column for cell in sheet[1] if cell.value is not None}


def read_row(sheet: Worksheet, row: int, columns: dict[str, int], names: Iterable[str]) -> list[Any]:
    """The values in the columns of these names."""
    return [sheet.cell(row, columns[name]).value for name in names]


def write_text(cell: Cell, text: str) -> int:
    """Put a text into a cell, never as a formula, cut with a mark at Excel's limit.

    Returns how many characters had to be replaced because a workbook cannot hold them.
    """
    text, replaced = re.subn(FORBIDDEN, "\ufffd", re.sub("\r\n?", "\n", text))  # XML reads a return as a line break
    cell.value = text if len(text) <= CELL_LIMIT else text[: CELL_LIMIT - len(CUT_MARK)] + CUT_MARK
    cell.data_type = "s"
    return replaced


def write_value(cell: Cell, value: Any) -> None:
    """Put a text or a number into a cell, a text never as a formula."""
    if isinstance(value, str):
        write_text(cell, value)
    else:
        cell.value = value


def new_workbook(rows: list[dict[str, Any]]) -> Workbook:
    """A workbook with these rows, which have the same keys, as its sheet `examples`."""
    workbook = Workbook()
    sheet = workbook.active
    sheet.title = "examples"
    columns = {name: column for column, name in enumerate(rows[0], start=1)}
    for name, column in columns.items():
        sheet.cell(1, column, name)
        for number, row in enumerate(rows, start=2):
            write_value(sheet.cell(number, column), row[name])
    style(sheet, columns)
    fit_to_page(sheet)
    return workbook


def style(sheet: Worksheet, columns: dict[str, int], hidden: str = "") -> None:
    """Make these columns readable: wrapped text, marked headers, and widths and row heights where none are set.

    The column named `hidden` is hidden, unless somebody has set its width.
    """
    for name, column in columns.items():
        if not has_width(sheet, column):
            dimension = sheet.column_dimensions[get_column_letter(column)]
            dimension.width = TEXT_WIDTHS.get(name, max(12, len(name) + 4))
            dimension.hidden = name == hidden
        for row in range(1, sheet.max_row + 1):
            sheet.cell(row, column).alignment = Alignment(wrap_text=True, vertical="top")
        mark_header(sheet.cell(1, column))
    for row in range(2, sheet.max_row + 1):
        lines = count_lines(sheet, row, columns)
        if lines and sheet.row_dimensions[row].height is None:
            sheet.row_dimensions[row].height = min(HIGHEST_ROW, LINE_HEIGHT * lines)
    sheet.freeze_panes = sheet.freeze_panes or "A2"


def has_width(sheet: Worksheet, column: int) -> bool:
    """Whether a width is set for a column, by itself or as one of a group."""
    groups = [(width.min or 0, width.max or 0) for width in sheet.column_dimensions.values()]
    in_a_group = any(first <= column <= last for first, last in groups)
    return in_a_group or get_column_letter(column) in sheet.column_dimensions


def count_lines(sheet: Worksheet, row: int, columns: dict[str, int]) -> int:
    """How many lines the longest text of a row takes in its column; 0 without texts."""
    most = 0
    for name, column in columns.items():
        text = sheet.cell(row, column).value
        if name in TEXT_WIDTHS and text:
            most = max(most, sum(1 + len(line) // TEXT_WIDTHS[name] for line in str(text).split("\n")))
    return most


def mark_header(cell: Cell) -> None:
    """Make a header bold on blue."""
    cell.font, cell.fill = Font(bold=True), PatternFill("solid", fgColor="DDE6F0")


def add_choices(sheet: Worksheet, column: int, choices: tuple[str, ...]) -> None:
    """A drop-down for a column, if it has none yet."""
    letter = get_column_letter(column)
    there = [str(rule.sqref).partition(":")[0] for rule in sheet.data_validations.dataValidation]
    if f"{letter}2" not in there:
        cells, message = f"{letter}2:{letter}{LAST_ROW}", f"one of: {', '.join(choices)}"
        rule = DataValidation("list", f'"{",".join(choices)}"', showErrorMessage=True, error=message, sqref=cells)
        sheet.add_data_validation(rule)


def fit_to_page(sheet: Worksheet) -> None:
    """Print the sheet as wide as one page."""
    sheet.page_setup.orientation, sheet.page_setup.fitToHeight = "landscape", 0
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
