"""Columns: found by name or flag; what their cells hold, in every shape that reviews come in; rows joined by paper."""

import json
from typing import Any

import pytest
from datasets import DatasetDict

from metareview.common.cli import InputError
from metareview.data.details import DETAILS
from metareview.sources.columns import Columns, choose_columns, read_papers
from metareview.sources.table_files import Formula

NAN = float("nan")
FORMS = [
    {"summary": "It sorts.", "rating": "6: weak accept", "Strengths": {"value": "Tested."}, "confidence": 3},
    {"review": "Not convincing.", "rating": 3, "weaknesses": NAN},
]
READ = ["Summary: It sorts.\nStrengths: Tested.", "Not convincing."]


def choose(*names: str, **given: Any) -> Columns:
    flags = [given.get(name) for name in ("reviews", "summary", "paper")]
    return choose_columns({"train": [dict.fromkeys(names)]}, *flags, "<REVBREAK>")


def test_names_that_people_use_are_recognized_and_flags_name_others() -> None:
    wanted = Columns(["Review Text"], "Meta-Review", details={"ratings": "rating"})
    assert choose("paper_id", "Review Text", "rating", "Meta-Review") == wanted
    wanted = Columns(["r1", "r2"], "text", "id")
    assert choose("id", "r1", "r2", "text", "Input", reviews=["r1", "r2"], summary="text", paper="id") == wanted


@pytest.mark.parametrize(
    ("names", "given", "words"),
    [
        (["text", "target"], {}, ["'reviews' or 'review_text': set REVIEW_COLUMN (--review_column)",
                                  "'Output'", "set SUMMARY_COLUMN (--summary_column). The columns are text, target"]),
        (["Review", "review", "summary"], {}, ["several columns, Review, review: ", "--review_column"]),
        (["review", "Output"], {"paper": "paper_id", "reviews": ["r1"]}, ["no column 'r1'; no column 'paper_id'"]),
    ],
)  # fmt: skip
def test_all_that_is_missing_is_in_one_error(names: list[str], given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        choose(*names, **given)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_column_must_be_in_all_splits_and_never_replaces_one_of_ours() -> None:
    source = {"train": [{"review": "a", "summary": "b", "empty": "c"}]}
    with pytest.raises(InputError, match=r"no column 'Output'.* The columns that all splits have are review"):
        choose_columns(source | {"test": [{"review": "a"}]}, None, None, None, "<REVBREAK>")
    with pytest.raises(InputError, match="a column 'empty' cannot be kept"):
        choose_columns(source, None, None, None, "", ["Empty"])
    with pytest.raises(InputError, match="PROMPT or COMPLETION names venue, but the columns are empty"):
        choose_columns(source, None, None, None, "", needed=["venue"])


def read(*rows: dict[str, Any], **columns: Any) -> tuple[list[dict[str, Any]], list[str]]:
    papers, notes = read_papers({"train": list(rows)}, Columns(**columns))
    return papers["train"].to_list(), notes


@pytest.mark.parametrize(
    ("cell", "reviews"),
    [
        ("a <REVBREAK> b", ["a ", " b"]),
        (r"a\n---\nb", ["a\n", "\nb"]),
        ("a_x000D_\n---_x000D_\nb &amp; c<REVBREAK>&lt;", ["a\n---\nb & c", "<"]),
        ("<p>a</p>---<p>b</p>", ["\na\n", "\nb\n"]),
        (["a", "b\n---\nstill b"], ["a", "b\n---\nstill b"]),
        (FORMS, READ),
        ([{"reviewer": "R1", "review": FORMS[0]}], READ[:1]),
        ({"review": ["a", "b"], "rating": [1, 2]}, ["a", "b"]),  # as older versions of `datasets` keep a list of forms
        (["a", None, NAN, "nan", ["c"], {"review": "b"}], ["a", "c", "b"]),
        (repr(["it's\na", "b"]), ["it's\na", "b"]),
        (json.dumps(FORMS), READ),
        (7, ["7"]),
    ],
)
def test_every_shape_of_reviews(cell: Any, reviews: list[str]) -> None:
    [paper], _ = read({"review": cell, "summary": "s"}, reviews=["review"], summary="summary")
    assert (paper["reviews"], paper["summary"]) == (reviews, "s")


@pytest.mark.parametrize("value", [None, NAN, " - ", "nan", "(null)", "<NA>", "n.a.", "#DIV/0!", "\\N", "?"])
def test_what_is_missing_is_missing_in_every_column(value: Any) -> None:
    rows = [{"id": value, "r1": "a", "r2": value, "s": f"of {index}"} for index in range(2)]
    rows.append({"id": "p", "r1": "b", "r2": "c", "s": value})
    papers, _ = read(*rows, reviews=["r1", "r2"], summary="s", paper="id")
    assert [(paper["paper"], paper["reviews"]) for paper in papers] == [("", ["a"]), ("", ["a"]), ("p", ["b", "c"])]
    assert papers[2]["summary"] == ""


@pytest.mark.parametrize(
    ("cell", "summary", "words"),
    [
        ([{"rating": 5, "text": "There is not"}], "s", "row 1 of train: .*only rating, text.*REVIEW_FIELDS"),
        ("a", {"grade": 5}, "only grade.*META_REVIEW_FIELDS"),
        ("a", ["s", "t"], "'summary' holds 2 texts"),
        (Formula("=B2"), "s", "'review' holds =B2, and no text; if that is a formula, open"),
        ("a", 0, "'summary' holds 0, and no text; if that is a formula"),
        ("['good', 0]", "s", "a list holds a number, which is neither a text nor a form"),
    ],
)
def test_what_is_no_text_is_refused_and_never_written_out(cell: Any, summary: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read({"review": cell, "summary": summary}, reviews=["review"], summary="summary")


def join(rows: list[dict[str, Any]], paper: str = "id", needed: tuple[str, ...] = ()) -> tuple[DatasetDict, list[str]]:
    columns = choose_columns({"train": rows[:1]}, None, None, paper, "<REVBREAK>", needed=needed)
    return read_papers({"train": rows}, columns)


def test_rows_are_joined_by_paper() -> None:
    rows = [
        {"id": "p1", "review": "a", "summary": "", "Rating": "8: good", "Decision": None, "Title": "On knots"},
        {"id": "p2", "review": "b", "summary": "two"},
        {"id": "p1", "review": "c", "summary": "one", "Rating": "6", "Decision": "Accept", "Title": "nan"},
        {"id": "p2", "review": "b", "summary": "another"},
        {"id": None, "review": "d", "summary": "three"},
        {"id": "", "review": "e", "summary": "four"},
    ]
    papers, notes = join(rows)
    assert [(paper["reviews"], paper["summary"], paper["paper"]) for paper in papers["train"]] == [
        (["a", "c"], "one", "p1"), (["b"], "two", "p2"), (["d"], "three", ""), (["e"], "four", "")]  # fmt: skip
    assert [papers["train"][0][name] for name in DETAILS] == ["On knots", "8: good; 6", "Accept"]
    assert "6 rows are of 4 papers" in notes[0] and "1 paper with several meta-reviews, such as 'p2'" in notes[1]


@pytest.mark.parametrize(
    ("rows", "ratings"),
    [
        ([("a", "6, 8"), ("b", "6, 8")], "6, 8"),  # those of the paper, in each of its rows
        ([("a", "6"), ("a", "6"), ("b", "6")], "6; 6"),  # a row that stands there twice
        ([("a<REVBREAK>b", "6; 8"), ("c", "3")], "6; 8; 3"),
        ([("a", "8: good, new"), ("", "3")], "8: good, new; 3"),
        ([("a", "6,5"), ("b", "7,5")], "6,5; 7,5"),
    ],
)
def test_each_review_has_one_rating(rows: list[tuple[str, str]], ratings: str) -> None:
    table = [{"id": "p", "review": review, "ratings": rating, "summary": "s"} for review, rating in rows]
    assert join(table)[0]["train"]["ratings"] == [ratings]


def test_the_column_that_names_the_paper_may_be_one_that_a_prompt_reads() -> None:
    for name, needed in (("title", ()), ("paper_id", ("paper_id",))):
        table = [{name: "On knots", "review": text, "summary": "s"} for text in "ab"]
        assert join(table, name, needed)[0]["train"][name] == ["On knots"]


@pytest.mark.parametrize("names", [[2, 2.0, " 2", "2.0"], [2, NAN, NAN, NAN]])
@pytest.mark.parametrize("summaries", [["s"] * 4, ["s", "", "", ""], ["", "", "", "s"], [""] * 4])
def test_a_name_in_the_first_row_alone_counts_for_the_rows_below(names: list[Any], summaries: list[str]) -> None:
    """As in merged cells, or with numbers that a program wrote in several ways."""
    rows = [{"id": name, "r": r, "s": text} for name, r, text in zip(names, "abcd", summaries, strict=True)]
    first, last = {"id": 1, "r": "first", "s": "of 1"}, {"id": 3, "r": "last", "s": "of 3"}
    papers, notes = read(first, *rows, last, reviews=["r"], summary="s", paper="id")
    assert [(paper["paper"], len(paper["reviews"])) for paper in papers] == [("1", 1), ("2", 4), ("3", 1)]
    assert ("train: Counted as of the paper above: 3 rows without id." in notes) == (NAN in names)


@pytest.mark.parametrize(
    ("row", "details"),
    [
        ({"Rating": [3, 5.5], "Decision": "Reject", "Title": None}, ("", "3; 5.5", "Reject")),
        ({"ratings": "['8: good, new', '3: no']", "decision": {"value": "Oral"}}, ("", "8: good, new; 3: no", "Oral")),
        ({"review": FORMS, "summary": {"metareview": "s", "recommendation": "Accept"}}, ("", "6; 3", "Accept")),
        ({"review": FORMS, "ratings": "1, 2", "title": "T &amp; U", "decision": {"decision": "No", "comment": "."}},
         ("T & U", "1, 2", "No")),
        ({"review": [{"review": "a", "rating": "4/5"}, {"review": NAN, "rating": 1}]}, ("", "4/5", "")),
    ],
)  # fmt: skip
def test_title_ratings_and_decision_come_along(row: dict[str, Any], details: tuple[str, ...]) -> None:
    source = {"train": [{"review": "a", "summary": "s"} | row]}
    papers, _ = read_papers(source, choose_columns(source, None, None, None, "<REVBREAK>"))
    assert tuple(papers["train"][0][name] for name in DETAILS) == details
