"""Judging blind: a copy of the workbook that does not say which model wrote what, and the way back from it."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from metareview.cli import InputError
from metareview.files import write_json
from metareview.scoring import MODELS
from metareview.workbook.cases import Case, find_case_sheet, read_cases
from metareview.workbook.cells import add_choices, new_workbook, read_header, read_row, write_value
from metareview.workbook.opening import check_lock, open_workbook, save_workbook
from metareview.workbook.results import (
    CHANGED,
    JUDGED,
    JUDGEMENTS,
    PREFERENCES,
    RATINGS,
    find_judged,
    fingerprint,
    note_judged,
    place_results,
)

BLIND_JUDGEMENTS = {"preferred": ("A", "B", "tie", "neither"), "rating_A": RATINGS, "rating_B": RATINGS, "comment": ()}


def blind_paths(target: Path) -> tuple[Path, Path]:
    """Where the blind copy of a workbook and its key are."""
    return target.with_stem(f"{target.stem}_blind"), target.with_name(f"{target.stem}_blind_key.json")


def check_blind(target: Path) -> None:
    """Raise `InputError` where there is a blind copy already: there may be judgements in it."""
    copy, _ = blind_paths(target)
    if copy.exists():
        raise InputError(f"{str(copy)!r} is there already: take its judgements with --unblind, then move it away")


def make_blind(sheet: Worksheet, columns: dict[str, int], cases: list[Case]) -> tuple[Workbook, dict[str, list[str]]]:
    """A workbook with the two texts of each case as A and B, swapped at random, and the key: who wrote A and who B.

    The key is by the fingerprint of the reviews, so the copy may be sorted; reviews that repeat are left out.
    """
    rows, key = [], {}
    for case in cases:
        name = fingerprint(case.review)
        if name in key:
            continue
        key[name] = random.SystemRandom().sample(MODELS, len(MODELS))
        texts = [str(text or "") for text in read_row(sheet, case.row, columns, key[name])]
        whole = {"review": case.review, "reference": case.reference, "A": texts[0], "B": texts[1]}
        rows.append(whole | dict.fromkeys(BLIND_JUDGEMENTS))
    workbook = new_workbook(rows)
    for column, name in enumerate(rows[0], start=1):
        if choices := BLIND_JUDGEMENTS.get(name):
            add_choices(workbook.active, column, choices)
    return workbook, key


def write_blind(sheet: Worksheet, columns: dict[str, int], cases: list[Case], target: Path) -> Path:
    """Write the blind copy of the workbook `target` and its key; returns where the copy is."""
    workbook, key = make_blind(sheet, columns, cases)
    copy, key_path = blind_paths(target)
    write_json(key_path, key)
    save_workbook(workbook, copy)
    return copy


def read_key(path: Path) -> dict[str, list[str]]:
    """Who wrote A and who B, by the fingerprint of the reviews. Raises `InputError` for any other file."""
    try:
        key = json.loads(path.read_text())
        if not all(sorted(writers) == sorted(MODELS) for writers in key.values()):
            raise ValueError(f"not every case has {' and '.join(MODELS)}")
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{str(path)!r} is no key of a blind copy: {error}") from error
    return key


def name_writers(given: dict[str, Any], writers: list[str]) -> dict[str, Any] | None:
    """A blind judgement under the models' names, as JUDGEMENTS; None where `preferred` is none of the choices."""
    writer_a, writer_b = writers
    choices = {"": None, "A": writer_a, "B": writer_b, "TIE": "tie", "NEITHER": "neither"}
    choice = str(given["preferred"] or "").strip().upper()
    if choice not in choices:
        return None
    ratings = {f"rating_{writer_a}": given["rating_A"], f"rating_{writer_b}": given["rating_B"]}
    named = {"preferred": choices[choice], "comment": given["comment"], **ratings}
    return {name: named[name] for name in JUDGEMENTS}


def take_judgements(
    sheet: Worksheet, columns: dict[str, int], cases: list[Case], blind: Worksheet, key: dict[str, list[str]]
) -> int:
    """Put the judgements of a blind copy beside the texts, under the models' names; one that is there already stays.

    Returns how many were not taken: their case is gone or has another judgement, or they are none of the choices.
    """
    judged = find_judged(sheet, columns, cases)
    rows = {fingerprint(case.review): case.row for case in reversed(cases)}
    there, names = read_header(blind), ("review", "A", "B", *BLIND_JUDGEMENTS)
    if missing := [name for name in names if name.lower() not in there]:
        raise InputError(f"the blind copy has no column {', '.join(missing)} (any more)")
    left = 0
    for number in range(2, blind.max_row + 1):
        given = {name: blind.cell(number, there[name.lower()]).value for name in names}
        if all(given[name] is None for name in BLIND_JUDGEMENTS):
            continue
        case = fingerprint(str(given["review"] or "").strip())
        writers, row = key.get(case), rows.get(case)
        judgement = name_writers(given, writers) if writers else None
        if judgement is None or row is None:
            left += 1
            continue
        if row in judged and read_row(sheet, row, columns, JUDGEMENTS) != list(judgement.values()):
            left += 1
            continue
        for name, value in judgement.items():
            write_value(sheet.cell(row, columns[name]), value)
        texts = dict(zip(writers, (given["A"], given["B"]), strict=True))
        judged[row] = fingerprint(*(texts[model] for model in MODELS))
    note_judged(sheet, columns, judged)
    return left


def unblind(sheet: Worksheet, target: Path) -> None:
    """Put the judgements of the blind copy into the workbook `target`, and print who was preferred how often."""
    copy, key = blind_paths(target)
    if not copy.is_file() or not key.is_file():
        raise InputError(f"there is no {str(copy)!r} with its key {key.name!r}; make them with --blind")
    check_lock(copy)
    writers = read_key(key)
    if JUDGED not in read_header(sheet):
        raise InputError(f"{str(target)!r} holds no results to which the judgements belong")
    columns, cases = place_results(sheet, str(target)), read_cases(sheet, str(target))
    left = take_judgements(sheet, columns, cases, find_case_sheet(open_workbook(str(copy)), str(copy)), writers)
    save_workbook(sheet.parent, target)
    rows = [read_row(sheet, case.row, columns, ("preferred", CHANGED)) for case in cases]
    tally = Counter(preferred for preferred, changed in rows if not changed)
    print(f"Preferred in {target}: " + ", ".join(f"{name} {tally[name]}" for name in PREFERENCES))
    if left:
        reasons = "their case is gone or has another one, or A and B are misspelt"
        print(f"{left} judgements were not taken from {copy}: {reasons}.")
