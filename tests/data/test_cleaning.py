"""The user's cleaning rule: a-zA-Z0-9 and whitespace stay, everything else goes; and which rows stay."""

import re

import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given
from hypothesis import strategies as st

from metareview.common.cli import InputError
from metareview.data.cleaning import DEFAULT_KEEP, clean_reviews, clean_text, join_reviews, split_reviews
from metareview.data.rows import TEXTS, clean_splits, drop_rows


def test_examples() -> None:
    assert clean_text("naïve Erdős: a ﬁgure") == "naive Erdos a figure"
    assert clean_text("  many \t blanks \n\n\ntwo \n three") == "many blanks\ntwo\nthree"
    assert clean_text("$\\epsilon$-net: O(n²) ≤ √n") == "epsilonnet On2 n"
    assert clean_text(None) == ""
    assert clean_text("well-written, isn't it?", "a-zA-Z0-9.,?'-") == "well-written, isn't it?"  # KEEP may be edited


@given(st.text() | st.text(alphabet="abc XYZ019 \n-.,;:()é"))
def test_only_what_is_kept_remains_and_cleaning_twice_changes_nothing(text: str) -> None:
    cleaned = clean_text(text)
    assert re.fullmatch(r"([a-zA-Z0-9]+([ \n][a-zA-Z0-9]+)*)?", cleaned)
    assert clean_text(cleaned) == cleaned
    ascii_text = [character for character in text.replace("é", "e") if character.isascii() and character.isalnum()]
    assert not text.replace("é", "e").isascii() or "".join(cleaned.split()) == "".join(ascii_text)


@pytest.mark.parametrize(
    ("text", "reviews"),
    [
        ("a <REVBREAK> b", ["a ", " b"]),
        ("a\n---\nb\n --- \nc", ["a\n", "\nb\n", "\nc"]),
        ("a\n---\nstill a<REVBREAK>b", ["a\n---\nstill a", "b"]),  # there it is a rule of Markdown
        ("a -- b --- c\n----\nd", ["a -- b --- c\n----\nd"]),
    ],
)
def test_both_separators_are_understood(text: str, reviews: list[str]) -> None:
    assert split_reviews(text) == reviews
    assert split_reviews(text, "||") == reviews  # if the one that was set is not in the text
    assert split_reviews(f"{text} || d", "||") == [f"{text} ", " d"]


@given(st.lists(st.text(alphabet="ab- \n\r", min_size=1), min_size=1, max_size=4))
def test_what_is_joined_is_split_into_the_same_reviews(reviews: list[str]) -> None:
    parts = split_reviews(join_reviews(reviews))
    assert [clean_text(part) for part in parts] == [clean_text(review) for review in reviews]


def test_one_blank_line_between_reviews_and_none_inside_and_a_list_is_not_split_again() -> None:
    assert clean_reviews("<REVBREAK>a.\n\nb<REVBREAK>!<REVBREAK>c") == "a\nb\n\nc"
    assert clean_reviews(["a <REVBREAK> b", "c"]) == "a REVBREAK b\n\nc" and clean_reviews(None) == ""


Rows = list[tuple[str, ...]]  # of reviews and summary, perhaps with the name of the paper


def clean(dropped: str | None = None, **splits: Rows) -> tuple[dict[str, Rows], list[dict], list[str]]:
    """What is kept of pairs of reviews and summary, in each split; the rows of the table by their columns; notes."""
    papers = DatasetDict()
    for name, rows in splits.items():
        texts = [(split_reviews(review), summary, "".join(paper)) for review, summary, *paper in rows]
        papers[name] = Dataset.from_list([dict(zip(TEXTS, text, strict=True)) for text in texts])
    cleaned, (header, *table), notes = drop_rows(clean_splits(papers, DEFAULT_KEEP, dropped))
    kept = {name: [(row["review"], row["summary"]) for row in split] for name, split in cleaned.items()}
    return kept, [dict(zip(header, row, strict=True)) for row in table], notes


def test_rows_are_dropped_for_the_stated_reasons() -> None:
    kept, table, notes = clean(
        train=[("a.", "s"), ("a", "s!"), ("a", "t"), ("", "s"), ("b", ""), ("...", "s"), ("v", "s"), ("t", "s")],
        validation=[("v", "x"), ("t", "x"), ("w", "z")],
        test=[("t", "y"), ("t", "y"), ("u", "y2")],
    )
    assert kept["train"] == [("a", "s"), ("a", "t")]  # "a." is "a" after cleaning; another summary is no duplicate
    assert kept["validation"] == [("v", "x"), ("w", "z")]  # "t" is in test
    assert kept["test"] == [("t", "y"), ("u", "y2")]
    assert table[0] == {
        "split": "train", "rows read": 8, "kept": 2, "empty": 3, "duplicate": 1, "in a later split": 2,
        "reviews per paper": "1.0", "meta-reviews in several rows": 0,
        "characters removed": "27.8%",  # of 18 characters 5 go: one ".", one "!", three "..."
    }  # fmt: skip
    assert [row["in a later split"] for row in table] == [2, 1, 0] and table[2]["duplicate"] == 1
    assert notes == []


def test_a_meta_review_is_never_in_two_splits() -> None:
    """Not even if the rows differ in case, line breaks, punctuation or order of reviews; a paper goes by its name."""
    kept, _, _ = clean(
        train=[("a <REVBREAK> b", "one"), ("c", "The Same."), ("d\nd <REVBREAK> e", "2"), ("f", "3"), ("g", "7", "p")],
        validation=[("x", "the\nsame"), ("E<REVBREAK>D d", "six"), ("z", "four")],
        test=[("B <REVBREAK> A!", "five"), ("y", "FOUR"), ("h", "8", "p")],
    )
    assert kept["train"] == [("f", "3")] and [row[0] for row in kept["validation"]] == ["x", "E\n\nD d"]


def test_meta_reviews_in_several_rows_and_reviews_per_paper_are_counted() -> None:
    train = [("a", "Good work."), ("b", "good work"), ("c", "good  work"), ("d <REVBREAK> e <REVBREAK> !", "x")]
    _, [row], [note] = clean(train=[*train, ("f", "y"), ("g", "y")])
    assert row["meta-reviews in several rows"] == 2 and row["kept"] == 6 and row["reviews per paper"] == "1.2"
    assert note.startswith("2 meta-reviews are in several rows ('Good work' in 3).") and "--group_column" in note


def test_sentences_that_match_leave_the_meta_reviews_and_are_counted() -> None:
    """Before cleaning, which would remove what ends a sentence."""
    text = "Strong paper, e.g. its proof. The REBUTTAL helped!\nAuthors responded well\n\nIs it new? Accept (rebuttal)"
    kept, [row], _ = clean(r"rebuttal|authors? responded", train=[("a", text), ("b", "After the rebuttal: accept.")])
    assert kept["train"] == [("a", "Strong paper eg its proof\nIs it new")]
    assert row["sentences dropped"] == 4 and row["empty"] == 1

    with pytest.raises(InputError, match="no row of the split 'train' has both"):
        clean("accept", train=[("b", "After the rebuttal: accept.")])
