"""Test cases: finding them in a workbook, adding one, drawing some from a data set."""

import random
import re
from dataclasses import dataclass
from pathlib import Path

from openpyxl import Workbook
from openpyxl.styles import Alignment
from openpyxl.worksheet.worksheet import Worksheet

from metareview.cleaning import REVIEW_JOINER
from metareview.cli import InputError
from metareview.data import load_source, read_record
from metareview.hub import public_name
from metareview.workbook.cells import CELL_LIMIT, mark_header, new_workbook, read_header, write_text
from metareview.workbook.opening import check_target, open_workbook, save_workbook


@dataclass
class Case:
    """A test case: its row in the sheet, its reviews as they are there, its reference (empty if there is none)."""

    row: int
    review: str
    reference: str


def find_case_sheet(workbook: Workbook, path: str) -> Worksheet:
    """The sheet with the test cases: the one that opens first, or else the first with a column `review`."""
    sheets = [sheet for sheet in (workbook.active, *workbook.worksheets) if isinstance(sheet, Worksheet)]
    for sheet in sheets:
        if "review" in read_header(sheet):
            return sheet
    found = "; ".join(f"{sheet.title!r}: {', '.join(read_header(sheet)) or 'none'}" for sheet in workbook.worksheets)
    raise InputError(f"no sheet of {path!r} has a column 'review' in row 1; there are, by sheet: {found}")


def read_cases(sheet: Worksheet, path: str) -> list[Case]:
    """The rows that have a review. Raises `InputError` where there is none, or a formula in its place."""
    columns = read_header(sheet)
    cases = []
    for row in range(2, sheet.max_row + 1):
        texts = {"review": "", "reference": ""}
        for name in texts:
            if name not in columns:
                continue
            cell = sheet.cell(row, columns[name])
            if cell.data_type == "f":
                what_to_do = "put the text itself there"
                raise InputError(f"row {row} of {path!r} has a formula as review or reference; {what_to_do}")
            texts[name] = str(cell.value or "").strip()
        if re.search("[a-zA-Z0-9]", texts["review"]):
            cases.append(Case(row, **texts))
    if not cases:
        raise InputError(f"the sheet {sheet.title!r} of {path!r} has no row with a review")
    return cases


def add_case(path: str, values: dict[str, str]) -> int:
    """Add a case, texts by column, below everything in a workbook, unless its review is there; returns the row.

    Of the columns only `reference` is added where it is missing; texts without a column are dropped. Raises
    `InputError` for a text that is too long for a cell.
    """
    check_target(Path(path))
    workbook = open_workbook(path)
    sheet = find_case_sheet(workbook, path)
    columns = read_header(sheet)
    last = max(cell.row for row in sheet.iter_rows() for cell in row if cell.value is not None)
    for row in range(2, last + 1):
        if str(sheet.cell(row, columns["review"]).value or "").split() == values["review"].split():
            return row
    if values.get("reference") and "reference" not in columns:
        columns["reference"] = sheet.max_column + 1
        mark_header(sheet.cell(1, columns["reference"], "reference"))
    for name, text in values.items():
        if len(text) > CELL_LIMIT:
            limit = f"the {name} has {len(text):,} characters, but a cell holds {CELL_LIMIT:,}"
            raise InputError(f"{limit}; nothing was saved. Give the command without --save")
        if text and name in columns:
            cell = sheet.cell(last + 1, columns[name])
            if replaced := write_text(cell, text):
                print(f"{replaced} characters that a workbook cannot hold are replaced in it.")
            cell.alignment = Alignment(wrap_text=True, vertical="top")
    save_workbook(workbook, Path(path))
    return last + 1


def draw_examples(dataset_name: str, split: str, number: int, seed: int, separator: str) -> Workbook:
    """A workbook with random rows of a processed data set, always the same rows for the same seed.

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
    examples = []
    for row in sorted(random.Random(seed).sample(range(len(rows)), number)):
        review = rows[row]["review"].replace(REVIEW_JOINER, f"\n{separator}\n")
        examples.append({"row": row, "review": review, "reference": rows[row]["summary"]})
    return new_workbook(examples)


def name_source(dataset_name: str) -> str:
    """What a processed data set was made from, or else its own name."""
    return read_record(dataset_name).get("dataset_name") or public_name(dataset_name)


def choose_target(test_cases: str, output: str | None, split: str | None) -> Path:
    """The workbook that the results go to; `split` is that of drawn examples, None for test cases.

    Raises `InputError` where it could not be saved, and where examples would take the place of the test cases.
    """
    source = Path(test_cases)
    drawn = split is not None
    target = Path(output or (f"eval_{split}.xlsx" if drawn else source))
    if drawn and target.resolve() == source.resolve():
        raise InputError(f"--num_examples never writes to the test cases {str(source)!r}; name another --output")
    check_target(target)
    return target


def continue_workbook(workbook: Workbook, source: str, target: Path) -> Workbook:
    """The workbook in the file `target`, with everything that a person added to it, or else `workbook`.

    Raises `InputError` where the file holds other test cases than `workbook`, so that nothing in it is lost.
    """
    if not target.exists() or target.resolve() == Path(source).resolve():
        return workbook
    there, name = open_workbook(str(target)), str(target)
    wanted = sorted(case.review for case in read_cases(find_case_sheet(workbook, source), source))
    if sorted(case.review for case in read_cases(find_case_sheet(there, name), name)) != wanted:
        raise InputError(f"{name!r} exists and holds other test cases; name another file with --output")
    return there
