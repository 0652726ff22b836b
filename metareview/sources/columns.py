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

    @property
    def features(self) -> Features:
        """PAPER_FEATURES and the other columns that were asked for."""
        return Features(PAPER_FEATURES | dict.fromkeys(self.details, TEXT))


def list_columns(rows: Rows) -> list[str]:
    """The names of the columns, in their order."""
    return rows.column_names if isinstance(rows, Dataset) else list(rows[0]) if rows else []


def _describe_names(names: list[str]) -> str:
    """The names of columns or fields, of many the first twenty."""
    return ", ".join(names[:20] + [f"and {len(names) - 20:,} more"] * (len(names) > 20)) or "none"


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
    first, *rest = [list_columns(rows) for rows in source.values()]
    available = [name for name in first if all(name in names for names in rest)]
    faults = [f"no column {name!r}" for name in [*(reviews or ()), summary, paper] if name and name not in available]
    chosen: list[list[str]] = []
    for flag, given, names in (
        ("review_column", reviews, REVIEW_NAMES),
        ("summary_column", [summary] if summary else None, SUMMARY_NAMES),
    ):
        found = given or _match_names(available, names)
        setting = f"set {flag.upper()} (--{flag})"
        if not found:
            faults.append(f"no column {', '.join(map(repr, names[:-1]))} or {names[-1]!r}: {setting}")
        elif not given and len(found) > 1:
            faults.append(f"several columns, {', '.join(map(repr, found))}: {setting}")
        chosen.append(found)
    if faults:
        where = "The columns that all splits have are" if rest else "The columns are"
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
        if columns.paper is None and isinstance(rows, Dataset):  # too large for the memory, perhaps
            settings = {"remove_columns": rows.column_names, "features": columns.features, "desc": f"Read {split}"}
            papers[split] = rows.map(_read_row, True, fn_kwargs={"split": split, "columns": columns}, **settings)
            continue
        read_rows = [_read_row(row, index, split, columns) for index, row in enumerate(rows)]
        if columns.paper:
            read_rows, joined = _join_rows(read_rows, columns.paper)
            notes += [f"{split}: {note}" for note in joined]
        papers[split] = Dataset.from_list(read_rows, features=columns.features)
    return papers, notes


def _read_row(row: Row, index: int, split: str, columns: Columns) -> dict[str, Any]:
    """The values of PAPER_FEATURES in a row. Raises `InputError` naming the row if one cannot be read."""
    try:
        return _read_values(row, columns)
    except InputError as error:
        raise InputError(f"row {index + 1:,} of {split}: {error}") from error


def _read_values(row: Row, columns: Columns) -> dict[str, Any]:
    """The values of PAPER_FEATURES in a row; what is unknown is empty."""
    for name in filter(None, (*columns.reviews, columns.summary, columns.paper)):
        advice = "open the file in a spreadsheet program and save it, or paste the values"
        if isinstance(row[name], Formula):
            raise InputError(f"{name!r} holds a formula that no program has calculated ({row[name]}); {advice}")
        if row[name] == 0 and name != columns.paper:  # XlsxWriter leaves formulas so
            raise InputError(f"{name!r} holds 0, which is no text; if it is a formula in a workbook: {advice}")
    reviews = [part for name in columns.reviews for part in _list_parts(row[name], columns.separator)]
    summaries = _list_parts(row[columns.summary], None)
    summary_texts = _read_parts(summaries, META_REVIEW_FIELDS)
    if len(summary_texts) > 1:
        raise InputError(f"{columns.summary!r} holds {len(summary_texts)} texts, but a meta-review is one")
    known = dict.fromkeys(DETAILS, "") | {name: _read_detail(row.get(place)) for name, place in columns.details.items()}
    written = [part for part in reviews if isinstance(part, dict) and forms.find_texts(part, REVIEW_FIELDS)]
    scores = [forms.find_score(part, forms.RATING_FIELDS) for part in written]
    known["ratings"] = known["ratings"] or "; ".join(filter(None, scores))
    decisions = [forms.find_decision(part) for part in summaries if isinstance(part, dict)]
    known["decision"] = known["decision"] or next(filter(None, decisions), "")
    paper = _read_name(row[columns.paper]) if columns.paper else ""
    return {"reviews": _read_parts(reviews, REVIEW_FIELDS), "summary": "".join(summary_texts), "paper": paper, **known}


def _is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, a text in MISSING, an error of a spreadsheet, or \\N as in MySQL."""
    if not isinstance(value, str):
        return value is None or value != value
    return re.sub(r"[\W_]+", "", value.lower()) in MISSING or value.strip() in (*SPREADSHEET_ERRORS, r"\N")


def _read_detail(value: Any) -> str:
    """A title, a decision or ratings as a text, of a list the items, of a decision's form the decision; or empty."""
    if isinstance(value, str):
        value = parse_list(value) or value
    if isinstance(value, dict):
        value = value["value"] if "value" in value else forms.find_decision(forms.name_fields(value))
    if isinstance(value, list | tuple):
        return "; ".join(filter(None, map(_read_detail, value)))
    return "" if _is_missing(value) else plain_text(f"{value:g}" if isinstance(value, float) else value).strip()


def _read_name(value: Any) -> str:
    """The name of a paper, the same for 1, 1.0 and "1"; empty if there is none."""
    name = "" if _is_missing(value) else plain_text(value).strip()
    return re.sub(r"^(\d+)\.0*$", r"\1", name)


def _list_parts(value: Any, separator: str | None) -> list[str | dict[str, Any]]:
    """The texts in a cell, split at `separator` unless that is None, and the fields of the forms in it.

    Raises `InputError` for a number in a list.
    """
    if _is_missing(value):
        return []
    if isinstance(value, dict):
        columns = list(value.values())
        if not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
            fields = forms.name_fields(value)
            return [{name: "" if _is_missing(answer) else answer for name, answer in fields.items()}]
        value = [dict(zip(value, form, strict=True)) for form in zip(*columns, strict=True)]  # a list in `datasets`
    if isinstance(value, list | tuple):
        if number := next((item for item in value if isinstance(item, int | float) and item == item), None):
            raise InputError(f"a list holds {number}, which is neither a text nor a form; leave the numbers out")
        return [part for item in value for part in _list_parts(item, None)]
    text = str(value)
    if (listed := parse_list(text)) is not None:
        return _list_parts(listed, separator)
    if separator and separator in text:
        return [plain_text(part) for part in text.split(separator)]
    return list(split_reviews(plain_text(text), separator)) if separator else [plain_text(text)]


def _read_parts(parts: list[str | dict[str, Any]], names: tuple[str, ...]) -> list[str]:
    """Texts, and those in the named fields of forms under their titles; of a meta-review's form the first.

    Raises `InputError` for a form with none of these fields, naming those that it has.
    """
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        if not set(part) & set(names):
            constant = "REVIEW_FIELDS" if names is REVIEW_FIELDS else "META_REVIEW_FIELDS"
            advice = f"add the one with the text to {constant} in metareview/sources/forms.py"
            raise InputError(f"there is no known field, only {_describe_names(list(part))}; {advice}")
        found = forms.find_texts(part, names)
        texts.append(next(iter(found.values()), "") if names is META_REVIEW_FIELDS else forms.title_texts(found))
    return list(filter(None, texts))


def _join_rows(rows: list[dict[str, Any]], column: str) -> tuple[list[dict[str, Any]], list[str]]:
    """One row for each paper with the reviews of all its rows and the first meta-review; what the user should know.

    A row without a name belongs to the paper above, as in many tables, unless both have a meta-review, and another one.
    """
    papers: dict[str, dict[str, Any]] = {}
    differing: dict[str, None] = {}
    paper, unnamed = None, 0
    for index, row in enumerate(rows):
        summary = row["summary"].split()
        known = paper["summary"].split() if paper else []
        if paper and not row["paper"] and (summary in ([], known) or (paper["paper"] and not known)):
            unnamed += 1
        else:
            paper = papers.setdefault(row["paper"] or f"\0{index}", row | {"reviews": [], "ratings": ""})
        new = [review for review in row["reviews"] if review not in paper["reviews"]]
        has_several = len(read_ratings(row["ratings"])) > max(1, len(row["reviews"]))
        is_known = has_several and row["ratings"] == paper["ratings"]  # those of the paper, in each of its rows
        if not is_known and (new or not row["reviews"]):
            paper["ratings"] = "; ".join(filter(None, (paper["ratings"], row["ratings"])))
        paper["reviews"] += new
        paper["summary"] = paper["summary"] or row["summary"]
        for name in row.keys() - {"reviews", "summary", "paper", "ratings"}:
            paper[name] = paper[name] or row[name]
        if summary and summary != paper["summary"].split():
            differing[paper["paper"]] = None
    notes = [f"By {column}, {format_count(len(rows), 'row')} are of {format_count(len(papers), 'paper')}."]
    if unnamed:
        notes.append(f"Counted as of the paper above: {format_count(unnamed, 'row')} without {column}.")
    if differing:
        several = (
            f"{format_count(len(differing), 'paper')} with several meta-reviews, such as {next(iter(differing))!r}"
        )
        notes.append(f"{several}: the first is taken.")
    return list(papers.values()), notes
