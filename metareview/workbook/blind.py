"""Judging blind: a copy of the workbook that does not say which model wrote what, and the way back from it.

No key is needed: the copy holds the texts, and judgements find their way back by the texts that they were given to.
"""

import random
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from metareview.common.cli import InputError
from metareview.workbook.cases import Case, find_case_sheet, read_cases
from metareview.workbook.cells import (
    CASE_WIDTHS,
    add_choices,
    find_width,
    fit_cases_to_page,
    fit_rows,
    new_workbook,
    read_header,
)
from metareview.workbook.judgments import (
    NEITHER,
    TIE,
    Judgement,
    ShownCase,
    Store,
    count_judgements,
    describe_judgements,
    find_unknown,
    fingerprint,
    read_store,
    take,
)
from metareview.workbook.layout import Column, find_columns
from metareview.workbook.results import RATINGS, WIDTHS, fill_judgements, read_shown, style_results
from metareview.workbook.runs import update_judgements
from metareview.workbook.saving import check_lock, check_target, open_workbook, save_workbook


def blind_path(target: Path) -> Path:
    """Where the blind copy of a workbook is."""
    return target.with_stem(f"{target.stem}_blind")


def check_blind(target: Path) -> None:
    """Raise `InputError` where there is a blind copy already in which somebody has judged, or that is open."""
    copy = blind_path(target)
    if not copy.exists():
        return
    check_lock(copy)
    if any(value is not None for case in read_blind(copy) for value in case.given.values()):
        raise InputError(f"{str(copy)!r} has judgments: take them with --unblind, then move it away")


def make_blind(sheet: Worksheet, columns: dict[Column, int], cases: list[Case]) -> Workbook:
    """A workbook with the texts of each case as A, B, C, ... in random order, and empty columns to judge them in.

    A person's own columns left of the reviews come along. Reviews that repeat are left out.
    """
    models = [model for kind, model in columns if kind == "text"]
    letters = [get_column_letter(number) for number in range(1, len(models) + 1)]
    ours = {"preferred", "comment", *(name.lower() for letter in letters for name in (letter, f"rating {letter}"))}
    header = read_header(sheet)
    first = {name: column for name, column in header.items() if column < header["review"]}
    own = {name: column for name, column in first.items() if name not in ours and column not in columns.values()}
    rows = []
    for case in {case.key: case for case in reversed(cases)}.values():
        order = random.SystemRandom().sample(models, len(models))
        row: dict[str, Any] = {name: sheet.cell(case.row, column).value for name, column in own.items()}
        row |= {"review": case.review, "reference": case.reference}
        for letter, model in zip(letters, order, strict=True):
            row[letter] = str(sheet.cell(case.row, columns["text", model]).value or "")
        rows.append(row | {"preferred": None} | {f"rating {letter}": None for letter in letters} | {"comment": None})
    rows.reverse()
    widths = CASE_WIDTHS | {name: find_width(sheet, column) for name, column in own.items()} | WIDTHS
    widths |= dict.fromkeys(letters, WIDTHS["text"])
    workbook = new_workbook(rows, widths | {f"rating {letter}": WIDTHS["rating"] for letter in letters})
    for column, name in enumerate(rows[0], start=1):
        if name == "preferred":
            choices = [*letters, TIE, NEITHER]
            add_choices(workbook.active, column, f'"{",".join(choices)}"', choices)
        elif name.startswith("rating "):
            add_choices(workbook.active, column, f'"{",".join(RATINGS)}"', RATINGS)
    fit_rows(workbook.active)
    workbook.active.freeze_panes = "B2"
    fit_cases_to_page(workbook.active)
    return workbook


def write_blind(sheet: Worksheet, columns: dict[Column, int], cases: list[Case], target: Path) -> Path:
    """Write the blind copy of the workbook `target`; returns where it is."""
    save_workbook(make_blind(sheet, columns, cases), blind_path(target))
    return blind_path(target)


def read_blind(copy: Path) -> list[ShownCase]:
    """The cases of a blind copy with their judgements; the texts are named A, B, C, ..."""
    sheet = find_case_sheet(open_workbook(str(copy)), str(copy))
    there, letters = read_header(sheet), []
    while (letter := get_column_letter(len(letters) + 1)).lower() in there:
        letters.append(letter)
    names = {("preferred", ""): "preferred", ("comment", ""): "comment"}
    names |= {("rating", letter): f"rating {letter.lower()}" for letter in letters}
    if missing := [name for name in names.values() if name not in there]:
        raise InputError(f"the blind copy {str(copy)!r} has no column {', '.join(missing)} (any more)")
    cases = []
    for row in range(2, sheet.max_row + 1):
        texts = {letter: fingerprint(sheet.cell(row, there[letter.lower()]).value) for letter in letters}
        given = {key: sheet.cell(row, there[name]).value for key, name in names.items()}
        cases.append(ShownCase(row, fingerprint(sheet.cell(row, there["review"]).value), texts, given))
    return cases


def take_blind(store: Store, blind: list[ShownCase], shown: list[ShownCase]) -> list[int]:
    """Put the judgements of a blind copy into the store, under the models' names; one that is there already stays.

    Returns the rows of the copy with a judgement that was not taken: the text has another one, or nothing is preferred
    that stands there.
    """
    writers = {(case.review, text): model for case in shown for model, text in case.texts.items()}
    unknown, left = find_unknown(blind), []
    for case in blind:
        if case.row in unknown:
            case.given["preferred", ""] = None
        one: Store = {}
        left += take(one, [case])
        for (kind, review, text), judgement in one.items():
            written = judgement.value if kind == "preferred" else text
            named = Judgement(judgement.value, writers.get((review, written), ""))
            before = store.setdefault((kind, review, text), named)
            if before.value != judgement.value:
                left.append(case.row)
    return sorted({*left, *unknown})


def unblind(target: Path) -> None:
    """Put the judgements of the blind copy into the workbook `target`, and print what a person thinks of each model."""
    copy = blind_path(target)
    if not copy.is_file() or not target.is_file():
        raise InputError(f"there is no {str(copy)!r} with its {target.name!r}; make them with --blind")
    check_lock(copy)
    check_target(target)
    workbook = open_workbook(str(target))
    sheet = find_case_sheet(workbook, str(target))
    columns, cases = find_columns(sheet), read_cases(sheet, str(target))
    if not any(kind == "text" for kind, _ in columns):
        raise InputError(f"{str(target)!r} holds no results to which the judgments belong")
    shown, store = read_shown(sheet, cases, columns), read_store(workbook)
    take(store, shown)
    left = take_blind(store, read_blind(copy), shown)
    shown = fill_judgements(sheet, columns, cases, store)
    style_results(sheet, columns, store)
    counts = count_judgements(shown, [model for kind, model in columns if kind == "text"])
    update_judgements(workbook, counts)
    save_workbook(workbook, target)
    print(*describe_judgements(counts), f"They are in {target}.", sep="\n")
    if left:
        reasons = "the text has another judgment already, or nothing of that name can be preferred"
        print(f"Not taken from {copy}, rows {', '.join(map(str, left))}: {reasons}.")
