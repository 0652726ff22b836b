"""The last results: taken out of a workbook in which all else stays, and test cases added that it does not have yet."""

from collections import Counter

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
    sheet: Worksheet, rows: dict[int, str], start: int, cases: Worksheet, replace: bool = False
) -> tuple[list[str], int]:
    """Add to a sheet what only `cases` has: rows below, columns from `start` on. `rows` are the names of its own rows.

    What is filled in `sheet` stays unless `replace` is set: returns the cells for which `cases` has something else, and
    how many reviews are only in `sheet`.
    """
    present = number_rows(rows)
    columns = {name: column for column, name in _name_columns(sheet).items()}
    wanted = number_rows(name_rows(cases))
    last, differing = max(rows, default=1), []
    for column, name in _name_columns(cases).items():
        if name not in columns:
            taken = columns.values()
            columns[name] = next(place for place in range(start, start + len(taken) + 1) if place not in taken)
            cells.copy_cell(cases.cell(1, column), sheet, 1, columns[name])
        for key, row in wanted.items():
            if key not in present:
                last += 1
                present[key] = last
            cell, known = cases.cell(row, column), sheet.cell(present[key], columns[name])
            if known.value is None and cell.value is not None:
                cells.copy_cell(cell, sheet, present[key], columns[name])
            elif (replace or cell.value is not None) and fingerprint(known.value) != fingerprint(cell.value):
                differing.append(known.coordinate)
                if replace:
                    cells.write_value(known, cell.value)
    review = cells.read_header(sheet)["review"]
    own = [row for key, row in present.items() if key not in wanted and sheet.cell(row, review).value is not None]
    return differing, len(own)


def number_rows(names: dict[int, str]) -> dict[tuple[str, int], int]:
    """Rows by their names and, as several may have the same reviews, by how many of that name are above."""
    above: Counter[str] = Counter()
    rows = {}
    for row, name in names.items():
        rows[name, above[name]] = row
        above[name] += 1
    return rows


def _name_columns(sheet: Worksheet) -> dict[int, str]:
    """A person's columns with something in them, by header, without one by number."""
    ours, names = find_columns(sheet).values(), {}
    for column in sheet.iter_cols():
        place = column[0].column
        if place not in ours and any(cell.value is not None for cell in column):
            names[place] = str(column[0].value or place).strip().lower()
    return names
