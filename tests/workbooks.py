"""What the tests of the workbook share: small workbooks, results in them, judgements."""

from pathlib import Path

from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from metareview.scoring import METRICS, Results
from metareview.workbook.cases import read_cases
from metareview.workbook.layout import Column, lay_out
from metareview.workbook.results import read_judgements, write_results

AVERAGES = {system: dict.fromkeys(METRICS, (0.2, 0.1, 0.3)) for system in ("base", "tuned", "lead")}


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


def put(sheet: Worksheet, **texts: list[str]) -> dict[Column, int]:
    """What a run does: read the judgements, lay out the columns, write what each model wrote for each case."""
    scores = {"rougeL": 0.5, "words": 1, "repetition": 0.0, "stopped": True}
    results: Results = {model: [{"text": text} | scores for text in each] for model, each in texts.items()}
    cases = read_cases(sheet, "a.xlsx")
    store, _ = read_judgements(sheet, cases)
    columns = lay_out(sheet, list(texts), cases, "a.xlsx")
    write_results(sheet, columns, cases, results, store)
    return columns


def judge(sheet: Worksheet, columns: dict[Column, int], row: int, kind: str, model: str, value: object) -> None:
    sheet.cell(row, columns[kind, model]).value = value


def read(sheet: Worksheet, columns: dict[Column, int], kind: str, model: str = "") -> list:
    """The values of a column, those of the three cases."""
    return [sheet.cell(row, columns[kind, model]).value for row in (2, 3, 4)]
