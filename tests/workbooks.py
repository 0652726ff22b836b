"""What the tests of the workbook share: small workbooks, results in them, judgements."""

from pathlib import Path

from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from metareview.scoring import MODELS
from metareview.workbook.cases import read_cases
from metareview.workbook.cells import read_header
from metareview.workbook.results import CHANGED, place_results, write_results

METRICS = {"rouge1": ("ROUGE-1", ".3f"), "rouge2": ("ROUGE-2", ".3f"), "rougeL": ("ROUGE-L", ".3f")}
AVERAGES = {system: dict.fromkeys(METRICS, (0.2, 0.1, 0.3)) for system in (*MODELS, "lead")}


def make_workbook(path: Path, *rows: list) -> Path:
    workbook = Workbook()
    for row in rows:
        workbook.active.append(row)
    workbook.save(path)
    return path


def three_cases() -> Worksheet:
    sheet = Workbook().active
    for row in (["review", "reference"], ["first", "r"], ["second", "r"], ["third", "r"]):
        sheet.append(row)
    return sheet


def put(sheet: Worksheet, *texts: tuple[str, str]) -> dict[str, int]:
    """Write results: for each case what base and fine_tuned wrote. Returns the columns."""
    scores = {"rougeL": 0.5, "words": 1, "repetition": 0.0, "stopped": True}
    pairs = zip(*texts, strict=True)
    results = {model: [{"text": text} | scores for text in each] for model, each in zip(MODELS, pairs, strict=True)}
    columns = place_results(sheet, "a.xlsx")
    write_results(sheet, columns, read_cases(sheet, "a.xlsx"), results)
    return columns


def judge(sheet: Worksheet, row: int, **values: object) -> None:
    for name, value in values.items():
        sheet.cell(row, read_header(sheet)[name]).value = value


def changed(sheet: Worksheet, row: int) -> bool:
    return sheet.cell(row, read_header(sheet)[CHANGED]).value is not None
