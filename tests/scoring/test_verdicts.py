"""The verdict of a text by a rule: whose it is, what turns it round, and texts that name none."""

import json

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from metareview.data.cleaning import clean_text
from metareview.scoring.verdicts import find_verdict, judge_ratings

CASES = {
    # plain
    "The idea is new. I recommend acceptance.": "accept",
    "Overall, the AC recommends to reject this paper.": "reject",
    "The paper was rejected by all, and rightly so.": "reject",
    "The experiments are thorough and the text is clear.": None,
    "Congratulations! Please mention the failed runs in the camera-ready version.": "accept",
    "": None,
    # turned round
    "I cannot recommend acceptance at this time.": "reject",
    "I don't see how such a draft should be accepted.": "reject",
    "The gains are too small to be above noise, and the paper falls below the bar for acceptance.": "reject",
    "The tables need a second look before acceptance is an option.": "reject",
    "The work is not ready for publication.": "reject",
    "A missing figure is no reason to reject a paper like this.": "accept",
    "The remaining doubts are insufficient for rejection.": "accept",
    "None of this touches the claim. I recommend acceptance.": "accept",
    "The baseline is not strong, therefore I recommend rejection.": "reject",
    # of the reviewers
    "Reviewer 2 recommends acceptance, but the proof has a gap.": None,
    "R1 and R3 vote to accept, R2 votes to reject.": None,
    "The ratings are one weak accept and two weak rejects.": None,
    "Two reviewers recommend rejection. I disagree with them and recommend acceptance.": "accept",
    "The reviewers are split: R1 argues for acceptance. The AC sides with R2 and recommends rejection.": "reject",
    "All reviewers recommend acceptance.": "accept",
    "The reviewers, for once unanimous, ask me to reject it.": "reject",
    # several, of which the last counts
    "At first I leaned towards acceptance. After the discussion, I recommend rejection.": "reject",
    "I first wanted to reject it; after the rebuttal I recommend acceptance.": "accept",
    # by other words
    "Please resubmit once the proof is mended.": "reject",
    "Please take this up in a future submission.": "reject",
    "It is promising, but not yet ready.": "reject",
    # what only looks like a verdict
    "The method rejects outliers and accepts all other samples; I find it elegant.": None,
    "Given the acceptance rate of the venue, the competition was hard.": None,
    "It builds on an earlier publication of the same group.": None,
}


@pytest.mark.parametrize(("text", "verdict"), CASES.items())
def test_verdicts_by_hand(text: str, verdict: str | None) -> None:
    assert find_verdict(text) == verdict


@given(text=st.lists(st.sampled_from([*CASES, "but", "R2", "I", "not", "resubmit"]), max_size=4).map(" ".join))
def test_cleaning_changes_no_verdict(text: str) -> None:
    assert find_verdict(text) == find_verdict(clean_text(text)) == find_verdict(text.upper())


def test_the_rule_is_right_on_the_demo() -> None:
    for line in (ROOT / "assets" / "demo" / "data" / "test.jsonl").read_text().splitlines():
        reference = json.loads(line)["Output"]
        assert find_verdict(reference) == ("accept" if "acceptance" in reference else "reject"), reference


@pytest.mark.parametrize(
    ("ratings", "verdict"),
    [("6, 8, 4", "accept"), ("5 6 6", "reject"), ("[5.5, 6.5]", "accept"), ("3", "reject"), ("", None), ("n/a", None)],
)
def test_ratings_would_accept_from_a_mean_of_six(ratings: str, verdict: str | None) -> None:
    assert judge_ratings(ratings) == verdict
