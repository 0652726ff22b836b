"""Cleaning: which characters stay, which rows stay."""

import re
import unicodedata
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict

from metareview.cli import InputError

DEFAULT_KEEP = "a-zA-Z0-9"
DEFAULT_SEPARATOR = "<REVBREAK>"  # between the reviews of one paper, in zqz979/meta-review
REVIEW_JOINER = "\n\n"  # between the cleaned reviews of one paper
DROP_REASONS = ("empty", "duplicate", "in a later split")


def clean_text(text: str | None, keep: str = DEFAULT_KEEP) -> str:
    """Remove every character but `keep` and whitespace; accents and ligatures become ASCII letters first (NFKD).

    A run of blanks becomes one blank; a run with a line break in it becomes one line break.
    """
    folded = unicodedata.normalize("NFKD", str(text or ""))
    escaped = re.sub(r"[\[\]\\]", r"\\\g<0>", keep)
    kept = re.sub(rf"[^\s{escaped}]", "", folded)
    lines = (" ".join(line.split()) for line in kept.split("\n"))
    return "\n".join(filter(None, lines))


def clean_reviews(text: str | list[str] | None, keep: str = DEFAULT_KEEP, separator: str = DEFAULT_SEPARATOR) -> str:
    """Clean all reviews of one paper; one blank line stands between two reviews and none inside a review."""
    reviews = text if isinstance(text, list) else str(text or "").split(separator)
    return REVIEW_JOINER.join(filter(None, (clean_text(review, keep) for review in reviews)))


def choose_rows(
    empty: np.ndarray, row_keys: np.ndarray, review_keys: np.ndarray, later_reviews: np.ndarray
) -> tuple[np.ndarray, list[int]]:
    """Indices of the rows of a split that stay, and how many go for each of DROP_REASONS.

    A row stays that has both sides, once, unless its reviews are among `later_reviews`. All arrays but that one have a
    value for each row; keys are hashes of texts, so that memory does not grow with the texts.
    """
    repeated = np.full(len(row_keys), True)
    repeated[np.unique(row_keys, return_index=True)[1]] = False  # the first of equal ones stays
    kept, dropped = np.full(len(row_keys), True), []
    for reason in (empty, repeated, np.isin(review_keys, later_reviews)):
        dropped.append(int((kept & reason).sum()))
        kept &= ~reason
    return np.flatnonzero(kept), dropped


def clean_splits(
    splits: DatasetDict, review: str, summary: str, keep: str, separator: str
) -> tuple[DatasetDict, list[list[Any]]]:
    """Splits with the columns review and summary (so named in the source), cleaned; a table of what went and why."""

    def clean_row(row: dict[str, Any]) -> dict[str, Any]:
        texts = {"review": clean_reviews(row[review], keep, separator), "summary": clean_text(row[summary], keep)}
        return texts | {
            "review_key": hash(texts["review"]),
            "row_key": hash((texts["review"], texts["summary"])),
            "empty": "" in texts.values(),
            "before": sum(len(str(row[name] or "")) for name in (review, summary)),
            "after": sum(map(len, texts.values())),
        }

    cleaned: dict[str, Dataset] = {}
    table: list[list[Any]] = []
    later_reviews = np.array([], dtype=np.int64)
    for name, split in reversed(splits.items()):  # what stands in two splits stays in the later one
        rows = split.map(clean_row, remove_columns=split.column_names, desc=f"Clean {name}")
        keys = rows.select_columns(["empty", "row_key", "review_key", "before", "after"]).with_format("numpy")[:]
        kept, dropped = choose_rows(keys["empty"], keys["row_key"], keys["review_key"], later_reviews)
        if len(kept) == 0:
            raise InputError(f"no row of the split {name!r} has both a review and a summary left after cleaning")
        cleaned[name] = rows.select_columns(["review", "summary"]).select(kept)
        later_reviews = np.concatenate([later_reviews, keys["review_key"][kept]])
        removed = f"{1 - keys['after'].sum() / max(1, keys['before'].sum()):.1%}"
        table.append([name, len(rows), len(kept), *dropped, removed])
    header = ["split", "rows read", "kept", *DROP_REASONS, "characters removed"]
    return DatasetDict({name: cleaned[name] for name in splits}), [header, *reversed(table)]
