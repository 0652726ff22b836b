"""Forms: ids, the notes of OpenReview, and a paper in words."""

from collections import Counter

import pytest

from metareview.common.cli import InputError
from metareview.sources.forms import Paper, describe_paper, find_number, find_year, read_id


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("https://openreview.net/forum?id=a-B_9&noteId=other", "a-B_9"),
        ("https://openreview.net/group?id=ICLR.cc/2024/Conference#tab-accept-oral", "ICLR.cc/2024/Conference"),
        ("ICLR.cc/2024/Conference", "ICLR.cc/2024/Conference"),
        (" abc ", "abc"),
    ],
)
def test_ids_and_addresses(given: str, wanted: str) -> None:
    assert read_id(given) == wanted


@pytest.mark.parametrize("given", ["", "two words", "https://openreview.net/about", "../../etc/passwd", "a//b"])
def test_what_is_no_id(given: str) -> None:
    with pytest.raises(InputError, match="neither an id"):
        read_id(given)


def test_years_and_numbers() -> None:
    assert find_year("ICLR.cc/2024/Conference", 0) == 2024
    assert find_year("TMLR", 1_700_000_000_000) == 2023  # a journal: when the paper came
    assert find_year("TMLR", None) is None
    assert find_number({"rating": "8: accept"}, ("score", "rating")) == 8.0
    assert find_number({"rating": "Accept"}, ("rating",)) is None


def test_a_paper_in_words() -> None:
    paper = Paper(["a", "b"], forum="abc", venue="Shells.org", ratings=[8.0, 5.5], confidences=[None, None])
    lines = ["abc (Shells.org)", "Reviews: 2", "Ratings: 8 5.5 (mean 6.8)", "Confidences: - -"]
    assert describe_paper(paper).splitlines() == lines
    paper.title, paper.left_out = "On shells", Counter({"reviews deleted": 2})
    assert describe_paper(paper).splitlines() == ["On shells (Shells.org)", *lines[1:], "Left out: 2 reviews deleted"]
