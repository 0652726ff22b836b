"""Forms: ids, the notes of OpenReview, and a paper in words."""

from types import SimpleNamespace
from typing import Any

import pytest
from servers.openreview import make_reply

from metareview.common.cli import InputError
from metareview.sources.forms import Paper, read_id, read_paper


def test_ids_and_addresses() -> None:
    assert read_id("https://openreview.net/forum?id=a-B_9&noteId=other") == "a-B_9"
    assert read_id("https://openreview.net/group?id=A.cc/2024/Conference#tab-accept-oral") == "A.cc/2024/Conference"
    for given in ("two words", "https://openreview.net/about", "../../etc/passwd", "a//b"):
        with pytest.raises(InputError, match="neither an id"):
            read_id(given)


def read(*replies: tuple[str, dict[str, Any]], **content: str) -> Paper:
    """The paper of a note in version 1 of the API with these replies, by the ends of their invitations."""
    dates = {"cdate": None, "tcdate": None, "ddate": None}
    details = {"replies": [make_reply(1, *reply) for reply in replies]}
    return read_paper(SimpleNamespace(id="abc", content=content, invitation="Shells.org/-/X", details=details, **dates))


def test_names_of_kinds_fields_and_numbers() -> None:
    paper = read(
        ("Official_Review", {"main_review": "x1", "recommendation": "5: borderline"}),
        ("Paper7/Official_Review", {"summary_of_the_paper": "x2", "strength_and_weaknesses": "y2"}),
        ("paper7/official/review", {"review": "x3", "confidence": "3: fairly"}),
        ("Review", {"Summary": "x4", "Overall_Assessment": "3.5 = Good"}),
        ("Official_Blind_Review", {"review": "x5"}),
        ("Ethics_Review", {"review": "no"}),
        ("Paper7/Public_Review", {"review": "no"}),
        ("Ethics_Meta_Review", {"metareview": "no"}),
    )
    assert paper.reviews == ["x1", "Summary of the paper: x2\nStrength and weaknesses: y2", "x3", "x4", "x5"]
    assert paper.ratings == [5.0, None, None, 3.5, None] and paper.confidences == [None, None, 3.0, None, None]
    assert paper.meta_review == "" == paper.decision


LONG = "The reviewers like it and so do I, take it."
OF_OLD = ("Acceptance_Decision", {"decision": "Accept", "comment": "Of old."})


@pytest.mark.parametrize(
    ("content", "meta_review"),
    [
        ({"recommendation": "Accept (Poster)", "metareview:_summary,_strengths_and_weaknesses": "Fine."}, "Fine."),
        ({"recommendation": LONG}, LONG),
        ({"recommendation": "Accept (Poster)"}, "Of old."),  # that is a verdict only; the reasons in a decision count
    ],
)
def test_the_text_of_a_meta_review(content: dict[str, str], meta_review: str) -> None:
    assert read(OF_OLD, ("Paper12/Meta_Review", content)).meta_review == meta_review


@pytest.mark.parametrize(
    ("replies", "venue", "decision"),
    [
        ([OF_OLD, ("Meta_Review", {"metareview": "No.", "recommendation": "Reject"})], "X 2024 poster", "Accept"),
        ([("Meta_Review", {"metareview": "No.", "recommendation": "Reject"})], "", "Reject"),
        ([], "ICLR 2023 notable top 25%", "notable top 25%"),
        ([], "Submitted to ICLR 2024", "Reject"),
        ([], "ICLR 2024 Conference Submission", ""),
    ],
)
def test_the_decision_of_a_paper(replies: list[tuple[str, dict[str, Any]]], venue: str, decision: str) -> None:
    assert read(*replies, venue=venue).decision == decision
