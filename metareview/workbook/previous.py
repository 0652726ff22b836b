"""The last results: taken out of a workbook in which all else stays, and test cases added that it does not have yet."""

from itertools import starmap

from openpyxl.cell import Cell
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from metareview.workbook import cells
from metareview.workbook.judgments import ROW, SHEET, find_columns, fingerprint

WRITTEN_ANEW = ("summary", SHEET)  # sheets of ours in which nobody types


def name_rows(sheet: Worksheet) -> dict[int, str]:
    """What each row with something in it is recognized by: reviews, or a person's first cell, or else its number."""
    ours, review, names = find_columns(sheet).values(), cells.read_header(sheet)["review"], {}
    for row, values in enumerate(sheet.iter_rows(min_row=2, values_only=True), start=2):
        filled = {column: value for column, value in enumerate(values, start=1) if value is not None}
        typed = [value for column, value in filled.items() if column not in ours]
        if filled:
            names[row] = fingerprint(filled.get(review) or typed[0]) if typed else f"{ROW}{row}"
    return names


def strip_results(sheet: Worksheet) -> int:
    """Take the results, if there are any, out of a sheet; returns their first column, or else the first free one."""
    cells.ungroup_columns(sheet)
    places = set(find_columns(sheet).values())
    for place in places:
        for row in range(1, sheet.max_row + 1):
            cell = cells.free_cell(sheet, row, place)
            cell.value, cell.comment, cell.style = None, None, "Normal"
        sheet.column_dimensions.pop(get_column_letter(place), None)
    rules = sheet.data_validations
    kept = [rule for rule in rules.dataValidation if any(part.min_col not in places for part in rule.sqref.ranges)]
    rules.dataValidation = kept
    for ours in [other for other in sheet.parent.worksheets if other.title.lower() in WRITTEN_ANEW]:
        sheet.parent.remove(ours)
    return min(places, default=max(_name_columns(sheet)) + 1)


def add_cases(
    sheet: Worksheet, rows: dict[int, str], start: int, cases: Worksheet, drawn: bool = False
) -> tuple[list[str], int, set[int]]:
    """Add to a sheet what only `cases` has: rows below, columns from `start` on. `rows` are the names of its own rows.

    What is filled in `sheet` stays. Returns the cells for which `cases` has something else, how many reviews are only
    in `sheet`, and the rows of the cases. If they are `drawn`, one that the sheet has otherwise gets a row of its own.
    """
    columns = {name: column for column, name in _name_columns(sheet).items()}
    theirs = _name_columns(cases)
    for column, name in theirs.items():
        if name not in columns:
            taken = columns.values()
            columns[name] = next(place for place in range(start, start + len(taken) + 1) if place not in taken)
            cells.copy_cell(cases.cell(1, column), sheet, 1, columns[name])

    def pair(row: int, place: int) -> list[tuple[Cell, Cell]]:
        return [(cases.cell(row, column), sheet.cell(place, columns[name])) for column, name in theirs.items()]

    last, differing, places = max(rows, default=1), [], set()
    for row, name in name_rows(cases).items():
        alike = (place for place, other in rows.items() if other == name and place not in places)
        place = next((place for place in alike if not (drawn and any(starmap(_differ, pair(row, place))))), last + 1)
        last = max(last, place)
        places.add(place)
        for cell, known in pair(row, place):
            if known.value is None and cell.value is not None:
                cells.copy_cell(cell, sheet, known.row, known.column)
            elif _differ(cell, known):
                differing.append(known.coordinate)
    review = cells.read_header(sheet)["review"]
    own = [row for row in rows if row not in places and sheet.cell(row, review).value is not None]
    return differing, len(own), places


def _differ(first: Cell, second: Cell) -> bool:
    """Whether two cells have something, and not the same."""
    return None not in (first.value, second.value) and fingerprint(first.value) != fingerprint(second.value)


def _name_columns(sheet: Worksheet) -> dict[int, str]:
    """A person's columns with something in them, by header, without one by number."""
    ours, names = find_columns(sheet).values(), {}
    for column in sheet.iter_cols():
        place = column[0].column
        if place not in ours and any(cell.value is not None for cell in column):
            names[place] = str(column[0].value or place).strip().lower()
    return names
