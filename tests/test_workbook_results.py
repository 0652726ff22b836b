"""The columns beside the test cases: results that each run writes anew, judgements that are never lost."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from workbooks import changed, judge, put, three_cases

from metareview.cli import InputError
from metareview.workbook.cells import read_header
from metareview.workbook.opening import open_workbook, save_workbook
from metareview.workbook.results import CHANGED, JUDGEMENTS, place_results


def test_texts_of_a_case_that_is_gone_go_too() -> None:
    sheet = three_cases()
    columns = put(sheet, *[("x", "y")] * 3)
    sheet["A4"] = None
    put(sheet, *[("x", "y")] * 2)
    assert sheet.cell(2, columns["base"]).value == "x" and sheet.cell(4, columns["base"]).value is None


def test_a_judgement_stays_and_says_when_its_texts_have_changed() -> None:
    sheet = three_cases()
    put(sheet, ("a", "b"), ("a", "b"), ("a", "b"))
    for row in (2, 3):
        judge(sheet, row, preferred="tie", rating_base=2, rating_fine_tuned=3, comment="short")
    columns = put(sheet, ("a", "b"), ("a", "new"), ("a", "new"))
    assert [changed(sheet, row) for row in (2, 3, 4)] == [False, True, False]
    values = [[sheet.cell(row, columns[name]).value for name in JUDGEMENTS] for row in (2, 3, 4)]
    assert values == [["tie", 2, 3, "short"]] * 2 + [[None] * 4]
    put(sheet, ("a", "b"), ("a", "b"), ("a", "b"))
    assert not changed(sheet, 3)  # the texts that were judged are back


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.sampled_from(["x", "y", "z"])),
        st.tuples(st.just("judge"), st.sampled_from([1, 2, 3])),
        st.tuples(st.just("empty the note"), st.none()),
    ),
    max_size=12,
)


@given(events=EVENTS)
@example(events=[("judge", 1), ("run", "y"), ("judge", 2), ("judge", 1), ("run", "x")])
def test_the_note_tells_whether_the_judged_texts_stand_there(events: list[tuple[str, object]]) -> None:
    """What a person does between two runs shows only at the next run: a rating that differs from the one at the last
    run, or a note that is gone, makes the judgement one of the texts that stood there until then."""
    sheet = three_cases()
    shown, about, rating, rating_at_last_run, emptied = "x", None, None, None, False
    put(sheet, *[("base", shown)] * 3)
    for event, value in events:
        if event == "judge":
            judge(sheet, 3, rating_fine_tuned=value)
            rating = value
        elif event == "empty the note" and changed(sheet, 3):
            judge(sheet, 3, **{CHANGED: None})
            emptied = True
        elif event == "run":
            if rating != rating_at_last_run or emptied:
                about = shown
            shown, rating_at_last_run, emptied = value, rating, False
            put(sheet, *[("base", shown)] * 3)
            assert changed(sheet, 3) == (about is not None and about != shown)
    assert sheet.cell(3, read_header(sheet)["rating_fine_tuned"]).value == rating
    assert not changed(sheet, 2) and not changed(sheet, 4)


def test_rules_are_added_once_and_survive(tmp_path: Path) -> None:
    path, sheet = tmp_path / "a.xlsx", three_cases()
    for _ in range(3):
        columns = put(sheet, *[("x", "y")] * 3)
        save_workbook(sheet.parent, path)
        sheet = open_workbook(str(path)).active
    assert len(sheet.conditional_formatting) == 2
    rules = {str(rule.sqref): rule.formula1 for rule in sheet.data_validations.dataValidation}
    assert sorted(rules.values()) == ['"1,2,3,4,5"', '"1,2,3,4,5"', '"base,fine_tuned,tie,neither"']
    assert sheet.auto_filter.ref == f"A1:{sheet.cell(4, sheet.max_column).coordinate}"
    assert sheet.freeze_panes == "A2" and sheet.max_column == max(columns.values())


def test_columns_of_the_users_are_never_taken_for_results(tmp_path: Path) -> None:
    sheet = three_cases()
    for name in ("base", "Comment", "preferred"):
        sheet["C1"] = name
        with pytest.raises(InputError, match=f"'{name.lower()}' of its own"):
            place_results(sheet, "a.xlsx")
    sheet["C1"] = None
    put(sheet, *[("x", "y")] * 3)
    sheet.merge_cells("B4:D4")
    with pytest.raises(InputError, match="B4:D4"):
        place_results(sheet, "a.xlsx")
