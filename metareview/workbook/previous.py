"""What a person has made of the last results: columns, cases and sheets, carried into the new workbook."""

from collections import defaultdict

from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from metareview.workbook import cells
from metareview.workbook.judgments import ROW, SHEETS, find_columns, fingerprint

WRITTEN_ANEW = ("summary", *SHEETS)  # sheets of ours in which nobody types


def strip_results(sheet: Worksheet) -> int:
    """Take the results out of test cases that hold some; returns their first column, or else the first free one."""
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
    last = max(cell.column for row in sheet.iter_rows() for cell in row if cell.value is not None)
    return min(places, default=last + 1)


def carry_over(old: Worksheet, new: Worksheet, start: int, source: str, target: str) -> dict[int, int]:
    """Bring a person's columns and cases from the sheet `old` into `new`; returns the rows of `new` by those of `old`.

    What is filled in `old` counts, even if the test cases say something else. Columns that only `old` has keep their
    places if these are free and not left of `start`. `source` and `target` name the test cases and the results.
    """
    last, differing = max(name_rows(new), default=1), []
    columns = _match(_name_columns(old), _name_columns(new), start)
    rows = _match(name_rows(old), name_rows(new), last + 1)
    for column, place in columns.items():
        for row, new_row in {1: 1, **rows}.items():
            cell, present = old.cell(row, column), new.cell(new_row, place).value
            if cell.value is not None:
                if row > 1 and present is not None and fingerprint(present) != fingerprint(cell.value):
                    differing.append(cell.coordinate)
                cells.copy_cell(cell, new, new_row, place)
            elif cell.comment:
                cells.free_cell(new, new_row, place).comment = cell.comment
    cells.copy_widths(old, new, columns)
    review = cells.read_header(new)["review"]
    if added := sum(new.cell(row, review).value is not None for row in rows.values() if row > last):
        stay = "They stay; delete their rows to leave them out."
        print(f"Cases of {target} that are not in {source}: {added}. {stay}")
    if differing:
        where = f"{', '.join(differing[:5])}{', ...' if len(differing) > 5 else ''}"
        print(f"{target} keeps what it has in cells for which {source} has something else: {where}")
    return rows


def _match(old: dict[int, str], new: dict[int, str], start: int) -> dict[int, int]:
    """The places of columns or rows in `new` by those in `old`; both have names by places, and names may repeat.

    What `new` lacks keeps its place, or gets the next one that is free, from `start` on.
    """
    free, taken = defaultdict(list), set(new)
    for place, name in new.items():
        free[name].append(place)
    places = {place: free[name].pop(0) for place, name in old.items() if free[name]}
    for place in sorted(old.keys() - places.keys()):
        places[place] = max(place, start)
        while places[place] in taken:
            places[place] += 1
        taken.add(places[place])
    return places


def _name_columns(sheet: Worksheet) -> dict[int, str]:
    """A person's columns with something in them, by header, without one by number."""
    ours, names = find_columns(sheet).values(), {}
    for column in sheet.iter_cols():
        place = column[0].column
        if place not in ours and any(cell.value is not None or cell.comment for cell in column):
            names[place] = str(column[0].value or place).strip().lower()
    return names


def name_rows(sheet: Worksheet) -> dict[int, str]:
    """What each row with something in it is recognized by: reviews, or a person's first cell, or else its number."""
    ours, review, names = find_columns(sheet).values(), cells.read_header(sheet)["review"], {}
    for row, values in enumerate(sheet.iter_rows(min_row=2, values_only=True), start=2):
        filled = {column: value for column, value in enumerate(values, start=1) if value is not None}
        typed = [value for column, value in filled.items() if column not in ours]
        if filled:
            names[row] = fingerprint(filled.get(review) or typed[0]) if typed else f"{ROW}{row}"
    return names


def copy_sheets(old: Worksheet, new: Worksheet) -> None:
    """Bring the other sheets beside `old`, also `runs`, into the workbook of `new`, in place of those that differ."""
    for sheet in old.parent.worksheets:
        present = cells.find_sheet(new.parent, sheet.title.lower())
        if sheet is old or sheet.title.lower() in WRITTEN_ANEW or (present and _read(present) == _read(sheet)):
            continue
        if present and present is not new:
            new.parent.remove(present)
        copied = new.parent.create_sheet(sheet.title)
        for cell in [cell for row in sheet.iter_rows() for cell in row if cell.has_style or cell.value is not None]:
            cells.copy_cell(cell, copied, cell.row, cell.column)
        for merged in sheet.merged_cells.ranges:
            copied.merge_cells(merged.coord)
        cells.copy_widths(sheet, copied, {column: column for column in range(1, sheet.max_column + 1)})
        copied.freeze_panes, copied.sheet_state = sheet.freeze_panes, sheet.sheet_state


def _read(sheet: Worksheet) -> list[tuple[str, str, str]]:
    """Values and notes of all cells."""
    filled = [cell for row in sheet.iter_rows() for cell in row if cell.value is not None]
    return [(cell.coordinate, str(getattr(cell.value, "text", cell.value)), str(cell.comment)) for cell in filled]
