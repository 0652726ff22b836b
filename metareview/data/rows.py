"""Rows: cleaning those of a data set, and dropping what cannot be used or is in a later split, too."""

from textwrap import shorten
from typing import Any

from datasets import DatasetDict

from metareview.common.cli import InputError, format_count
from metareview.data.cleaning import REVIEW_JOINER, clean_text, drop_sentences
from metareview.data.details import clean_details

TEXTS = ("reviews", "summary", "paper")  # columns of `read_papers`; all others are details of the paper
KEYS = ("empty", "review_key", "summary_key", "paper_key", "reviews", "sentences", "before", "after")


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
            "review_key": review_key,
            "summary_key": summary_key,
            "paper_key": hash(row["paper"]) if row["paper"] else review_key,
            "reviews": len(reviews),
            "sentences": sentences,
            "before": sum(map(len, [*row["reviews"], text])),
            "after": len(review) + len(summary),
        }

    columns = next(iter(splits.values())).column_names
    return splits.map(clean_row, with_indices=True, remove_columns=columns, desc="Clean")


def drop_rows(splits: DatasetDict) -> tuple[DatasetDict, list[list[Any]], list[str]]:
    """The cleaned splits without the rows that are of no use; a table of what went and why; what a person should know.

    A paper in a later split goes from the earlier one: by its name, its reviews or its meta-review. Raises `InputError`
    if nothing is left of a split.
    """
    names = next(iter(splits.values())).column_names
    filled = [name for name in names if any(any(split[name]) for split in splits.values())]
    columns = ["review", "summary", *(name for name in filled if name not in (*KEYS, "review", "summary"))]
    cleaned, table, often = DatasetDict(), [], []
    later: dict[str, set[int]] = {"review_key": set(), "summary_key": set(), "paper_key": set()}
    for name, split in reversed(splits.items()):  # what appears in two splits stays in the later one
        keys = kept = split.select_columns(list(KEYS)).to_pandas()
        row = {"split": name, "rows read": len(keys), "kept": 0}
        for reason, faulty in (
            ("empty", keys["empty"]),
            ("duplicate", keys.duplicated(["review_key", "summary_key"])),
            ("in a later split", keys[list(later)].isin(later).any(axis=1)),
        ):
            row[reason] = int(faulty[kept.index].sum())
            kept = kept[~faulty[kept.index]]
        if kept.empty:
            raise InputError(f"no row of the split {name!r} has both a review and a summary left after cleaning")
        for key, known in later.items():
            known.update(kept[key])
        cleaned[name] = split.select_columns(columns).select(kept.index)
        times = kept.groupby("summary_key")["summary_key"].transform("size")  # rows with the meta-review of each row
        often.append((int(times.max()), split[int(times.idxmax())]["summary"]))
        row["kept"] = len(kept)
        row["reviews per paper"] = f"{kept['reviews'].mean():.1f}"
        row["meta-reviews in several rows"] = int(kept["summary_key"][times > 1].nunique())
        if "sentences" in filled:
            row["sentences dropped"] = int(keys["sentences"].sum())
        row["characters removed"] = f"{1 - keys['after'].sum() / max(1, keys['before'].sum()):.1%}"
        table.append(row)
    notes = []
    most, summary = max(often)
    if most > 1:
        number = sum(row["meta-reviews in several rows"] for row in table)
        notes.append(
            f"{format_count(number, 'meta-review')} {'is' if number == 1 else 'are'} in several rows "
            f"({shorten(summary, 40, placeholder=' ...')!r} in {most:,}). "
            "Is each row one review of a paper? --group_column (GROUP_COLUMN) joins them."
        )
    rows = [list(row.values()) for row in reversed(table)]
    return DatasetDict({name: cleaned[name] for name in splits}), [list(table[0]), *rows], notes
