"""What the tests of the workbook share: small workbooks, runs that write results into them, judgments."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from openpyxl import Workbook, load_workbook
from openpyxl.worksheet.worksheet import Worksheet

from metareview.workbook.cases import Source
from metareview.workbook.judgments import find_columns
from metareview.workbook.results import Book, open_book, show_judgments, write_columns

SCORES = {"rougeL": 0.5, "words": 1, "repetition": 0.0, "ended": True, "verdict": "none", "terms": "7, GAN"}
CASES = (["review", "reference"], ["first", "r"], ["second", "r"], ["third", "r"])


def make_sheet(*rows: list) -> Worksheet:
    sheet = Workbook().active
    for row in rows:
        sheet.append(row)
    return sheet


def make_workbook(path: Path, *rows: list) -> Path:
    make_sheet(*rows).parent.save(path)
    return path


def read_rows(path: Path, title: str | None = None) -> list[dict[str, Any]]:
    """The rows of a sheet by header, by default of that with the test cases."""
    workbook = load_workbook(path)
    header, *rows = (workbook[title] if title else workbook.active).iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


def write_texts(book: Book, **texts: list[str]) -> Worksheet:
    """Put what each model wrote for each case into a workbook; returns its sheet."""
    scores = SCORES if any(case.reference for case in book.cases) else SCORES | {"rougeL": None}
    results = {model: [{"text": text} | scores for text in written] for model, written in texts.items()}
    write_columns(book.sheet, book.start, [case.row for case in book.cases], results, book.store)
    show_judgments(book.sheet, book.store)
    return book.sheet


def open_sheet(cases: Worksheet, previous: Worksheet | None = None, split: str | None = None) -> Book:
    """The results workbook for test cases, drawn from a split or not, of which `previous` are the last results."""
    workbook = previous.parent if previous else cases.parent
    return open_book(Source(cases.parent, "a.xlsx", "a.xlsx", split), workbook, "b.xlsx", [])


def run(cases: Worksheet, previous: Worksheet | None = None, **texts: list[str]) -> Worksheet:
    """A run on test cases; returns the sheet with the results."""
    return write_texts(open_sheet(cases, previous), **texts)


def judge(sheet: Worksheet, row: int, kind: str, value: Any, model: str = "") -> None:
    sheet.cell(row, find_columns(sheet)[kind, model]).value = value


def judged(sheet: Worksheet, row: int, kind: str, model: str = "") -> Any:
    return sheet.cell(row, find_columns(sheet)[kind, model]).value


def sort_rows(sheet: Worksheet, order: Iterable[int]) -> None:
    """As a person does in a spreadsheet: all cells of the rows from the second on, in this order."""
    rows = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)]
    for row, place in enumerate(order, start=2):
        for column, value in enumerate(rows[place], start=1):
            sheet.cell(row, column).value = value
