"""The verdict of a text by a rule: whose it is, what turns it round, and texts that name none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metareview.common.cli import InputError
from metareview.data.cleaning import clean_text
from metareview.data.details import read_ratings
from metareview.scoring.verdicts import ACCEPT, REJECT, find_verdict, judge_ratings, read_decision

CASES = {
    "The idea is new. I recommend acceptance.": "accept",
    "The paper was rejected by all, and rightly so.": "reject",
    "Congratulations! Please mention the failed runs in the camera-ready version.": "accept",
    "": None,
    # turned round
    "I don't see how such a draft should be accepted.": "reject",
    "The tables need a second look before acceptance is an option.": "reject",
    "A missing figure is no reason to reject a paper like this.": "accept",
    "The baseline is not strong, therefore I recommend rejection.": "reject",
    # of the reviewers
    "Reviewer 2 recommends acceptance, but the proof has a gap.": None,
    "The ratings are one weak accept and two weak rejects.": None,
    "The reviewers are split: R1 argues for acceptance. The AC sides with R2 and recommends rejection.": "reject",
    "The reviewers, for once unanimous, ask me to reject it.": "reject",
    # several, of which the last counts
    "At first I leaned towards acceptance. After the discussion, I recommend rejection.": "reject",
    # by other words
    "Please resubmit once the proof is mended.": "reject",
    # what only looks like a verdict
    "The method rejects outliers and accepts all other samples; I find it elegant.": None,
    "It builds on an earlier publication of the same group.": None,
    "Given the acceptance rate of the venue, the competition was hard.": None,
}


@pytest.mark.parametrize(("text", "verdict"), CASES.items())
def test_verdicts_by_hand(text: str, verdict: str | None) -> None:
    assert find_verdict(text) == verdict


@given(text=st.lists(st.sampled_from([*CASES, "but", "R2", "I", "not", "resubmit"]), max_size=4).map(" ".join))
def test_cleaning_changes_no_verdict(text: str) -> None:
    assert find_verdict(text) == find_verdict(clean_text(text)) == find_verdict(text.upper())


@pytest.mark.parametrize(("text", "numbers"), [
    ("6/8/3", [6, 8, 3]), ("[6, 8.5]", [6, 8.5]), ("4/5; 6/10", [8, 6]), ("6,5; 7,5", [6.5, 7.5]), ("good", []),
    ("6/8/10", [6, 8, 10]),
    ("8: Top 50% of accepted papers, clear accept; 3: Clear rejection", [8, 3]), ("Reviewer 1: 8\nR2: 6", [8, 6]),
])  # fmt: skip
def test_ratings_are_read_as_people_write_them(text: str, numbers: list[float]) -> None:
    assert read_ratings(text) == numbers


@pytest.mark.parametrize("text", ["2003-06-08 00:00:00", "6/8/2003", "6/8/03"])
def test_ratings_that_became_a_date_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="are a date, as spreadsheets make one of 6/8/3: format the column"):
        read_ratings(text)


@pytest.mark.parametrize(("ratings", "verdict"), [("6, 8, 4", ACCEPT), ("5.9", REJECT), ("", None)])
def test_the_mean_of_the_ratings_decides(ratings: str, verdict: str | None) -> None:
    assert judge_ratings(ratings) == verdict


@pytest.mark.parametrize(
    ("verdict", "texts"),
    [
        (ACCEPT, ["Accept", "Accept (Poster)", "Oral", "Poster", "Notable-top-5%", "ICLR 2024 poster", "yes",
                  "accepted", "Spotlight", "Accept as a talk, with minor revisions to the text"]),
        (REJECT, ["Reject", "Invite to Workshop Track", "Reject (Invite to Workshop Track)", "Decline", "no",
                  "REJECTED", "Not accepted",
                  "We regret that this paper cannot be accepted this year: all of its reviewers had doubts"]),
        (None, ["", "?", "pending"]),
    ],
)  # fmt: skip
def test_decisions_are_read_as_venues_write_them(verdict: str | None, texts: list[str]) -> None:
    assert [read_decision(text) for text in texts] == [verdict] * len(texts)
