"""Columns: which of a table hold the reviews and the meta-review, and what their cells say."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, DatasetDict, Features, List, Value

from metareview.common.cli import InputError
from metareview.data.cleaning import split_reviews
from metareview.sources.forms import META_REVIEW_FIELDS, REVIEW_FIELDS, find_texts, name_fields, title_texts, unify_name
from metareview.sources.table_files import Row

REVIEW_NAMES = ("Input", "review", "reviews", "review_text")
SUMMARY_NAMES = ("Output", "summary", "meta_review", "metareview")
SPREADSHEET_ERRORS = ("#N/A", "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!")
PAPER_FEATURES = Features({"reviews": List(Value("string")), "summary": Value("string"), "paper": Value("string")})
Rows = Dataset | list[Row]


@dataclass
class Columns:
    """The columns of a source: those with reviews, that with the meta-review, and that which names the paper."""

    reviews: list[str]
    summary: str
    paper: str | None = None
    separator: str = "<REVBREAK>"  # between the reviews in one cell


def list_columns(rows: Rows) -> list[str]:
    """The names of the columns, in their order."""
    return rows.column_names if isinstance(rows, Dataset) else list(rows[0]) if rows else []


def recognize(available: list[str], names: tuple[str, ...]) -> list[str]:
    """The columns that have one of these names, whether in upper or lower case, with blanks or with _."""
    known = {unify_name(name) for name in names}
    return [name for name in available if unify_name(name) in known]


def choose_columns(
    source: dict[str, Rows], reviews: list[str] | None, summary: str | None, paper: str | None, separator: str
) -> Columns:
    """The columns that the flags name, or else those with a name that people use.

    Raises one `InputError` for everything that is missing, or there twice, with the columns that are there.
    """
    by_split = {split: list_columns(rows) for split, rows in source.items()}
    available = [name for name in next(iter(by_split.values())) if all(name in names for names in by_split.values())]
    faults = [f"no column {name!r}" for name in [*(reviews or ()), summary, paper] if name and name not in available]
    found: dict[str, list[str]] = {}
    for flag, given, names in (
        ("review_column", reviews, REVIEW_NAMES),
        ("summary_column", [summary] if summary else None, SUMMARY_NAMES),
    ):
        found[flag] = given or recognize(available, names)
        setting = f"set {flag.upper()} (--{flag})"
        if not found[flag]:
            faults.append(f"no column {', '.join(map(repr, names[:-1]))} or {names[-1]!r}: {setting}")
        elif not given and len(found[flag]) > 1:
            faults.append(f"several columns, {', '.join(map(repr, found[flag]))}: {setting}")
    if faults:
        there = {split: ", ".join(names) or "none" for split, names in by_split.items()}
        if len(set(there.values())) > 1:
            columns = "; ".join(f"{split}: {names}" for split, names in there.items())
        else:
            columns = next(iter(there.values()))
        raise InputError(f"{'; '.join(faults)}. The columns are {columns}")
    return Columns(found["review_column"], found["summary_column"][0], paper, separator)


def read_papers(source: dict[str, Rows], columns: Columns) -> tuple[DatasetDict, list[str]]:
    """The splits with a row for each paper: its reviews, its meta-review, its name; and what a person should know.

    Without a column that names the paper, each row is one. Raises `InputError` naming the row for a cell that holds
    neither texts nor reviews with known fields.
    """
    papers, notes = DatasetDict(), []
    for split, rows in source.items():

        def read(row: Row, index: int, split: str = split) -> dict[str, Any]:
            try:
                return read_row(row, columns)
            except InputError as error:
                raise InputError(f"row {index + 1:,} of {split}: {error}") from error

        if columns.paper is None and isinstance(rows, Dataset):
            named = rows.column_names
            papers[split] = rows.map(
                read, with_indices=True, remove_columns=named, features=PAPER_FEATURES, desc=f"Read {split}"
            )
            continue
        read_rows = [read(row, index) for index, row in enumerate(rows)]
        if columns.paper:
            joined, differing = join_rows(read_rows)
            notes.append(f"{split}: {len(read_rows):,} rows are of {len(joined):,} papers, by {columns.paper}.")
            if differing:
                several = f"{split}: {len(differing):,} papers have several meta-reviews, {differing[0]!r} for one"
                notes.append(f"{several}; the first is taken.")
            read_rows = joined
        papers[split] = Dataset.from_list(read_rows, features=PAPER_FEATURES)
    return papers, notes


def read_row(row: Row, columns: Columns) -> dict[str, Any]:
    """The reviews in a row, its meta-review, and the name of its paper (empty where none is known)."""
    summaries = list(filter(None, read_cell(row[columns.summary], META_REVIEW_FIELDS, None)))
    if len(summaries) > 1:
        raise InputError(f"{columns.summary!r} holds {len(summaries)} texts, but a meta-review is one")
    cells = [read_cell(row[name], REVIEW_FIELDS, columns.separator) for name in columns.reviews]
    name = "" if columns.paper is None or row[columns.paper] is None else as_text(row[columns.paper])
    reviews = [review for reviews in cells for review in reviews]
    return {"reviews": reviews, "summary": "".join(summaries), "paper": name.strip()}


def as_text(value: Any) -> str:
    """A value as a text that every file can hold; a spreadsheet's error is none."""
    text = str(value).encode("utf-8", "replace").decode()
    return "" if text.strip() in SPREADSHEET_ERRORS else text


def read_cell(value: Any, fields: tuple[str, ...], separator: str | None) -> list[str]:
    """The texts in a cell: a text, split at `separator` unless that is None, or a list of texts or of forms.

    A form has some of `fields`, as on OpenReview. Raises `InputError` naming the fields of one that has none of them.
    """
    if value is None:
        return []
    if isinstance(value, dict):
        columns = list(value.values())
        if columns and all(isinstance(column, list) for column in columns):  # as `datasets` keeps a list of forms
            value = [dict(zip(value, form, strict=True)) for form in zip(*columns, strict=True)]
        else:
            return [read_form(value, fields)]
    if isinstance(value, list):
        return [read_form(one, fields) if isinstance(one, dict) else as_text(one) for one in value if one is not None]
    text = as_text(value)
    return [text] if separator is None else split_reviews(text, separator)


def read_form(form: dict[str, Any], fields: tuple[str, ...]) -> str:
    """The texts of a form under the titles of their fields."""
    content = form.get("content")
    named = name_fields(content if isinstance(content, dict) else form)
    if not set(named) & set(fields):
        names = f"{', '.join(named)}; add that with the text to"
        constant = "REVIEW_FIELDS" if fields is REVIEW_FIELDS else "META_REVIEW_FIELDS"
        raise InputError(f"there is no known field, only {names} {constant} in metareview/papers.py")
    texts = find_texts(named, fields)
    first = dict([next(iter(texts.items()))]) if texts and fields is META_REVIEW_FIELDS else texts
    return as_text(title_texts(first))


def join_rows(rows: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """One row for each paper with the reviews of all its rows, and the papers whose meta-reviews are not the same.

    The first meta-review counts. A row without the name of a paper stays alone.
    """
    papers: dict[str, dict[str, Any]] = {}
    differing: dict[str, None] = {}
    for index, row in enumerate(rows):
        paper = papers.setdefault(row["paper"] or f"\0{index}", row | {"reviews": []})
        paper["reviews"] += [review for review in row["reviews"] if review not in paper["reviews"]]
        paper["summary"] = paper["summary"] or row["summary"]
        if row["summary"] and row["summary"].split() != paper["summary"].split():
            differing[row["paper"]] = None
    return list(papers.values()), list(differing)
