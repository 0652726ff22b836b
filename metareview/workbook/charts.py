"""The charts of `summary`: scores by model, and validation losses by epoch."""

from openpyxl.chart import BarChart, Reference, ScatterChart, Series
from openpyxl.worksheet.worksheet import Worksheet

from metareview.workbook.cells import write_value

TITLES = ("Mean ROUGE (F1)", "Validation loss (nats per token) by epoch")
Losses = dict[str, list[list[float]]]  # pairs of epoch and validation loss by model


def plot_scores(sheet: Worksheet, top: int, systems: int, columns: list[int], height: float) -> BarChart:
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
    return _style(chart, TITLES[0], height)


def plot_losses(sheet: Worksheet, row: int, losses: Losses, height: float) -> ScatterChart:
    """Lines (cm high): the validation loss of each model by epoch; the figures are written from this row on."""
    chart = ScatterChart()
    chart.style, chart.scatterStyle, chart.width = 2, "lineMarker", 18
    write_value(sheet.cell(row, 1), "Validation loss while training, which the chart shows")
    for model, points in losses.items():
        for column, values in enumerate([(f"{model}: epoch", "loss"), *points], start=1):
            for offset, value in enumerate(values, start=1):
                write_value(sheet.cell(row + offset, column), value)
                sheet.cell(row + offset, column).number_format = "0.000"
        epochs, values = (Reference(sheet, 2, row + offset, 1 + len(points)) for offset in (1, 2))
        series = Series(values, epochs, title=model)
        series.smooth, series.marker.symbol = False, "circle"
        chart.append(series)
        row += 2
    values = [loss for points in losses.values() for _, loss in points]
    chart.x_axis.number_format, chart.y_axis.number_format = "0.0", "General"
    chart.x_axis.scaling.max = max(epoch for points in losses.values() for epoch, _ in points)
    chart.x_axis.majorGridlines = None
    if max(values) > 10 * min(values) > 0:  # else the first losses would press all others to the ground
        chart.y_axis.scaling.logBase = 10
        chart.x_axis.crosses = "min"
    return _style(chart, TITLES[1], height)


def _style(chart: BarChart | ScatterChart, title: str, height: float) -> BarChart | ScatterChart:
    chart.title, chart.height, chart.legend.position = title, height, "b"
    chart.x_axis.delete = chart.y_axis.delete = False  # else newer programs show none
    return chart
