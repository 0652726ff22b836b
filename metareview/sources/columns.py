"""Columns: which of a table hold the reviews and the meta-review, and what their cells say."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset, DatasetDict, Features, List, Value

from metareview.common.cli import InputError, format_count
from metareview.data.cleaning import split_reviews
from metareview.data.details import DETAILS, read_ratings
from metareview.data.rows import KEYS, TEXTS
from metareview.sources import forms
from metareview.sources.escapes import parse_list, plain_text
from metareview.sources.forms import META_REVIEW_FIELDS, REVIEW_FIELDS, REVIEW_NAMES, SUMMARY_NAMES
from metareview.sources.table_files import Formula, Row

SPREADSHEET_ERRORS = ("#N/A", "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!")
# A cell with nothing but one of these words, in any case and with any signs around and in them, is empty: pandas,
# databases, spreadsheets and people write a missing value so.
MISSING = {"", "nan", "nat", "na", "none", "null", "nil", "undefined"}
TEXT = Value("string")
PAPER_FEATURES = {"reviews": List(TEXT), "summary": TEXT, "paper": TEXT, **dict.fromkeys(DETAILS, TEXT)}
Rows = Dataset | list[Row]


@dataclass
class Columns:
    """The columns of a source: those with reviews, that with the meta-review, and that which names the paper."""

    reviews: list[str]
    summary: str
    paper: str | None = None
    separator: str = "<REVBREAK>"  # between the reviews in one cell
    details: dict[str, str] = field(default_factory=dict)  # the columns of DETAILS, and of others that were asked for


def _describe_names(names: list[str]) -> str:
    """The names of columns or fields, of many the first ones."""
    listed = ", ".join(names) or "none"
    return listed if len(listed) < 300 else f"{listed[:300]} ..."


def _match_names(columns: list[str], names: tuple[str, ...]) -> list[str]:
    """The columns that have one of these names, whatever their case, blanks and hyphens."""
    known = set(map(forms.unify_name, names))
    return [column for column in columns if forms.unify_name(column) in known]


def choose_columns(
    source: dict[str, Rows],
    reviews: list[str] | None,
    summary: str | None,
    paper: str | None,
    separator: str,
    others: Sequence[str] = (),
    needed: Sequence[str] = (),
) -> Columns:
    """The columns that the flags name, or else those with a known name. One `InputError` says all that is missing.

    `others` are kept too, by their names in lower case with _ for blanks, and `needed` is what the prompt names.
    """
    lists = [rows.column_names if isinstance(rows, Dataset) else list(rows[0]) for rows in source.values()]
    available = [name for name in lists[0] if all(name in names for names in lists)]
    faults = [f"no column {name!r}" for name in [*(reviews or ()), summary, paper] if name and name not in available]
    chosen: list[list[str]] = []
    for flag, given, names in (
        ("review_column", reviews, REVIEW_NAMES),
        ("summary_column", [summary] if summary else None, SUMMARY_NAMES),
    ):
        found = given or _match_names(available, names)
        chosen.append(found)
        if not given and len(found) != 1:
            fault = f"several columns, {', '.join(found)}" if found else f"no column {' or '.join(map(repr, names))}"
            faults.append(f"{fault}: set {flag.upper()} (--{flag})")
    if faults:
        where = "The columns that all splits have are" if len(source) > 1 else "The columns are"
        raise InputError(f"{'; '.join(faults)}. {where} {_describe_names(available)}")
    asked = {"title", *map(forms.unify_name, others), *needed}
    free = [name for name in available if name not in (*chosen[0], *chosen[1])]
    free = [name for name in free if name != paper or forms.unify_name(name) in asked]
    return Columns(chosen[0], chosen[1][0], paper, separator, _choose_details(free, others, needed))


def _choose_details(available: list[str], others: Sequence[str], needed: Sequence[str]) -> dict[str, str]:
    """The columns of DETAILS, of `others` and of `needed`, by uniform names. Raises `InputError` for one that lacks."""
    details = {}
    for detail in dict.fromkeys([*DETAILS, *map(forms.unify_name, others), *needed]):
        if detail in (*TEXTS, *KEYS, "review"):
            raise InputError(f"a column {detail!r} cannot be kept, for the scripts use that name; rename it")
        found = _match_names(available, forms.DETAIL_NAMES.get(detail, (detail,)))
        if found:
            details[detail] = found[0]
        elif detail not in DETAILS:  # which forms may have
            where = "PROMPT or COMPLETION" if detail in needed else "COLUMNS (--columns)"
            raise InputError(f"{where} names {detail}, but the columns are {_describe_names(available)}")
    return details


def read_papers(source: dict[str, Rows], columns: Columns) -> tuple[DatasetDict, list[str]]:
    """The splits with a row of PAPER_FEATURES for each paper, and what the user should know.

    Raises `InputError` naming the row for a cell that holds neither texts nor reviews with known fields.
    """
    papers, notes = DatasetDict(), []
    for split, rows in source.items():
        read_rows = []
        for number, row in enumerate(rows, start=1):
            try:
                read_rows.append(_read_row(row, columns))
            except InputError as error:
                raise InputError(f"row {number:,} of {split}: {error}") from error
        if columns.paper:
            read_rows, joined = _join_rows(read_rows, columns.paper)
            notes += [f"{split}: {note}" for note in joined]
        features = Features(PAPER_FEATURES | dict.fromkeys(columns.details, TEXT))
        papers[split] = Dataset.from_list(read_rows, features=features)
    return papers, notes


def _read_row(row: Row, columns: Columns) -> dict[str, Any]:
    """The values of PAPER_FEATURES in a row; what is unknown is empty."""
    for name in filter(None, (*columns.reviews, columns.summary, columns.paper)):
        value = row[name]
        if isinstance(value, Formula) or (value == 0 and name != columns.paper):  # XlsxWriter leaves formulas so
            advice = "if that is a formula, open the file in a spreadsheet program and save it, or paste the values"
            raise InputError(f"{name!r} holds {value}, and no text; {advice}")
    reviews = [part for name in columns.reviews for part in _read_cell(row[name], REVIEW_FIELDS, columns.separator)]
    summaries = _read_cell(row[columns.summary], META_REVIEW_FIELDS)
    summary_texts = [text for text, _ in summaries if text]
    if len(summary_texts) > 1:
        raise InputError(f"{columns.summary!r} holds {len(summary_texts)} texts, but a meta-review is one")
    known = dict.fromkeys(DETAILS, "") | {name: _read_value(row.get(place)) for name, place in columns.details.items()}
    scores = [forms.find_score(form, forms.RATING_FIELDS) for text, form in reviews if text]
    known["ratings"] = known["ratings"] or "; ".join(filter(None, scores))
    decisions = [forms.find_decision(form) for _, form in summaries]
    known["decision"] = known["decision"] or next(filter(None, decisions), "")
    return {
        "reviews": [text for text, _ in reviews if text],
        "summary": "".join(summary_texts),
        "paper": _read_value(row[columns.paper]) if columns.paper else "",
        **known,
    }


def _is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, a text in MISSING, an error of a spreadsheet, or \\N as in MySQL."""
    if not isinstance(value, str):
        return value is None or value != value
    return re.sub(r"[\W_]+", "", value.lower()) in MISSING or value.strip() in (*SPREADSHEET_ERRORS, r"\N")


def _read_value(value: Any) -> str:
    """A name, title, rating or decision as a text, the same for 1, 1.0 and "1"; the items of a list; or empty."""
    if isinstance(value, str):
        value = parse_list(value) or value
    if isinstance(value, dict):
        value = value["value"] if "value" in value else forms.find_decision(forms.name_fields(value))
    if isinstance(value, list | tuple):
        return "; ".join(filter(None, map(_read_value, value)))
    if isinstance(value, float) and not _is_missing(value):
        value = f"{value:.0f}" if value.is_integer() else f"{value:.15g}"
    text = "" if _is_missing(value) else plain_text(value).strip()
    return re.sub(r"^(\d+)\.0*$", r"\1", text)


def _read_cell(value: Any, fields: tuple[str, ...], separator: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """The texts in a cell, split at `separator` unless that is None, each with the form that it is from, if any."""
    if _is_missing(value):
        return []
    if isinstance(value, dict):
        columns = list(value.values())
        if not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
            return [_read_form(value, fields)]
        value = [dict(zip(value, form, strict=True)) for form in zip(*columns, strict=True)]  # a list in `datasets`
    if isinstance(value, str) and (listed := parse_list(value)) is not None:
        return _read_cell(listed, fields)
    if isinstance(value, list | tuple):
        if any(isinstance(item, int | float) and item == item for item in value):
            raise InputError(f"a list holds a number, which is neither a text nor a form; leave it out: {value!r:.60}")
        return [part for item in value for part in _read_cell(item, fields)]
    text = str(value)
    if separator and separator in text:  # before `plain_text`, which may know it as a tag of HTML
        return [(plain_text(part), {}) for part in text.split(separator)]
    text = plain_text(text)
    return [(part, {}) for part in (split_reviews(text, separator) if separator else [text])]


def _read_form(form: dict[str, Any], names: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """The text in the named fields of a form, and all its fields."""
    fields = {name: "" if _is_missing(answer) else answer for name, answer in forms.name_fields(form).items()}
    if not fields.keys() & set(names):
        constant = "REVIEW_FIELDS" if names is REVIEW_FIELDS else "META_REVIEW_FIELDS"
        advice = f"add the one with the text to {constant} in metareview/sources/forms.py"
        raise InputError(f"there is no known field, only {_describe_names(list(fields))}; {advice}")
    return forms.read_form(fields, names), fields


def _join_rows(rows: list[dict[str, Any]], column: str) -> tuple[list[dict[str, Any]], list[str]]:
    """One row for each paper with the reviews of all its rows and the first meta-review; what the user should know.

    A row without a name belongs to the paper above, as in many tables, unless both have a meta-review, and another one.
    """
    papers: dict[str | int, dict[str, Any]] = {}
    paper, unnamed, differing = None, 0, []
    for index, row in enumerate(rows):
        summary = row["summary"].split()
        known = paper["summary"].split() if paper else []
        if paper and not row["paper"] and (summary in ([], known) or (paper["paper"] and not known)):
            unnamed += 1
        else:
            paper = papers.setdefault(row["paper"] or index, row | {"reviews": [], "ratings": ""})
        new = [review for review in row["reviews"] if review not in paper["reviews"]]
        has_several = len(read_ratings(row["ratings"])) > max(1, len(row["reviews"]))
        is_known = has_several and row["ratings"] == paper["ratings"]  # those of the paper, in each of its rows
        if not is_known and (new or not row["reviews"]):
            paper["ratings"] = "; ".join(filter(None, (paper["ratings"], row["ratings"])))
        paper["reviews"] += new
        for name in row.keys() - {"reviews", "ratings"}:
            paper[name] = paper[name] or row[name]
        if summary and summary != paper["summary"].split():
            differing.append(paper["paper"])
    notes = [f"By {column}, {format_count(len(rows), 'row')} are of {format_count(len(papers), 'paper')}."]
    if unnamed:
        notes.append(f"Counted as of the paper above: {format_count(unnamed, 'row')} without {column}.")
    if differing:
        count = format_count(len(set(differing)), "paper")
        notes.append(f"{count} with several meta-reviews, such as {differing[0]!r}: the first is taken.")
    return list(papers.values()), notes
