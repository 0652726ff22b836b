"""The columns beside the test cases: results that each run writes anew, judgements that stay with their texts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.styles import PatternFill
from workbooks import judge, put, read, three_cases

from metareview.cli import InputError
from metareview.workbook.cases import read_cases
from metareview.workbook.opening import open_workbook, save_workbook
from metareview.workbook.results import read_judgements


def test_texts_of_a_case_that_is_gone_go_too() -> None:
    sheet = three_cases()
    put(sheet, base=["x"] * 3, tuned=["y"] * 3)
    sheet["A4"] = None
    columns = put(sheet, base=["x"] * 2, tuned=["y"] * 2)
    assert read(sheet, columns, "text", "base") == ["x", "x", None]


def test_a_judgement_leaves_with_its_text_and_comes_back_with_it() -> None:
    sheet = three_cases()
    columns = put(sheet, base=["a"] * 3, tuned=["b", "c", "d"])
    judge(sheet, columns, 2, "rating", "tuned", 4)
    judge(sheet, columns, 2, "rating", "base", 2)
    judge(sheet, columns, 2, "preferred", "", "tuned")
    judge(sheet, columns, 2, "comment", "", "short")
    columns = put(sheet, base=["a"] * 3, other=["e"] * 3)  # the model leaves
    assert read(sheet, columns, "rating", "base")[0] == 2 and read(sheet, columns, "rating", "other")[0] is None
    assert read(sheet, columns, "preferred")[0] is None  # among other texts
    assert read(sheet, columns, "comment")[0] == "short"
    columns = put(sheet, base=["a"] * 3, other=["e"] * 3, tuned=["b", "c", "d"])
    assert read(sheet, columns, "rating", "tuned") == [4, None, None]
    columns = put(sheet, base=["a"] * 3, tuned=["new", "c", "d"])  # trained anew
    assert read(sheet, columns, "rating", "tuned") == [None] * 3 and read(sheet, columns, "preferred")[0] is None
    columns = put(sheet, base=["a"] * 3, tuned=["b", "c", "d"])
    assert read(sheet, columns, "rating", "tuned")[0] == 4 and read(sheet, columns, "preferred")[0] == "tuned"


TEXTS = {"base": ["a", "a", "b"], "one": ["c", "d", "a"], "two": ["e", "e", "e"]}
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.sets(st.sampled_from([*TEXTS]), min_size=1)),
        st.tuples(st.just("rate"), st.tuples(st.sampled_from([*TEXTS]), st.integers(2, 4), st.integers(1, 5))),
        st.tuples(st.just("clear"), st.tuples(st.sampled_from([*TEXTS]), st.integers(2, 4))),
        st.tuples(st.just("swap"), st.none()),
    ),
    max_size=10,
)


@given(events=EVENTS)
def test_a_rating_always_stays_with_the_text_it_was_given_to(events: list[tuple[str, object]]) -> None:
    """Whatever models come and go, and however rows are sorted."""
    sheet, shown = three_cases(), {"base"}
    columns = put(sheet, base=TEXTS["base"])
    order, ratings = [0, 1, 2], {}  # which case is in which row; ratings by case and text

    def write() -> None:
        nonlocal columns
        columns = put(sheet, **{model: [TEXTS[model][case] for case in order] for model in sorted(shown)})

    for event, value in events:
        if event == "run":
            shown = value
        elif event == "swap":  # as a person sorts: whole rows, the judgements with them
            first, second = ([cell.value for cell in sheet[row]] for row in (2, 3))
            for row, values in ((2, second), (3, first)):
                for column, cell in enumerate(values, start=1):
                    sheet.cell(row, column).value = cell
            order[0], order[1] = order[1], order[0]
        elif value[0] in shown:
            model, row, *rating = value
            case = order[row - 2]
            same = [other for other in shown if TEXTS[other][case] == TEXTS[model][case]]
            for other in same:  # who rates one of two equal texts rates both
                judge(sheet, columns, row, "rating", other, rating[0] if rating else None)
            ratings[case, TEXTS[model][case]] = rating[0] if rating else None
        write()
        for model in shown:
            expected = [ratings.get((case, TEXTS[model][case])) for case in order]
            assert read(sheet, columns, "rating", model) == expected


@pytest.mark.parametrize(("rating", "counts"), [(9, False), (0, False), ("good", False), (5, True), ("3", True)])
def test_ratings_outside_one_to_five_do_not_count_and_are_pointed_out(rating: object, counts: bool) -> None:
    sheet = three_cases()
    columns = put(sheet, base=["a"] * 3)
    judge(sheet, columns, 3, "rating", "base", rating)
    _, lines = read_judgements(sheet, read_cases(sheet, "a.xlsx"))
    assert lines == ([] if counts else ["A rating that is not a number from 1 to 5 does not count: rows 3."])


def test_rules_are_added_once_and_survive(tmp_path: Path) -> None:
    path, sheet = tmp_path / "a.xlsx", three_cases()
    for models in ({"base": ["x"] * 3}, {"base": ["x"] * 3, "tuned": ["y"] * 3}, {"base": ["x"] * 3}):
        columns = put(sheet, **models)
        save_workbook(sheet.parent, path)
        sheet = open_workbook(str(path)).active
    assert len(sheet.conditional_formatting) == 2
    rules = [rule.formula1 for rule in sheet.data_validations.dataValidation]
    assert sorted(rules) == ['"1,2,3,4,5"', "judgements!$G$1:$G$3"]
    assert sheet.max_column == max(columns.values()) and sheet.freeze_panes == "B2"


def test_columns_of_the_users_stay_where_they_are_with_their_names(tmp_path: Path) -> None:
    sheet = three_cases()
    sheet["C1"], sheet["C2"] = "preferred", "mine"
    sheet["C2"].fill = PatternFill("solid", fgColor="FF0000")
    columns = put(sheet, base=["x"] * 3)
    put(sheet, base=["x"] * 3, tuned=["y"] * 3)
    assert (
        sheet["C1"].value == "preferred"
        and sheet["C2"].value == "mine"
        and sheet["C2"].fill.fgColor.rgb[2:] == "FF0000"
    )
    assert min(columns.values()) == 4 and "preferred (2)" in [cell.value for cell in sheet[1]]


def test_merged_cells_where_results_go_are_refused() -> None:
    sheet = three_cases()
    columns = put(sheet, base=["x"] * 3)
    sheet.merge_cells(start_row=4, end_row=4, start_column=2, end_column=columns["text", "base"])
    with pytest.raises(InputError, match="merged cells B4:C4"):
        put(sheet, base=["x"] * 3)
