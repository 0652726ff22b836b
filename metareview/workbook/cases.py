"""Test cases: finding them in a workbook, reading them from CSV, drawing some from a data set."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import Cell
from openpyxl.worksheet.worksheet import Worksheet

from metareview.common.cli import InputError
from metareview.common.hub import public_name
from metareview.data.cleaning import DEFAULT_SEPARATOR, REVIEW_JOINER, clean_reviews, split_reviews
from metareview.data.details import DETAILS
from metareview.data.splits import load_source, read_record
from metareview.sources.columns import SPREADSHEET_ERRORS
from metareview.sources.escapes import plain_text
from metareview.sources.forms import unify_name
from metareview.sources.table_files import filled_rows, read_table, say_hidden
from metareview.workbook.cells import fit_text, new_workbook, read_header
from metareview.workbook.judgments import fingerprint
from metareview.workbook.saving import FIRST_CELLS, open_workbook

READ = ("review", "reference", *DETAILS)  # columns; all but the first may be missing


@dataclass
class Source:
    """Where test cases come from: a workbook with them, its name for messages, the name of the data for `runs`."""

    workbook: Workbook
    name: str
    data: str
    split: str | None = None  # of the data set that they are drawn from
    whole: dict[str, str] = field(default_factory=dict)  # texts that cells cannot hold, by the fingerprints of cells


@dataclass
class Case:
    """A test case: its row in the sheet, and what is known of the paper, empty if the sheet does not say it."""

    row: int
    key: str  # the fingerprint of the reviews as they are in the sheet
    review: str
    reference: str
    details: dict[str, str] = field(default_factory=dict)  # DETAILS, and what else a prompt reads

    def read(self, column: str) -> str:
        """What a prompt reads in the place of a column."""
        return self.review if column == "review" else self.details.get(column, "")


def find_case_sheet(workbook: Workbook, path: str) -> Worksheet:
    """The sheet with the test cases: the one that opens first, or else the first with a column `review`."""
    sheets = [sheet for sheet in (workbook.active, *workbook.worksheets) if isinstance(sheet, Worksheet)]
    sheets = [sheet for sheet in sheets if sheet.title.lower() not in FIRST_CELLS]  # those are ours
    for sheet in sheets:
        headers = [str(cell.value).strip().lower() for cell in sheet[1]]
        if several := [name for name in READ if "review" in headers and headers.count(name) > 1]:
            raise InputError(f"{path!r}, sheet {sheet.title!r}, has several columns {several[0]!r}; rename all but one")
        if "review" in headers:
            return sheet
    headers = {sheet.title: list(read_header(sheet)) for sheet in sheets}
    raise InputError(f"no sheet of {path!r} has a column 'review' in row 1; there are, by sheet: {headers}")


def read_cases(
    sheet: Worksheet, path: str, source: Source, keeps: Sequence[str] = (), others: Sequence[str] = ()
) -> list[Case]:
    """The rows with a review but the totals of a table; skipped are those of which one of `keeps` leaves nothing.

    `others` are the columns that prompts read besides READ.

    Raises `InputError` if there is no row with a review, or a formula or an error in place of a text.
    """
    columns = {unify_name(title): column for title, column in read_header(sheet).items()}
    empty, cases, unknown = dict.fromkeys([*READ, *others], ""), [], {}  # unknown: rows that cleaning leaves nothing of
    for row in [row for row in filled_rows(sheet) if row > 1]:
        texts = empty | {name: _read_text(sheet.cell(row, columns[name]), path) for name in empty if name in columns}
        if not any(map(str.strip, split_reviews(texts["review"]))):
            continue
        key = fingerprint(texts["review"])
        texts = {name: source.whole.get(fingerprint(text), text) for name, text in texts.items()}
        case = Case(row, key, texts.pop("review"), texts.pop("reference"), texts)
        lacking = [keep for keep in keeps if not clean_reviews(case.review, keep)]
        if lacking:
            unknown[row] = lacking[0]
        else:
            cases.append(case)
    if unknown:
        print(f"Skipped rows {', '.join(map(str, unknown))}: KEEP {next(iter(unknown.values()))!r} leaves nothing.")
    say_hidden(sheet, [case.row for case in cases], path)
    if not cases:
        raise InputError(f"the sheet {sheet.title!r} of {path!r} has no row with a review")
    return cases


def _read_text(cell: Cell, path: str) -> str:
    text = plain_text("" if cell.value is None else cell.value).strip()
    if cell.data_type == "f" or text in SPREADSHEET_ERRORS:
        fault = "a formula" if cell.data_type == "f" else f"the error {text}"
        raise InputError(f"the cell {cell.coordinate} of {path!r} has {fault}; put the text itself there")
    return text


def draw_examples(dataset_name: str, split: str, number: int, seed: int) -> Source:
    """Random rows of a processed data set, always the same rows for the same seed.

    Raises `InputError` if the data set has no such split or is not cleaned.
    """
    splits = load_source(dataset_name)
    if split not in splits:
        raise InputError(f"{dataset_name!r} has no split {split!r}; there are: {', '.join(splits)}")
    rows = splits[split]
    if not {"review", "summary"} <= set(rows.column_names):
        raise InputError(f"{dataset_name!r} is not cleaned. First: python processing_meta_review.py")
    if number > len(rows):
        print(f"The split {split!r} has only {len(rows):,} rows; all are taken.")
        number = len(rows)
    cases = []
    for row in sorted(random.Random(seed).sample(range(len(rows)), number)):
        details = rows[row]
        review = details.pop("review").replace(REVIEW_JOINER, f"\n{DEFAULT_SEPARATOR}\n")
        cases.append({"row": row, "review": review, "reference": details.pop("summary"), **details})
    data = read_record(dataset_name).get("dataset_name") or public_name(dataset_name)
    return _build_source(cases, f"{dataset_name}, as drawn now", data, split)


def open_cases(test_cases: str, encoding: str = "utf-8") -> Source:
    """The test cases in a workbook, or in a CSV file in this encoding."""
    path = Path(test_cases)
    if path.suffix.lower() not in (".csv", ".tsv"):
        return Source(open_workbook(test_cases), test_cases, path.name)
    rows, _ = read_table(path, encoding)
    if not rows:
        raise InputError(f"{test_cases!r} has no rows")
    return _build_source(rows, test_cases, path.name)


def _build_source(rows: list[dict[str, Any]], name: str, data: str, split: str | None = None) -> Source:
    """A workbook of these rows, and what its cells cannot hold of them."""
    texts = [text for row in rows for text in row.values() if isinstance(text, str)]
    whole = {fingerprint(fit_text(text)): text for text in texts if fit_text(text) != text}
    return Source(new_workbook(rows), name, data, split, whole)


def identify_cases(cases: list[Case], keep: str) -> str:
    """A hash of what is scored, in any order, and of the characters that count: scores with the same one compare."""
    texts = sorted(f"{case.review}\0{case.reference}\0" for case in cases)
    return hashlib.sha256("".join([keep, *texts]).encode()).hexdigest()[:8]


def name_target(test_cases: str, output: str | None, split: str | None) -> Path:
    """The workbook that the results go to; `split` is that of drawn examples, None for test cases.

    Raises `InputError` if examples would take the place of the test cases.
    """
    source = Path(test_cases)
    default = source.with_name(f"{source.stem}_results.xlsx") if split is None else Path(f"eval_{split}.xlsx")
    target = Path(output) if output else default
    if split is not None and target.resolve() == source.resolve():
        raise InputError(f"--num_examples never writes to the test cases {str(source)!r}; name another --output")
    return target


def name_log(target: Path) -> Path:
    """The file beside a workbook that every text goes into as soon as it is written."""
    return target.with_name(f"{target.stem}_outputs.jsonl")
