"""Test cases: finding them in a workbook, adding some, drawing some from a data set."""

import random
import re
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from openpyxl import Workbook
from openpyxl.formula.translate import Translator
from openpyxl.styles import Alignment
from openpyxl.worksheet.worksheet import Worksheet

from metareview.cleaning import REVIEW_JOINER
from metareview.cli import InputError
from metareview.data import load_source, read_record
from metareview.hub import public_name
from metareview.workbook.cells import (
    CASE_WIDTHS,
    CELL_LIMIT,
    emphasize,
    fit_text,
    new_workbook,
    read_header,
    write_text,
    write_value,
)
from metareview.workbook.judgements import fingerprint
from metareview.workbook.opening import FIRST_CELLS, check_target, open_copy, open_workbook, save_workbook


@dataclass
class Case:
    """A test case: its row in the sheet, its reviews as they are there, its reference (empty if there is none)."""

    row: int
    key: str  # the fingerprint of the reviews as they are in the sheet
    review: str
    reference: str
    decision: str = ""  # what became of the paper, in words; empty where the sheet does not say


def find_case_sheet(workbook: Workbook, path: str) -> Worksheet:
    """The sheet with the test cases: the one that opens first, or else the first with a column `review`."""
    sheets = [sheet for sheet in (workbook.active, *workbook.worksheets) if isinstance(sheet, Worksheet)]
    sheets = [sheet for sheet in sheets if sheet.title.lower() not in FIRST_CELLS]  # those are ours
    for sheet in sheets:
        if "review" in read_header(sheet):
            return sheet
    headers = {sheet.title: ", ".join(read_header(sheet)) or "none" for sheet in sheets}
    found = "; ".join(f"{title!r}: {names}" for title, names in headers.items())
    raise InputError(f"no sheet of {path!r} has a column 'review' in row 1; there are, by sheet: {found}")


def read_cases(sheet: Worksheet, path: str, rows: Dataset | None = None, separator: str = "") -> list[Case]:
    """The rows that have a review; `rows` is the split that drawn examples are of.

    Where a cell could not hold a whole text of the split, the case has it. Raises `InputError` where there is no row
    with a review, or a formula in its place.
    """
    columns, cases = read_header(sheet), []
    for row in range(2, sheet.max_row + 1):
        texts = {name: read_text(sheet, row, columns.get(name), path) for name in ("review", "reference")}
        if re.search("[a-zA-Z0-9]", texts["review"]):
            number = sheet.cell(row, columns["row"]).value if "row" in columns else None
            whole = restore_texts(texts, number, rows, separator)
            decision = read_text(sheet, row, columns.get("decision"), path)
            cases.append(Case(row, fingerprint(texts["review"]), **whole, decision=decision))
    if not cases:
        raise InputError(f"the sheet {sheet.title!r} of {path!r} has no row with a review")
    return cases


def read_text(sheet: Worksheet, row: int, column: int | None, path: str) -> str:
    """A text of a case, empty where the sheet has no such column. Raises `InputError` for a formula."""
    if column is None:
        return ""
    cell = sheet.cell(row, column)
    if cell.data_type == "f":
        where = f"row {row} of {path!r} has a formula as review, reference or decision"
        raise InputError(f"{where}; put the text itself there")
    return str(cell.value or "").strip()


def restore_texts(texts: dict[str, str], number: Any, rows: Dataset | None, separator: str) -> dict[str, str]:
    """The whole texts of the row of the data set that a case names, where its cells hold what they could of them."""
    if rows is None or not isinstance(number, int) or not 0 <= number < len(rows):
        return texts
    example = read_example(rows[number], separator)
    same = all(fit_text(text)[0].strip() == texts[name] for name, text in example.items())
    return example if same else texts


def add_case(path: str, values: dict[str, str]) -> int:
    """Add a case, texts by column, below everything in a workbook, unless its review is there; returns the row.

    Of the columns only `reference` is added where it is missing; texts without a column are dropped. Raises
    `InputError` for a text that is too long for a cell.
    """
    check_target(Path(path))
    workbook = open_workbook(path)
    sheet = find_case_sheet(workbook, path)
    columns = read_header(sheet)
    last = find_last_row(sheet)
    for row in range(2, last + 1):
        if str(sheet.cell(row, columns["review"]).value or "").split() == values["review"].split():
            return row
    if values.get("reference") and "reference" not in columns:
        columns["reference"] = sheet.max_column + 1
        emphasize(sheet.cell(1, columns["reference"], "reference"), fill=True)
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


def draw_examples(dataset_name: str, split: str, number: int, seed: int, separator: str) -> tuple[Workbook, Dataset]:
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
    return new_workbook([{"row": row} | read_example(rows[row], separator) for row in drawn], CASE_WIDTHS), rows


def read_example(row: dict[str, str], separator: str) -> dict[str, str]:
    """A row of a processed data set as a test case."""
    return {"review": row["review"].replace(REVIEW_JOINER, f"\n{separator}\n"), "reference": row["summary"]}


def name_source(dataset_name: str) -> str:
    """What a processed data set was made from, or else its own name."""
    return read_record(dataset_name).get("dataset_name") or public_name(dataset_name)


def name_target(test_cases: str, output: str | None, split: str | None) -> Path:
    """The workbook that the results go to; `split` is that of drawn examples, None for test cases.

    Raises `InputError` where examples would take the place of the test cases.
    """
    source = Path(test_cases)
    default = source.with_stem(f"{source.stem}_results") if split is None else Path(f"eval_{split}.xlsx")
    target = Path(output) if output else default
    if split is not None and target.resolve() == source.resolve():
        raise InputError(f"--num_examples never writes to the test cases {str(source)!r}; name another --output")
    return target


def name_log(target: Path) -> Path:
    """The file beside a workbook that every text goes into as soon as it is written."""
    return target.with_name(f"{target.stem}_outputs.jsonl")


def open_cases(test_cases: str, target: Path) -> Workbook:
    """The workbook with the test cases, where results go to `target`; only what is saved again could lose something."""
    if Path(test_cases).exists() and target.resolve() == Path(test_cases).resolve():
        return open_workbook(test_cases)
    return open_copy(test_cases, quiet=target.exists())


def continue_workbook(workbook: Workbook, source: str, target: Path) -> Workbook:
    """The workbook in the file `target` with the cases of `workbook` that it lacks below its own, or else `workbook`.

    What a person made of `target` stays: cases that `workbook` does not have (any more), and changed references.
    """
    if not target.exists() or target.resolve() == Path(source).resolve():
        return workbook
    there, name = open_workbook(str(target)), str(target)
    new, old = find_case_sheet(workbook, source), find_case_sheet(there, name)
    wanted, present = read_cases(new, source), {case.key: case for case in read_cases(old, name)}
    added = [case for case in wanted if case.key not in present]
    for case in added:
        copy_row(new, case.row, old)
    if added:
        print(f"Cases added at the end of {target}: {len(added)}")
    if others := present.keys() - {case.key for case in wanted}:
        stay = "They stay; delete their rows to leave them out."
        print(f"Cases of {target} that are not in {source}: {len(others)}. {stay}")
    changed = [present[case.key].row for case in wanted if case.key in present and case.reference
               and case.reference != present[case.key].reference]  # fmt: skip
    if changed:
        print(f"{target} keeps its own references in the rows {', '.join(map(str, changed))}; {source} has others.")
    return there


def copy_row(source: Worksheet, row: int, target: Worksheet) -> None:
    """Copy a row to the end of another sheet, into the columns with the same headers; those that it lacks are added."""
    there, last = read_header(target), find_last_row(target)
    for name, column in read_header(source).items():
        if name not in there:
            there[name] = target.max_column + 1
            write_value(target.cell(1, there[name]), source.cell(1, column).value)
            emphasize(target.cell(1, there[name]), fill=True)
        old, new = source.cell(row, column), target.cell(last + 1, there[name])
        new.value = old.value
        if old.data_type == "f" and isinstance(old.value, str):
            new.value = Translator(old.value, old.coordinate).translate_formula(f"{old.column_letter}{new.row}")
        new.data_type = old.data_type
        new.font, new.fill, new.border = copy(old.font), copy(old.fill), copy(old.border)
        new.alignment, new.number_format = copy(old.alignment), old.number_format
    target.row_dimensions[last + 1].height = source.row_dimensions[row].height


def find_last_row(sheet: Worksheet) -> int:
    """The last row with something in it."""
    return max(cell.row for row in sheet.iter_rows() for cell in row if cell.value is not None)
