"""Cells, columns and sheets: reading and writing values, and making them pleasant to read."""

import re
from collections.abc import Iterable
from typing import Any

from openpyxl import Workbook
from openpyxl.cell.cell import Cell
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.page import PageMargins
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.worksheet import Worksheet

FORBIDDEN = r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]"  # what XML 1.0 cannot hold
CELL_LIMIT = 32_767  # characters that Excel takes in one cell
CUT_MARK = " [cut]"
LAST_ROW = 1_048_576  # Excel's limit: rules for a column hold for rows that are added later too
HIGHEST_ROW = 409  # points, Excel's limit
LINE_HEIGHT = 15  # points
LETTERS, HEADER_LETTERS = 1.2, 0.8  # in the width of a digit, by which widths are counted; headers are bold
NARROW = 11  # characters: the width of a column of numbers
CENTERED_BELOW = 20  # characters: numbers and choices
CASE_WIDTHS = {"row": 7, "case": 24, "review": 60, "reference": 40}  # characters
MARGIN = 0.4  # inches; by which we know that nobody has set the page up otherwise
A4, A3, WIDEST_ON_A4 = 9, 8, 220  # numbers of paper sizes; characters, more of which are too small to read there
NUMBER_FORMATS = {".3f": "0.000", ".1f": "0.0", ".0f": "0", ".0%": "0%"}  # Python's, Excel's
CHOICE_TITLE = "Not one of the choices"  # by which we know our own drop-downs


def find_sheet(workbook: Workbook, title: str) -> Worksheet | None:
    """The sheet of this title (in lower case); Excel does not tell upper from lower case either."""
    return next((sheet for sheet in workbook.worksheets if sheet.title.lower() == title), None)


def read_header(sheet: Worksheet) -> dict[str, int]:
    """Column numbers by the header in row 1, in lower case."""
    return {str(cell.value).strip().lower(): cell.column for cell in sheet[1] if cell.value is not None}


def fit_text(text: str) -> tuple[str, int]:
    """A text as a cell can hold it, cut with a mark at Excel's limit; how many characters had to be replaced."""
    text, replaced = re.subn(FORBIDDEN, "\ufffd", re.sub("\r\n?", "\n", text))  # XML reads a return as a line break
    return text if len(text) <= CELL_LIMIT else text[: CELL_LIMIT - len(CUT_MARK)] + CUT_MARK, replaced


def write_text(cell: Cell, text: str) -> int:
    """Put a text into a cell, never as a formula; returns how many characters had to be replaced."""
    cell.value, replaced = fit_text(text)
    cell.data_type = "s"
    return replaced


def write_value(cell: Cell, value: Any) -> None:
    """Put a text or a number into a cell, a text never as a formula."""
    if isinstance(value, str):
        write_text(cell, value)
    else:
        cell.value = value


def new_workbook(rows: list[dict[str, Any]], widths: dict[str, float]) -> Workbook:
    """A workbook with these rows, which have the same keys, as its sheet `examples`; `widths` are those of columns."""
    workbook = Workbook()
    sheet = workbook.active
    sheet.title = "examples"
    for column, name in enumerate(rows[0], start=1):
        sheet.cell(1, column, name)
        for number, row in enumerate(rows, start=2):
            write_value(sheet.cell(number, column), row[name])
        style_column(sheet, column, widths.get(name, NARROW))
    return workbook


def find_default_font(sheet: Worksheet) -> Font:
    """The font of the cells of a workbook that have none of their own."""
    return Cell(sheet, 1, 1).font


def emphasize(cell: Cell, fill: bool = False) -> None:
    """Make a cell bold, in the font and size of all others; a header is also blue."""
    font = find_default_font(cell.parent)
    cell.font = Font(name=font.name, size=font.size, bold=True)
    if fill:
        cell.fill = PatternFill("solid", fgColor="DDE6F0")


def style_column(sheet: Worksheet, column: int, width: float) -> None:
    """Make a column readable: wrapped, with a marked header and this width where none is set; narrow ones centered."""
    if not has_width(sheet, column):
        sheet.column_dimensions[get_column_letter(column)].width = width
    horizontal = "center" if width < CENTERED_BELOW else None
    for row in range(1, sheet.max_row + 1):
        sheet.cell(row, column).alignment = Alignment(wrap_text=True, vertical="top", horizontal=horizontal)
    emphasize(sheet.cell(1, column), fill=True)


def fit_rows(sheet: Worksheet) -> None:
    """Make the rows as high as their longest text needs, where no height is set; that of the header only grows."""
    widths = {column: find_width(sheet, column) for column in range(1, sheet.max_column + 1)}
    for row in range(1, sheet.max_row + 1):
        texts = ((sheet.cell(row, column).value, width) for column, width in widths.items())
        letters = HEADER_LETTERS if row == 1 else LETTERS
        lines = max((count_lines(text, letters * width) for text, width in texts if isinstance(text, str)), default=1)
        height, needed = sheet.row_dimensions[row].height, min(HIGHEST_ROW, LINE_HEIGHT * lines)
        if (height is None and lines > 1) or (row == 1 and needed > (height or LINE_HEIGHT)):
            sheet.row_dimensions[row].height = needed


def count_lines(text: str, length: float) -> int:
    """How many lines a text takes where a line has room for so many letters."""
    return sum(1 + int(len(line) // length) for line in text.split("\n"))


def find_width(sheet: Worksheet, column: int) -> float:
    """The width of a column in characters; one set for a group of columns holds for each."""
    for dimension in sheet.column_dimensions.values():
        if (dimension.min or 0) <= column <= (dimension.max or 0):
            return dimension.width
    return sheet.column_dimensions[get_column_letter(column)].width if has_width(sheet, column) else 13


def has_width(sheet: Worksheet, column: int) -> bool:
    """Whether a width is set for a column, by itself or as one of a group."""
    groups = [(width.min or 0, width.max or 0) for width in sheet.column_dimensions.values()]
    in_a_group = any(first <= column <= last for first, last in groups)
    return in_a_group or get_column_letter(column) in sheet.column_dimensions


def add_choices(sheet: Worksheet, column: int, choices: str, names: Iterable[str]) -> None:
    """A drop-down for a column; `choices` is a list in quotes or a range of cells, `names` is what it offers."""
    letter = get_column_letter(column)
    message = f"one of: {', '.join(names)}"[:225]  # Excel's limit
    cells = f"{letter}2:{letter}{LAST_ROW}"
    rule = DataValidation("list", choices, showErrorMessage=True, errorTitle=CHOICE_TITLE, error=message, sqref=cells)
    sheet.add_data_validation(rule)


def fit_to_page(sheet: Worksheet, pages_high: int = 0) -> None:
    """Print the sheet as wide as one page, unless somebody has chosen how to print it; a wide one on a large page.

    It takes at most `pages_high` pages, 0: as many as it needs.
    """
    properties = sheet.sheet_properties.pageSetUpPr
    if properties is None or not properties.fitToPage:
        sheet.page_setup.orientation = "landscape"
        sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight = 1, pages_high
        sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
        sheet.page_margins = PageMargins(MARGIN, MARGIN, MARGIN, MARGIN)
    width = sum(find_width(sheet, column) for column in range(1, sheet.max_column + 1))
    if sheet.page_margins.left == MARGIN and sheet.page_setup.paperSize in (None, A3, A4):
        sheet.page_setup.paperSize = A3 if width > WIDEST_ON_A4 else A4


def fit_cases_to_page(sheet: Worksheet) -> None:
    """The same for a sheet of texts: with lines between the cells, and its header on every page."""
    sheet.print_options.gridLines = True
    sheet.print_title_rows = sheet.print_title_rows or "1:1"
    fit_to_page(sheet)
