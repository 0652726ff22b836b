"""The user's cleaning rule: a-zA-Z0-9 and whitespace stay, everything else goes; and which rows stay."""

import re

import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given
from hypothesis import strategies as st

from metareview.cleaning import clean_reviews, clean_splits, clean_text
from metareview.cli import InputError


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("cross-entropy", "crossentropy"),
        ("naïve Erdős", "naive Erdos"),
        ("a ﬁgure, a proof.", "a figure a proof"),
        ("Case STAYS 42", "Case STAYS 42"),
        ("  many \t blanks  ", "many blanks"),
        ("one\n\n\ntwo \n three", "one\ntwo\nthree"),
        ("$\\epsilon$-net: O(n²) ≤ √n", "epsilonnet On2 n"),
        ("“quoted”\u00a0text", "quoted text"),
        ("!?…", ""),
        (None, ""),
    ],
)
def test_examples(text: str | None, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@given(st.text())
def test_only_what_is_kept_remains_and_cleaning_twice_changes_nothing(text: str) -> None:
    cleaned = clean_text(text)
    assert re.fullmatch(r"([a-zA-Z0-9]+([ \n][a-zA-Z0-9]+)*)?", cleaned)
    assert clean_text(cleaned) == cleaned


@given(st.text(alphabet="abc XYZ019 \n-.,;:()é"))
def test_no_letter_or_digit_is_lost(text: str) -> None:
    expected = [character for character in text.replace("é", "e") if character.isalnum()]
    assert [character for character in clean_text(text) if not character.isspace()] == expected


def test_keep_can_be_edited_to_keep_punctuation() -> None:
    assert clean_text("well-written, isn't it?", "a-zA-Z0-9.,?'-") == "well-written, isn't it?"


def test_reviews_stay_apart() -> None:
    text = "First.\n\nStill the first. <REVBREAK>Second! <REVBREAK>  <REVBREAK> ... "
    assert clean_reviews(text) == "First\nStill the first\n\nSecond"
    assert clean_reviews("a || b", separator="||") == "a\n\nb"
    assert clean_reviews(None) == ""


@given(st.lists(st.text(), max_size=5))
def test_one_blank_line_between_reviews_and_none_inside(reviews: list[str]) -> None:
    cleaned = clean_reviews("<REVBREAK>".join(reviews))
    kept = [text for text in map(clean_text, "<REVBREAK>".join(reviews).split("<REVBREAK>")) if text]
    assert cleaned.split("\n\n") == (kept or [""])


def rows(*pairs: tuple[str | None, str | None]) -> Dataset:
    return Dataset.from_dict({"Input": [pair[0] for pair in pairs], "Output": [pair[1] for pair in pairs]})


def test_rows_are_dropped_for_the_stated_reasons() -> None:
    splits = DatasetDict(
        train=rows(
            ("a.", "s"), ("a", "s!"), ("a", "t"), (None, "s"), ("b", None), ("...", "s"), ("v", "s"), ("t", "s")
        ),
        validation=rows(("v", "x"), ("t", "x"), ("w", "x")),
        test=rows(("t", "y"), ("t", "y"), ("u", "y")),
    )
    cleaned, (header, *table) = clean_splits(splits, "Input", "Output", "a-zA-Z0-9", "<REVBREAK>")
    assert cleaned["train"]["review"][:] == ["a", "a"]  # "a." is "a" after cleaning; another summary is no duplicate
    assert cleaned["train"]["summary"][:] == ["s", "t"]
    assert cleaned["validation"]["review"][:] == ["v", "w"]  # "t" stands in test
    assert cleaned["test"]["review"][:] == ["t", "u"]
    assert header == ["split", "rows read", "kept", "empty", "duplicate", "in a later split", "characters removed"]
    assert table[0] == ["train", 8, 2, 3, 1, 2, "27.8%"]  # of 18 characters 5 go: one ".", one "!", three "..."
    assert table[1][:6] == ["validation", 3, 2, 0, 0, 1]
    assert table[2][:6] == ["test", 3, 2, 0, 1, 0]


def test_nothing_left_of_a_split_is_an_error() -> None:
    splits = DatasetDict(train=rows(("a", "s")), validation=rows(("!", "s")), test=rows(("b", "s")))
    with pytest.raises(InputError, match="'validation'"):
        clean_splits(splits, "Input", "Output", "a-zA-Z0-9", "<REVBREAK>")
