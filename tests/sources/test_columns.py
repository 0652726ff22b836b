"""Columns: found by name or flag; what their cells hold, in every shape that reviews come in; rows joined by paper."""

from typing import Any

import pytest
from datasets import Dataset

from metareview.common.cli import InputError
from metareview.sources.columns import Columns, choose_columns, read_papers

FORMS = [
    {"summary": "It sorts.", "rating": "6: weak accept", "Strengths": {"value": "Tested."}, "confidence": 3},
    {"review": "Not convincing.", "rating": 3},
]
READ = ["Summary: It sorts.\nStrengths: Tested.", "Not convincing."]


def choose(*names: str, **given: Any) -> Columns:
    flags = [given.get(name) for name in ("reviews", "summary", "paper")]
    return choose_columns({"train": [dict.fromkeys(names)]}, *flags, "<REVBREAK>")


@pytest.mark.parametrize("review", ["Input", "review", "reviews", "review_text", "Review Text", "REVIEW"])
@pytest.mark.parametrize("summary", ["Output", "summary", "meta_review", "metareview", "Meta-Review", "Metareview"])
def test_names_that_people_use_are_recognized(review: str, summary: str) -> None:
    assert choose("paper_id", review, "rating", summary) == Columns([review], summary)


def test_flags_name_others() -> None:
    wanted = Columns(["r1", "r2"], "text", "id")
    assert choose("id", "r1", "r2", "text", "review", reviews=["r1", "r2"], summary="text", paper="id") == wanted


@pytest.mark.parametrize(
    ("names", "given", "words"),
    [
        (["text", "target"], {}, ["'Input', 'review', 'reviews' or 'review_text': set REVIEW_COLUMN (--review_column)",
                                  "'Output'", "set SUMMARY_COLUMN (--summary_column). The columns are text, target"]),
        (["Review", "review", "summary"], {}, ["several columns, 'Review', 'review'", "--review_column"]),
        (["review", "Output"], {"paper": "paper_id", "reviews": ["r1"]}, ["no column 'r1'; no column 'paper_id'"]),
    ],
)  # fmt: skip
def test_all_that_is_missing_is_in_one_error(names: list[str], given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        choose(*names, **given)
    assert all(word in str(caught.value) for word in words), caught.value


def test_where_splits_differ_the_error_says_so() -> None:
    source = {"train": [{"review": "a", "summary": "b"}], "test": [{"review": "a"}]}
    with pytest.raises(InputError, match="The columns are train: review, summary; test: review"):
        choose_columns(source, None, None, None, "<REVBREAK>")


def read(*rows: dict[str, Any], **columns: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The papers of rows, which are the same whether they come from a file of ours or from `datasets`."""
    papers, notes = read_papers({"train": list(rows)}, Columns(**columns))
    same = {type(value) for row in rows for value in row.values()} <= {str, type(None)}
    if same:
        again, _ = read_papers({"train": Dataset.from_list(list(rows))}, Columns(**columns))
        assert again["train"].to_list() == papers["train"].to_list()
    return papers["train"].to_list(), notes


@pytest.mark.parametrize(
    ("cell", "reviews"),
    [
        ("a <REVBREAK> b", ["a ", " b"]),
        ("a\n---\nb", ["a\n", "\nb"]),
        (["a", "b\n---\nstill b"], ["a", "b\n---\nstill b"]),
        (FORMS, READ),
        ({"content": FORMS[1]}, READ[1:]),
        ({"review": ["a", "b"], "rating": [1, 2]}, ["a", "b"]),  # as older versions of `datasets` keep a list of forms
        (["a", None, {"review": "b"}], ["a", "b"]),
        ([{"rating": 1, "review": None}], [""]),
        (None, []),
        ("#N/A", [""]),
        (7, ["7"]),
    ],
)
def test_every_shape_of_reviews(cell: Any, reviews: list[str]) -> None:
    [paper], _ = read({"review": cell, "summary": "s"}, reviews=["review"], summary="summary")
    assert paper == {"reviews": reviews, "summary": "s", "paper": ""}


def test_half_a_character_is_no_reason_to_stop() -> None:
    papers, _ = read_papers({"train": [{"review": ["\ud800 a"], "summary": "\ud800"}]}, Columns(["review"], "summary"))
    assert papers["train"].to_list() == [{"reviews": ["? a"], "summary": "?", "paper": ""}]


def test_forms_in_arrow_read_alike() -> None:
    forms = [{"summary": "It sorts.", "strengths": "Tested.", "review": None}, {"review": "Not convincing."}]
    rows = Dataset.from_list([{"reviews": forms, "meta": {"metareview": "Fine.", "confidence": 4}}])
    papers, _ = read_papers({"train": rows}, Columns(["reviews"], "meta"))
    assert papers["train"].to_list() == [{"reviews": READ, "summary": "Fine.", "paper": ""}]


def test_several_columns_are_several_reviews() -> None:
    rows = [{"r1": "a", "r2": None, "r3": "b <REVBREAK> c", "m": "s"}]
    assert read(*rows, reviews=["r1", "r2", "r3"], summary="m")[0][0]["reviews"] == ["a", "b ", " c"]


@pytest.mark.parametrize(
    ("cell", "summary", "words"),
    [
        ([{"rating": 5, "text": "There is not"}], "s", "row 1 of train: .*only rating, text.*REVIEW_FIELDS"),
        ("a", {"grade": 5}, "row 1 of train: .*only grade.*META_REVIEW_FIELDS"),
        ("a", ["s", "t"], "row 1 of train: 'summary' holds 2 texts"),
    ],
)
def test_what_is_no_text_is_refused_and_never_written_out(cell: Any, summary: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read({"review": cell, "summary": summary}, reviews=["review"], summary="summary")


def test_rows_are_joined_by_paper() -> None:
    rows = [
        {"id": "p1", "review": "a", "summary": ""},
        {"id": "p2", "review": "b", "summary": "two"},
        {"id": "p1", "review": "c", "summary": "one"},
        {"id": "p2", "review": "b", "summary": "another"},
        {"id": None, "review": "d", "summary": "three"},
        {"id": "", "review": "e", "summary": "four"},
    ]
    papers, notes = read(*rows, reviews=["review"], summary="summary", paper="id")
    assert [(paper["reviews"], paper["summary"], paper["paper"]) for paper in papers] == [
        (["a", "c"], "one", "p1"), (["b"], "two", "p2"), (["d"], "three", ""), (["e"], "four", "")]  # fmt: skip
    assert notes == [
        "train: 6 rows are of 4 papers, by id.",
        "train: 1 papers have several meta-reviews, 'p2' for one; the first is taken.",
    ]
