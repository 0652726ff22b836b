"""The sheets `summary` and `runs`: what came out of the last run, and a line for each run so far."""

import time
from typing import Any

from openpyxl import Workbook
from openpyxl.chart import BarChart, Reference, Series
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter, quote_sheetname
from openpyxl.worksheet.worksheet import Worksheet

from metareview.hub import public_name
from metareview.model import find_model_revision
from metareview.prompts import PROMPTS
from metareview.scoring import MODELS, Estimate
from metareview.tokenization import TokenizationArguments
from metareview.workbook.cells import find_sheet, fit_to_page, mark_header, read_header, write_value
from metareview.workbook.opening import FIRST_CELLS
from metareview.workbook.results import CHANGED, PREFERENCES

NUMBER_FORMATS = {".3f": "0.000", ".2f": "0.00", ".1f": "0.0", ".0f": "0", ".0%": "0%"}  # Python's, Excel's
NOTES = (
    "from, to: the 95 % interval over cases; another training run would differ too, which it does not show.",
    "lead: the opening words of each review in equal parts, as many as the reference has.",
)


def describe_run(
    settings: dict[str, TokenizationArguments],
    decoding: str,
    data: dict[str, Any],
    averages: dict[str, dict[str, Estimate]],
) -> dict[str, Any]:
    """A line of the sheet `runs`: models, prompt, decoding, data and the mean of each metric of each system.

    `settings` says how each of MODELS was prompted; `data` has the columns that say what the cases were.
    """
    run: dict[str, Any] = {"date": time.strftime("%Y-%m-%d %H:%M:%S")}
    for system in MODELS:
        name = settings[system].model_name_or_path
        run |= {system: public_name(name), f"{system}_revision": find_model_revision(name)}
    template = settings["fine_tuned"].prompt_template
    names = {text: name for name, text in PROMPTS.items()}
    run |= {"prompt": names.get(template, template), "decoding": decoding, **data}
    for system, metrics in averages.items():
        run |= {f"{system} {name}": estimate[0] for name, estimate in metrics.items()}
    return run


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


def describe_results(run: dict[str, Any], verdicts: list[str], weakest: str) -> list[str]:
    """The sentences above the table of `summary`; `run` is the line of the sheet `runs`."""
    split = f", split {run['split']}" if run["split"] else ""
    return [
        f"{run['date']}: {run['fine_tuned']} against {run['base']}, prompt {run['prompt']!r}.",
        f"{run['cases']} cases of {run['data']}{split}.",
        *verdicts,
        weakest,
        *NOTES,
    ]


def write_summary(
    cases: Worksheet,
    sentences: list[str],
    metrics: dict[str, tuple[str, str]],
    averages: dict[str, dict[str, Estimate]],
    columns: dict[str, int],
) -> None:
    """Write the sheet `summary` anew: sentences, a table of means and intervals, live ratings, and a chart of ROUGE.

    `cases` is the sheet with the test cases, `columns` the columns of results in it. `metrics` has a title and a format
    for each metric, ROUGE-1, 2 and L first; `averages` has mean, from and to of each metric, by system.
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
    below = top + len(metrics) + 2
    write_averages(sheet, top, metrics, averages)
    for row, (number_format, values) in enumerate(rating_formulas(cases, columns), start=below):
        write_line(sheet, row, values, number_format)
    for header in (*sheet[top], *sheet[below + 1][: 1 + len(PREFERENCES)]):
        mark_header(header)
    sheet["A1"].font, sheet.cell(below, 1).font = Font(bold=True, size=14), Font(bold=True)
    sheet.column_dimensions["A"].width = 48
    for column in range(2, sheet.max_column + 1):
        sheet.column_dimensions[get_column_letter(column)].width = 11
    sheet.add_chart(draw_rouge(sheet, top), f"A{below + 7}")
    fit_to_page(sheet)


def write_averages(
    sheet: Worksheet, top: int, metrics: dict[str, tuple[str, str]], averages: dict[str, dict[str, Estimate]]
) -> None:
    """The table of means and intervals: its header in row `top`, and three columns for each system."""
    header = [""]
    for system in averages:
        header += [system, "from", "to"]
    write_line(sheet, top, header)
    for row, (name, (title, form)) in enumerate(metrics.items(), start=top + 1):
        values: list[Any] = [title]
        for estimates in averages.values():
            values += estimates.get(name, (None, None, None))
        write_line(sheet, row, values, NUMBER_FORMATS[form])


def write_line(sheet: Worksheet, row: int, values: list[Any], number_format: str = "General") -> None:
    """A title, and figures of one number format to the right of it."""
    for column, value in enumerate(values, start=1):
        cell = sheet.cell(row, column, value)
        cell.number_format = number_format
        cell.alignment = Alignment(horizontal="left" if column == 1 else "right")


def rating_formulas(sheet: Worksheet, columns: dict[str, int]) -> list[tuple[str, list[str]]]:
    """What a person has judged so far, in lines with number formats: formulas that change while one judges.

    Judgements of texts that have changed since do not count.
    """

    def cells(name: str) -> str:
        letter = get_column_letter(columns[name])
        return f"{quote_sheetname(sheet.title)}!${letter}$2:${letter}${max(3, sheet.max_row)}"

    columns = columns | {"review": read_header(sheet)["review"]}
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
