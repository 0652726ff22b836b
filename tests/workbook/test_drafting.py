"""Drafting: how much of each review was read. What is printed for a paper is tested with the whole script."""

from metareview.workbook.drafting import describe_shares


def test_short_reviews_are_read_whole_and_long_ones_in_part() -> None:
    assert describe_shares([10, 100], cut=0) == "100%, 100%"
    assert describe_shares([10, 100], cut=50) == "100%, 50%"
    assert describe_shares([100, 10, 100], cut=100) == "50%, 100%, 50%"
