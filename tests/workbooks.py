"""What the tests of the workbook share: small workbooks, results in them, judgements."""

from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from metareview.scoring.comparison import Averages
from metareview.workbook.cases import read_cases
from metareview.workbook.layout import Column, find_columns, lay_out
from metareview.workbook.results import read_judgements, write_results

SCORES = {"rougeL": 0.5, "words": 1, "repetition": 0.0, "ended": True, "verdict": None, "terms": "7, GAN"}
AVERAGES: Averages = {
    system: dict.fromkeys(("rouge1", "rouge2", "rougeL"), (0.2, 0.1, 0.3)) for system in ("base", "tuned", "lead")
}


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
    """A run: what each model wrote for each case goes into the sheet. Returns our columns."""
    cases = read_cases(sheet, "a.xlsx")
    store, _ = read_judgements(sheet, cases)
    columns = lay_out(sheet, list(texts), cases, "a.xlsx")
    results = {model: [{"text": text} | SCORES for text in written] for model, written in texts.items()}
    write_results(sheet, columns, cases, results, store)
    return columns


def judge(sheet: Worksheet, row: int, kind: str, value: object, model: str = "") -> None:
    sheet.cell(row, find_columns(sheet)[kind, model]).value = value


def judged(sheet: Worksheet, row: int, kind: str, model: str = "") -> Any:
    return sheet.cell(row, find_columns(sheet)[kind, model]).value
