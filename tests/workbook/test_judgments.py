"""Judgments: they belong to the texts that they were given to, and none gets lost."""

from metareview.workbook.judgments import Judgment, ShownCase, fingerprint, merge_judgments


def test_texts_that_are_the_same_share_their_rating() -> None:
    case = ShownCase(5, "review", {"a": "t", "b": "t"}, {("rating", "a"): 4, ("rating", "b"): None})
    store: dict = {}
    assert merge_judgments(store, [case]) == [] and store == {("rating", "review", "t"): Judgment(4)}
    case.cells = {("rating", "a"): 4, ("rating", "b"): 3}
    assert merge_judgments(store, [case]) == [] and store["rating", "review", "t"].value == 3  # what is new is kept
    case.cells = {("rating", "a"): 1, ("rating", "b"): 2}
    assert merge_judgments(store, [case]) == [5] and store["rating", "review", "t"].value == 1
    twice = [ShownCase(row, "review", {}, {("comment", ""): text}) for row, text in ((2, "one"), (3, "two"))]
    assert merge_judgments(store, twice) == [] and store["comment", "review", ""].value == "one\ntwo"
    assert fingerprint("a  b\r\n c ") == fingerprint("a b\nc") != fingerprint("ab c")  # as programs change texts


def test_what_is_typed_is_kept_whether_it_counts_or_not() -> None:
    case, store = ShownCase(2, "review", {"a": "text"}, {("rating", "a"): " 3", ("preferred", ""): "nobody"}), {}
    assert merge_judgments(store, [case]) == [2]
    assert {kind: judgment.value for (kind, *_), judgment in store.items()} == {"rating": 3, "preferred": "nobody"}
