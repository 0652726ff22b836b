"""Where our columns are: to the right of what belongs to a person, whose own columns never move.

They are those of the models of this run. Those of the last run are known again by their headers, which `judgements`
keeps; they move with all that is in them, colours and notes too.
"""

from copy import copy

from openpyxl.utils import get_column_letter, range_boundaries
from openpyxl.worksheet.worksheet import Worksheet

from metareview.common.cli import InputError
from metareview.scoring.metrics import METRICS, ROUGE
from metareview.workbook.cases import Case
from metareview.workbook.cells import NUMBER_FORMATS, write_text
from metareview.workbook.judgments import read_layout

Column = tuple[str, str]  # what is in it: text, preferred, rating, comment or one of SCORES; of which model, if of one
SCORES = {name: NUMBER_FORMATS[metric.format] for name, metric in METRICS.items() if metric.in_sheet}
SCORES |= {"verdict": "General", "terms": "General"}  # found by rules, for a person to check
TITLES = {name: metric.title for name, metric in METRICS.items()}
TITLES |= {"verdict": "verdict", "terms": "terms in no review"}


def name_columns(models: list[str], references: bool) -> dict[Column, str]:
    """Our columns from left to right with their headers: texts, judgements, scores; ROUGE only with references."""
    columns = {("text", model): model for model in models}
    columns[("preferred", "")] = "preferred"
    columns |= {("rating", model): f"rating {model}" for model in models}
    columns[("comment", "")] = "comment"
    for score in SCORES:
        if references or score not in ROUGE:
            columns |= {(score, model): f"{model} {TITLES[score]}" for model in models}
    return columns


def find_columns(sheet: Worksheet) -> dict[Column, int]:
    """Where our columns of the last run are now; of two with the same header the left one."""
    headers: dict[str, int] = {}
    for cell in sheet[1]:
        if cell.value is not None:
            headers.setdefault(str(cell.value).strip(), cell.column)
    layout = read_layout(sheet.parent)
    return {column: headers[header.strip()] for column, header in layout.items() if header.strip() in headers}


def check_merged(sheet: Worksheet, columns: list[int], path: str) -> None:
    """Raise `InputError` where cells are merged across our columns."""
    for merged in sheet.merged_cells.ranges:
        if any(merged.min_col <= column <= merged.max_col for column in columns):
            raise InputError(f"{path!r} has merged cells {merged.coord} where results go; take them apart")


def choose_places(sheet: Worksheet, there: dict[Column, int], number: int) -> list[int]:
    """The numbers of so many columns: those that ours have now, in their order, then those right of everything else."""
    free = sorted(set(there.values()))
    beyond = max(find_last_column(sheet), *free, 0)
    return (free + list(range(beyond + 1, beyond + 1 + number)))[:number]


def find_last_column(sheet: Worksheet) -> int:
    """The last column with something in it."""
    return max((cell.column for row in sheet.iter_rows() for cell in row if cell.value is not None), default=0)


def lay_out(sheet: Worksheet, models: list[str], cases: list[Case], path: str) -> dict[Column, int]:
    """Make our columns those of these models, each with what is in it now, and name them; returns their numbers.

    A column whose model has left goes, a new one is empty. A header that a person's own column has gets a number.
    Raises `InputError` where cells are merged across our columns.
    """
    there, headers = find_columns(sheet), name_columns(models, any(case.reference for case in cases))
    others = (cell.value for cell in sheet[1] if cell.value is not None and cell.column not in there.values())
    taken = {str(value).strip().lower() for value in others}
    places = choose_places(sheet, there, len(headers))
    check_merged(sheet, [*there.values(), *places], path)
    end_widths(sheet)
    forget_print_area(sheet, there)
    beyond, widths = max(sheet.max_column, *places) + 1, {}
    for offset, (column, place) in enumerate(there.items()):
        move_column(sheet, place, beyond + offset)
        widths[column] = sheet.column_dimensions.pop(get_column_letter(place), None)
    columns = dict(zip(headers, places, strict=True))
    for column, place in columns.items():
        if column in there:
            move_column(sheet, beyond + list(there).index(column), place)
        if width := widths.get(column):
            dimension = sheet.column_dimensions[get_column_letter(place)]
            dimension.width, dimension.hidden = width.width, width.hidden
        header, number = headers[column], 2
        while header.lower() in taken:
            header, number = f"{headers[column]} ({number})", number + 1
        taken.add(header.lower())
        write_text(sheet.cell(1, place), header)
    sheet.delete_cols(beyond, len(there) + 1)  # those of models that have left; nothing is to the right of them
    cut_tables(sheet, min(places))
    return columns


def forget_print_area(sheet: Worksheet, there: dict[Column, int]) -> None:
    """Let the area that is printed be chosen anew where it is that of the last run, which ends with the comments."""
    comment = there.get(("comment", ""))
    if comment and f":${get_column_letter(comment)}$" in sheet.print_area:
        sheet.print_area = None


def move_column(sheet: Worksheet, place: int, to: int) -> None:
    """Move the cells of a column, with their colours and notes."""
    letter = get_column_letter(place)
    sheet.move_range(f"{letter}1:{letter}{sheet.max_row}", cols=to - place)


def end_widths(sheet: Worksheet) -> None:
    """Give each column its own width, up to the last cell: programs set one for a group, up to the end of the sheet."""
    last = sheet.max_column
    for letter, width in list(sheet.column_dimensions.items()):
        first, end = width.min or 0, min(width.max or 0, last)
        if first > last:
            del sheet.column_dimensions[letter]
            continue
        for column in range(first + 1, end + 1):
            single = copy(width)
            single.index, single.min, single.max = get_column_letter(column), column, column
            sheet.column_dimensions[single.index] = single
        if first:
            width.max = first


def cut_tables(sheet: Worksheet, first: int) -> None:
    """Let tables that a person has made of the sheet end before our columns, whose headers change with the models."""
    for table in list(sheet.tables.values()):
        left, top, right, bottom = range_boundaries(table.ref)
        if right < first:
            continue
        if left >= first:
            del sheet.tables[table.name]
            continue
        table.ref = f"{get_column_letter(left)}{top}:{get_column_letter(first - 1)}{bottom}"
        table.tableColumns = table.tableColumns[: first - left]
        if table.autoFilter:
            table.autoFilter.ref = table.ref
