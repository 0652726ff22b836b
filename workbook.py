"""The workbook: test cases in; texts, scores, a person's judgements, a summary and a log of runs out.

Part of evaluation.py, which generates and scores; nothing here knows about models. The sheet with the test cases is a
person's own, and so are the judgements in it; the sheets `summary` and `runs` are ours.
"""

import hashlib
import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from openpyxl import Workbook, load_workbook
from openpyxl.cell.cell import Cell
from openpyxl.chart import BarChart, Reference, Series
from openpyxl.formatting.rule import ColorScaleRule
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter, quote_sheetname
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.worksheet import Worksheet

from processing_meta_review import InputError

MODELS = ("base", "fine_tuned")
SCORES = {"rougeL": "0.000", "words": "0", "repetition": "0%", "stopped": "General"}  # columns of each model
RESULT_COLUMNS = [*MODELS, *(f"{model}_{score}" for model in MODELS for score in SCORES)]
PREFERENCES = (*MODELS, "tie", "neither")
RATINGS = ("1", "2", "3", "4", "5")
JUDGEMENTS = {"preferred": PREFERENCES, "rating_base": RATINGS, "rating_fine_tuned": RATINGS, "comment": ()}
BLIND_JUDGEMENTS = {"preferred": ("A", "B", "tie", "neither"), "rating_A": RATINGS, "rating_B": RATINGS, "comment": ()}
CHANGED = "changed_since"  # beside the judgement: that it is about other texts than those in its row
JUDGED = "judged"  # hidden: fingerprints of the texts that were judged, and of the judgement
CHANGED_NOTE = "texts changed since they were judged: judge again and empty this cell"
FIRST_CELLS = {  # by which we know our own sheets
    "summary": "Summary of the last run (this sheet is written anew by every run)",
    "runs": "date",
}
FORBIDDEN = r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]"  # what XML 1.0 cannot hold
CELL_LIMIT = 32_767  # characters that Excel takes in one cell
CUT_MARK = " [cut]"
COLOURS = {
    "rougeL": {"start_type": "min", "start_color": "F8B4AB", "mid_type": "percentile", "mid_value": 50,
               "mid_color": "FFFFFF", "end_type": "max", "end_color": "9FD5A5"},
    "repetition": {"start_type": "num", "start_value": 0, "start_color": "FFFFFF",
                   "end_type": "num", "end_value": 1, "end_color": "F08070"},
}  # fmt: skip
WIDTHS = {"review": 90, "reference": 60, "base": 60, "fine_tuned": 60, "A": 60, "B": 60, "comment": 40, CHANGED: 24}
FORMATS = {".3f": "0.000", ".2f": "0.00", ".1f": "0.0", ".0f": "0", ".0%": "0%"}  # Python's, Excel's
HIGHEST_ROW = 409  # points, Excel's limit
LAST_ROW = 1_048_576  # Excel's limit: rules for a column hold for rows that are added later too
LOSSES = {  # what openpyxl may drop: files inside the workbook by their names, and marks inside its sheets and drawings
    "pictures": r"xl/media/",
    "charts": r"xl/charts/chart[^/]*$|xl/charts/.*cx.*$|xl/chartsheets/[^/]*$",
    "comments": r"xl/(threadedC|c)omments?\d*[./]",
    "pivot tables": r"xl/pivotTables/[^/]*$",
    "slicers": r"xl/(slicers|timelines)/",
    "embedded objects": r"xl/(embeddings|ctrlProps|activeX)/[^/]*$",
    "links to other files": r"xl/externalLinks/[^/]*$",
    "tables": r"xl/(tables|queryTables)/[^/]*$",
    "macros": r"xl/vbaProject",
}
MARKS = {"shapes": rb"<\w+:(?:sp|cxnSp|grpSp)[ />]", "sparklines": rb"<\w+:sparkline[ />]",
         "rules of newer Excels": rb"<x14:(?:conditionalFormatting|dataValidation)[ >]"}  # fmt: skip


@dataclass
class Case:
    """A test case: its row in the sheet, its reviews as they stand there, its reference (empty if there is none)."""

    row: int
    review: str
    reference: str


def open_workbook(path: str) -> Workbook:
    """Raises `InputError` for a file that is missing or no workbook, or of which saving would lose something."""
    if not Path(path).is_file():
        raise InputError(f"there is no workbook {path!r}; name one with --test_cases, or use --num_examples")
    try:
        workbook = load_workbook(path, rich_text=True)
        losses = find_losses(path)
    except Exception as error:  # openpyxl raises whatever zip, XML and its own parts raise
        raise InputError(f"{path!r} is no .xlsx workbook that can be read: {error}") from error
    if losses:
        raise InputError(f"{path!r} has {', '.join(losses)} that would be lost on saving; "
                         "take them out, or copy the test cases into a new workbook")  # fmt: skip
    for title, first in FIRST_CELLS.items():
        sheet = find_sheet(workbook, title)
        if sheet and sheet["A1"].value != first:
            raise InputError(f"{path!r} has a sheet {sheet.title!r} of its own, where ours would go; rename it")
    return workbook


def find_sheet(workbook: Workbook, title: str) -> Worksheet | None:
    """The sheet of this title, in whatever case: Excel makes no difference."""
    return next((sheet for sheet in workbook.worksheets if sheet.title.lower() == title), None)


def find_losses(path: str) -> list[str]:
    """What of a workbook would not survive that openpyxl reads and saves it: names for a person."""
    saved = BytesIO()
    load_workbook(path, rich_text=True).save(saved)
    before, after = count_parts(path), count_parts(saved)
    return sorted(name for name in before if after[name] < before[name])


def count_parts(file: str | BytesIO) -> Counter[str]:
    """How many of each of LOSSES and MARKS a workbook holds."""
    counts: Counter[str] = Counter()
    with ZipFile(file) as archive:
        for name in archive.namelist():
            counts.update(label for label, pattern in LOSSES.items() if re.match(pattern, name))
            if re.match(r"xl/(worksheets|drawings)/[^/]*\.xml$", name):
                content = archive.read(name)
                counts.update({label: len(re.findall(pattern, content)) for label, pattern in MARKS.items()})
    return counts


def find_lock(target: Path) -> Path | None:
    """The file by which LibreOffice or Excel show that they have a workbook open."""
    locks = (target.with_name(f".~lock.{target.name}#"), target.with_name(f"~${target.name}"))
    return next((lock for lock in locks if lock.exists()), None)


def check_target(target: Path) -> None:
    """Raise `InputError` where a workbook could not be saved: no folder, open elsewhere, read-only.

    A full disk raises an `OSError`, now rather than after the generation: so much as the workbook may need is tried.
    """
    if target.suffix.lower() != ".xlsx" or not target.absolute().parent.is_dir():
        raise InputError(f"results cannot go to {str(target)!r}: it must be an .xlsx file in a folder that exists")
    if lock := find_lock(target):
        raise InputError(f"{str(target)!r} is open in another program; close it (or remove a stale {lock.name!r})")
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(f"{str(target)!r} is read-only; make it writable or name another file with --output")
    trial = target.with_name(f".{target.name}.try")
    try:
        trial.write_bytes(bytes(2**20 + 2 * (target.stat().st_size if target.exists() else 0)))
    finally:
        trial.unlink(missing_ok=True)


def case_sheet(workbook: Workbook, path: str) -> Worksheet:
    """The sheet with the test cases: the one that opens first, or else the first with a column `review`."""
    sheets = [sheet for sheet in (workbook.active, *workbook.worksheets) if isinstance(sheet, Worksheet)]
    for sheet in sheets:
        if "review" in find_columns(sheet):
            return sheet
    found = "; ".join(f"{sheet.title!r}: {', '.join(find_columns(sheet)) or 'none'}" for sheet in workbook.worksheets)
    raise InputError(f"no sheet of {path!r} has a column 'review' in row 1; there are, by sheet: {found}")


def find_columns(sheet: Worksheet) -> dict[str, int]:
    """Column numbers by the header in row 1, lower case."""
    return {str(cell.value).strip().lower(): cell.column for cell in sheet[1] if cell.value is not None}


def read_cases(sheet: Worksheet, path: str) -> list[Case]:
    """The rows that have a review. Raises `InputError` where there is none, or a formula in its place."""
    columns = find_columns(sheet)
    cases = []
    for row in range(2, sheet.max_row + 1):
        cells = [sheet.cell(row, columns[name]) for name in ("review", "reference") if name in columns]
        if any(cell.data_type == "f" for cell in cells):
            raise InputError(f"row {row} of {path!r} has a formula as review or reference; put the text itself there")
        review, reference = [str(cell.value or "").strip() for cell in cells] + [""] * (2 - len(cells))
        if re.search("[a-zA-Z0-9]", review):
            cases.append(Case(row, review, reference))
    if not cases:
        raise InputError(f"the sheet {sheet.title!r} of {path!r} has no row with a review")
    return cases


def add_case(path: str, values: dict[str, str]) -> int:
    """Put a case, the texts of columns, below all that stands in a workbook; the row where it is, also if it was there.

    Only the column `reference` is made where it is missing. Raises `InputError` for a text too long for a cell.
    """
    check_target(Path(path))
    workbook = open_workbook(path)
    sheet = case_sheet(workbook, path)
    columns = find_columns(sheet)
    last = max(cell.row for row in sheet.iter_rows() for cell in row if cell.value is not None)
    for row in range(2, last + 1):
        if str(sheet.cell(row, columns["review"]).value or "").split() == values["review"].split():
            return row
    if values.get("reference") and "reference" not in columns:
        columns["reference"] = sheet.max_column + 1
        mark_header(sheet.cell(1, columns["reference"], "reference"))
    for name, text in values.items():
        if len(text) > CELL_LIMIT:
            raise InputError(f"the {name} has {len(text):,} characters, but a cell holds {CELL_LIMIT:,}; "
                             "nothing was saved. Give the command without --save")  # fmt: skip
        if text and name in columns:
            cell = sheet.cell(last + 1, columns[name])
            if replaced := write_text(cell, text):
                print(f"{replaced} characters that a workbook cannot hold are replaced in it.")
            cell.alignment = Alignment(wrap_text=True, vertical="top")
    save_workbook(workbook, Path(path))
    return last + 1


def new_workbook(rows: list[dict[str, Any]]) -> Workbook:
    """A workbook with these rows (of the same keys) as its sheet `examples`."""
    workbook = Workbook()
    sheet = workbook.active
    sheet.title = "examples"
    columns = {name: column for column, name in enumerate(rows[0], start=1)}
    for name, column in columns.items():
        sheet.cell(1, column, name)
        for number, row in enumerate(rows, start=2):
            write_value(sheet.cell(number, column), row[name])
    style(sheet, columns)
    fit_to_page(sheet)
    return workbook


def write_text(cell: Cell, text: str) -> int:
    """Put a text into a cell, never as a formula, cut with a mark at Excel's limit.

    Returns how many characters a workbook cannot hold: they are replaced.
    """
    text, replaced = re.subn(FORBIDDEN, "\ufffd", re.sub("\r\n?", "\n", text))  # XML reads a return as a line break
    cell.value = text if len(text) <= CELL_LIMIT else text[: CELL_LIMIT - len(CUT_MARK)] + CUT_MARK
    cell.data_type = "s"
    return replaced


def write_value(cell: Cell, value: Any) -> None:
    """Put a text or a number into a cell, a text never as a formula."""
    if isinstance(value, str):
        write_text(cell, value)
    else:
        cell.value = value


def place_results(sheet: Worksheet, path: str) -> dict[str, int]:
    """Column numbers of results and judgements: those of an earlier run, or new ones to the right of all that is there.

    Raises `InputError` where a column has the name of one of ours without being ours: ours come with `judged`.
    """
    there, names = find_columns(sheet), (*RESULT_COLUMNS, *JUDGEMENTS, CHANGED, JUDGED)
    taken = [name for name in names if name.lower() in there]
    if taken and JUDGED not in taken:
        raise InputError(f"{path!r} has a column {taken[0]!r} of its own, where ours would go; rename or remove it")
    for letter, width in list(sheet.column_dimensions.items()):  # LibreOffice sets a width to the end of the sheet
        width.max = min(width.max or sheet.max_column, max(sheet.max_column, width.min or 0))
        if (width.min or 0) > sheet.max_column:
            del sheet.column_dimensions[letter]
    columns, free = {}, sheet.max_column + 1
    for name in names:
        columns[name] = there.get(name.lower(), free)
        free += columns[name] == free
    for merged in sheet.merged_cells.ranges:
        if any(merged.min_col <= column <= merged.max_col for column in columns.values()):
            raise InputError(f"{path!r} has merged cells {merged.coord} where results go; take them apart")
    return columns


def fingerprint(*values: Any) -> str:
    """A short hash by which texts and judgements are known again; 3 and 3.0 are the same judgement."""
    texts = [f"{value:g}" if isinstance(value, int | float) else str(value or "") for value in values]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def read_row(sheet: Worksheet, row: int, columns: dict[str, int], names: Iterable[str]) -> list[Any]:
    """The values in the columns of these names."""
    return [sheet.cell(row, columns[name]).value for name in names]


def find_judged(sheet: Worksheet, columns: dict[str, int], cases: list[Case]) -> dict[int, str]:
    """The rows that a person has judged, each with the fingerprint of the texts that the judgement is about.

    A judgement that was made or changed since the last run (a new comment alone changes none) is about the texts that
    stand there now, and so is one whose note a person has emptied. Any other is about the texts noted before.
    """
    judged = {}
    for case in cases:
        values = read_row(sheet, case.row, columns, JUDGEMENTS)
        if any(value is not None for value in values):
            shown = fingerprint(*read_row(sheet, case.row, columns, MODELS))
            noted, changed = read_row(sheet, case.row, columns, (JUDGED, CHANGED))
            texts, _, judgement = str(noted or "").partition(" ")
            again = (noted and judgement != fingerprint(*values[:-1])) or (texts != shown and not changed)
            judged[case.row] = shown if again else texts
    return judged


def note_judged(sheet: Worksheet, columns: dict[str, int], judged: dict[int, str]) -> None:
    """Beside each judgement, note what it is about, and whether that is what stands in its row now."""
    for row, texts in judged.items():
        changed = texts != fingerprint(*read_row(sheet, row, columns, MODELS))
        sheet.cell(row, columns[CHANGED]).value = CHANGED_NOTE if changed else None
        judgement = fingerprint(*read_row(sheet, row, columns, JUDGEMENTS)[:-1])
        sheet.cell(row, columns[JUDGED]).value = f"{texts} {judgement}"


def write_results(
    sheet: Worksheet, columns: dict[str, int], cases: list[Case], results: dict[str, list[dict[str, Any]]]
) -> int:
    """Write texts and scores into their columns, and nothing where a row has no case (any more); judgements stay.

    Returns how many characters had to be replaced.
    """
    judged, replaced = find_judged(sheet, columns, cases), 0
    for header, column in columns.items():
        sheet.cell(1, column).value = header
    for header in RESULT_COLUMNS:
        for row in range(2, sheet.max_row + 1):
            sheet.cell(row, columns[header]).value = None
        model, _, name = (header, "", "text") if header in MODELS else header.rpartition("_")
        for case, result in zip(cases, results[model], strict=True):
            cell = sheet.cell(case.row, columns[header])
            if name == "text":
                replaced += write_text(cell, result[name])
            else:
                cell.value = ("yes" if result[name] else "no") if name == "stopped" else result.get(name)
                cell.number_format = SCORES[name]
    note_judged(sheet, columns, judged)
    style(sheet, columns)
    add_rules(sheet, columns)
    return replaced


def style(sheet: Worksheet, columns: dict[str, int]) -> None:
    """Make these columns readable: wrapped text, a marked header, and a width and row heights where none is set."""
    lines: dict[int, int] = {}
    for name, column in columns.items():
        letter = get_column_letter(column)
        ranges = [(width.min or 0, width.max or 0) for width in sheet.column_dimensions.values()]
        if letter not in sheet.column_dimensions and not any(first <= column <= last for first, last in ranges):
            sheet.column_dimensions[letter].width = WIDTHS.get(name, max(12, len(name) + 4))
            sheet.column_dimensions[letter].hidden = name == JUDGED
        for row in range(1, sheet.max_row + 1):
            cell = sheet.cell(row, column)
            cell.alignment = Alignment(wrap_text=True, vertical="top")
            if row > 1 and name in WIDTHS and cell.value:
                needed = sum(1 + len(line) // WIDTHS[name] for line in str(cell.value).split("\n"))
                lines[row] = max(needed, lines.get(row, 1))
        mark_header(sheet.cell(1, column))
    for row, needed in lines.items():
        if sheet.row_dimensions[row].height is None:
            sheet.row_dimensions[row].height = min(HIGHEST_ROW, 15 * needed)
    sheet.freeze_panes = sheet.freeze_panes or "A2"


def mark_header(cell: Cell) -> None:
    """Bold on blue, as every header."""
    cell.font, cell.fill = Font(bold=True), PatternFill("solid", fgColor="DDE6F0")


def add_rules(sheet: Worksheet, columns: dict[str, int]) -> None:
    """A filter, colours on the scores (both models on one scale) and drop-downs for judgements, once each."""
    there = sheet.auto_filter.ref
    if not sheet.tables and (there is None or there.startswith("A1:")):  # that of an earlier run grows
        sheet.auto_filter.ref = f"A1:{get_column_letter(sheet.max_column)}{sheet.max_row}"
    letters = {name: get_column_letter(column) for name, column in columns.items()}
    coloured = [str(rule.sqref).partition(":")[0] for rule in sheet.conditional_formatting]
    for score, colours in COLOURS.items():
        cells = " ".join(f"{letters[f'{model}_{score}']}2:{letters[f'{model}_{score}']}{LAST_ROW}" for model in MODELS)
        if cells.partition(":")[0] not in coloured:
            sheet.conditional_formatting.add(cells, ColorScaleRule(**colours))
    for name, choices in JUDGEMENTS.items():
        add_choices(sheet, f"{letters[name]}2:{letters[name]}{LAST_ROW}", choices)


def add_choices(sheet: Worksheet, cells: str, choices: tuple[str, ...]) -> None:
    """A drop-down for a range of cells, if there are choices and it has none yet."""
    there = [str(rule.sqref).partition(":")[0] for rule in sheet.data_validations.dataValidation]
    if choices and cells.partition(":")[0] not in there:
        message = f"one of: {', '.join(choices)}"
        rule = DataValidation("list", f'"{",".join(choices)}"', showErrorMessage=True, error=message, sqref=cells)
        sheet.add_data_validation(rule)


def write_summary(
    cases: Worksheet,
    sentences: list[str],
    metrics: dict[str, tuple[str, str]],
    summary: dict[str, dict[str, tuple[float, float, float]]],
    columns: dict[str, int],
) -> None:
    """The sheet `summary`, anew: sentences, a table of means and intervals, live ratings, and a chart of ROUGE.

    `cases` is the sheet with the test cases and `columns` what stands where in it. `metrics` has a title and a format
    for each metric, ROUGE-1, 2 and L first; `summary` the figures of each system.
    """
    workbook = cases.parent
    place = len(workbook.sheetnames)
    if old := find_sheet(workbook, "summary"):
        place = workbook.index(old)
        workbook.remove(old)
    sheet = workbook.create_sheet("summary", place)
    for line in (FIRST_CELLS["summary"], *sentences):
        sheet.append([line])
    top = len(sentences) + 3
    write_line(sheet, top, ["", *(name for system in summary for name in (system, "from", "to"))])
    for row, (name, (title, form)) in enumerate(metrics.items(), start=top + 1):
        figures = [figure for system in summary.values() for figure in system.get(name, [None] * 3)]
        write_line(sheet, row, [title, *figures], FORMATS[form])
    below = top + len(metrics) + 2
    for row, (form, values) in enumerate(rating_formulas(cases, columns), start=below):
        write_line(sheet, row, values, form)
    for header in (*sheet[top], *sheet[below + 1][: 1 + len(PREFERENCES)]):
        mark_header(header)
    sheet["A1"].font, sheet.cell(below, 1).font = Font(bold=True, size=14), Font(bold=True)
    sheet.column_dimensions["A"].width = 48
    for column in range(2, sheet.max_column + 1):
        sheet.column_dimensions[get_column_letter(column)].width = 11
    sheet.add_chart(draw_rouge(sheet, top), f"A{below + 7}")
    fit_to_page(sheet)


def write_line(sheet: Worksheet, row: int, values: list[Any], form: str = "General") -> None:
    """A title, and figures of one number format to the right of it."""
    for column, value in enumerate(values, start=1):
        cell = sheet.cell(row, column, value)
        cell.number_format, cell.alignment = form, Alignment(horizontal="left" if column == 1 else "right")


def fit_to_page(sheet: Worksheet) -> None:
    """Printed, the sheet is as wide as one page."""
    sheet.page_setup.orientation, sheet.page_setup.fitToHeight = "landscape", 0
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)


def rating_formulas(sheet: Worksheet, columns: dict[str, int]) -> list[tuple[str, list[str]]]:
    """What a person has judged so far, with number formats: formulas that change while one judges.

    Judgements of texts that have changed since do not count.
    """

    def cells(name: str) -> str:
        letter = get_column_letter(columns[name])
        return f"{quote_sheetname(sheet.title)}!${letter}$2:${letter}${max(3, sheet.max_row)}"

    columns = columns | {"review": find_columns(sheet)["review"]}
    valid = f'({cells(CHANGED)}="")*({cells("review")}<>"")'
    preferred = [f'=SUMPRODUCT(({cells("preferred")}="{name}")*{valid})' for name in PREFERENCES]
    rated = [f"SUMPRODUCT(ISNUMBER({cells(f'rating_{model}')})*{valid})" for model in MODELS]
    sums = [f"SUMPRODUCT({valid},{cells(f'rating_{model}')})" for model in MODELS]
    means = [f'=IF({number}=0,"-",{total}/{number})' for number, total in zip(rated, sums, strict=True)]
    return [
        ("General", ["Judged by a person, in the columns preferred and rating_... beside the texts"]),
        ("General", ["", *PREFERENCES]),
        ("0", ["preferred", *preferred]),
        ("0.0", ["mean rating, 1 to 5", *means]),
        ("0", ["cases rated", *(f"={number}" for number in rated)]),
        ("0", ["judged, but the texts changed since: not counted", f'=SUMPRODUCT(--({cells(CHANGED)}<>""))']),
    ]


def draw_rouge(sheet: Worksheet, top: int) -> BarChart:
    """Bars: the means of ROUGE-1, 2 and L, in the three rows below `top`, of each system that has a column there."""
    chart = BarChart()
    chart.title, chart.height, chart.width = "Mean ROUGE (F1)", 7.5, 18
    chart.x_axis.delete = chart.y_axis.delete = False  # else newer programs show no axis
    for cell in sheet[top]:
        if cell.value not in (None, "", "from", "to"):
            chart.append(Series(Reference(sheet, cell.column, top + 1, cell.column, top + 3), title=cell.value))
    chart.set_categories(Reference(sheet, 1, top + 1, 1, top + 3))
    return chart


def append_run(workbook: Workbook, figures: dict[str, Any]) -> None:
    """A line in the sheet `runs`: never overwritten; a figure without a column gets one on the right."""
    sheet = find_sheet(workbook, "runs") or workbook.create_sheet("runs")
    columns = {cell.value: cell.column for cell in sheet[1] if cell.value is not None}
    row = max(2, sheet.max_row + 1)
    for name, value in figures.items():
        if name not in columns:
            columns[name] = max(columns.values(), default=0) + 1
            mark_header(sheet.cell(1, columns[name], name))
            sheet.column_dimensions[get_column_letter(columns[name])].width = max(12, len(name) + 2)
        cell = sheet.cell(row, columns[name])
        write_value(cell, value)
        cell.number_format = "0.000" if isinstance(cell.value, float) else "General"
    sheet.freeze_panes = "B2"
    fit_to_page(sheet)


def blind_paths(target: Path) -> tuple[Path, Path]:
    """Where the blind copy of a workbook and its key lie."""
    return target.with_stem(f"{target.stem}_blind"), target.with_name(f"{target.stem}_blind_key.json")


def make_blind(sheet: Worksheet, columns: dict[str, int], cases: list[Case]) -> tuple[Workbook, dict[str, list[str]]]:
    """A workbook with the two texts of each case as A and B, swapped at random, and the key: who A and B are.

    The key goes by the fingerprint of the review, so the copy may be sorted; a review that repeats is left out.
    """
    rows, key = [], {}
    for case in cases:
        if (name := fingerprint(case.review)) not in key:
            key[name] = random.SystemRandom().sample(MODELS, len(MODELS))
            texts = [str(text or "") for text in read_row(sheet, case.row, columns, key[name])]
            whole = {"review": case.review, "reference": case.reference, "A": texts[0], "B": texts[1]}
            rows.append(whole | dict.fromkeys(BLIND_JUDGEMENTS))
    workbook = new_workbook(rows)
    for column, name in enumerate(rows[0], start=1):
        cells = f"{get_column_letter(column)}2:{get_column_letter(column)}{LAST_ROW}"
        add_choices(workbook.active, cells, BLIND_JUDGEMENTS.get(name, ()))
    return workbook, key


def take_judgements(
    sheet: Worksheet, columns: dict[str, int], cases: list[Case], blind: Worksheet, key: dict[str, list[str]]
) -> int:
    """Put the judgements of a blind copy beside the texts, under the models' names; one that is there already stays.

    Returns how many were not taken: of a case that is gone or has another judgement, or none of the choices.
    """
    judged, there = find_judged(sheet, columns, cases), {fingerprint(case.review): case.row for case in reversed(cases)}
    places, left = find_columns(blind), 0
    names = ("review", "A", "B", *BLIND_JUDGEMENTS)
    if missing := [name for name in names if name.lower() not in places]:
        raise InputError(f"the blind copy has no column {', '.join(missing)} (any more)")
    for row in range(2, blind.max_row + 1):
        review, *values = (blind.cell(row, places[name.lower()]).value for name in names)
        shown, (preferred, *ratings, comment) = values[:2], values[2:]
        case = fingerprint(str(review or "").strip())
        if all(value is None for value in values[2:]):
            continue
        writers = key.get(case, MODELS)
        choices = {"": None, "A": writers[0], "B": writers[1], "TIE": "tie", "NEITHER": "neither"}
        choice = str(preferred or "").strip().upper()
        named = {"preferred": choices.get(choice), "comment": comment}
        named |= {f"rating_{writer}": rating for writer, rating in zip(writers, ratings, strict=True)}
        new = [named[name] for name in JUDGEMENTS]
        known = case in key and case in there and choice in choices
        if not known or (there[case] in judged and read_row(sheet, there[case], columns, JUDGEMENTS) != new):
            left += 1
            continue
        for name, value in named.items():
            write_value(sheet.cell(there[case], columns[name]), value)
        texts = dict(zip(writers, shown, strict=True))
        judged[there[case]] = fingerprint(*(texts[model] for model in MODELS))
    note_judged(sheet, columns, judged)
    return left


def unblind(sheet: Worksheet, target: Path) -> None:
    """Put the judgements of the blind copy into the workbook `target`, and say who was preferred how often."""
    copy, key = blind_paths(target)
    if not copy.is_file() or not key.is_file():
        raise InputError(f"there is no {str(copy)!r} with its key {key.name!r}; make them with --blind")
    if lock := find_lock(copy):
        raise InputError(f"{str(copy)!r} is open in another program; close it (or remove a stale {lock.name!r})")
    try:
        who = {case: sorted(MODELS, key=writers.index) for case, writers in json.loads(key.read_text()).items()}
    except (ValueError, AttributeError) as error:
        raise InputError(f"{str(key)!r} is no key of a blind copy: {error}") from error
    if JUDGED not in find_columns(sheet):
        raise InputError(f"{str(target)!r} holds no results to which the judgements belong")
    columns, cases = place_results(sheet, str(target)), read_cases(sheet, str(target))
    left = take_judgements(sheet, columns, cases, case_sheet(open_workbook(str(copy)), str(copy)), who)
    save_workbook(sheet.parent, target)
    rows = [read_row(sheet, case.row, columns, ("preferred", CHANGED)) for case in cases]
    tally = Counter(preferred for preferred, changed in rows if not changed)
    print(f"Preferred in {target}: " + ", ".join(f"{name} {tally[name]}" for name in PREFERENCES))
    if left:
        print(f"{left} judgements were not taken from {copy}: their case is gone or has another one, or A and B are "
              "misspelt.")  # fmt: skip


def save_workbook(workbook: Workbook, target: Path) -> None:
    """Write the workbook beside its place and put it there when it is whole."""
    new = target.with_name(f".{target.name}.new")
    workbook.save(new)
    new.replace(target)


def modified(path: Path) -> int | None:
    """When a file was last written, in nanoseconds; None where there is none."""
    return path.stat().st_mtime_ns if path.exists() else None
