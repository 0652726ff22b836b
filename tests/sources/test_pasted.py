"""Pasted reviews: where one ends and the next begins, and which parts of a pasted page are reviews at all."""

import pytest

from metareview.sources.pasted import split_pasted

PAGE = """On the pitch of shells

Official Review of Submission12 by Reviewer aBcD
Official Reviewby Reviewer aBcD28 Oct 2023, 14:05 (modified: 10 Nov 2023)EveryoneRevisions
Summary:
It sorts shells.
By pitch.
Soundness: 3 good
Presentation:

2 fair
Strengths:
- Tested.
Minor comments: none.
Weaknesses: Few beaches.
Details Of Ethics Concerns:
The beach is private.
Rating: 6: marginally above
Confidence: 4: I am sure.
Add: Public Comment
Thanks
Official Comment by Authors
We thank the reviewers.
Official Review of Submission12 by Reviewer EfGh
**Main Review:** Not convincing.
Rating: 3
Official Review by Authors
It is good.
Meta Review of Submission12 by Area Chair xyz
Metareview: Fine.
Paper Decision
Decision: Accept
"""


def test_a_page_of_openreview_is_read_as_its_forum() -> None:
    reviews, left_out = split_pasted(PAGE)
    form = "Summary: It sorts shells.\nBy pitch.\nStrengths: - Tested.\nMinor comments: none.\nWeaknesses: Few beaches."
    assert reviews == [form, "Not convincing."]
    others = ["text above the headings", "official comments", "official reviews", "meta reviews", "paper decisions"]
    assert left_out == dict.fromkeys(others, 1)


@pytest.mark.parametrize("headings", [
    "Reviewer 1|Reviewer 2", "Reviewer #1 (Comments to the Author)|Reviewer #2:", "Review #1A\n===========|Review #1B",
    "**Official Blind Review #1**|----------- REVIEW 2 -----------", "AnonReviewer3|AnonReviewer1", "R1:|R3:",
    "## Reviewer A:|## Reviewer B:", "Comments from Referee 1:|Comments from Referee 2:", "Reviewer aB3d|Reviewer wxyz",
    "[R1]|[R2]", "Reviewer I|Reviewer II", "First Reviewer:|Reviewer Two", "Referee report 1|Reviewer_2",
    "Reviewer no. 1|Reviewer n°2", "Review #1 of 2|Review #2 of 2", "Official Review|Official Review",
])  # fmt: skip
def test_headings(headings: str) -> None:
    first, second = headings.split("|")
    reviews, left_out = split_pasted(f"{first}\n\nGood, as\nReviewer 9 says.\n\n{second} \n\nBad.\n")
    assert [review.lstrip("=\n") for review in reviews] == ["Good, as\nReviewer 9 says.", "Bad."] and not left_out


@pytest.mark.parametrize(
    ("text", "reviews"),
    [
        ("R1: one\nR2: two\nR1: still two", ["one", "two\nR1: still two"]),
        ("Dear authors,\nsorry.\nReviewer 1: one\nReviewer 2 - two", ["one", "two"]),
        ("It has no heading.\n\nReviewer 2\ntwo\nReviewer 3\nthree", ["It has no heading.", "two", "three"]),
        ("Reviewer 1: one\nRebuttal\nThanks.\nReviewer 2: two\nResponse: no", ["one", "two"]),
        ("They use R1: a robot.\nR2: another.", None),
        ("I agree.\nReviewer 2\nis right.\nReviewers agree", None),
        ("In short, good.\nSummary: it sorts.\nRating: 6", None),
        ("Summary\nIt sorts.\n\nStrengths\nTested.\nRating\n6", ["Summary: It sorts.\nStrengths: Tested."]),
        ("## Strengths\nTested.\n## Summary\nIt sorts.", ["Summary: It sorts.\nStrengths: Tested."]),
        ("Strengths: tested\nTypos: p. 3\nNovelty: little is new here", None),
    ],
)
def test_what_is_a_heading_or_a_form_and_what_only_looks_like_it(text: str, reviews: list[str] | None) -> None:
    assert split_pasted(text)[0] == (reviews or [text])


def test_of_a_letter_from_easychair_the_texts_are_read() -> None:
    review = "-- REVIEW {} --\nAUTHORS: A and B\n\n---- Overall evaluation ----\nSCORE: -1\n"
    review += "----- TEXT:\nThe text {}.\n\n----------- Reviewer's confidence -----------\nSCORE: 4 (high)\n"
    letter = f"Dear A,\n\n{review.format(1, 'one')}\n{review.format(2, 'two')}"
    assert split_pasted(letter) == (["The text one.", "The text two."], {"text above the headings": 1})
