"""The columns beside the test cases: texts and scores, which each run writes anew, and judgements, which stay."""

import hashlib
import json
from typing import Any

from openpyxl.formatting.rule import ColorScaleRule
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from metareview.cli import InputError
from metareview.scoring import MODELS
from metareview.workbook.cases import Case
from metareview.workbook.cells import LAST_ROW, add_choices, read_header, read_row, style, write_text

SCORES = {"rougeL": "0.000", "words": "0", "repetition": "0%", "stopped": "General"}  # of each model: number formats
RESULT_COLUMNS = [*MODELS, *(f"{model}_{score}" for model in MODELS for score in SCORES)]
PREFERENCES = (*MODELS, "tie", "neither")
RATINGS = ("1", "2", "3", "4", "5")
JUDGEMENTS = {"preferred": PREFERENCES, "rating_base": RATINGS, "rating_fine_tuned": RATINGS, "comment": ()}
CHANGED = "changed_since"  # beside the judgement: that it is about other texts than those in its row
CHANGED_NOTE = "texts changed since they were judged: judge again and empty this cell"
JUDGED = "judged"  # hidden: fingerprints of the texts that were judged, and of the judgement
COLOURS = {
    "rougeL": {
        "start_type": "min",
        "start_color": "F8B4AB",
        "mid_type": "percentile",
        "mid_value": 50,
        "mid_color": "FFFFFF",
        "end_type": "max",
        "end_color": "9FD5A5",
    },
    "repetition": {
        "start_type": "num",
        "start_value": 0,
        "start_color": "FFFFFF",
        "end_type": "num",
        "end_value": 1,
        "end_color": "F08070",
    },
}


def place_results(sheet: Worksheet, path: str) -> dict[str, int]:
    """Column numbers of results and judgements: those of an earlier run, or new ones to the right of everything else.

    Raises `InputError` where a column has the name of one of ours without being ours: ours come with `judged`.
    """
    there, names = read_header(sheet), (*RESULT_COLUMNS, *JUDGEMENTS, CHANGED, JUDGED)
    taken = [name for name in names if name.lower() in there]
    if taken and JUDGED not in taken:
        raise InputError(f"{path!r} has a column {taken[0]!r} of its own, where ours would go; rename or remove it")
    end_widths(sheet)
    columns, free = {}, sheet.max_column + 1
    for name in names:
        if name.lower() in there:
            columns[name] = there[name.lower()]
        else:
            columns[name] = free
            free += 1
    for merged in sheet.merged_cells.ranges:
        if any(merged.min_col <= column <= merged.max_col for column in columns.values()):
            raise InputError(f"{path!r} has merged cells {merged.coord} where results go; take them apart")
    return columns


def end_widths(sheet: Worksheet) -> None:
    """Let the widths of columns end where the cells end: LibreOffice sets one up to the last column of the sheet."""
    last = sheet.max_column
    for letter, width in list(sheet.column_dimensions.items()):
        width.max = min(width.max or last, max(last, width.min or 0))
        if (width.min or 0) > last:
            del sheet.column_dimensions[letter]


def fingerprint(*values: Any) -> str:
    """A short hash by which texts and judgements are recognized; 3 and 3.0 are the same judgement."""
    texts = [f"{value:g}" if isinstance(value, int | float) else str(value or "") for value in values]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def find_judged(sheet: Worksheet, columns: dict[str, int], cases: list[Case]) -> dict[int, str]:
    """The rows that a person has judged, each with the fingerprint of the texts that the judgement is about.

    A judgement that differs from the one at the last run (more than by its comment) is about the texts that are there
    now, and so is one whose note a person has emptied. Any other is about the same texts as at the last run.
    """
    judged = {}
    for case in cases:
        values = read_row(sheet, case.row, columns, JUDGEMENTS)
        if all(value is None for value in values):
            continue
        shown = fingerprint(*read_row(sheet, case.row, columns, MODELS))
        noted, changed = read_row(sheet, case.row, columns, (JUDGED, CHANGED))
        texts, _, judgement = str(noted or "").partition(" ")
        differs = noted and judgement != fingerprint(*values[:-1])
        emptied = texts != shown and not changed  # also where nothing is noted yet: the judgement is new
        judged[case.row] = shown if differs or emptied else texts
    return judged


def note_judged(sheet: Worksheet, columns: dict[str, int], judged: dict[int, str]) -> None:
    """Note beside each judgement what it is about, and whether that is what is in its row now."""
    for row, texts in judged.items():
        changed = texts != fingerprint(*read_row(sheet, row, columns, MODELS))
        sheet.cell(row, columns[CHANGED]).value = CHANGED_NOTE if changed else None
        judgement = fingerprint(*read_row(sheet, row, columns, JUDGEMENTS)[:-1])
        sheet.cell(row, columns[JUDGED]).value = f"{texts} {judgement}"


def write_results(
    sheet: Worksheet, columns: dict[str, int], cases: list[Case], results: dict[str, list[dict[str, Any]]]
) -> int:
    """Write texts and scores into their columns, and nothing where a row has no case (any more); judgements stay.

    `results` has a dictionary with `text` and SCORES for each case, by model. Returns how many characters had to be
    replaced because a workbook cannot hold them.
    """
    judged, replaced = find_judged(sheet, columns, cases), 0
    for header, column in columns.items():
        sheet.cell(1, column).value = header
    for header in RESULT_COLUMNS:
        for row in range(2, sheet.max_row + 1):
            sheet.cell(row, columns[header]).value = None
    for model in MODELS:
        for case, result in zip(cases, results[model], strict=True):
            replaced += write_text(sheet.cell(case.row, columns[model]), result["text"])
            for score, number_format in SCORES.items():
                value = result.get(score)
                if isinstance(value, bool):
                    value = "yes" if value else "no"
                cell = sheet.cell(case.row, columns[f"{model}_{score}"])
                cell.value, cell.number_format = value, number_format
    note_judged(sheet, columns, judged)
    style(sheet, columns, hidden=JUDGED)
    add_rules(sheet, columns)
    return replaced


def add_rules(sheet: Worksheet, columns: dict[str, int]) -> None:
    """A filter, colours on the scores (both models on one scale) and drop-downs for judgements, once each."""
    there = sheet.auto_filter.ref
    if not sheet.tables and (there is None or there.startswith("A1:")):  # that of an earlier run grows
        sheet.auto_filter.ref = f"A1:{get_column_letter(sheet.max_column)}{sheet.max_row}"
    coloured = [str(rule.sqref).partition(":")[0] for rule in sheet.conditional_formatting]
    for score, colours in COLOURS.items():
        letters = [get_column_letter(columns[f"{model}_{score}"]) for model in MODELS]
        if f"{letters[0]}2" not in coloured:
            cells = " ".join(f"{letter}2:{letter}{LAST_ROW}" for letter in letters)
            sheet.conditional_formatting.add(cells, ColorScaleRule(**colours))
    for name, choices in JUDGEMENTS.items():
        if choices:
            add_choices(sheet, columns[name], choices)
