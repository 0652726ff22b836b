"""Columns: which of a table hold the reviews and the meta-review, and what their cells say."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset, DatasetDict, Features, List, Value

from metareview.common.cli import InputError
from metareview.data.cleaning import split_reviews
from metareview.data.details import DETAILS
from metareview.data.rows import KEYS, TEXTS
from metareview.sources import forms
from metareview.sources.escapes import parse_list, plain_text
from metareview.sources.forms import META_REVIEW_FIELDS, REVIEW_FIELDS, REVIEW_NAMES, SUMMARY_NAMES
from metareview.sources.table_files import Formula, Row

SPREADSHEET_ERRORS = ("#N/A", "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!")
# A cell with nothing but one of these is empty: so pandas, databases and spreadsheets write a missing value.
MISSING = {"", "nan", "<na>", "nat", "na", "n/a", "none", "null", r"\n", *map(str.lower, SPREADSHEET_ERRORS)}
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
    by_split = {split: list_columns(rows) for split, rows in source.items()}
    available = [name for name in next(iter(by_split.values())) if all(name in names for names in by_split.values())]
    faults = [f"no column {name!r}" for name in [*(reviews or ()), summary, paper] if name and name not in available]
    chosen: list[list[str]] = []
    for flag, given, names in (
        ("review_column", reviews, REVIEW_NAMES),
        ("summary_column", [summary] if summary else None, SUMMARY_NAMES),
    ):
        known = {forms.unify_name(name) for name in names}
        found = given or [name for name in available if forms.unify_name(name) in known]
        setting = f"set {flag.upper()} (--{flag})"
        if not found:
            faults.append(f"no column {', '.join(map(repr, names[:-1]))} or {names[-1]!r}: {setting}")
        elif not given and len(found) > 1:
            faults.append(f"several columns, {', '.join(map(repr, found))}: {setting}")
        chosen.append(found)
    if faults:
        described = {split: _describe_names(names) for split, names in by_split.items()}
        if len(set(described.values())) == 1:
            columns = next(iter(described.values()))
        else:
            columns = "; ".join(f"{split}: {names}" for split, names in described.items())
        raise InputError(f"{'; '.join(faults)}. The columns are {columns}")
    free = [name for name in available if name not in (*chosen[0], *chosen[1], paper)]
    details = _choose_details(free, others, needed)
    return Columns(chosen[0], chosen[1][0], paper, separator, details)


def _choose_details(available: list[str], others: Sequence[str], needed: Sequence[str]) -> dict[str, str]:
    """The columns of DETAILS, of `others` and of `needed`, by uniform names. Raises `InputError` for one that lacks."""
    free = {forms.unify_name(name): name for name in reversed(available)}
    details = {}
    for detail in dict.fromkeys([*DETAILS, *map(forms.unify_name, others), *needed]):
        if detail in ("review", "summary"):
            continue
        if detail in (*TEXTS, *KEYS):
            raise InputError(f"the column {free.get(detail, detail)!r} has a name that these scripts use; rename it")
        found = [free[name] for name in forms.DETAIL_NAMES.get(detail, (detail,)) if name in free]
        if found:
            details[detail] = found[0]
        elif detail not in DETAILS or detail in needed:
            where = "PROMPT or COMPLETION" if detail in needed else "COLUMNS (--columns)"
            raise InputError(f"{where} names {detail}, but the data have no such column, only {', '.join(free)}")
    return details


def read_papers(source: dict[str, Rows], columns: Columns) -> tuple[DatasetDict, list[str]]:
    """The splits with a row of PAPER_FEATURES for each paper, and what the user should know.

    Raises `InputError` naming the row for a cell that holds neither texts nor reviews with known fields.
    """
    papers, notes = DatasetDict(), []
    for split, rows in source.items():

        def read(row: Row, index: int, split: str = split) -> dict[str, Any]:
            try:
                return _read_row(row, columns)
            except InputError as error:
                raise InputError(f"row {index + 1:,} of {split}: {error}") from error

        if columns.paper is None and isinstance(rows, Dataset):  # too large for the memory, perhaps
            settings = {"remove_columns": rows.column_names, "features": columns.features, "desc": f"Read {split}"}
            papers[split] = rows.map(read, with_indices=True, **settings)
            continue
        read_rows = [read(row, index) for index, row in enumerate(rows)]
        if columns.paper:
            read_rows, joined = _join_rows(read_rows, columns.paper)
            notes += [f"{split}: {note}" for note in joined]
        papers[split] = Dataset.from_list(read_rows, features=columns.features)
    return papers, notes


def _read_row(row: Row, columns: Columns) -> dict[str, Any]:
    """The values of PAPER_FEATURES in a row; the name of its paper is empty if it is unknown."""
    for name in filter(None, (*columns.reviews, columns.summary, columns.paper)):
        if isinstance(row[name], Formula) or (row[name] == 0 and name != columns.paper):  # 0: so XlsxWriter leaves them
            advice = "open the file in a spreadsheet program and save it, or paste the values"
            raise InputError(f"{name!r} holds a formula that no program has calculated ({row[name]}); {advice}")
    summaries = _read_cell(row[columns.summary], META_REVIEW_FIELDS, None)
    if len(summaries) > 1:
        raise InputError(f"{columns.summary!r} holds {len(summaries)} texts, but a meta-review is one")
    reviews = [text for name in columns.reviews for text in _read_cell(row[name], REVIEW_FIELDS, columns.separator)]
    paper = _read_name(row[columns.paper]) if columns.paper else ""
    details = {name: _read_detail(row[column]) for name, column in columns.details.items()}
    return {"reviews": reviews, "summary": "".join(summaries), "paper": paper, **dict.fromkeys(DETAILS, ""), **details}


def _is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, or a text in MISSING."""
    return value is None or value != value or (isinstance(value, str) and value.strip().lower() in MISSING)


def _read_detail(value: Any) -> str:
    """A title, a decision or ratings as a text, of a list the items; empty if there is none."""
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(_read_detail, value)))
    return "" if _is_missing(value) else plain_text(f"{value:g}" if isinstance(value, float) else value).strip()


def _read_name(value: Any) -> str:
    """The name of a paper, the same for 1, 1.0 and "1"; empty if there is none."""
    name = "" if _is_missing(value) else plain_text(value).strip()
    return re.sub(r"^(\d+)\.0*$", r"\1", name)


def _read_cell(value: Any, fields: tuple[str, ...], separator: str | None) -> list[str]:
    """The texts in a cell: a text, split at `separator` unless that is None, or a list of texts or of forms.

    Raises `InputError` for a form with none of `fields`, naming those that it has, and for a number in a list.
    """
    if _is_missing(value):
        return []
    if isinstance(value, dict):
        columns = list(value.values())
        if not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
            return [text for text in [_read_form(value, fields)] if text]
        value = [dict(zip(value, form, strict=True)) for form in zip(*columns, strict=True)]  # a list in `datasets`
    if isinstance(value, list | tuple):
        if number := next((item for item in value if isinstance(item, int | float) and item == item), None):
            raise InputError(f"a list holds {number}, which is neither a text nor a form; leave the numbers out")
        return [text for item in value for text in _read_cell(item, fields, None)]
    text = str(value)
    if (listed := parse_list(text)) is not None:
        return _read_cell(listed, fields, separator)
    if separator and separator in text:
        return [plain_text(part) for part in text.split(separator)]
    return split_reviews(plain_text(text), separator) if separator else [plain_text(text)]


def _read_form(form: dict[str, Any], fields: tuple[str, ...]) -> str:
    """The texts of a form under the titles of their fields; of a meta-review's form the first."""
    content = form.get("content")
    named = forms.name_fields(content if isinstance(content, dict) else form)
    if not set(named) & set(fields):
        constant = "REVIEW_FIELDS" if fields is REVIEW_FIELDS else "META_REVIEW_FIELDS"
        advice = f"add the one with the text to {constant} in metareview/sources/forms.py"
        raise InputError(f"there is no known field, only {_describe_names(list(named))}; {advice}")
    texts = forms.find_texts({name: text for name, text in named.items() if not _is_missing(text)}, fields)
    return next(iter(texts.values()), "") if fields is META_REVIEW_FIELDS else forms.title_texts(texts)


def _join_rows(rows: list[dict[str, Any]], column: str) -> tuple[list[dict[str, Any]], list[str]]:
    """One row for each paper with the reviews of all its rows and the first meta-review; what the user should know.

    A row without a name belongs to the paper above, as in many tables, unless it has another meta-review.
    """
    papers: dict[str, dict[str, Any]] = {}
    differing: dict[str, None] = {}
    paper, unnamed = None, 0
    for index, row in enumerate(rows):
        summary = row["summary"].split()
        if paper and not row["paper"] and summary in ([], paper["summary"].split()):
            unnamed += 1
        else:
            paper = papers.setdefault(row["paper"] or f"\0{index}", row | {"reviews": [], "ratings": ""})
        paper["reviews"] += [review for review in row["reviews"] if review not in paper["reviews"]]
        paper["summary"] = paper["summary"] or row["summary"]
        paper["ratings"] = "; ".join(filter(None, (paper["ratings"], row["ratings"])))  # one of each review
        for name in row.keys() - {"reviews", "summary", "paper", "ratings"}:
            paper[name] = paper[name] or row[name]
        if summary and summary != paper["summary"].split():
            differing[paper["paper"]] = None
    notes = [f"{len(rows):,} rows are of {len(papers):,} papers, by {column}."]
    if unnamed:
        notes.append(f"{unnamed:,} rows without {column} count as rows of the paper above them.")
    if differing:
        several = f"{len(differing):,} papers have several meta-reviews, {next(iter(differing))!r} for one"
        notes.append(f"{several}; the first is taken.")
    return list(papers.values()), notes
