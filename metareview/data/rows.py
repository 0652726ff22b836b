"""Rows: cleaning those of a data set, and dropping what cannot be used or is in a later split, too."""

from textwrap import shorten
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict

from metareview.common.cli import InputError
from metareview.data.cleaning import REVIEW_JOINER, clean_text
from metareview.data.details import clean_details

DROP_REASONS = ("empty", "duplicate", "in a later split")
KEYS = ("empty", "row_key", "review_key", "summary_key", "paper_key", "reviews", "before", "after")
TEXTS = ("reviews", "summary", "paper")  # columns of `read_papers`; all others are details of the paper
Table = list[list[Any]]


def fold(text: str) -> str:
    """A text as it is compared: without upper case and line breaks."""
    return " ".join(text.casefold().split())


def clean_splits(splits: DatasetDict, keep: str) -> DatasetDict:
    """The papers of `read_papers` with the columns review and summary, cleaned, and KEYS, by which rows are compared.

    Texts that differ in case, line breaks or the order of the reviews alone have the same keys. Keys are hashes, so
    that memory does not grow with the texts.
    """

    def clean_row(row: dict[str, Any], index: int) -> dict[str, Any]:
        reviews = list(filter(None, (clean_text(review, keep) for review in row["reviews"])))
        review, summary = REVIEW_JOINER.join(reviews), clean_text(row["summary"], keep)
        review_key = hash(tuple(sorted(map(fold, reviews))))
        summary_key = hash(fold(summary)) if summary else hash(("none", index))
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
            "before": sum(map(len, [*row["reviews"], row["summary"]])),
            "after": len(review) + len(summary),
        }

    cleaned = DatasetDict()
    for name, split in splits.items():
        columns = split.column_names
        cleaned[name] = split.map(clean_row, with_indices=True, remove_columns=columns, desc=f"Clean {name}")
    return cleaned


def choose_rows(empty: np.ndarray, row_keys: np.ndarray, in_later: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Indices of the rows of a split that stay, and how many go for each of DROP_REASONS.

    A row stays that has both sides, once, unless it is `in_later`. All arrays have a value for each row.
    """
    repeated = np.full(len(row_keys), True)
    repeated[np.unique(row_keys, return_index=True)[1]] = False  # the first of equal ones stays
    kept, dropped = np.full(len(row_keys), True), []
    for reason in (empty, repeated, in_later):
        dropped.append(int((kept & reason).sum()))
        kept &= ~reason
    return np.flatnonzero(kept), dropped


def _find_details(splits: DatasetDict) -> list[str]:
    """The columns that some paper has a value in, besides its texts and KEYS."""
    others = (*KEYS, "review", "summary")
    names = dict.fromkeys(name for split in splits.values() for name in split.column_names if name not in others)
    return [name for name in names if any(any(split[name]) for split in splits.values())]


def drop_rows(splits: DatasetDict) -> tuple[DatasetDict, Table, list[str]]:
    """The cleaned splits without the rows that are of no use; a table of what went and why; what a person should know.

    A paper in a later split goes from the earlier one: by its name, its reviews or its meta-review. Raises `InputError`
    where nothing is left of a split.
    """
    cleaned: dict[str, Dataset] = {}
    table, often = [], []
    known = _find_details(splits)
    later = {name: np.array([], dtype=np.int64) for name in ("review_key", "summary_key", "paper_key")}
    for name, split in reversed(splits.items()):  # what stands in two splits stays in the later one
        keys = split.select_columns(list(KEYS)).with_format("numpy")[:]
        in_later = np.any([np.isin(keys[key], known) for key, known in later.items()], axis=0)
        kept, dropped = choose_rows(keys["empty"], keys["row_key"], in_later)
        if len(kept) == 0:
            raise InputError(f"no row of the split {name!r} has both a review and a summary left after cleaning")
        later = {key: np.concatenate([known, keys[key][kept]]) for key, known in later.items()}
        cleaned[name] = split.select_columns(["review", "summary", *known]).select(kept)
        _, first, times = np.unique(keys["summary_key"][kept], return_index=True, return_counts=True)
        repeated = int((times > 1).sum())
        often.append((int(times.max()), cleaned[name][int(first[times == times.max()].min())]["summary"]))
        removed = f"{1 - keys['after'].sum() / max(1, keys['before'].sum()):.1%}"
        reviews = f"{keys['reviews'][kept].mean():.1f}"
        table.append([name, len(split), len(kept), *dropped, reviews, repeated, removed])
    header = ["split", "rows read", "kept", *DROP_REASONS]
    header += ["reviews per paper", "meta-reviews in several rows", "characters removed"]
    notes, (times, summary) = [], max(often)
    if times > 1:
        number, begins = sum(row[-2] for row in table), shorten(summary, 40, placeholder=" ...")
        notes.append(
            f"{number:,} meta-reviews stand in several rows ({begins!r} in {times:,}). "
            "Is each row one review of a paper? --group_column (GROUP_COLUMN) joins them."
        )
    return DatasetDict({name: cleaned[name] for name in splits}), [header, *reversed(table)], notes
