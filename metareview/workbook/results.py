"""The results workbook: the test cases, or the last results, with the new texts, their scores and their judgments."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Any, NamedTuple

from openpyxl import Workbook
from openpyxl.cell import Cell
from openpyxl.comments import Comment
from openpyxl.styles import Protection
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.filters import AutoFilter
from openpyxl.worksheet.worksheet import Worksheet

from metareview.generation.variants import RESERVED, Variant
from metareview.scoring.metrics import METRICS, Results
from metareview.workbook import cells, judgments
from metareview.workbook.cases import Case, Source, find_case_sheet, read_cases
from metareview.workbook.judgments import ROW, SHEET, Column, Counts, ShownCase, Store, find_columns, fingerprint
from metareview.workbook.runs import describe_runs, write_runs
from metareview.workbook.summary import Comparison, write_summary

TYPED = ("preferred", "rating", "comment")  # kinds of columns that a person fills in
WRITTEN_ANEW = ("summary", SHEET)  # sheets of ours in which nobody types


@dataclass
class Book:
    """A results workbook: test cases, what a person has made of the last results, and from `start` on the results."""

    sheet: Worksheet  # with the test cases
    start: int  # the first column for results
    cases: list[Case]
    test: dict[str, Any]  # what is tested on: data, split, cases, and how many others of the sheet are with them
    store: Store  # all judgments
    remarks: list[str]  # lines about judgments that do not count


class Style(NamedTuple):
    """How a column looks."""

    title: str
    width: float = cells.NARROW  # characters
    number_format: str = "General"
    choices: str = ""  # what its drop-down offers, if it has one


def list_columns(results: Results) -> dict[Column, Style]:
    """Our columns from left to right: preference, texts with their ratings, comment, what a text has been scored by."""
    ratings = ",".join(map(str, range(judgments.LOWEST, judgments.HIGHEST + 1)))
    columns = {("preferred", ""): Style("preferred", 11, choices=judgments.CHOICES)}
    for model in results:
        columns["text", model] = Style(model, 36)
        columns["rating", model] = Style(f"rating {model}", 9, choices=f'"{ratings}"')
    columns["comment", ""] = Style("comment", 40)
    scores = {"learned": Style("learned this in training")}
    for name, metric in METRICS.items():
        if metric.in_sheet:
            scores[name] = Style(metric.title, number_format=cells.number_format(metric.format))
    scores |= {"verdict": Style("verdict"), "terms": Style("terms in no review", 24)}
    for name, style in scores.items():
        having = [model for model, texts in results.items() if any(text.get(name) is not None for text in texts)]
        columns |= {(name, model): style._replace(title=f"{model} {style.title}") for model in having}
    return columns


def label_models(variants: list[Variant]) -> dict[str, str]:
    """What the sheet calls each model, by its name: base, or the part of the name that tells it from the others."""
    tuned = [variant.name.split("_") for variant in variants if variant.fine_tuned]
    shared = len(list(takewhile(lambda parts: len(set(parts)) == 1, zip(*tuned, strict=False))))
    bases = [variant.name for variant in variants if not variant.fine_tuned]
    labels = {name: "base" if len(bases) == 1 else name for name in bases}
    same = "finetuned" if len(tuned) > 1 else tuned[0][-1] if tuned else ""  # of a model without a part of its own
    labels |= {"_".join(parts): "_".join(parts[shared:]) or same for parts in tuned}
    taken = {*RESERVED, *map(str.lower, labels.values())}
    return labels if len(taken) == len(RESERVED) + len(labels) else {name: name for name in labels}


def open_book(
    source: Source, workbook: Workbook, target: str, keeps: Sequence[str], others: Sequence[str] = ()
) -> Book:
    """The workbook for the results: the last ones, which `target` is the name of, without their texts.

    If there are none, `workbook` is that of `source` itself. What a person typed into it stays. `keeps` are the
    characters that each of the models knows, `others` the columns that their prompts read. Of drawn examples, those
    drawn now are the cases, as they were drawn: rows of another draw, or of data that were made otherwise, only keep
    their place.
    """
    sheet = find_case_sheet(workbook, target)
    store, _ = judgments.read_hidden(workbook)
    rows, remarks, drawn = name_rows(sheet), [], source.split is not None
    if rejected := judgments.merge_judgments(store, read_shown(sheet, rows)):
        rule = "a rating is a number from 1 to 5, a preference names a model, and equal texts have one rating"
        remarks = [f"Not all judgments in the rows {', '.join(map(str, rejected))} count: {rule}."]
    start = strip_results(sheet)
    differing, own, places = add_cases(sheet, rows, start, find_case_sheet(source.workbook, source.name), drawn)
    if own:
        advice = "They do not count" if drawn else "Delete their rows to leave them out"
        print(f"Cases of {target} that are not in {source.name}: {own}. {advice}.")
    if differing:
        where = f"{', '.join(differing[:5])}{', ...' if len(differing) > 5 else ''}"
        print(f"{target} keeps what it has in cells for which {source.name} has something else: {where}")
    cases = read_cases(sheet, target, source, keeps, others)
    if drawn:
        cases, own = [case for case in cases if case.row in places], 0
    test = {"data": source.data, "split": source.split, "cases": len(cases), "others": own}
    return Book(sheet, start, cases, test, store, remarks)


def name_rows(sheet: Worksheet) -> dict[int, str]:
    """What each row with something in it is recognized by: reviews, or a person's first cell, or else its number."""
    ours, review, names = find_columns(sheet).values(), cells.read_header(sheet)["review"], {}
    for row, values in enumerate(sheet.iter_rows(min_row=2, values_only=True), start=2):
        filled = {column: value for column, value in enumerate(values, start=1) if value is not None}
        typed = [value for column, value in filled.items() if column not in ours]
        if filled:
            names[row] = fingerprint(filled.get(review) or typed[0]) if typed else f"{ROW}{row}"
    return names


def strip_results(sheet: Worksheet) -> int:
    """Take the results, if there are any, out of a sheet; returns their first column, or else the first free one."""
    cells.ungroup_columns(sheet)
    places = set(find_columns(sheet).values())
    for place in places:
        for row in range(1, sheet.max_row + 1):
            cell = cells.free_cell(sheet, row, place)
            cell.value, cell.comment, cell.style = None, None, "Normal"
        sheet.column_dimensions.pop(get_column_letter(place), None)
    rules = sheet.data_validations
    kept = [rule for rule in rules.dataValidation if any(part.min_col not in places for part in rule.sqref.ranges)]
    rules.dataValidation = kept
    for ours in [other for other in sheet.parent.worksheets if other.title.lower() in WRITTEN_ANEW]:
        sheet.parent.remove(ours)
    return min(places, default=max(_name_columns(sheet)) + 1)


def add_cases(
    sheet: Worksheet, rows: dict[int, str], start: int, cases: Worksheet, drawn: bool = False
) -> tuple[list[str], int, set[int]]:
    """Add to a sheet what only `cases` has: rows below, columns from `start` on. `rows` are the names of its own rows.

    What is filled in `sheet` stays. Returns the cells for which `cases` has something else, how many reviews are only
    in `sheet`, and the rows of the cases. If they are `drawn`, one that the sheet has otherwise gets a row of its own.
    """
    columns = {name: column for column, name in _name_columns(sheet).items()}
    theirs = _name_columns(cases)
    for column, name in theirs.items():
        if name not in columns:
            columns[name] = next(place for place in count(start) if place not in columns.values())
            cells.copy_cell(cases.cell(1, column), sheet, 1, columns[name])
    last, differing, places = max(rows, default=1), [], set()
    for row, name in name_rows(cases).items():
        given = {columns[title]: cases.cell(row, column) for column, title in theirs.items()}
        alike = [place for place, other in rows.items() if other == name and place not in places]
        if drawn:
            alike = [place for place in alike if not _find_differing(sheet, place, given)]
        place = next(iter(alike), last + 1)
        last = max(last, place)
        places.add(place)
        differing += _find_differing(sheet, place, given)
        for column, cell in given.items():
            if sheet.cell(place, column).value is None and cell.value is not None:
                cells.copy_cell(cell, sheet, place, column)
    review = cells.read_header(sheet)["review"]
    own = [row for row in rows if row not in places and sheet.cell(row, review).value is not None]
    return differing, len(own), places


def _find_differing(sheet: Worksheet, row: int, given: dict[int, Cell]) -> list[str]:
    """The filled cells of a row for which other cells, given by column, have something else."""
    pairs = [(sheet.cell(row, column), cell) for column, cell in given.items()]
    filled = [(known, cell) for known, cell in pairs if None not in (known.value, cell.value)]
    return [known.coordinate for known, cell in filled if fingerprint(known.value) != fingerprint(cell.value)]


def _name_columns(sheet: Worksheet) -> dict[int, str]:
    """A person's columns with something in them, by header, without one by number."""
    ours, names = find_columns(sheet).values(), {}
    for column in sheet.iter_cols():
        place = column[0].column
        if place not in ours and any(cell.value is not None for cell in column):
            names[place] = str(column[0].value or place).strip().lower()
    return names


def write_book(book: Book, variants: list[Variant], results: Results, comparison: Comparison) -> Counts:
    """Write texts, scores, judgments that are kept of these texts, `summary` and `runs`; returns what is judged."""
    labels = label_models(variants)
    named = {
        label: [text | {"verdict": text["verdict"] or "none"} for text in results[name]]
        for name, label in labels.items()
    }
    write_columns(book.sheet, book.start, [case.row for case in book.cases], named, book.store)
    places = find_columns(book.sheet)
    for name, label in labels.items():
        book.sheet.cell(1, places["text", label]).comment = Comment(name, "")
    judged = judgments.count_judgments(book.store, show_judgments(book.sheet, book.store), list(named))
    counts = {name: judged[label] for name, label in labels.items()}
    losses = {labels[variant.name]: variant.record.get("validation_losses") for variant in variants}
    losses = {label: points for label, points in losses.items() if points}
    write_summary(book.sheet, book.test, comparison, labels, book.remarks, losses)
    write_runs(book.sheet.parent, describe_runs(variants, book.test, comparison.averages, counts))
    return counts


def write_columns(sheet: Worksheet, start: int, rows: list[int], results: Results, store: Store) -> None:
    """Write columns for the cases in these rows, from the column `start` on, and the hidden sheet.

    Columns of a person's are stepped over; a header that one of them has gets a number.
    """
    taken, headers = set(cells.read_header(sheet)), {}
    used = {cell.column for row in sheet.iter_rows() for cell in row if cell.value is not None}
    free = (place for place in count(start) if place not in used)
    for ((kind, model), style), place in zip(list_columns(results).items(), free, strict=False):
        titles = (f"{style.title} ({number})" if number > 1 else style.title for number in count(1))
        headers[kind, model] = title = next(title for title in titles if title.lower() not in taken)
        taken.add(title.lower())
        cells.write_value(sheet, 1, place, title)
        for number, row in enumerate(rows):
            value = None if kind in TYPED else results[model][number].get(kind)
            if isinstance(value, bool):
                value = "yes" if value else "no"
            cell = cells.write_value(sheet, row, place, value)
            cell.number_format = style.number_format
            cell.protection = Protection(locked=kind not in TYPED)  # a protected sheet can be judged, too
        cells.style_column(sheet, place, style.width, style.choices)
        if kind not in ("text", "learned", *TYPED):  # scores are folded away
            sheet.column_dimensions.group(get_column_letter(place), hidden=True)
    judgments.write_hidden(sheet.parent, headers, store)
    cells.fit_column(sheet, cells.read_header(sheet)["review"])
    cells.fit_rows(sheet)
    sheet.freeze_panes = sheet.freeze_panes or "B2"
    for row in rows if sheet.auto_filter.filterColumn else ():  # a filter of columns that move: all rows are shown
        sheet.row_dimensions[row].hidden = False
    if not sheet.tables:  # over all columns: sorting some of them would tear cases apart
        sheet.auto_filter = AutoFilter(f"A1:{get_column_letter(sheet.max_column)}{sheet.max_row}")


def read_shown(sheet: Worksheet, names: dict[int, str]) -> list[ShownCase]:
    """What the sheet shows in these rows: texts, judgments and, as `note`, what is noted on the cells of a model."""
    shown, places = [], find_columns(sheet)
    for row, name in names.items():
        case, notes = ShownCase(row, name), defaultdict(list)
        for (kind, model), place in places.items():
            cell = sheet.cell(row, place)
            if kind == "text":
                case.texts[model] = fingerprint(cell.value)
            elif kind in TYPED:
                case.cells[kind, model] = cell.value
            notes[model] += [cell.comment.text] if cell.comment else []
        case.cells |= {("note", model): "\n".join(texts) for model, texts in notes.items()}
        shown.append(case)
    return shown


def show_judgments(sheet: Worksheet, store: Store) -> list[ShownCase]:
    """Write beside the texts what the store has of them; returns the cases as they are shown then."""
    names = {int(review.removeprefix(ROW)): review for _, review, _ in store if review.startswith(ROW)}
    shown, places = read_shown(sheet, names | name_rows(sheet)), find_columns(sheet)
    for case in shown:
        for kind, model in case.cells:
            value = judgments.show(store, case, kind, model)
            if value is None:
                continue
            if kind == "note":
                place = places["text", model] if model else places["comment", ""]
                sheet.cell(case.row, place).comment = Comment(value, "")
            else:
                cells.write_value(sheet, case.row, places[kind, model], value)
    return shown
