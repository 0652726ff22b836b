"""Judgements: they stay with the texts that they were given to, whatever happens to the sheet."""

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl.comments import Comment
from workbooks import judge, judged, put, three_cases

from metareview.workbook.cases import read_cases
from metareview.workbook.judgments import (
    Judgement,
    ShownCase,
    count_judgements,
    fingerprint,
    normalize,
    read_store,
    take,
)
from metareview.workbook.layout import find_columns
from metareview.workbook.results import read_judgements, read_shown
from metareview.workbook.saving import open_workbook, save_workbook


def test_a_judgement_returns_with_its_model() -> None:
    sheet = three_cases()
    put(sheet, a=["x", "x", "x"], b=["y", "y", "y"])
    judge(sheet, 2, "rating", 4, "a")
    judge(sheet, 2, "rating", 2, "b")
    judge(sheet, 3, "preferred", "b")
    judge(sheet, 4, "comment", "short")
    put(sheet, c=["z", "z", "z"], b=["y", "y", "new"])
    assert judged(sheet, 2, "rating", "b") == 2 and judged(sheet, 2, "rating", "c") is None
    assert judged(sheet, 3, "preferred") is None and judged(sheet, 4, "comment") == "short"
    put(sheet, b=["y", "y", "y"], a=["x", "x", "x"])
    assert judged(sheet, 2, "rating", "a") == 4 and judged(sheet, 2, "rating", "b") == 2
    assert judged(sheet, 3, "preferred") == "b"


def test_a_preference_is_for_a_text_whatever_its_model_is_called() -> None:
    sheet = three_cases()
    put(sheet, a=["x"] * 3, b=["y"] * 3)
    judge(sheet, 2, "preferred", " B ")
    judge(sheet, 3, "preferred", "Tie")
    judge(sheet, 4, "preferred", "nobody")
    _, lines = read_judgements(sheet, read_cases(sheet, "a.xlsx"))
    assert "not the name of a model in the sheet: rows 4." in lines[0]
    put(sheet, renamed=["y"] * 3, other=["x"] * 3)
    assert [judged(sheet, row, "preferred") for row in (2, 3, 4)] == ["renamed", "tie", "nobody"]


def test_ratings_out_of_range_do_not_count_and_are_named() -> None:
    sheet = three_cases()
    put(sheet, a=["x"] * 3)
    for row, value in ((2, 9), (3, "4"), (4, "good")):
        judge(sheet, row, "rating", value, "a")
    _, lines = read_judgements(sheet, read_cases(sheet, "a.xlsx"))
    assert lines == ["A rating that is not a number from 1 to 5 does not count: rows 2, 4."]
    put(sheet, a=["x"] * 3)
    assert [judged(sheet, row, "rating", "a") for row in (2, 3, 4)] == [9, 4, "good"]  # nothing is lost
    shown = read_shown(sheet, read_cases(sheet, "a.xlsx"), find_columns(sheet))
    assert count_judgements(shown, ["a"]) == {"a": {"preferred": None, "mean rating": 4.0, "rated": 1}}


def test_notes_on_a_text_and_formulas_in_a_comment_survive(tmp_path: Path) -> None:
    sheet, path = three_cases(), tmp_path / "a.xlsx"
    columns = put(sheet, a=["x"] * 3, b=["y"] * 3)
    sheet.cell(2, columns["text", "b"]).comment = Comment("wrong", "me")
    judge(sheet, 3, "comment", "=1+1")
    for run in ({"a": ["x"] * 3}, {"b": ["y"] * 3, "a": ["x"] * 3}):
        columns = put(sheet, **run)
        save_workbook(sheet.parent, path)
        sheet = open_workbook(str(path)).active
    assert sheet.cell(2, columns["text", "b"]).comment.text == "wrong"
    assert sheet.cell(2, columns["text", "a"]).comment is None
    assert sheet.cell(3, columns["comment", ""]).data_type == "f"  # a person typed it


def test_texts_that_are_the_same_share_their_rating() -> None:
    case = ShownCase(5, "review", {"a": "t", "b": "t"}, {("rating", "a"): 4, ("rating", "b"): None})
    store: dict = {}
    assert take(store, [case]) == [] and store == {("rating", "review", "t"): Judgement(4, "a")}
    case.given = {("rating", "a"): 4, ("rating", "b"): 3}
    assert take(store, [case]) == [] and store["rating", "review", "t"].value == 3  # what is new counts
    case.given = {("rating", "a"): 1, ("rating", "b"): 2}
    assert take(store, [case]) == [5] and store["rating", "review", "t"].value == 1
    twice = [ShownCase(row, "review", {}, {("comment", ""): text}) for row, text in ((2, "one"), (3, "two"))]
    assert take(store, twice) == [] and store["comment", "review", ""].value == "one\ntwo"


def test_what_programs_do_to_texts_and_numbers_does_not_matter() -> None:
    assert fingerprint("a  b\r\n c ") == fingerprint("a b\nc") != fingerprint("ab c")
    assert normalize("rating", "3") == normalize("rating", 3.0) == 3
    assert normalize("rating", "nan") == "nan" and normalize("comment", "007") == "007"
    assert normalize("rating", " ") is None


MODELS = ("a", "b", "c")
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("rate"), st.integers(0, 2), st.sampled_from(MODELS), st.sampled_from([1, 2, 3, None])),
        st.tuples(st.just("prefer"), st.integers(0, 2), st.sampled_from(MODELS), st.none()),
        st.tuples(st.just("comment"), st.integers(0, 2), st.none(), st.sampled_from(["good", "bad", None])),
        st.tuples(st.just("run"), st.permutations(MODELS), st.integers(1, 3), st.none()),
        st.tuples(st.just("rewrite"), st.sampled_from(MODELS), st.integers(0, 2), st.sampled_from(["1", "2"])),
        st.tuples(st.just("sort"), st.permutations([0, 1, 2]), st.none(), st.none()),
    ),
    max_size=14,
)
REVIEWS = ("first", "second", "third")


@given(events=EVENTS)
@example(events=[("rate", 0, "a", 1), ("rewrite", "a", 0, "2"), ("run", list(MODELS), 3, None), ("rate", 0, "a", 2),
                 ("rewrite", "a", 0, "1"), ("run", list(MODELS), 3, None)])  # fmt: skip
def test_a_judgement_stays_with_what_it_was_given_to(events: list[tuple]) -> None:
    """Against a model of what a person did: a rating for each text of a review, a preference for each set, a comment.

    What a model writes changes back and forth, models leave and return in any order, rows are sorted.
    """
    sheet, models = three_cases(), list(MODELS)
    versions = {(model, review): "1" for model in MODELS for review in REVIEWS}
    shown: dict[str, dict[str, str]] = {}
    ratings: dict[tuple[str, str], int] = {}
    preferences: dict[tuple[str, frozenset], str] = {}
    comments: dict[str, str] = {}

    def run() -> None:
        order = [sheet.cell(row, 1).value for row in (2, 3, 4)]
        written = {
            model: [f"{model} writes {versions[model, review]} on {review}" for review in order] for model in models
        }
        put(sheet, **written)
        shown.clear()
        for place, review in enumerate(order):
            shown[review] = {model: written[model][place] for model in models}

    run()
    for event, one, other, value in [*events, ("run", list(MODELS), 3, None)]:
        review = sheet.cell(one + 2, 1).value if isinstance(one, int) else ""
        if event == "rate" and other in models:
            judge(sheet, one + 2, "rating", value, other)
            ratings[review, shown[review][other]] = value
        elif event == "prefer" and other in models:
            judge(sheet, one + 2, "preferred", other)
            preferences[review, frozenset(shown[review].values())] = shown[review][other]
        elif event == "comment":
            judge(sheet, one + 2, "comment", value)
            comments[review] = value
        elif event == "rewrite":
            versions[one, REVIEWS[other]] = value
        elif event == "sort":
            rows = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2, max_row=4)]
            for row, place in enumerate(one, start=2):
                for column, cell in enumerate(rows[place], start=1):
                    sheet.cell(row, column).value = cell
        elif event == "run":
            models = list(one[:other])
            run()
            for row in (2, 3, 4):
                review = sheet.cell(row, 1).value
                texts = shown[review]
                assert {m: judged(sheet, row, "text", m) for m in models} == texts
                assert {m: judged(sheet, row, "rating", m) for m in models} == {
                    m: ratings.get((review, text)) for m, text in texts.items()
                }
                preferred = preferences.get((review, frozenset(texts.values())))
                assert texts.get(judged(sheet, row, "preferred")) == preferred
                assert judged(sheet, row, "comment") == comments.get(review)
    kept = {key: judgement.value for key, judgement in read_store(sheet.parent).items() if key[0] == "rating"}
    assert sorted(kept.values()) == sorted(value for value in ratings.values() if value is not None)
