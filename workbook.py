"""The sheet with the test cases: reading them, and writing results beside what a person put there.

Part of evaluation.py, which generates and scores; nothing here knows about models.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openpyxl import Workbook, load_workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE, Cell
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from processing_meta_review import InputError

METRICS = ("rouge1", "rouge2", "rougeL")
MODELS = ("base", "fine_tuned")
RESULT_COLUMNS = [*MODELS, *(f"{model}_{score}" for model in MODELS for score in (*METRICS, "words", "stopped"))]
CELL_LIMIT = 32_767  # characters that Excel takes in one cell
CUT_MARK = " [cut]"
WIDTHS = {"review": 90, "reference": 60, "base": 60, "fine_tuned": 60}  # in characters; other columns as their header
HIGHEST_ROW = 409  # points, Excel's limit


@dataclass
class Case:
    """A test case: its row in the sheet, its reviews as they stand there, its reference (empty if there is none)."""

    row: int
    review: str
    reference: str


def open_workbook(path: str) -> Workbook:
    """Raises `InputError` for a file that is missing or no workbook."""
    if not Path(path).is_file():
        raise InputError(f"there is no workbook {path!r}; name one with --test_cases, or use --num_examples")
    try:
        workbook = load_workbook(path, rich_text=True)
    except Exception as error:  # openpyxl raises whatever zip, XML and its own parts raise
        raise InputError(f"{path!r} is no .xlsx workbook that can be read: {error}") from error
    if not isinstance(workbook.active, Worksheet):
        raise InputError(f"the sheet of {path!r} that opens first is a chart, not a table with test cases")
    return workbook


def find_columns(sheet: Worksheet) -> dict[str, int]:
    """Column numbers by the header in row 1, lower case."""
    return {str(cell.value).strip().lower(): cell.column for cell in sheet[1] if cell.value is not None}


def read_cases(sheet: Worksheet, path: str) -> list[Case]:
    """The rows that have a review. Raises `InputError` where there is no such column or no such row."""
    columns = find_columns(sheet)
    if "review" not in columns:
        found = ", ".join(columns) or "none"
        raise InputError(f"the sheet {sheet.title!r} of {path!r} has no column 'review' in row 1; there are: {found}")
    cases = []
    for row in range(2, sheet.max_row + 1):
        cells = [sheet.cell(row, columns[name]) for name in ("review", "reference") if name in columns]
        if any(cell.data_type == "f" for cell in cells):
            raise InputError(f"row {row} of {path!r} has a formula as review or reference; put the text itself there")
        review, reference = [str(cell.value or "").strip() for cell in cells] + [""] * (2 - len(cells))
        if re.search("[a-zA-Z0-9]", review):
            cases.append(Case(row, review, reference))
    if not cases:
        raise InputError(f"the sheet {sheet.title!r} of {path!r} has no row with a review")
    return cases


def write_text(cell: Cell, text: str) -> None:
    """Put a text into a cell: never as a formula, without what XML forbids, cut with a mark at Excel's limit."""
    text = ILLEGAL_CHARACTERS_RE.sub("\ufffd", text)
    cell.value = text if len(text) <= CELL_LIMIT else text[: CELL_LIMIT - len(CUT_MARK)] + CUT_MARK
    cell.data_type = "s"


def place_results(sheet: Worksheet, path: str) -> dict[str, int]:
    """Column numbers of the results: those of an earlier run, or new ones to the right of all that is there."""
    there = find_columns(sheet)
    taken = [name for name in RESULT_COLUMNS if name.lower() in there]
    if taken and taken != RESULT_COLUMNS:
        raise InputError(f"{path!r} has a column {taken[0]!r} of its own, where results would go; rename or remove it")
    return {name: there.get(name.lower(), sheet.max_column + 1 + i) for i, name in enumerate(RESULT_COLUMNS)}


def write_results(
    sheet: Worksheet, columns: dict[str, int], cases: list[Case], results: dict[str, list[dict[str, Any]]]
) -> None:
    """Write texts and scores into their columns, and nothing where a row has no case (any more)."""
    for header, column in columns.items():
        for row in range(1, sheet.max_row + 1):
            sheet.cell(row, column).value = None
        sheet.cell(1, column).value = header
        model, _, name = (header, "", "text") if header in MODELS else header.rpartition("_")
        for case, result in zip(cases, results[model], strict=True):
            cell = sheet.cell(case.row, column)
            if name == "text":
                write_text(cell, result[name])
            else:
                cell.value = ("yes" if result[name] else "no") if name == "stopped" else result.get(name)
                cell.number_format = "0.000" if name in METRICS else "General"
    style(sheet, columns)


def style(sheet: Worksheet, columns: dict[str, int]) -> None:
    """Make these columns readable: wrapped text, a marked header, and a width and row heights where none is set."""
    lines: dict[int, int] = {}
    for name, column in columns.items():
        letter = get_column_letter(column)
        ranges = [(width.min or 0, width.max or 0) for width in sheet.column_dimensions.values()]
        if letter not in sheet.column_dimensions and not any(first <= column <= last for first, last in ranges):
            sheet.column_dimensions[letter].width = WIDTHS.get(name, max(12, len(name) + 2))
        for row in range(1, sheet.max_row + 1):
            cell = sheet.cell(row, column)
            cell.alignment = Alignment(wrap_text=True, vertical="top")
            if row > 1 and name in WIDTHS and cell.value:
                needed = sum(1 + len(line) // WIDTHS[name] for line in str(cell.value).split("\n"))
                lines[row] = max(needed, lines.get(row, 1))
        header = sheet.cell(1, column)
        header.font, header.fill = Font(bold=True), PatternFill("solid", fgColor="DDE6F0")
    for row, needed in lines.items():
        if sheet.row_dimensions[row].height is None:
            sheet.row_dimensions[row].height = min(HIGHEST_ROW, 15 * needed)


def save_workbook(workbook: Workbook, target: Path) -> None:
    """Write the workbook beside its place and put it there when it is whole."""
    new = target.with_name(f".{target.name}.new")
    workbook.save(new)
    new.replace(target)


def modified(path: Path) -> int | None:
    """When a file was last written, in nanoseconds; None where there is none."""
    return path.stat().st_mtime_ns if path.exists() else None
