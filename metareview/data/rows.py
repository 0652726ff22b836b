"""Rows: cleaning those of a data set, and dropping what cannot be used or is in a later split, too."""

from textwrap import shorten
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict

from metareview.common.cli import InputError, format_count
from metareview.data.cleaning import REVIEW_JOINER, clean_text, drop_sentences
from metareview.data.details import clean_details

TEXTS = ("reviews", "summary", "paper")  # columns of `read_papers`; all others are details of the paper
KEYS = ("empty", "row_key", "review_key", "summary_key", "paper_key", "reviews", "sentences", "before", "after")
Table = list[list[Any]]


def _fold(text: str) -> str:
    """A text as it is compared: without upper case and line breaks."""
    return " ".join(text.casefold().split())


def clean_splits(splits: DatasetDict, keep: str, dropped: str | None = None) -> DatasetDict:
    """The papers of `read_papers` with review, summary and details, cleaned, and KEYS, by which rows are compared.

    Sentences of summaries that match `dropped` go first. Texts that differ in case, line breaks or the order of the
    reviews alone have the same keys. Keys are hashes, so that memory does not grow with the texts.
    """

    def clean_row(row: dict[str, Any], index: int) -> dict[str, Any]:
        reviews = list(filter(None, (clean_text(review, keep) for review in row["reviews"])))
        review = REVIEW_JOINER.join(reviews)
        text, sentences = drop_sentences(row["summary"], dropped) if dropped else (row["summary"], 0)
        summary = clean_text(text, keep)
        review_key = hash(tuple(sorted(map(_fold, reviews))))
        summary_key = hash(_fold(summary)) if summary else hash(("none", index))
        return {
            "review": review,
            "summary": summary,
            **clean_details({name: value for name, value in row.items() if name not in TEXTS}, keep),
            "empty": not (review and summary),
            "row_key": hash((review_key, summary_key)),
            "review_key": review_key,
            "summary_key": summary_key,
            "paper_key": hash(row["paper"]) if row["paper"] else review_key,
            "reviews": len(reviews),
            "sentences": sentences,
            "before": sum(map(len, [*row["reviews"], text])),
            "after": len(review) + len(summary),
        }

    cleaned = DatasetDict()
    for name, split in splits.items():
        columns = split.column_names
        cleaned[name] = split.map(clean_row, with_indices=True, remove_columns=columns, desc=f"Clean {name}")
    return cleaned


def _choose_rows(keys: dict[str, np.ndarray], later: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, int]]:
    """Indices of the rows of a split that stay, and how many go for each reason.

    A row stays that has both sides, once, unless one of its keys is in a `later` split.
    """
    repeated = np.full(len(keys["row_key"]), True)
    repeated[np.unique(keys["row_key"], return_index=True)[1]] = False  # the first of equal ones stays
    in_later = np.any([np.isin(keys[key], known) for key, known in later.items()], axis=0)
    kept, dropped = np.full(len(repeated), True), {}
    for reason, rows in (("empty", keys["empty"]), ("duplicate", repeated), ("in a later split", in_later)):
        dropped[reason] = int((kept & rows).sum())
        kept &= ~rows
    return np.flatnonzero(kept), dropped


def _find_details(splits: DatasetDict) -> list[str]:
    """The columns that some paper has a value in, besides its texts and KEYS."""
    others = (*KEYS, "review", "summary")
    names = dict.fromkeys(name for split in splits.values() for name in split.column_names if name not in others)
    return [name for name in names if any(any(split[name]) for split in splits.values())]


def drop_rows(splits: DatasetDict) -> tuple[DatasetDict, Table, list[str]]:
    """The cleaned splits without the rows that are of no use; a table of what went and why; what a person should know.

    A paper in a later split goes from the earlier one: by its name, its reviews or its meta-review. Raises `InputError`
    if nothing is left of a split.
    """
    cleaned: dict[str, Dataset] = {}
    table: list[dict[str, Any]] = []
    often = []
    details = _find_details(splits)
    are_sentences_dropped = any(any(split["sentences"]) for split in splits.values())
    later = {name: np.array([], dtype=np.int64) for name in ("review_key", "summary_key", "paper_key")}
    for name, split in reversed(splits.items()):  # what appears in two splits stays in the later one
        keys = split.select_columns(list(KEYS)).with_format("numpy")[:]
        kept, dropped = _choose_rows(keys, later)
        if len(kept) == 0:
            raise InputError(f"no row of the split {name!r} has both a review and a summary left after cleaning")
        later = {key: np.concatenate([known, keys[key][kept]]) for key, known in later.items()}
        cleaned[name] = split.select_columns(["review", "summary", *details]).select(kept)
        _, first, times = np.unique(keys["summary_key"][kept], return_index=True, return_counts=True)
        often.append((int(times.max()), cleaned[name][int(first[times == times.max()].min())]["summary"]))
        row = {"split": name, "rows read": len(split), "kept": len(kept), **dropped}
        row["reviews per paper"] = f"{keys['reviews'][kept].mean():.1f}"
        row["meta-reviews in several rows"] = int((times > 1).sum())
        if are_sentences_dropped:
            row["sentences dropped"] = int(keys["sentences"].sum())
        row["characters removed"] = f"{1 - keys['after'].sum() / max(1, keys['before'].sum()):.1%}"
        table.append(row)
    notes, (most, summary) = [], max(often)
    if most > 1:
        number = sum(row["meta-reviews in several rows"] for row in table)
        notes.append(
            f"{format_count(number, 'meta-review')} {'is' if number == 1 else 'are'} in several rows "
            f"({shorten(summary, 40, placeholder=' ...')!r} in {most:,}). "
            "Is each row one review of a paper? --group_column (GROUP_COLUMN) joins them."
        )
    rows = [list(row.values()) for row in reversed(table)]
    return DatasetDict({name: cleaned[name] for name in splits}), [list(table[0]), *rows], notes
