"""Judging blind: a copy of the workbook that does not say which model wrote what, and the way back from it.

The copy has no key that could be read: judgments find their way back by the texts that they were given to, of which
the hidden sheet has the fingerprints.
"""

import random
from dataclasses import replace
from pathlib import Path

from openpyxl import Workbook
from openpyxl.utils import get_column_letter

from metareview.common.cli import InputError
from metareview.data.cleaning import clean_text
from metareview.workbook import judgments
from metareview.workbook.cases import find_case_sheet
from metareview.workbook.cells import fit_text, new_workbook, read_header
from metareview.workbook.judgments import Judgment, ShownCase, Store, fingerprint
from metareview.workbook.results import Book, list_columns, name_rows, read_shown, show_judgments, write_columns
from metareview.workbook.saving import check_lock, check_target, open_workbook, save_workbook

ORIGINAL = "original"  # kind in the hidden sheet of the copy: by what the copy shows, the text in the workbook


def blind_path(target: Path) -> Path:
    """Where the blind copy of a workbook is."""
    return target.with_stem(f"{target.stem}_blind")


def check_blind(target: Path) -> None:
    """Raise `InputError` if there is a blind copy already in which somebody has judged, or that is open."""
    copy = blind_path(target)
    if copy.exists():
        check_lock(copy)
        if any(value not in (None, "") for case in read_blind(copy) for value in case.cells.values()):
            raise InputError(f"{str(copy)!r} has judgments: take them with --unblind, then move it away")


def make_blind(book: Book, keep: str) -> Workbook:
    """A workbook with the texts of each case as A, B, C, ... in random order, and empty columns to judge them in.

    All texts are cleaned to the characters `keep`: else some models would be known by their punctuation. A person's own
    columns left of the reviews come along. Reviews that repeat are left out.
    """
    places = judgments.find_columns(book.sheet)
    models = [model for kind, model in places if kind == "text"]
    letters = [get_column_letter(number) for number in range(1, len(models) + 1)]
    rows, texts, originals = [], {letter: [] for letter in letters}, {}
    header, titles = read_header(book.sheet), {style.title.lower() for style in list_columns(texts).values()}
    context = {name: place for name, place in header.items() if place < header["review"] and name not in titles}
    for case in {case.key: case for case in book.cases}.values():
        values = {name: book.sheet.cell(case.row, place).value for name, place in context.items()}
        review = str(book.sheet.cell(case.row, header["review"]).value)
        rows.append(values | {"review": review, "reference": case.reference})
        for letter, model in zip(letters, random.SystemRandom().sample(models, len(models)), strict=True):
            text = str(book.sheet.cell(case.row, places["text", model]).value or "")
            texts[letter].append({"text": clean_text(text, keep)})
            shown = fingerprint(fit_text(texts[letter][-1]["text"]))
            originals[ORIGINAL, fingerprint(review), shown] = Judgment(fingerprint(text))
    workbook = new_workbook(rows)
    write_columns(workbook.active, len(rows[0]) + 1, list(range(2, len(rows) + 2)), texts, originals)
    return workbook


def read_blind(copy: Path) -> list[ShownCase]:
    """The cases of a blind copy with their judgments; the models are A, B, C, ..., the texts those of the workbook."""
    workbook = open_workbook(str(copy))
    sheet = find_case_sheet(workbook, str(copy))
    originals, headers = judgments.read_hidden(workbook)
    if missing := [headers[column] for column in headers.keys() - judgments.find_columns(sheet).keys()]:
        raise InputError(f"the blind copy {str(copy)!r} has no column {', '.join(missing)} (any more)")
    cases = read_shown(sheet, name_rows(sheet))
    for case in cases:
        for letter, text in case.texts.items():
            case.texts[letter] = originals.get((ORIGINAL, case.review, text), Judgment(text)).value
    return cases


def unblind(target: Path) -> None:
    """Put the judgments of the blind copy into the workbook `target`, and print what a person thinks of each model.

    A judgment that the workbook has already, and that counts, stays; the rows of the copy with another one are named.
    """
    copy = blind_path(target)
    if not copy.is_file() or not target.is_file():
        raise InputError(f"there is no {str(copy)!r} with its {target.name!r}; make them with --blind")
    check_lock(copy)
    check_target(target)
    workbook = open_workbook(str(target))
    sheet, (store, headers) = find_case_sheet(workbook, str(target)), judgments.read_hidden(workbook)
    models = [model for kind, model in headers if kind == "text"]
    if not models:
        raise InputError(f"{str(target)!r} holds no results to which the judgments belong")
    shown, rejected = read_shown(sheet, name_rows(sheet)), set()
    judgments.merge_judgments(store, shown)
    cases = {case.review: case for case in shown}
    writers = {(case.review, text): model for case in shown for model, text in case.texts.items()}
    for case in read_blind(copy):
        judged: Store = {}
        rejected |= set(judgments.merge_judgments(judged, [case]))
        for key, judgment in judged.items():
            if judgments.is_counted(case, key[0], judgment):
                kept = store.get(key)
                if kept is None or not judgments.is_counted(cases.get(case.review, case), key[0], kept):
                    store[key] = replace(judgment, model=writers.get((case.review, judgment.value), ""))
                elif kept.value != judgment.value:
                    rejected.add(case.row)
    judgments.write_hidden(workbook, headers, store)
    counts = judgments.count_judgments(store, show_judgments(sheet, store), models)
    save_workbook(workbook, target)
    print(*judgments.describe_judgments(counts), f"They are in {target}.", sep="\n")
    if rejected:
        reasons = "the text has another judgment already, or it is no rating from 1 to 5 or none of the letters"
        print(f"Not taken from {copy}, rows {', '.join(map(str, sorted(rejected)))}: {reasons}.")
