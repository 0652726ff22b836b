"""The sheet `runs`: a row for each model and test so far, its settings first, then what came out."""

import hashlib
import json
import time
from typing import Any

from openpyxl import Workbook
from openpyxl.styles import Alignment
from openpyxl.utils import get_column_letter

from metareview.common.hub import public_name
from metareview.data.prompts import PROMPTS
from metareview.generation.outputs import describe_decoding, identify
from metareview.generation.variants import Variant
from metareview.scoring.comparison import Averages
from metareview.scoring.metrics import METRICS, OTHERS
from metareview.workbook.cells import (
    NUMBER_FORMATS,
    emphasize,
    find_sheet,
    fit_rows,
    fit_to_page,
    has_width,
    write_value,
)

SHEET = "runs"
SAME = ("model", "weights", "prompt", "data", "split", "cases", "decoding")  # a row that has these is replaced
FORMATS = {metric.title: NUMBER_FORMATS[metric.format] for metric in METRICS.values()} | {
    "learning rate": "0.0E+00",
    "training loss": "0.000",
    "validation loss": "0.000",
    "mean rating": "0.0",
}
WIDTHS = {"model": 30, "base": 16, "prompt": 12, "cleaning": 12, "training data": 20, "data": 20, "split": 11}
WIDTHS |= {"decoding": 30, "date": 18, "weights": 11}  # of columns of texts
OTHER_WIDTH = 10  # characters


def describe_training(variant: Variant) -> dict[str, Any]:
    """What a model is and how it was made, by column; None where its record does not say."""
    record = variant.record
    settings, results = record.get("settings") or {}, record.get("results") or {}
    prompts, template = {text: name for name, text in PROMPTS.items()}, variant.settings.prompt_template
    data = record.get("dataset_name")
    return {
        "model": variant.name,
        "base": variant.base,
        "learning rate": settings.get("learning_rate"),
        "epochs": round(results.get("epochs") or settings.get("num_train_epochs", 0), 2) or None,
        "batch": settings.get("examples_per_step"),
        "seed": settings.get("seed"),
        "LoRA rank": settings.get("lora_r") if settings.get("use_lora") else None,
        "prompt": prompts.get(template, template),
        "cleaning": variant.keep,
        "training data": data and public_name(data),
        "examples": record.get("training_examples"),
        "training loss": results.get("train_loss"),
        "validation loss": results.get("eval_loss"),
    }


def describe_runs(
    variants: list[Variant],
    test: dict[str, Any],
    averages: Averages,
    judged: dict[str, dict[str, float | None]],
) -> list[dict[str, Any]]:
    """The rows of a run, one for each system: settings, the test (data, split, cases), scores, judgements."""
    date, rows = time.strftime("%Y-%m-%d %H:%M"), []
    for variant in variants:
        weights = hashlib.sha256(json.dumps(identify(variant.model)).encode()).hexdigest()[:8]
        row = describe_training(variant) | test | {"decoding": describe_decoding(variant)}
        row |= name_scores(averages, variant.name) | judged.get(variant.name, {})
        rows.append(row | {"date": date, "weights": weights})
    for system in OTHERS:
        if system in averages:
            rows.append({"model": system} | test | name_scores(averages, system) | {"date": date})
    return rows


def name_scores(averages: Averages, system: str) -> dict[str, float | None]:
    """The means of a system, by the titles of METRICS."""
    return {metric.title: averages[system].get(name, (None,))[0] for name, metric in METRICS.items()}


def align(name: str) -> Alignment:
    """How a column is aligned: texts to the left, a little away from the numbers before them, numbers to the right."""
    if name in WIDTHS:
        return Alignment(wrap_text=True, vertical="top", horizontal="left", indent=1)
    return Alignment(wrap_text=True, vertical="top", horizontal="right")


def write_runs(workbook: Workbook, rows: list[dict[str, Any]]) -> None:
    """Add rows to the sheet, each in the place of one of the same model and test; columns of a person's stay.

    A figure without a column gets one on the right.
    """
    sheet = find_sheet(workbook, SHEET) or workbook.create_sheet(SHEET)
    columns = {cell.value: cell.column for cell in sheet[1] if cell.value is not None}
    for name in dict.fromkeys(name for row in rows for name in row):
        if name not in columns:
            columns[name] = max(columns.values(), default=0) + 1
            write_value(sheet.cell(1, columns[name]), name)
            emphasize(sheet.cell(1, columns[name]), fill=True)
            sheet.cell(1, columns[name]).alignment = align(name)
        if not has_width(sheet, columns[name]):
            sheet.column_dimensions[get_column_letter(columns[name])].width = WIDTHS.get(name, OTHER_WIDTH)

    def read_key(row: int) -> list[Any]:
        return [sheet.cell(row, columns[name]).value or None if name in columns else None for name in SAME]

    places = {str(read_key(row)): row for row in range(2, sheet.max_row + 1)}
    for values in rows:
        key = str([values.get(name) or None for name in SAME])
        row = places.get(key, max(2, sheet.max_row + 1))
        for name, column in columns.items():
            if name in values:
                cell = sheet.cell(row, column)
                write_value(cell, values[name])
                cell.number_format = FORMATS.get(name, "General")
                cell.alignment = align(name)
    sheet.freeze_panes = sheet.freeze_panes or "B2"
    fit_rows(sheet)
    fit_to_page(sheet)


def update_judgements(workbook: Workbook, judged: dict[str, dict[str, float | None]]) -> None:
    """Put into the rows of the last run what a person has judged since."""
    sheet = find_sheet(workbook, SHEET)
    columns = {cell.value: cell.column for cell in sheet[1]} if sheet else {}
    if not {"model", "date"} <= columns.keys():
        return
    dates = {row: str(sheet.cell(row, columns["date"]).value) for row in range(2, sheet.max_row + 1)}
    for row, date in dates.items():
        if date == max(dates.values()):
            for name, value in judged.get(sheet.cell(row, columns["model"]).value, {}).items():
                if name in columns:
                    sheet.cell(row, columns[name]).value = value
