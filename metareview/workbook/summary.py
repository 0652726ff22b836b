"""The sheet `summary`: which model is better and how certain that is; means, a person's ratings, charts."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from openpyxl.chart import BarChart, Reference, ScatterChart, Series
from openpyxl.styles import Alignment
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from metareview.scoring.comparison import Averages
from metareview.scoring.metrics import METRICS, OTHERS, ROUGE
from metareview.scoring.score_table import NOTES, describe_others, find_metrics
from metareview.scoring.verdicts import RELIABILITY
from metareview.workbook.cells import change_font, mark_header, number_format, read_header, write_value
from metareview.workbook.judgments import HIGHEST, LOWEST, NEITHER, TIE, find_columns
from metareview.workbook.saving import CHART_TITLES, FIRST_CELLS

INTERVALS = (
    "±: half of the 95% interval of the mean over the cases. In parentheses: the lowest and the highest of the seeds."
)
JUDGED = {"preferred": "0", "mean rating": "0.0", "rated": "0"}  # columns of a person's judgments: number formats
Losses = dict[str, list[list[float]]]  # pairs of epoch and validation loss by model
GRAY = "808080"
FIRST_WIDTH, WIDE, NARROW = 32, 20, 12  # of columns in characters: names, means with an interval, other figures
ROW_HEIGHT = 0.53  # cm


@dataclass
class Comparison:
    """What came out of a comparison of models: means with intervals by system and metric, and sentences."""

    averages: Averages
    spread: Averages  # the same over the seeds of a model: mean, lowest and highest
    verdicts: dict[str, str]  # for each fine-tuned model, whether it is better than its base
    sentences: list[str]


def write_summary(
    cases: Worksheet,
    test: dict[str, Any],
    comparison: Comparison,
    labels: dict[str, str],
    remarks: list[str],
    losses: Losses,
) -> None:
    """Write the sheet, right after `cases`, that with the results: three sentences, a table, charts, then the details.

    `test` has the data, the split, the number of cases and the encoder of BERTScore; `labels` what the sheet calls a
    model, by its name; `losses` pairs of epoch and validation loss by what the sheet calls the model.
    """
    sheet = cases.parent.create_sheet("summary", cases.parent.index(cases) + 1)
    where = f"{test['data']}, split {test['split']}" if test["split"] else test["data"]
    when = f"{time.strftime('%Y-%m-%d %H:%M')}: {test['cases']} cases of {where}{describe_others(test)}."
    first = [FIRST_CELLS["summary"], when, *describe_best(comparison, labels)]
    averages = {labels.get(system, system): estimates for system, estimates in comparison.averages.items()}
    top, systems = len(first) + 2, averages | comparison.spread
    columns = _write_averages(sheet, top, systems)
    row = _write_ratings(sheet, top, list(systems), cases) + 2
    scored = sum("rougeL" in estimates for estimates in averages.values())  # not the reference, which is the last
    height = max(7.5, 2.5 + 1.1 * scored)  # cm
    details = row + int(height / ROW_HEIGHT) + 2 if scored or losses else row
    encoder = [f"BERTScore: F1 by {test['encoder']}."] if test.get("encoder") else []
    lines = [*comparison.sentences, *remarks, INTERVALS, *NOTES, *encoder, RELIABILITY]
    for number, line in [*enumerate(first, start=1), *enumerate(lines, start=details)]:
        write_value(sheet, number, 1, line)
    sheet["A1"].font = change_font(sheet["A1"].font, bold=True)
    if scored:
        sheet.add_chart(_plot_scores(sheet, top, scored, [columns[name] for name in ROUGE], height), f"A{row}")
    if losses:
        sheet.add_chart(_plot_losses(sheet, details + len(lines) + 1, losses, height), f"F{row}")
    widths = {1: FIRST_WIDTH} | {column: WIDE for name, column in columns.items() if METRICS[name].interval}
    for column in range(1, sheet.max_column + 1):
        sheet.column_dimensions[get_column_letter(column)].width = widths.get(column, NARROW)
    sheet.sheet_view.showGridLines = False


def describe_best(comparison: Comparison, labels: dict[str, str]) -> list[str]:
    """In plain sentences: the model with the highest ROUGE-L, whether it is better than others, what its texts are."""
    averages = {name: means for name, means in comparison.averages.items() if "rougeL" in means}
    models = [name for name in comparison.verdicts if name in averages]
    if not models:
        return list(comparison.verdicts.values())[:1]
    best = max(models, key=lambda name: averages[name]["rougeL"][0])
    others = [f"{labels.get(name, name)} {averages[name]['rougeL'][0]:.3f}" for name in averages if name not in models]
    means = {name: format(mean, METRICS[name].format) for name, (mean, *_) in averages[best].items()}
    rank = ", the highest of the fine-tuned models" if models[1:] else ""
    sentences = [f"{best} has a ROUGE-L of {means['rougeL']}{rank}; {', '.join(others)}."]
    sentences.append(re.sub(r" \(ROUGE-L [^)]*\)", "", comparison.verdicts[best]))
    if means.keys() >= {"words", "ended", "named"}:
        texts = f"Its texts have {means['words']} words on average; {means['ended']} end on their own"
        sentences.append(f"{texts} and {means['named']} name a verdict.")
    return sentences


def _write_averages(sheet: Worksheet, top: int, averages: Averages) -> dict[str, int]:
    """A table of means, some with their interval, its header in row `top`, OTHERS in gray; returns their columns.

    The cells are numbers, for the charts: the interval is a part of their format.
    """
    names = [*find_metrics(averages, 0), *find_metrics(averages, 1)]
    columns = {name: column for column, name in enumerate(names, start=2)}
    _write_cells(sheet, top, 1, ["model", *(METRICS[name].title for name in names)], is_header=True)
    for row, (system, estimates) in enumerate(averages.items(), start=top + 1):
        _write_cells(sheet, row, 1, [system])
        for name, column in columns.items():
            mean, low, high = estimates.get(name, (None, None, None))
            form, interval = METRICS[name].format, ""
            if METRICS[name].interval and low is not None:
                half = format((high - low) / 2, form)
                interval = f" ({low:{form}}–{high:{form}})" if " seeds)" in system else f" ± {half}"
            _write_cells(sheet, row, column, [mean], number_format(form) + (f'"{interval}"' if interval else ""))
        for cell in sheet[row] if system in OTHERS else ():
            cell.font = change_font(cell.font, color=GRAY)
    return columns


def _write_ratings(sheet: Worksheet, top: int, systems: list[str], cases: Worksheet) -> int:
    """Right of the table, what a person has judged, in formulas that change while one judges; returns the last row."""
    first, last = sheet.max_column + 1, max(3, cases.max_row)
    places = find_columns(cases) | {("review", ""): read_header(cases)["review"]}
    ranges = {column: str(Reference(cases, place, 2, place, last)) for column, place in places.items()}
    _write_cells(sheet, top, first, list(JUDGED), is_header=True)
    for row, system in enumerate([*systems, TIE, NEITHER], start=top + 1):
        _write_cells(sheet, row, 1, [system])
        formulas, name, ratings = [], system.replace('"', '""'), ranges.get(("rating", system))
        if ratings or system in (TIE, NEITHER):  # also where later models were not seen: NAME (... not seen)
            begins = f'LEFT({ranges["preferred", ""]}&" (",{len(system) + 2})="{name} ("'
            formulas.append(f"=SUMPRODUCT(--({begins}))")
        if ratings:
            counted = f'{ratings},">={LOWEST}",{ratings},"<={HIGHEST}",{ranges["review", ""]},"<>"'
            formulas.append(f'=IF(COUNTIFS({counted})=0,"",AVERAGEIFS({ratings},{counted}))')
            formulas.append(f"=COUNTIFS({counted})")
        for column, (formula, form) in enumerate(zip(formulas, JUDGED.values(), strict=False), start=first):
            sheet.cell(row, column, formula).number_format = form
    return top + len(systems) + 2


def _write_cells(sheet: Worksheet, row: int, first: int, values: Iterable, form="General", is_header=False) -> None:
    """Values in this number format, from the column `first` on; texts are never formulas."""
    for column, value in enumerate(values, start=first):
        cell = write_value(sheet, row, column, value)
        cell.number_format = form
        cell.alignment = Alignment(horizontal="left" if column == 1 else "right", wrap_text=is_header)
        if is_header:
            mark_header(cell)


def _plot_scores(sheet: Worksheet, top: int, systems: int, columns: list[int], height: float) -> BarChart:
    """Bars: the means in these columns, whose headers are in row `top`, of each system in the rows below (cm high)."""
    chart = BarChart()
    chart.type, chart.width, chart.gapWidth = "bar", 16, 60
    for column in columns:
        values = Reference(sheet, column, top + 1, column, top + systems)
        chart.append(Series(values, title=sheet.cell(top, column).value))
    chart.set_categories(Reference(sheet, 1, top + 1, 1, top + systems))
    chart.x_axis.scaling.orientation = "maxMin"  # the first model on top
    chart.y_axis.number_format, chart.y_axis.scaling.min = "0.0", 0
    chart.y_axis.crosses = "max"  # below: the other axis is upside down
    return _style_chart(chart, CHART_TITLES[0], height)


def _plot_losses(sheet: Worksheet, row: int, losses: Losses, height: float) -> ScatterChart:
    """Lines (cm high): the validation loss of each model by epoch; the figures are written from this row on."""
    chart = ScatterChart()
    chart.style, chart.scatterStyle, chart.width = 2, "lineMarker", 18
    write_value(sheet, row, 1, "Validation loss while training, which the chart shows")
    for model, points in losses.items():
        for column, values in enumerate([(f"{model}: epoch", "loss"), *points], start=1):
            for offset, value in enumerate(values, start=1):
                write_value(sheet, row + offset, column, value).number_format = "0.000"
        epochs, values = (Reference(sheet, 2, row + offset, 1 + len(points)) for offset in (1, 2))
        series = Series(values, epochs, title=model)
        series.smooth, series.marker.symbol = False, "circle"
        chart.append(series)
        row += 2
    values = [loss for points in losses.values() for _, loss in points]
    chart.x_axis.number_format = chart.y_axis.number_format = "General"
    chart.x_axis.scaling.min = 0
    chart.x_axis.scaling.max = max(epoch for points in losses.values() for epoch, _ in points)
    chart.x_axis.majorGridlines = None
    if max(values) > 10 * min(values) > 0:  # else the first losses would press all others to the ground
        chart.y_axis.scaling.logBase = 10
        chart.x_axis.crosses = "min"
    return _style_chart(chart, CHART_TITLES[1], height)


def _style_chart(chart: BarChart | ScatterChart, title: str, height: float) -> BarChart | ScatterChart:
    chart.title, chart.height, chart.legend.position = title, height, "b"
    chart.x_axis.delete = chart.y_axis.delete = False  # else newer programs show none
    return chart
