"""The charts of `summary`: scores by model, and validation losses by epoch."""

from openpyxl.chart import BarChart, Reference, ScatterChart, Series
from openpyxl.chart.shapes import GraphicalProperties
from openpyxl.chart.text import RichText, Text
from openpyxl.chart.title import Title
from openpyxl.drawing.line import LineProperties
from openpyxl.drawing.text import CharacterProperties, Paragraph, ParagraphProperties, RegularTextRun
from openpyxl.drawing.text import Font as DrawingFont
from openpyxl.worksheet.worksheet import Worksheet

from metareview.workbook.cells import find_default_font

COLOURS = ("4472C4", "ED7D31", "70AD47", "FFC000", "7030A0", "00B0F0", "C00000", "7F7F7F")  # of series
LINE_WIDTH = 19_050  # in EMU: 1.5 points


def draw_rouge(sheet: Worksheet, top: int, systems: int, height: float) -> BarChart:
    """Bars: the means of ROUGE-1, 2 and L of each system in the rows below `top`."""
    chart = BarChart()
    chart.type, chart.height, chart.width = "bar", height, 16
    chart.gapWidth = 60
    for number, column in enumerate((2, 5, 8)):  # each with from and to
        values = Reference(sheet, column, top + 1, column, top + systems)
        series = Series(values, title=sheet.cell(top, column).value)
        series.graphicalProperties.solidFill = COLOURS[number]
        chart.append(series)
    chart.set_categories(Reference(sheet, 1, top + 1, 1, top + systems))
    chart.x_axis.scaling.orientation = "maxMin"  # the first model on top
    chart.y_axis.number_format, chart.y_axis.scaling.min = "0.0", 0
    chart.y_axis.crosses = "max"  # below: the other axis is upside down
    dress(chart, "Mean ROUGE (F1)", sheet)
    return chart


def draw_losses(sheet: Worksheet, top: int, losses: dict[str, list[list[float]]], height: float) -> ScatterChart:
    """Lines: the validation loss of each model against the epoch, from the rows below `top`."""
    chart = ScatterChart()
    chart.style, chart.scatterStyle = 13, "lineMarker"
    chart.height, chart.width = height, 18
    for number, (model, points) in enumerate(losses.items()):
        row, last = top + 2 * number, 1 + len(points)
        epochs, values = (Reference(sheet, 2, row + offset, last, row + offset) for offset in (0, 1))
        series = Series(values, epochs, title=model)
        colour = COLOURS[number % len(COLOURS)]
        series.smooth = False
        series.graphicalProperties.line.solidFill, series.graphicalProperties.line.width = colour, LINE_WIDTH
        series.marker.symbol, series.marker.size = "circle", 5
        series.marker.graphicalProperties = GraphicalProperties(solidFill=colour, ln=LineProperties(solidFill=colour))
        chart.append(series)
    values = [loss for points in losses.values() for _, loss in points]
    chart.x_axis.number_format, chart.y_axis.number_format = "0.0", "General"
    chart.x_axis.scaling.max = max(epoch for points in losses.values() for epoch, _ in points)
    if max(values) > 10 * min(values) > 0:  # else the first losses would press all others to the ground
        chart.y_axis.scaling.logBase = 10
        chart.x_axis.crosses = "min"
    dress(chart, "Validation loss (nats per token) by epoch", sheet)
    return chart


def dress(chart: BarChart | ScatterChart, title: str, sheet: Worksheet) -> None:
    """Title, axes and legend in the font of the sheet; axes that newer programs show."""
    font = find_default_font(sheet)
    face = {"latin": DrawingFont(typeface=font.name), "solidFill": "404040"}
    text = CharacterProperties(sz=1000, **face)
    heading = CharacterProperties(sz=1100, b=True, **face)
    plain = RichText(p=[Paragraph(pPr=ParagraphProperties(defRPr=text), endParaRPr=text)])
    run = Paragraph(pPr=ParagraphProperties(defRPr=heading), r=[RegularTextRun(rPr=heading, t=title)])
    chart.title = Title(overlay=False)
    chart.title.tx = Text(rich=RichText(p=[run]))
    chart.x_axis.delete = chart.y_axis.delete = False
    chart.x_axis.txPr = chart.y_axis.txPr = chart.legend.txPr = plain
    if isinstance(chart, ScatterChart):
        chart.x_axis.majorGridlines = None
    chart.y_axis.majorGridlines.spPr = GraphicalProperties(ln=LineProperties(solidFill="D9D9D9"))
    chart.legend.position = "b"
