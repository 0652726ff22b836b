"""The sheet `runs`: a row for each model and test so far, its settings first, then what came out."""

import hashlib
import json
import time
from itertools import count
from typing import Any

from openpyxl import Workbook
from openpyxl.styles import Alignment

from metareview.common.hub import public_name
from metareview.generation.outputs import describe_decoding, identify
from metareview.generation.variants import Variant
from metareview.scoring.comparison import Averages
from metareview.scoring.metrics import METRICS, OTHERS
from metareview.workbook.cells import find_sheet, fit_rows, mark_header, number_format, ungroup_columns, write_value
from metareview.workbook.judgments import Counts

SAME = ("model", "weights", "prompt", "data", "split", "cases", "test", "decoding")  # a row that has these is replaced
FORMATS = {"learning rate": "0.0E+00", "training loss": "0.000", "validation loss": "0.000", "mean rating": "0.0"}
WIDTHS = {"model": 30, "base": 16, "prompt": 12, "cleaning": 12, "training data": 20, "data": 20, "split": 11}
WIDTHS |= {"decoding": 30, "encoder": 16, "date": 18, "weights": 11}  # of columns of texts, in characters
OTHER_WIDTH = 10  # characters
TEXT = Alignment(wrap_text=True, vertical="top", horizontal="left", indent=1)  # a little away from numbers before it
NUMBER = Alignment(wrap_text=True, vertical="top", horizontal="right")


def describe_training(variant: Variant) -> dict[str, Any]:
    """What a model is and how it was made, by column; None if its record does not say."""
    record = variant.record
    settings, results = record.get("settings") or {}, record.get("results") or {}
    data = record.get("dataset_name")
    return {
        "model": variant.name,
        "base": variant.base,
        "learning rate": settings.get("learning_rate"),
        "epochs": round(results.get("epochs") or settings.get("num_train_epochs", 0), 2) or None,
        "weights of epoch": results.get("saved_epoch"),
        "weights of step": results.get("saved_step"),
        "batch": settings.get("examples_per_step"),
        "seed": settings.get("seed"),
        "LoRA rank": settings.get("lora_r") if settings.get("use_lora") else None,
        "prompt": variant.prompt_name,
        "cleaning": variant.keep,
        "training data": data and public_name(data),
        "examples": record.get("training_examples"),
        "training loss": results.get("train_loss"),
        "validation loss": results.get("eval_loss"),
    }


def describe_runs(
    variants: list[Variant], test: dict[str, Any], averages: Averages, counts: Counts
) -> list[dict[str, Any]]:
    """The rows of a run, one for each system: settings, the test (data, split, cases), scores, judgments."""
    rows = []
    for variant in variants:
        weights = hashlib.sha256(json.dumps(identify(variant.model)).encode()).hexdigest()[:8]
        rows.append(describe_training(variant) | {"decoding": describe_decoding(variant), "weights": weights})
    rows += [{"model": system} for system in OTHERS if system in averages]
    for row in rows:
        means = {name: averages[row["model"]].get(name, (None,))[0] for name in METRICS}
        row |= {name: value for name, value in test.items() if name != "others"}
        row |= {METRICS[name].title: mean for name, mean in means.items()} | counts.get(row["model"], {})
        row["date"] = time.strftime("%Y-%m-%d %H:%M")
    return rows


def write_runs(workbook: Workbook, rows: list[dict[str, Any]]) -> None:
    """Add rows to the sheet, each in the place of one of the same model and test; columns of a person's stay.

    A figure without a column gets one on the right, unless no row has it.
    """
    sheet = find_sheet(workbook, "runs") or workbook.create_sheet("runs")
    ungroup_columns(sheet)
    columns = {cell.value: cell.column for cell in sheet[1] if cell.value is not None}
    used = {cell.column for row in sheet.iter_rows() for cell in row if cell.value is not None}
    free = count(max(used, default=0) + 1)  # right of all notes
    for name in dict.fromkeys(name for row in rows for name, value in row.items() if value is not None):
        if name not in columns:
            columns[name] = next(free)
            cell = write_value(sheet, 1, columns[name], name)
            mark_header(cell)
            cell.alignment = TEXT if name in WIDTHS else NUMBER
            sheet.column_dimensions[cell.column_letter].width = WIDTHS.get(name, OTHER_WIDTH)
    formats = FORMATS | {metric.title: number_format(metric.format) for metric in METRICS.values()}
    places = {}
    for row in range(2, sheet.max_row + 1):
        places[_identify({name: sheet.cell(row, column).value for name, column in columns.items()})] = row
    for values in rows:
        unknown = _identify(values | {"test": None})  # rows of an earlier version do not say on which cases they are
        row = places.get(_identify(values), places.get(unknown, sheet.max_row + 1))
        for name, value in values.items():
            if name in columns:
                cell = write_value(sheet, row, columns[name], value)
                cell.number_format, cell.alignment = formats.get(name, "General"), TEXT if name in WIDTHS else NUMBER
    sheet.freeze_panes = sheet.freeze_panes or "B2"
    fit_rows(sheet)


def _identify(row: dict[str, Any]) -> tuple:
    """What is the same in the rows of one model and test."""
    return tuple(row.get(name) or None for name in SAME)
