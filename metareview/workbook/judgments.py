"""Judgements: what a person thinks of the texts, kept by the texts themselves, whichever models are in the sheet.

A rating belongs to a text, a preference to the set of texts among which it was made, a comment to the case. All are
known again by fingerprints, so that they find their place when a model leaves and comes back, and when rows are sorted.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from metareview.workbook.cells import find_sheet, write_value

SHEET = "judgements"
HEADER = ("kind", "review", "text", "model", "value")
LAYOUT = "column"  # kind of the rows that say which columns are ours: the header is the value
TIE, NEITHER = "tie", "neither"
LOWEST, HIGHEST = 1, 5  # of a rating
Key = tuple[str, str, str]  # kind, fingerprint of the review, fingerprint of the text or texts
Store = dict[Key, "Judgement"]


@dataclass
class Judgement:
    """A rating, a comment, or the fingerprint of the text that is preferred; whose text it was when it was made."""

    value: Any
    model: str = ""


@dataclass
class ShownCase:
    """A case as a sheet shows it: fingerprints of its texts by model; the judgement cells by column."""

    row: int
    review: str
    texts: dict[str, str]
    given: dict[tuple[str, str], Any] = field(default_factory=dict)  # (kind, model or "") to value


def fingerprint(text: Any) -> str:
    """A short hash by which a text is known again; blanks and line breaks do not count, programs change them."""
    return hashlib.sha256(" ".join(str(text or "").split()).encode(errors="replace")).hexdigest()[:16]


def normalize(kind: str, value: Any) -> Any:
    """A judgement as it is compared and kept: None for an empty cell; a rating that is typed as a text is a number."""
    if kind == "rating" and isinstance(value, int | float):
        return value
    text = "" if value is None else str(value).strip()
    if kind == "rating" and re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    return text or None


def is_rating(value: Any) -> bool:
    """Whether a rating counts: a number from 1 to 5."""
    return isinstance(value, int | float) and not isinstance(value, bool) and LOWEST <= value <= HIGHEST


def make_key(case: ShownCase, kind: str, model: str) -> Key:
    """Where the judgement in a column of a case is kept."""
    text = {"rating": case.texts.get(model, ""), "note": case.texts.get(model, "")}.get(kind, "")
    if kind == "preferred":
        text = " ".join(sorted(case.texts.values()))
    return kind, case.review, text


def encode(case: ShownCase, kind: str, model: str, value: Any) -> Judgement | None:
    """A judgement as it is kept: a preference as the text that is preferred, not as the model that wrote it."""
    value = normalize(kind, value)
    if value is None:
        return None
    if kind == "preferred":
        names = {name.casefold(): name for name in (*case.texts, TIE, NEITHER)}
        name = names.get(value.casefold(), value)
        return Judgement(case.texts[name], name) if name in case.texts else Judgement(name)
    return Judgement(value, model)


def decode(case: ShownCase, kind: str, judgement: Judgement | None) -> Any:
    """What a cell shows of a judgement: of a preference, the model that wrote the text in this sheet."""
    if judgement is None or kind != "preferred":
        return judgement and judgement.value
    if case.texts.get(judgement.model) == judgement.value:
        return judgement.model
    return next((name for name, text in case.texts.items() if text == judgement.value), judgement.value)


def take(store: Store, cases: Iterable[ShownCase]) -> list[int]:
    """Bring the store up to what a sheet shows; an emptied cell takes a judgement out of it.

    Cells may show the same judgement: in rows that repeat, and where models wrote the same. There, what differs from
    before counts, the first where several do; comments are all kept. Returns the rows whose judgement does not count.
    """
    shown: dict[Key, list[tuple[int, Judgement | None]]] = defaultdict(list)
    for case in cases:
        for (kind, model), value in case.given.items():
            shown[make_key(case, kind, model)].append((case.row, encode(case, kind, model, value)))
    left = set()
    for key, given in shown.items():
        before = store.get(key)
        new = [(row, one) for row, one in given if (one and one.value) != (before and before.value)]
        filled = [(row, one) for row, one in new if one]
        if key[0] in ("comment", "note") and filled:
            store[key] = Judgement("\n".join(dict.fromkeys(one.value for _, one in filled)), filled[0][1].model)
        elif filled:
            store[key] = filled[0][1]
            left |= {row for row, one in filled if one.value != filled[0][1].value}
        elif new:
            del store[key]
    return sorted(left)


def find_uncounted(cases: Iterable[ShownCase]) -> list[int]:
    """The rows with a rating that is not a number from 1 to 5."""
    return [
        case.row
        for case in cases
        if any(kind == "rating" and value is not None and not is_rating(normalize(kind, value))
               for (kind, _), value in case.given.items())
    ]  # fmt: skip


def find_unknown(cases: Iterable[ShownCase]) -> list[int]:
    """The rows with a preference that is neither a model of the sheet nor a tie, nor neither."""
    unknown = []
    for case in cases:
        one = encode(case, "preferred", "", case.given.get(("preferred", "")))
        if one and one.value not in (*case.texts.values(), TIE, NEITHER):
            unknown.append(case.row)
    return unknown


def count_judgements(cases: list[ShownCase], models: list[str]) -> dict[str, dict[str, float | None]]:
    """Of each model: how often it is preferred, its mean rating from 1 to 5, and how many of its texts are rated."""
    preferred = [encode(case, "preferred", "", case.given.get(("preferred", ""))) for case in cases]
    counts: dict[str, dict[str, float | None]] = {}
    for model in models:
        given = [normalize("rating", case.given.get(("rating", model))) for case in cases]
        ratings = [rating for rating in given if is_rating(rating)]
        mean = sum(ratings) / len(ratings) if ratings else None
        times = sum(one is not None and one.model == model for one in preferred) if any(preferred) else None
        counts[model] = {"preferred": times, "mean rating": mean, "rated": len(ratings) or None}
    return counts


def describe_judgements(counts: dict[str, dict[str, float | None]]) -> list[str]:
    """What a person thinks of each model, in lines; none where nothing is judged."""
    return [
        f"{model}: preferred {count['preferred'] or 0}"
        + (f", mean rating {count['mean rating']:.1f} (rated {count['rated']})" if count["rated"] else "")
        for model, count in counts.items()
        if any(each["preferred"] or each["rated"] for each in counts.values())
    ]


def read_store(workbook: Workbook) -> Store:
    """The judgements that the hidden sheet of a workbook keeps."""
    sheet = find_sheet(workbook, SHEET)
    rows = [list(row[: len(HEADER)]) for row in sheet.iter_rows(min_row=2, values_only=True)] if sheet else []
    return {
        (str(kind), str(review or ""), str(text or "")): Judgement(value, str(model or ""))
        for kind, review, text, model, value in rows
        if kind not in (None, LAYOUT)
    }


def read_layout(workbook: Workbook) -> dict[tuple[str, str], str]:
    """The headers of our columns at the last run, by what is in them: (kind or metric, model)."""
    sheet = find_sheet(workbook, SHEET)
    rows = sheet.iter_rows(min_row=2, max_col=len(HEADER), values_only=True) if sheet else ()
    return {(text, model or ""): str(header) for kind, _, text, model, header in rows if kind == LAYOUT}


def write_store(workbook: Workbook, store: Store, layout: dict[tuple[str, str], str], choices: list[str]) -> str:
    """Write judgements and layout into the hidden sheet; returns the range of cells with what may be preferred."""
    place = len(workbook.sheetnames)
    if old := find_sheet(workbook, SHEET):
        place = workbook.index(old)
        workbook.remove(old)
    sheet: Worksheet = workbook.create_sheet(SHEET, place)
    sheet.sheet_state = "veryHidden"  # nobody should sort or edit it
    rows: list[tuple[Any, ...]] = [HEADER]
    rows += [(LAYOUT, "", kind, model, header) for (kind, model), header in layout.items()]
    rows += [(*key, judgement.model, judgement.value) for key, judgement in store.items()]
    for number, row in enumerate(rows, start=1):
        for column, value in enumerate(row, start=1):
            write_value(sheet.cell(number, column), value)
    for number, choice in enumerate(choices, start=1):
        write_value(sheet.cell(number, len(HEADER) + 2), choice)
    return f"{SHEET}!$G$1:$G${max(1, len(choices))}"
