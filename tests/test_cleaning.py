"""The user's cleaning rule: a-zA-Z0-9 and whitespace stay, everything else goes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processing_meta_review import clean_reviews, clean_text


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
