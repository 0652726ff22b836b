"""Judgments: what a person thinks of the texts, kept by the texts themselves, whichever models are in the sheet.

A rating belongs to a text, a preference to the set of texts among which it was made, a comment to the case. All are
recognized by fingerprints, so that they find their place when a model leaves and returns, and when rows are sorted.
"""

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from openpyxl import Workbook
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.worksheet import Worksheet

from metareview.workbook.cells import find_sheet, write_value

SHEET = "judgments"  # the hidden sheet
HEADER = ("kind", "review", "text", "model", "value")  # its columns
COLUMN = "column"  # kind of its rows that say which columns are ours: the header is the value
ROW = "row "  # before its number, stands for a row without a review or anything else of a person's
CHOICES = "metareview_choices"  # the cells that say what can be preferred: a list of them may be too long for a rule
TIE, NEITHER = "tie", "neither"
LOWEST, HIGHEST = 1, 5  # of a rating
UNSEEN = " not seen)"  # the end of a cell with a preference that was made among fewer texts than the sheet has
Column = tuple[str, str]  # what is in it (text, preferred, rating, comment or a score), and of which model, if of one
Key = tuple[str, str, str]  # kind, fingerprint of the review, fingerprint of the text or texts
Counts = dict[str, dict[str, float | None]]  # by model: preferred, compared, mean rating, rated


@dataclass(frozen=True)
class Judgment:
    """A rating, a comment or a note; or the fingerprint of the text that is preferred, and the model that wrote it."""

    value: Any
    model: str = ""


Store = dict[Key, Judgment]


@dataclass
class ShownCase:
    """A case as a sheet shows it: fingerprints of its texts by model; what is in the judgment cells by column."""

    row: int
    review: str  # its fingerprint
    texts: dict[str, str] = field(default_factory=dict)
    cells: dict[Column, Any] = field(default_factory=dict)


def fingerprint(text: Any) -> str:
    """A short hash by which a text is recognized; blanks and line breaks do not count, programs change them."""
    return hashlib.sha256(" ".join(str(text or "").split()).encode(errors="replace")).hexdigest()[:16]


def find_key(store: Store, case: ShownCase, kind: str, model: str) -> Key:
    """Where the store has what a column of a case shows: of preferences, the one among most of the case's texts."""
    if kind != "preferred":
        return kind, case.review, case.texts.get(model, "") if kind in ("rating", "note") else ""
    shown = set(case.texts.values())
    among = [texts for name, review, texts in store if (name, review) == (kind, case.review)]
    among = [texts for texts in among if shown.issuperset(texts.split())]
    return kind, case.review, max(among, key=len, default=" ".join(sorted(shown)))


def find_preference(store: Store, case: ShownCase) -> tuple[str | None, list[str]]:
    """What is preferred in a case, by the sheet's name of the model, and the models that the person had not seen."""
    key = find_key(store, case, "preferred", "")
    judgment = store.get(key, Judgment(None))
    writers = [model for model, text in case.texts.items() if text == judgment.value]
    name = judgment.model if judgment.model in writers else next(iter(writers), judgment.value)
    return name, [model for model, text in case.texts.items() if text not in key[2].split()]


def show(store: Store, case: ShownCase, kind: str, model: str) -> Any:
    """What a cell shows, None if it is empty."""
    if kind != "preferred":
        return store.get(find_key(store, case, kind, model), Judgment(None)).value
    name, unseen = find_preference(store, case)
    return f"{name} ({', '.join(unseen)} not seen)" if unseen else name


def encode(case: ShownCase, kind: str, value: Any) -> Judgment | None:
    """What a person typed, as it is kept; None for an empty cell. A rating that is typed as a text is a number."""
    text = "" if value is None else str(value).strip()
    if kind == "preferred":
        names = {name.casefold(): name for name in (*case.texts, TIE, NEITHER)}
        text = names.get(text.casefold(), text)
        if text in case.texts:
            return Judgment(case.texts[text], text)
    elif kind == "rating" and isinstance(value, int | float):
        return Judgment(value)
    elif kind == "rating" and re.fullmatch(r"\d+(\.\d+)?", text):
        return Judgment(float(text))
    return Judgment(text) if text else None


def is_counted(case: ShownCase, kind: str, judgment: Judgment) -> bool:
    """Whether a judgment counts: a rating from 1 to 5; a preference for a model of the sheet, a tie or neither."""
    if kind == "preferred":
        return judgment.value in (*case.texts.values(), TIE, NEITHER)
    is_number = type(judgment.value) in (int, float)  # TRUE is none
    return kind != "rating" or (is_number and LOWEST <= judgment.value <= HIGHEST)


def merge_judgments(store: Store, cases: list[ShownCase]) -> list[int]:
    """Bring the store up to what a sheet shows; an emptied cell takes a judgment out of it,
    a comment only if no other row with the same reviews shows it: one that was added since has none.

    Cells may show the same judgment: in rows that repeat, and where models wrote the same. There, what differs from
    the store is kept, the first where several do; comments are all kept. Returns the rows with a judgment that does not
    count or is not kept.
    """
    changes: dict[Key, list[tuple[int, Judgment | None]]] = defaultdict(list)
    rejected = set()
    commented = {("comment", case.review, "") for case in cases if case.cells.get(("comment", ""))}
    for case in cases:
        for (kind, model), value in case.cells.items():
            if kind == "preferred" and str(value).endswith(UNSEEN):
                continue  # as it was shown
            key, judgment = find_key(store, case, kind, model), encode(case, kind, value)
            if judgment and kind == "preferred":
                key = kind, case.review, " ".join(sorted(set(case.texts.values())))
            if judgment != store.get(key) and (judgment or key not in commented):
                changes[key].append((case.row, judgment))
            if judgment and not is_counted(case, kind, judgment):
                rejected.add(case.row)
    for key, changed in changes.items():
        typed = [judgment for _, judgment in changed if judgment]
        if key[0] in ("comment", "note") and typed:
            store[key] = Judgment("\n".join(dict.fromkeys(judgment.value for judgment in typed)))
        elif typed:
            store[key] = typed[0]
            rejected |= {row for row, judgment in changed if judgment and judgment.value != typed[0].value}
        else:
            store.pop(key, None)
    return sorted(rejected)


def count_judgments(store: Store, cases: list[ShownCase], models: list[str]) -> Counts:
    """Of each model: in how many cases it is preferred, and could be; the mean of its ratings, and their number."""
    choices, counts = [(case, *find_preference(store, case)) for case in cases], {}
    for model in models:
        among = [(case, name) for case, name, unseen in choices if model in case.texts and model not in unseen]
        preferred = [name == model for case, name in among if name in (*case.texts, TIE, NEITHER)]
        ratings = [(case, store.get(find_key(store, case, "rating", model))) for case in cases]
        values = [rating.value for case, rating in ratings if rating and is_counted(case, "rating", rating)]
        counts[model] = {
            "preferred": sum(preferred) if preferred else None,
            "compared": len(preferred) or None,
            "mean rating": sum(values) / len(values) if values else None,
            "rated": len(values) or None,
        }
    return counts


def describe_judgments(counts: Counts) -> list[str]:
    """What a person thinks of each model, in lines; none if nothing is judged."""
    lines = []
    for model, count in counts.items():
        parts = [f"preferred {count['preferred']} of {count['compared']}"] if count["compared"] else []
        parts += [f"mean rating {count['mean rating']:.1f} (rated {count['rated']})"] if count["rated"] else []
        lines += [f"{model}: {', '.join(parts)}"] if parts else []
    return lines


def read_hidden(workbook: Workbook) -> tuple[Store, dict[Column, str]]:
    """The judgments that the hidden sheet of a workbook keeps, and the headers of our columns."""
    store, headers = {}, {}
    sheet = find_sheet(workbook, SHEET)
    for row in sheet.iter_rows(min_row=2, max_col=len(HEADER), values_only=True) if sheet else ():
        kind, review, text, model = (str(cell or "") for cell in row[:-1])
        if kind == COLUMN:
            headers[text, model] = str(row[-1]).strip()
        elif kind and not review.startswith(ROW):  # such a row may be another one now
            store[kind, review, text] = Judgment(row[-1], model if kind == "preferred" else "")
    return store, headers


def write_hidden(workbook: Workbook, headers: dict[Column, str], store: Store) -> None:
    """Write the hidden sheet: the headers of our columns, the judgments and, as CHOICES, what can be preferred."""
    sheet = find_sheet(workbook, SHEET) or workbook.create_sheet(SHEET)
    sheet.sheet_state = "veryHidden"  # nobody should sort or edit it
    sheet.delete_rows(1, sheet.max_row)
    rows: list[tuple[Any, ...]] = [HEADER, *((COLUMN, "", *column, header) for column, header in headers.items())]
    rows += [(*key, judgment.model, judgment.value) for key, judgment in store.items()]
    choices = [*(model for kind, model in headers if kind == "text"), TIE, NEITHER]
    for row, values in enumerate(rows, start=1):
        for column, value in enumerate(values, start=1):
            write_value(sheet, row, column, value)
    for row, choice in enumerate(choices, start=1):
        write_value(sheet, row, len(HEADER) + 2, choice)
    workbook.defined_names[CHOICES] = DefinedName(CHOICES, attr_text=f"{sheet.title}!$G$1:$G${len(choices)}")


def find_columns(sheet: Worksheet) -> dict[Column, int]:
    """Where our columns are; of two with the same header the left one."""
    places: dict[str, int] = {}
    for cell in sheet[1]:
        places.setdefault(str(cell.value).strip(), cell.column)
    _, headers = read_hidden(sheet.parent)
    return {column: places[header] for column, header in headers.items() if header in places}
