"""Test cases: finding them in a workbook, reading them from CSV, drawing some from a data set."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from metareview.common.cli import InputError
from metareview.common.hub import public_name
from metareview.data.cleaning import DEFAULT_SEPARATOR, REVIEW_JOINER, clean_reviews, split_reviews
from metareview.data.splits import load_source, read_record
from metareview.sources.columns import SPREADSHEET_ERRORS
from metareview.sources.table_files import read_table
from metareview.workbook.cells import CASE_WIDTHS, CELL_LIMIT, NARROW, fit_text, new_workbook, read_header
from metareview.workbook.judgments import fingerprint
from metareview.workbook.saving import FIRST_CELLS, open_copy, open_workbook


@dataclass
class Case:
    """A test case: its row in the sheet, its reviews as they are there, its reference (empty if there is none)."""

    row: int
    key: str  # the fingerprint of the reviews as they are in the sheet
    review: str
    reference: str
    decision: str = ""  # what became of the paper, in words; empty where the sheet does not say
    ratings: str = ""  # the reviewers', such as 6, 8, 3


def find_case_sheet(workbook: Workbook, path: str) -> Worksheet:
    """The sheet with the test cases: the one that opens first, or else the first with a column `review`."""
    sheets = [sheet for sheet in (workbook.active, *workbook.worksheets) if isinstance(sheet, Worksheet)]
    sheets = [sheet for sheet in sheets if sheet.title.lower() not in FIRST_CELLS]  # those are ours
    for sheet in sheets:
        if "review" in read_header(sheet):
            check_header(sheet, path)
            return sheet
    headers = {sheet.title: ", ".join(read_header(sheet)) or "none" for sheet in sheets}
    found = "; ".join(f"{title!r}: {names}" for title, names in headers.items())
    raise InputError(f"no sheet of {path!r} has a column 'review' in row 1; there are, by sheet: {found}")


def check_header(sheet: Worksheet, path: str) -> None:
    """Raise `InputError` where two columns have the name of one that is read: in upper and in lower case."""
    headers = [str(cell.value).strip() for cell in sheet[1] if cell.value is not None]
    for name in ("review", "reference"):
        if len(same := [header for header in headers if header.lower() == name]) > 1:
            names = " and ".join(map(repr, same))
            raise InputError(f"the sheet {sheet.title!r} of {path!r} has the columns {names}; rename all but one")


def read_cases(sheet: Worksheet, path: str, rows: Dataset | None = None, keeps: Iterable[str] = ()) -> list[Case]:
    """The rows with a review; those are passed over of which one of `keeps`, what the models know, leaves nothing.

    `rows` is the split that drawn examples are of: where a cell could not hold a whole text of it, the case has it.
    Raises `InputError` where there is no row with a review, or a formula or an error in its place.
    """
    columns, cases = read_header(sheet), []
    unknown: dict[int, str] = {}  # rows of which cleaning leaves nothing
    for row in range(2, sheet.max_row + 1):
        texts = {name: read_text(sheet, row, columns.get(name), path) for name in ("review", "reference")}
        if not any(map(str.strip, split_reviews(texts["review"]))):
            continue
        number = sheet.cell(row, columns["row"]).value if "row" in columns else None
        whole = restore_texts(texts, number, rows)
        known = {name: read_text(sheet, row, columns.get(name), path) for name in ("decision", "ratings")}
        case = Case(row, fingerprint(texts["review"]), **whole, **known)
        if lacking := [keep for keep in keeps if not clean_reviews(case.review, keep)]:
            unknown[row] = lacking[0]
        else:
            cases.append(case)
    if unknown:
        print(f"Passed over rows {', '.join(map(str, unknown))}: KEEP {next(iter(unknown.values()))!r} leaves nothing.")
    if not cases:
        raise InputError(f"the sheet {sheet.title!r} of {path!r} has no row with a review")
    return cases


def read_text(sheet: Worksheet, row: int, column: int | None, path: str) -> str:
    """A text of a case, empty where the sheet has no such column. Raises `InputError` for a formula."""
    if column is None:
        return ""
    cell = sheet.cell(row, column)
    if cell.data_type == "f":
        where = f"row {row} of {path!r} has a formula as review, reference, decision or ratings"
        raise InputError(f"{where}; put the text itself there")
    text = str(cell.value or "").strip()
    if text in SPREADSHEET_ERRORS:
        where = f"row {row} of {path!r} has the error {text} as review, reference, decision or ratings"
        raise InputError(f"{where}; put the text itself there")
    return text


def restore_texts(texts: dict[str, str], number: Any, rows: Dataset | None) -> dict[str, str]:
    """The whole texts of the row of the data set that a case names, where its cells hold what they could of them."""
    if rows is None or not isinstance(number, int) or not 0 <= number < len(rows):
        return texts
    example = read_example(rows[number])
    same = all(fit_text(text)[0].strip() == texts[name] for name, text in example.items())
    return example if same else texts


def draw_examples(dataset_name: str, split: str, number: int, seed: int) -> tuple[Workbook, Dataset]:
    """A workbook with random rows of a processed data set, always the same rows for the same seed; and the whole split.

    Raises `InputError` where the data set has no such split or is not cleaned.
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
    drawn = sorted(random.Random(seed).sample(range(len(rows)), number))
    return new_workbook([{"row": row} | read_example(rows[row]) for row in drawn], CASE_WIDTHS), rows


def read_example(row: dict[str, str]) -> dict[str, str]:
    """A row of a processed data set as a test case."""
    return {"review": row["review"].replace(REVIEW_JOINER, f"\n{DEFAULT_SEPARATOR}\n"), "reference": row["summary"]}


def name_source(dataset_name: str) -> str:
    """What a processed data set was made from, or else its own name."""
    return read_record(dataset_name).get("dataset_name") or public_name(dataset_name)


def name_target(test_cases: str, output: str | None, split: str | None) -> Path:
    """The workbook that the results go to; `split` is that of drawn examples, None for test cases.

    Raises `InputError` where examples would take the place of the test cases.
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


def open_cases(test_cases: str, target: Path, encoding: str = "utf-8") -> Workbook:
    """The workbook with the test cases, where results go to `target`; only what is saved again could lose something.

    The rows of a CSV file, in this encoding, go into a new workbook.
    """
    if Path(test_cases).suffix.lower() in (".csv", ".tsv"):
        return read_csv_cases(test_cases, encoding)
    if Path(test_cases).exists() and target.resolve() == Path(test_cases).resolve():
        return open_workbook(test_cases)
    return open_copy(test_cases, quiet=target.exists())


def read_csv_cases(test_cases: str, encoding: str) -> Workbook:
    """A workbook with the rows of a CSV file. Raises `InputError` where a text is too long for a cell."""
    if not Path(test_cases).is_file():
        raise InputError(f"there is no file {test_cases!r}; name one with --test_cases, or use --num_examples")
    rows, _ = read_table(Path(test_cases), encoding)
    for number, row in enumerate(rows, start=2):
        if longest := max((len(text) for text in row.values() if len(text) > CELL_LIMIT), default=0):
            limit = f"a text of {longest:,} characters, but a cell of the workbook holds {CELL_LIMIT:,}"
            raise InputError(f"row {number} of {test_cases!r} has {limit}; shorten it")
    if not rows:
        raise InputError(f"{test_cases!r} has no rows")
    return new_workbook(rows, {name: CASE_WIDTHS.get(name.lower(), NARROW) for name in rows[0]})
