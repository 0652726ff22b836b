"""The results are made anew by each run, and nothing that a person typed into the last ones gets lost."""

from pathlib import Path

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook
from openpyxl.comments import Comment
from openpyxl.styles import PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet
from workbooks import CASES, judge, judged, make_sheet, open_sheet, run, sort_rows, write_texts

from metareview.data.tokenization import TokenizationArguments
from metareview.generation.variants import Variant
from metareview.workbook import judgments
from metareview.workbook.judgments import CHOICES, count_judgments, find_columns, read_hidden
from metareview.workbook.results import label_models, show_judgments
from metareview.workbook.saving import save_workbook

X, Y = ["x"] * 3, ["y"] * 3


def headers(sheet: Worksheet) -> list[str | None]:
    return [cell.value for cell in sheet[1]]


def test_texts_then_judgments_then_scores() -> None:
    sheet = run(make_sheet(*CASES), a=X, b=Y)
    rules = {rule.formula1 for rule in sheet.data_validations.dataValidation}
    choices = sheet.parent[judgments.SHEET]["G"]  # in cells: a list in a rule may have 255 characters
    assert rules == {CHOICES, '"1,2,3,4,5"'} and [cell.value for cell in choices[:4]] == ["a", "b", "tie", "neither"]
    assert headers(sheet) == ["review", "reference", "preferred", "a", "rating a", "b", "rating b", "comment",
                              "a ROUGE-L", "b ROUGE-L", "a words", "b words", "a ended", "b ended",
                              "a repetition", "b repetition", "a verdict", "b verdict",
                              "a terms in no review", "b terms in no review"]  # fmt: skip
    assert [cell.value for cell in sheet[2]][-6:] == [0, 0, "none", "none", "7, GAN", "7, GAN"]
    without = run(make_sheet(["review"], ["first"]), a=["x"])
    assert "a words" in headers(without) and "a ROUGE-L" not in headers(without)  # no column of blanks


def test_notes_on_cells_of_a_model_survive_and_so_does_what_stands_for_another_name() -> None:
    sheet = run(make_sheet(*CASES), a=X, b=Y)
    for column, note in ((("text", "b"), "wrong"), (("rating", "b"), "not sure"), (("preferred", ""), "close")):
        sheet.cell(2, find_columns(sheet)[column]).comment = Comment(note, "me")
    judge(sheet, 2, "rating", 2, "b")
    judge(sheet, 3, "preferred", "b")
    for texts in ({"a": X}, {"renamed": Y, "a": X}):
        sheet = run(make_sheet(*CASES), sheet, **texts)
    notes = {column: sheet.cell(2, place).comment for column, place in find_columns(sheet).items()}
    assert notes["text", "renamed"].text == "wrong\nnot sure" and notes["comment", ""].text == "close"
    assert notes["text", "a"] is None
    assert judged(sheet, 2, "rating", "renamed") == 2 and judged(sheet, 3, "preferred") == "renamed"


@pytest.mark.parametrize("in_place", [False, True])
def test_what_a_person_made_of_the_results_stays(in_place: bool, tmp_path: Path) -> None:
    """Order of rows, own columns with look, width and note, one without a header or with a header of ours, sheets.

    The results are in a workbook of their own or, `in_place`, in that of the test cases.
    """
    cases = [["review", "A", "note"], ["first", "mine", "n"], ["second", None, None], ["third", None, "x"]]
    sheet = run(make_sheet(*cases), a=X)
    assert headers(sheet)[:5] == ["review", "A", "note", "preferred", "a (2)"]
    sort_rows(sheet, [2, 0, 1])
    last = sheet.max_column
    for row, values in enumerate((["mine", "mine"], [3, "=A2"], [1, "=A3"], [2, "=A4", "no header"]), start=1):
        for place, value in enumerate(values, start=last + 2):
            sheet.cell(row, place).value = value
    sheet["B4"] = "typed in the results"
    sheet.cell(3, last + 2).fill = PatternFill("solid", fgColor="FF0000")
    sheet.cell(3, last + 4).comment = Comment("look", "me")
    sheet.column_dimensions[get_column_letter(last + 3)].width = 71
    sheet.merge_cells("E3:F3")
    sheet.parent.create_sheet("runs").append(["model", "my remark"])
    save_workbook(sheet.parent, tmp_path / "a.xlsx")
    sheet = load_workbook(tmp_path / "a.xlsx").active
    sheet = run(sheet, a=X, b=Y) if in_place else run(make_sheet(*cases), sheet, a=X, b=Y)
    rows = [[cell.value for cell in row] for row in sheet.iter_rows(min_col=last + 2, max_col=last + 4)]
    assert rows == [["mine", "mine", None], [3, "=A2", None], [1, "=A3", None], [2, "=A4", "no header"]]
    assert [sheet[place].value for place in ("A2", "B3", "B4", "C3")] == ["third", "mine", "typed in the results", "n"]
    assert sheet.cell(3, last + 2).fill.fgColor.rgb == "00FF0000" and sheet.cell(3, last + 4).comment.text == "look"
    assert sheet.column_dimensions[get_column_letter(last + 3)].width == 71
    assert [judged(sheet, 3, "text", model) for model in "ab"] == ["x", "y"]
    assert sheet.parent.sheetnames == ["Sheet", "runs", "judgments"] and sheet.parent["runs"]["B1"].value == "my remark"
    rules = [str(rule.sqref).partition("2:")[0] for rule in sheet.data_validations.dataValidation]
    places = [place for (kind, _), place in find_columns(sheet).items() if kind in ("preferred", "rating")]
    assert sorted(rules) == sorted(map(get_column_letter, places))


def test_cases_that_the_results_lack_are_added_and_theirs_stay(capsys: pytest.CaptureFixture) -> None:
    sheet = run(make_sheet(*CASES), a=X)
    sheet["A5"], sheet["B2"], sheet["B3"], sheet["B7"] = "a case of mine", "corrected", None, "a remark"
    judge(sheet, 9, "comment", "all in all, good")
    for _ in range(2):
        rows = ["zero", "r0", 0], ["first", "r", 1], ["second", "r2", "=C3"]
        book = open_sheet(make_sheet(["review", "reference", "new"], *rows), sheet)
        assert [(case.row, case.review, case.reference) for case in book.cases] == [
            (2, "first", "corrected"), (3, "second", "r2"), (4, "third", "r"), (5, "a case of mine", ""),
            (10, "zero", "r0")]  # fmt: skip
        assert [book.sheet.cell(row, 3).value for row in (1, 2, 3, 4, 10)] == ["new", 1, "=C2", None, 0]
        said = capsys.readouterr().out
        assert book.test == {"data": "a.xlsx", "split": None, "cases": 5, "others": 2}
        assert "Cases of b.xlsx that are not in a.xlsx: 2. " in said
        assert "b.xlsx keeps what it has in cells for which a.xlsx has something else: B2" in said
        sheet = write_texts(book, a=["x"] * 5)
        assert sheet["B7"].value == "a remark" and judged(sheet, 9, "comment") == "all in all, good"
    judge(sheet, 9, "comment", None)
    assert judged(run(make_sheet(*CASES), sheet, a=["x"] * 5), 9, "comment") is None


def test_examples_that_are_not_drawn_now_do_not_count(capsys: pytest.CaptureFixture) -> None:
    """Nor those of which the data say something else now; what a person typed or noted there is kept."""
    sheet = run(make_sheet(["review", "reference", "decision"], *([*case, None] for case in CASES[1:])), a=X)
    judge(sheet, 2, "comment", "mine")
    judge(sheet, 2, "rating", 4, "a")
    sheet["C4"], sheet["B3"].comment = "Accept", Comment("look", "me")
    drawn = ["second", "shorter", None], ["third", "r", None], ["fourth", "r", None]
    for _ in range(2):
        book = open_sheet(make_sheet(["review", "reference", "decision"], *drawn), sheet, "test")
        assert [(case.row, case.review, case.reference, case.details["decision"]) for case in book.cases] == [
            (4, "third", "r", "Accept"), (5, "second", "shorter", ""), (6, "fourth", "r", "")]  # fmt: skip
        assert book.test == {"data": "a.xlsx", "split": "test", "cases": 3, "others": 0}
        assert "are not in a.xlsx: 2. They do not count." in capsys.readouterr().out
        assert (book.sheet["B3"].value, book.sheet["B3"].comment.text) == ("r", "look")
        sheet = write_texts(book, a=X)
    sheet = run(make_sheet(*CASES), sheet, a=["x"] * 5)
    assert (judged(sheet, 2, "comment"), judged(sheet, 2, "rating", "a")) == ("mine", 4)


def test_rows_with_the_same_reviews_are_cases_of_their_own() -> None:
    """A comment, which is on the reviews, stays where one of them is added later."""
    sheet = run(make_sheet(*CASES), a=X)
    judge(sheet, 2, "comment", "mine")
    sheet = run(make_sheet(*CASES, ["first", "another"]), sheet, a=[*X, "x"])
    assert [sheet.cell(row, 2).value for row in range(2, 6)] == ["r", "r", "r", "another"]
    sheet = run(make_sheet(*CASES), sheet, a=[*X, "x"])
    assert judged(sheet, 2, "comment") == "mine"
    assert [case.row for case in open_sheet(make_sheet(*CASES), sheet, "test").cases] == [2, 3, 4]


def test_what_the_test_cases_look_like_stays_and_the_results_are_easy_to_read(tmp_path: Path) -> None:
    """Widths that a program set for a group of columns, merged cells, protection; rows as high as their texts."""
    cases = make_sheet(["review", "reference"], ["a", "b"], ["c", "d"], ["e", None], [None, "a footer"])
    cases.merge_cells("B5:H5")
    cases.column_dimensions["A"].width, cases.row_dimensions[3].height = 33, 20
    cases.column_dimensions["A"].min, cases.column_dimensions["A"].max = 1, 16_384  # as LibreOffice does
    cases.merge_cells("B3:D4")
    cases.auto_filter.ref, cases.row_dimensions[4].hidden = "A1:B4", True
    cases.auto_filter.add_filter_column(0, ["a", "c"])
    cases.protection.enable()
    sheet = run(cases, a=["word " * 60] * 3)
    save_workbook(sheet.parent, tmp_path / "a.xlsx")
    sheet = load_workbook(tmp_path / "a.xlsx").active
    assert [sheet.column_dimensions[letter].width for letter in "ABCD"] == [33, 33, 11, 36]
    assert sheet.row_dimensions[2].height == 15 * 8  # 300 characters in a column 36 wide: 37 a line
    assert sheet["D3"].value == "word " * 60 and sheet["B3"].value == "d"
    assert sheet["B5"].value == "a footer" and "B5:H5" in sheet.merged_cells
    assert sheet["D1"].font.bold and sheet["D1"].fill.fill_type == "solid" and sheet["D2"].alignment.wrap_text
    assert not sheet.row_dimensions[4].hidden and not sheet.auto_filter.filterColumn  # it was of columns that moved
    unlocked = {kind for (kind, _), place in find_columns(sheet).items() if not sheet.cell(2, place).protection.locked}
    assert sheet.protection.sheet and unlocked == {"preferred", "rating", "comment"}  # it can be judged
    assert sheet.freeze_panes == "B2" and sheet.auto_filter.ref == f"A1:{get_column_letter(sheet.max_column)}5"


MODELS, REVIEWS = ("a", "b", "c"), ("first", "second", "third")
ROWS, MODEL = st.integers(0, 2), st.sampled_from(MODELS)
EVENTS = st.one_of(
    st.tuples(st.just("rate"), ROWS, MODEL, st.sampled_from([1, 2, 3, None])),
    st.tuples(st.just("prefer"), ROWS, MODEL, st.none()),
    st.tuples(st.just("comment"), ROWS, st.none(), st.sampled_from(["good", "bad", None])),
    st.tuples(st.just("run"), st.permutations(MODELS), st.integers(1, 3), st.none()),
    st.tuples(st.just("rewrite"), MODEL, ROWS, st.sampled_from(["1", "2"])),
    st.tuples(st.just("sort"), st.permutations([0, 1, 2]), st.none(), st.none()),
)


def find_preferences(made: dict[tuple[str, frozenset], str], review: str, texts: dict[str, str]) -> list[str | None]:
    """What the cell may show: of what was preferred among some of the texts, that among most of them."""
    among = [key for name, key in made if name == review and key <= set(texts.values())]
    shown = []
    for key in [key for key in among if len(key) == max(map(len, among))]:
        [model] = [model for model, text in texts.items() if text == made[review, key]]
        unseen = ", ".join(model for model, text in texts.items() if text not in key)
        shown.append(f"{model} ({unseen} not seen)" if unseen else model)
    return shown or [None]


@settings(max_examples=60, phases=[Phase.explicit, Phase.generate])
@given(events=st.lists(EVENTS, max_size=14))
@example(events=[("rate", 0, "a", 1), ("rewrite", "a", 0, "2"), ("run", list(MODELS), 3, None), ("rate", 0, "a", 2),
                 ("rewrite", "a", 0, "1"), ("run", list(MODELS), 3, None)])  # fmt: skip
@example(events=[("run", list(MODELS), 2, None), ("prefer", 0, "a", None), ("run", list(MODELS), 3, None),
                 ("sort", [2, 0, 1], None, None), ("run", list(MODELS), 2, None)])  # fmt: skip
def test_a_judgment_stays_with_what_it_was_given_to(events: list[tuple]) -> None:
    """Against a model of what a person did: a rating for each text of a review, a preference for each set, a comment.

    What a model writes changes back and forth, models leave and return in any order, rows are sorted.
    """
    sheet, versions = None, {(model, review): "1" for model in MODELS for review in REVIEWS}
    shown, ratings, preferences, comments = {}, {}, {}, {}
    for event, place, other, value in [("run", MODELS, 3, None), *events, ("run", MODELS, 3, None)]:
        row = place + 2 if isinstance(place, int) else 2
        review = sheet.cell(row, 1).value if sheet else ""
        if event == "rate" and other in shown[review]:
            judge(sheet, row, "rating", value, other)
            ratings[review, shown[review][other]] = value
        elif event == "prefer" and other in shown[review]:
            judge(sheet, row, "preferred", other)
            preferences[review, frozenset(shown[review].values())] = shown[review][other]
        elif event == "comment":
            judge(sheet, row, "comment", value)
            comments[review] = value
        elif event == "rewrite":
            versions[place, REVIEWS[other]] = value
        elif event == "sort":
            sort_rows(sheet, place)
        elif event == "run":
            shown = {review: {model: f"{model} writes {versions[model, review]} on {review}" for model in place[:other]}
                     for review in REVIEWS}  # fmt: skip
            order = [sheet.cell(row, 1).value for row in (2, 3, 4)] if sheet else REVIEWS
            texts = {model: [shown[review][model] for review in order] for model in place[:other]}
            sheet = run(make_sheet(*CASES), sheet, **texts)
            for row, review in enumerate(order, start=2):
                assert judged(sheet, row, "comment") == comments.get(review)
                for model, text in shown[review].items():
                    assert judged(sheet, row, "text", model) == text
                    assert judged(sheet, row, "rating", model) == ratings.get((review, text))
                assert judged(sheet, row, "preferred") in find_preferences(preferences, review, shown[review])
    store, _ = read_hidden(sheet.parent)
    kept = sorted(judgment.value for (kind, *_), judgment in store.items() if kind == "rating")
    assert kept == sorted(value for value in ratings.values() if value is not None)


def test_a_preference_survives_another_model() -> None:
    """It counts among the models that it was made among, until the person chooses among all, or empties the cell."""
    sheet, texts = run(make_sheet(*CASES), a=X, b=Y), {"a": X, "b": Y, "c": ["z"] * 3}
    for row, choice in ((2, "b"), (3, "tie"), (4, "a")):
        judge(sheet, row, "preferred", choice)
    sheet = run(make_sheet(*CASES), sheet, **texts)
    judge(sheet, 2, "preferred", "b")
    judge(sheet, 4, "preferred", None)
    book = open_sheet(make_sheet(*CASES), sheet)
    sheet = write_texts(book, **texts)
    assert [judged(sheet, row, "preferred") for row in (2, 3, 4)] == ["b", "tie (c not seen)", None]
    counts = count_judgments(book.store, show_judgments(sheet, book.store), ["a", "b", "c"])
    assert [(count["preferred"], count["compared"]) for count in counts.values()] == [(0, 2), (1, 2), (0, 1)]


def test_models_are_called_by_what_tells_them_apart() -> None:
    def label(*names: str) -> list[str]:
        settings = TokenizationArguments("m", "plain")
        variants = [Variant(name, "m", {}, None, number > 0, settings, "a-z", 9) for number, name in enumerate(names)]
        return list(label_models(variants).values())

    assert label("pythia", "pythia_finetuned") == ["base", "finetuned"]
    assert label("p", "p_f_lr1e-3", "p_f_lr1e-3_seed7", "p_f_lr1e-4") == ["base", "lr1e-3", "lr1e-3_seed7", "lr1e-4"]
    assert label("a", "x_base", "x_tie") == ["a", "x_base", "x_tie"]  # two would be called base
