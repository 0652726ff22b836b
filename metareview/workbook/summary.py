"""The sheet `summary`: which model is better and how sure that is; means, a person's ratings, charts."""

import time
from typing import Any

from openpyxl.styles import Alignment
from openpyxl.utils import get_column_letter, quote_sheetname
from openpyxl.worksheet.worksheet import Worksheet

from metareview.scoring.comparison import Averages
from metareview.scoring.metrics import METRICS
from metareview.scoring.score_table import find_metrics
from metareview.scoring.verdicts import RELIABILITY
from metareview.workbook.cells import (
    LINE_HEIGHT,
    NARROW,
    NUMBER_FORMATS,
    emphasize,
    find_sheet,
    fit_to_page,
    read_header,
    write_value,
)
from metareview.workbook.charts import draw_losses, draw_rouge
from metareview.workbook.judgments import HIGHEST, LOWEST, NEITHER, TIE
from metareview.workbook.layout import Column
from metareview.workbook.saving import FIRST_CELLS

NOTES = (
    "from, to: the 95% interval of the mean over the cases. Training again with another seed would differ too, which "
    "it does not show; of several seeds, from and to are the lowest and the highest.",
    "lead: the opening words of each review in equal parts, as many as the reference has. other paper: the reference "
    "of another case. ROUGE: F1 with stemming. repetition: 4-grams that repeat an earlier one. copied: words in "
    "fragments of 4 or more from a review.",
    f"names a verdict: accept or reject. right verdict: of those that name one. {RELIABILITY}",
    "terms in no review: numbers and acronyms per text, to be checked; people write some too. reference: what a person "
    "wrote.",
)
RATINGS = {"preferred": "0", "mean rating": "0.0", "rated": "0"}  # columns of a person's judgements: number formats
WIDTHS = (42, 64)  # of the first column, at least and at most, in characters


def describe_test(test: dict[str, Any]) -> str:
    """When and on what models were compared; `test` has data, split and cases."""
    split = f", split {test['split']}" if test["split"] else ""
    return f"{time.strftime('%Y-%m-%d %H:%M')}: {test['cases']} cases of {test['data']}{split}."


def write_summary(
    cases: Worksheet,
    sentences: list[str],
    averages: Averages,
    spread: Averages,
    columns: dict[Column, int],
    losses: dict[str, list[list[float]] | None],
) -> None:
    """Write the sheet anew: sentences, a table with a row for each system, live ratings, charts.

    `cases` is the sheet with the test cases, `columns` are ours in it. `averages` has mean, from and to of each metric
    by system, `spread` the same over seeds, `losses` pairs of epoch and validation loss by model, None
    where they are not known.
    """
    workbook = cases.parent
    place = len(workbook.sheetnames)
    if old := find_sheet(workbook, "summary"):
        place = workbook.index(old)
        workbook.remove(old)
    sheet = workbook.create_sheet("summary", place)
    lines = [FIRST_CELLS["summary"], *filter(None, sentences)]
    losses = {model: points for model, points in losses.items() if points}
    for row, line in enumerate(lines, start=1):
        write_value(sheet.cell(row, 1), line)
    emphasize(sheet["A1"])
    top = len(lines) + 2
    write_averages(sheet, top, averages, spread, 0)
    below = top + 1 + len(averages) + len(spread)
    write_ratings(sheet, top, below, list(averages), cases, columns)
    below += 3
    if find_metrics(averages, 1):
        write_averages(sheet, below, averages, spread, 1)
        below += len(averages) + len(spread) + 2
    for row, note in enumerate(NOTES, start=below):
        write_value(sheet.cell(row, 1), note)
    below = place_charts(sheet, top, below + len(NOTES) + 1, averages, losses)
    longest = max(map(len, [*averages, *spread]))
    sheet.column_dimensions["A"].width = min(max(WIDTHS[0], longest), WIDTHS[1])
    for column in range(2, sheet.max_column + 1):
        sheet.column_dimensions[get_column_letter(column)].width = NARROW
    sheet.sheet_view.showGridLines = False
    fit_to_page(sheet, pages_high=1)


def write_averages(sheet: Worksheet, top: int, averages: Averages, spread: Averages, table: int) -> None:
    """A table of means of these METRICS: its header in row `top`; some with from and to."""
    header, formats = ["model"], ["General"]
    for name in find_metrics(averages, table):
        title, form = METRICS[name].title, METRICS[name].format
        more = ["from", "to"] if METRICS[name].interval else []
        header += [title, *more]
        formats += [NUMBER_FORMATS[form]] * (1 + len(more))
    write_line(sheet, top, header, formats)
    for row, (system, estimates) in enumerate({**averages, **spread}.items(), start=top + 1):
        values: list[Any] = [system]
        for name in find_metrics(averages, table):
            estimate = estimates.get(name, (None, None, None))
            values += estimate if METRICS[name].interval else estimate[:1]
        write_line(sheet, row, values, formats)
    for cell in sheet[top][: len(header)]:
        emphasize(cell, fill=True)
        cell.alignment = Alignment(wrap_text=True, horizontal=cell.alignment.horizontal)
    lines = max(-(-len(title) // NARROW) for title in header)
    sheet.row_dimensions[top].height = LINE_HEIGHT * lines


def write_line(sheet: Worksheet, row: int, values: list[Any], formats: list[str], first: int = 1) -> None:
    """Values, each in its number format, from the column `first` on."""
    for column, (value, number_format) in enumerate(zip(values, formats, strict=True), start=first):
        cell = sheet.cell(row, column)
        if isinstance(value, str) and value.startswith("="):
            cell.value = value  # one of our own formulas
        else:
            write_value(cell, value)
        cell.number_format = number_format
        cell.alignment = Alignment(horizontal="left" if column == 1 else "right")


def write_ratings(
    sheet: Worksheet, top: int, below: int, systems: list[str], cases: Worksheet, columns: dict[Column, int]
) -> None:
    """To the right of the table, what a person has judged of each model, in formulas that change while one judges.

    `top` is the row of the table's header, `below` the first row after it.
    """
    first = sheet.max_column + 2
    write_line(sheet, top, list(RATINGS), ["General"] * len(RATINGS), first)
    for column in range(first, first + len(RATINGS)):
        emphasize(sheet.cell(top, column), fill=True)
    for row, system in enumerate(systems, start=top + 1):
        if ("text", system) in columns:
            formulas = rating_formulas(cases, columns, system)
            write_line(sheet, row, formulas, list(RATINGS.values()), first)
    preferred = find_cells(cases, columns["preferred", ""])
    for row, choice in enumerate((TIE, NEITHER), start=below):
        write_line(sheet, row, [choice, f'=SUMPRODUCT(--({preferred}="{choice}"))'], ["General", "0"], first - 1)


def find_cells(sheet: Worksheet, column: int) -> str:
    """The cells of a column below the header, for a formula."""
    letter = get_column_letter(column)
    return f"{quote_sheetname(sheet.title)}!${letter}$2:${letter}${max(3, sheet.max_row)}"


def rating_formulas(sheet: Worksheet, columns: dict[Column, int], model: str) -> list[str]:
    """How often a model is preferred; its mean rating and how many of its texts are rated, from 1 to 5 in a case."""
    name, preferred = model.replace('"', '""'), find_cells(sheet, columns["preferred", ""])
    ratings, reviews = find_cells(sheet, columns["rating", model]), find_cells(sheet, read_header(sheet)["review"])
    counted = f'{ratings},">={LOWEST}",{ratings},"<={HIGHEST}",{reviews},"<>"'
    return [
        f'=SUMPRODUCT(--({preferred}="{name}"))',
        f'=IF(COUNTIFS({counted})=0,"",AVERAGEIFS({ratings},{counted}))',
        f"=COUNTIFS({counted})",
    ]


def place_charts(sheet: Worksheet, top: int, row: int, averages: Averages, losses: dict[str, list[list[float]]]) -> int:
    """The charts from this row on, side by side, and below them the figures that they need; returns the next row."""
    models = sum("rougeL" in estimates for estimates in averages.values())  # not the reference, which is the last
    height = max(7.5, 2.5 + 1.1 * models)  # cm
    if models:
        sheet.add_chart(draw_rouge(sheet, top, models, height), f"A{row}")
    if not losses:
        return row
    below = row + int(height * 2) + 2
    write_value(sheet.cell(below, 1), "Validation loss while training, which the chart shows")
    emphasize(sheet.cell(below, 1))
    write_losses(sheet, below + 1, losses)
    sheet.add_chart(draw_losses(sheet, below + 1, losses, height), f"G{row}")
    return below + 2 * len(losses) + 1


def write_losses(sheet: Worksheet, top: int, losses: dict[str, list[list[float]]]) -> None:
    """For each model a row of epochs and a row of the validation losses at them."""
    for number, (model, points) in enumerate(losses.items()):
        for offset, title in enumerate((f"{model}: epoch", "loss")):
            values = [title, *(point[offset] for point in points)]
            form = ("0.00", "0.000")[offset]
            write_line(sheet, top + 2 * number + offset, values, ["General", *[form] * len(points)])
