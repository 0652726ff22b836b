"""The results workbook: the test cases, or the last results, with the new texts, their scores and their judgments."""

from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

from openpyxl import Workbook
from openpyxl.comments import Comment
from openpyxl.styles import Protection
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.filters import AutoFilter
from openpyxl.worksheet.worksheet import Worksheet

from metareview.generation.variants import RESERVED, Variant
from metareview.scoring.metrics import METRICS, Results
from metareview.workbook import cells, judgments
from metareview.workbook.cases import Case, Source, find_case_sheet, read_cases
from metareview.workbook.judgments import ROW, Column, Counts, ShownCase, Store, find_columns, fingerprint
from metareview.workbook.previous import add_cases, name_rows, strip_results
from metareview.workbook.runs import describe_runs, write_runs
from metareview.workbook.summary import Comparison, write_summary

TYPED = ("preferred", "rating", "comment")  # kinds of columns that a person fills in


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


def list_columns(models: list[str], measured: Container[str], learned: Sequence[str] = ()) -> dict[Column, Style]:
    """Our columns from left to right: preference, texts with their ratings, comment, scores.

    `measured` are those of METRICS that a text has, `learned` the models that have learned some of the cases.
    """
    ratings = ",".join(map(str, range(judgments.LOWEST, judgments.HIGHEST + 1)))
    columns = {("preferred", ""): Style("preferred", 11, choices=judgments.CHOICES)}
    for model in models:
        columns["text", model] = Style(model, 36)
        columns["rating", model] = Style(f"rating {model}", 9, choices=f'"{ratings}"')
    columns["comment", ""] = Style("comment", 40)
    columns |= {("learned", model): Style(f"{model} learned this in training") for model in learned}
    for name, metric in METRICS.items():
        if metric.in_sheet and name in measured:
            form = cells.number_format(metric.format)
            columns |= {(name, model): Style(f"{model} {metric.title}", number_format=form) for model in models}
    columns |= {("verdict", model): Style(f"{model} verdict") for model in models}
    columns |= {("terms", model): Style(f"{model} terms in no review", 24) for model in models}
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

    If there are none, `workbook` is that of `source`. What a person typed into it stays. `keeps` are the characters
    that each of the models knows, `others` the columns that their prompts read. Of drawn examples, those drawn now are
    the cases, as they were drawn: rows of another draw, or of data that were made otherwise, only keep their place.
    """
    sheet = find_case_sheet(workbook, target)
    store, _ = judgments.read_hidden(workbook)
    rows, remarks = name_rows(sheet), []
    if rejected := judgments.merge_judgments(store, read_shown(sheet, rows)):
        rule = "a rating is a number from 1 to 5, a preference names a model, and equal texts have one rating"
        remarks = [f"Not all judgments in the rows {', '.join(map(str, rejected))} count: {rule}."]
    start, drawn, own, counted = strip_results(sheet), source.split is not None, 0, set()
    if workbook is not source.workbook:
        asked = find_case_sheet(source.workbook, source.name)
        differing, own, counted = add_cases(sheet, rows, start, asked, drawn)
        if own:
            does = "were not drawn now" if drawn else f"are not in {source.name}"
            advice = "They do not count" if drawn else "Delete their rows to leave them out"
            print(f"Cases of {target} that {does}: {own}. {advice}.")
        if differing:
            where = f"{', '.join(differing[:5])}{', ...' if len(differing) > 5 else ''}"
            print(f"{target} keeps what it has in cells for which {source.name} has something else: {where}")
    cases = read_cases(sheet, target, source, keeps, others)
    if drawn and counted:
        cases, own = [case for case in cases if case.row in counted], 0
    test = {"data": source.data, "split": source.split, "cases": len(cases), "others": own}
    return Book(sheet, start, cases, test, store, remarks)


def write_book(book: Book, variants: list[Variant], results: Results, comparison: Comparison) -> Counts:
    """Write texts, scores, judgments that are kept of these texts, `summary` and `runs`; returns what is judged."""
    labels = label_models(variants)
    learned = [label for name, label in labels.items() if any("learned" in result for result in results[name])]
    texts = [result for name in labels for result in results[name]]
    measured = {metric for metric in METRICS if any(result[metric] is not None for result in texts)}
    columns = list_columns(list(labels.values()), measured, learned)
    named = {label: results[name] for name, label in labels.items()}
    write_columns(book.sheet, book.start, columns, [case.row for case in book.cases], named, book.store)
    for name, label in labels.items():
        book.sheet.cell(1, find_columns(book.sheet)["text", label]).comment = Comment(name, "")
    judged = judgments.count_judgments(book.store, show_judgments(book.sheet, book.store), list(labels.values()))
    counts = {name: judged[label] for name, label in labels.items()}
    trained = [variant for variant in variants if variant.record.get("validation_losses")]
    losses = {labels[variant.name]: variant.record["validation_losses"] for variant in trained}
    write_summary(book.sheet, book.test, comparison, labels, book.remarks, losses)
    write_runs(book.sheet.parent, describe_runs(variants, book.test, comparison.averages, counts))
    return counts


def write_columns(
    sheet: Worksheet, start: int, columns: dict[Column, Style], rows: list[int], results: Results, store: Store
) -> None:
    """Write columns for the cases in these rows, from the column `start` on, and the hidden sheet.

    Columns of a person's are stepped over; a header that one of them has gets a number.
    """
    taken, headers = set(cells.read_header(sheet)), {}
    used = {cell.column for row in sheet.iter_rows() for cell in row if cell.value is not None}
    free = [place for place in range(start, start + len(used) + len(columns)) if place not in used]
    for place, (column, style) in zip(free, columns.items(), strict=False):
        titles = [style.title, *(f"{style.title} ({number})" for number in range(2, len(taken) + 3))]
        headers[column] = next(title for title in titles if title.lower() not in taken)
        taken.add(headers[column].lower())
        cells.write_value(cells.free_cell(sheet, 1, place), headers[column])
        kind, model = column
        for number, row in enumerate(rows):
            cell = cells.free_cell(sheet, row, place)
            if kind in TYPED:
                cell.protection = Protection(locked=False)  # a protected sheet can be judged, too
                continue
            value = results[model][number].get(kind)
            if isinstance(value, bool):
                value = "yes" if value else "no"
            cells.write_value(cell, "none" if kind == "verdict" and value is None else value)
            cell.number_format = style.number_format
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
                cells.write_value(cells.free_cell(sheet, case.row, places[kind, model]), value)
    return shown
