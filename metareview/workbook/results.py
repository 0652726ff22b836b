"""What is in our columns beside the test cases: texts, scores, and the judgements that are kept for these texts."""

from openpyxl.comments import Comment
from openpyxl.formatting.formatting import ConditionalFormattingList
from openpyxl.formatting.rule import ColorScaleRule
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from metareview.scoring.metrics import Results
from metareview.workbook.cases import Case
from metareview.workbook.cells import (
    CHOICE_TITLE,
    LAST_ROW,
    NARROW,
    add_choices,
    fit_cases_to_page,
    fit_rows,
    style_column,
    write_text,
    write_value,
)
from metareview.workbook.judgments import (
    NEITHER,
    TIE,
    ShownCase,
    Store,
    count_judgements,
    decode,
    find_uncounted,
    find_unknown,
    fingerprint,
    make_key,
    normalize,
    read_store,
    take,
    write_store,
)
from metareview.workbook.layout import SCORES, Column, find_columns

RATINGS = ("1", "2", "3", "4", "5")
WIDTHS = {"text": 45, "preferred": 14, "rating": 10, "comment": 40, "terms": 24}
COLOURS = {
    "rougeL": {
        "start_type": "min",
        "start_color": "FFF8B4AB",
        "mid_type": "percentile",
        "mid_value": 50,
        "mid_color": "FFFFFFFF",
        "end_type": "max",
        "end_color": "FF9FD5A5",
    },
    "repetition": {
        "start_type": "num",
        "start_value": 0,
        "start_color": "FFFFFFFF",
        "end_type": "num",
        "end_value": 1,
        "end_color": "FFF08070",
    },
}


def read_shown(sheet: Worksheet, cases: list[Case], columns: dict[Column, int]) -> list[ShownCase]:
    """What the sheet shows of our columns: of each case the texts and the judgements, with the notes on the texts."""
    shown = []
    for case in cases:
        one = ShownCase(case.row, case.key, {})
        for (kind, model), column in columns.items():
            cell = sheet.cell(case.row, column)
            if kind == "text":
                one.texts[model] = fingerprint(cell.value)
                one.given["note", model] = cell.comment and cell.comment.text
            elif kind in ("preferred", "rating", "comment"):
                one.given[kind, model] = cell.value
        shown.append(one)
    return shown


def read_judgements(sheet: Worksheet, cases: list[Case]) -> tuple[Store, list[str]]:
    """All judgements, with those that the sheet shows now; and lines about those that do not count."""
    store, shown = read_store(sheet.parent), read_shown(sheet, cases, find_columns(sheet))
    found = {
        "A rating that is not a number from 1 to 5 does not count": find_uncounted(shown),
        "What is preferred is not the name of a model in the sheet": find_unknown(shown),
        "The same text has several ratings, of which the first counts": take(store, shown),
    }
    return store, [f"{what}: rows {', '.join(map(str, rows))}." for what, rows in found.items() if rows]


def write_results(
    sheet: Worksheet, columns: dict[Column, int], cases: list[Case], results: Results, store: Store
) -> dict[str, dict[str, float | None]]:
    """Write texts, scores and the judgements of the texts, and make them pleasant; returns what is judged, by model.

    Where judgements of these cases are kept for other texts than those shown, it is said.
    """
    if replaced := write_texts(sheet, columns, cases, results):
        print(f"{replaced} characters that a workbook cannot hold are replaced in it; the .jsonl file has them.")
    shown = fill_judgements(sheet, columns, cases, store)
    if hidden := count_hidden(store, shown):
        print(f"Judgments kept for texts, or sets of texts, that are not in the sheet now: {hidden}")
    style_results(sheet, columns, store)
    return count_judgements(shown, [model for kind, model in columns if kind == "text"])


def find_judged_rows(sheet: Worksheet, columns: dict[Column, int]) -> set[int]:
    """The rows with a judgement."""
    places = [place for (kind, _), place in columns.items() if kind in ("preferred", "rating", "comment")]
    rows = range(2, sheet.max_row + 1)
    return {row for row in rows if any(sheet.cell(row, place).value is not None for place in places)}


def write_texts(sheet: Worksheet, columns: dict[Column, int], cases: list[Case], results: Results) -> int:
    """Write texts and scores into their columns, and nothing where a row has no case (any more) and no judgement.

    Returns how many characters had to be replaced because a workbook cannot hold them.
    """
    replaced, left = 0, find_judged_rows(sheet, columns) - {case.row for case in cases}
    for (kind, model), column in columns.items():
        if kind != "text" and kind not in SCORES:
            continue
        for row in range(2, sheet.max_row + 1):
            if row not in left:
                sheet.cell(row, column).value = None
        for case, result in zip(cases, results[model], strict=True):
            cell, value = sheet.cell(case.row, column), result[kind]
            if kind == "text":
                replaced += write_text(cell, value)
            else:
                if kind == "verdict":
                    value = value or "none"
                write_value(cell, {True: "yes", False: "no"}[value] if isinstance(value, bool) else value)
                cell.number_format = SCORES[kind]
    return replaced


def fill_judgements(sheet: Worksheet, columns: dict[Column, int], cases: list[Case], store: Store) -> list[ShownCase]:
    """Show beside the texts what is kept of them; a cell that says so already is not touched. Returns what is shown."""
    shown = read_shown(sheet, cases, columns)
    for case in shown:
        for (kind, model), value in case.given.items():
            kept = decode(case, kind, store.get(make_key(case, kind, model)))
            if (value if kind == "rating" else normalize(kind, value)) == kept:  # a number typed as a text becomes one
                continue
            if kind == "note":
                cell = sheet.cell(case.row, columns["text", model])
                cell.comment = Comment(kept, "") if kept else None
            else:
                write_value(sheet.cell(case.row, columns[kind, model]), kept)
            case.given[kind, model] = kept
    return shown


def style_results(sheet: Worksheet, columns: dict[Column, int], store: Store) -> None:
    """Keep the layout, and make our columns pleasant: widths, drop-downs, colours, a filter, how they print."""
    models = [model for kind, model in columns if kind == "text"]
    choices = [*models, TIE, NEITHER]
    layout = {column: sheet.cell(1, place).value for column, place in columns.items()}
    preferences = write_store(sheet.parent, store, layout, choices)
    rules = sheet.data_validations.dataValidation
    sheet.data_validations.dataValidation = [rule for rule in rules if rule.errorTitle != CHOICE_TITLE]
    for (kind, _), place in columns.items():
        style_column(sheet, place, WIDTHS.get(kind, NARROW))
        if kind == "preferred":
            add_choices(sheet, place, preferences, choices)
        elif kind == "rating":
            add_choices(sheet, place, f'"{",".join(RATINGS)}"', RATINGS)
    colour_scores(sheet, columns)
    fit_rows(sheet)
    sheet.freeze_panes = sheet.freeze_panes or "B2"
    there = sheet.auto_filter.ref
    if not sheet.tables and (there is None or there.startswith("A1:")):  # that of an earlier run grows
        sheet.auto_filter.ref = f"A1:{get_column_letter(sheet.max_column)}{sheet.max_row}"
    if not sheet.print_area:  # without the scores, so that it can be read
        sheet.print_area = f"A1:{get_column_letter(columns['comment', ''])}{sheet.max_row}"
    fit_cases_to_page(sheet)


def colour_scores(sheet: Worksheet, columns: dict[Column, int]) -> None:
    """Colours on the scores, all models on one scale, in the place of those of the last run."""
    ours, rules = {scale["end_color"][2:] for scale in COLOURS.values()}, ConditionalFormattingList()
    for cells in sheet.conditional_formatting:
        for rule in cells.rules:
            if not (rule.colorScale and str(rule.colorScale.color[-1].rgb)[2:] in ours):
                rules.add(str(cells.sqref), rule)
    sheet.conditional_formatting = rules
    for score, colours in COLOURS.items():
        letters = [get_column_letter(place) for (kind, _), place in columns.items() if kind == score]
        if letters:
            cells = " ".join(f"{letter}2:{letter}{LAST_ROW}" for letter in letters)
            rules.add(cells, ColorScaleRule(**colours))


def count_hidden(store: Store, shown: list[ShownCase]) -> int:
    """How many ratings and preferences of these cases are kept for texts, or sets of texts, that are not shown."""
    keys = {make_key(case, kind, model) for case in shown for kind, model in case.given}
    reviews = {case.review for case in shown}
    return sum(key[0] in ("rating", "preferred") and key[1] in reviews and key not in keys for key in store)
