"""Adding test cases to a workbook, below those that are there."""

from copy import copy
from pathlib import Path

from openpyxl import Workbook
from openpyxl.formula.translate import Translator
from openpyxl.styles import Alignment
from openpyxl.worksheet.worksheet import Worksheet

from metareview.common.cli import InputError
from metareview.workbook.cases import find_case_sheet, read_cases
from metareview.workbook.cells import CELL_LIMIT, emphasize, read_header, write_text, write_value
from metareview.workbook.saving import check_target, open_workbook, save_workbook


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
