"""Our columns: to the right of a person's, which never move, whichever models come and leave."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.formatting.rule import ColorScaleRule
from openpyxl.styles import Color, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.table import Table
from workbooks import judge, judged, put, three_cases

from metareview.common.cli import InputError
from metareview.workbook.cells import CHOICE_TITLE
from metareview.workbook.layout import find_columns
from metareview.workbook.saving import open_workbook, save_workbook

X, Y = ["x"] * 3, ["y"] * 3


def headers(sheet) -> list[str | None]:
    return [cell.value for cell in sheet[1]]


def test_texts_then_judgements_then_scores() -> None:
    sheet = three_cases()
    put(sheet, a=X, b=Y)
    assert headers(sheet) == ["review", "reference", "a", "b", "preferred", "rating a", "rating b", "comment",
                              "a ROUGE-L", "b ROUGE-L", "a words", "b words", "a ended", "b ended",
                              "a repetition", "b repetition", "a verdict", "b verdict",
                              "a terms in no review", "b terms in no review"]  # fmt: skip
    assert [cell.value for cell in sheet[2]][-4:] == ["none", "none", "7, GAN", "7, GAN"]
    put(sheet, b=Y)
    assert headers(sheet) == ["review", "reference", "b", "preferred", "rating b", "comment", "b ROUGE-L", "b words",
                              "b ended", "b repetition", "b verdict", "b terms in no review"]  # fmt: skip
    for row in (2, 3, 4):
        sheet.cell(row, 2).value = None
    put(sheet, b=Y)
    assert not [header for header in headers(sheet) if "ROUGE" in str(header)]  # no column of blanks


NAMES = st.lists(st.sampled_from("abcd"), unique=True, min_size=1)


@given(runs=st.lists(NAMES, min_size=1, max_size=4), where=st.integers(3, 20), typed_after=st.integers(0, 3))
def test_a_persons_columns_never_move(runs: list[list[str]], where: int, typed_after: int) -> None:
    sheet = three_cases()
    for number, names in enumerate(runs):
        columns = put(sheet, **{name: [name] * 3 for name in names})
        if number == typed_after:
            where = max(where, sheet.max_column + 1)
            sheet.cell(1, where).value, sheet.cell(3, where).value = "mine", "precious"
    names = runs[-1]
    columns = put(sheet, **{name: [name] * 3 for name in names})
    if typed_after < len(runs):
        assert (sheet.cell(1, where).value, sheet.cell(3, where).value) == ("mine", "precious")
        assert where not in columns.values()
    assert list(columns.values()) == sorted(columns.values())
    assert [sheet.cell(2, columns["text", name]).value for name in names] == names
    left = [cell.value for cell in sheet[1] if cell.value and cell.column not in columns.values()]
    assert left == ["review", "reference", *(["mine"] if typed_after < len(runs) else [])]


def test_colours_and_widths_of_our_columns_go_with_them() -> None:
    sheet = three_cases()
    columns = put(sheet, a=X, b=Y)
    place = columns["text", "b"]
    sheet.cell(3, place).fill = PatternFill("solid", fgColor="FFFF00")
    sheet.column_dimensions[get_column_letter(place)].width = 71
    place = put(sheet, c=X, d=X, b=Y)["text", "b"]
    assert sheet.cell(3, place).fill.fgColor.rgb.endswith("FFFF00")
    assert sheet.column_dimensions[get_column_letter(place)].width == 71
    assert sheet.column_dimensions[get_column_letter(place - 1)].width == 45
    assert not sheet.cell(3, place - 1).fill.fgColor.rgb.endswith("FFFF00")


def test_a_persons_column_with_a_name_of_ours_is_left_alone() -> None:
    sheet = three_cases()
    sheet["C1"], sheet["C2"], sheet["D1"], sheet["D3"] = "A", "mine", "comment", "mine too"
    put(sheet, a=X)
    judge(sheet, 2, "rating", 3, "a")
    judge(sheet, 3, "comment", "ours")
    put(sheet, a=X)
    assert headers(sheet)[:7] == ["review", "reference", "A", "comment", "a (2)", "preferred", "rating a"]
    assert sheet["C2"].value == "mine" and sheet["D3"].value == "mine too"
    assert judged(sheet, 2, "rating", "a") == 3 and judged(sheet, 3, "comment") == "ours"


def test_a_column_that_a_person_removed_takes_no_judgement_along() -> None:
    sheet = three_cases()
    columns = put(sheet, a=X)
    judge(sheet, 2, "rating", 3, "a")
    put(sheet, a=X)
    sheet.delete_cols(columns["rating", "a"])
    put(sheet, a=X)
    assert judged(sheet, 2, "rating", "a") == 3


def test_merged_cells_where_results_go_are_refused() -> None:
    sheet = three_cases()
    put(sheet, a=X)
    sheet.merge_cells("B4:D4")
    with pytest.raises(InputError, match="B4:D4"):
        put(sheet, a=X)


def test_texts_of_a_case_that_is_gone_go_too_unless_somebody_has_judged_them() -> None:
    sheet = three_cases()
    put(sheet, a=X)
    judge(sheet, 4, "rating", 2, "a")
    sheet["A3"] = sheet["A4"] = None
    put(sheet, a=["new"])
    assert [judged(sheet, row, "text", "a") for row in (2, 3, 4)] == ["new", None, "x"]
    sheet["A4"] = "third"
    put(sheet, a=["new", "other"])
    assert judged(sheet, 4, "rating", "a") is None
    put(sheet, a=["new", "x"])
    assert judged(sheet, 4, "rating", "a") == 2


def test_rules_are_there_once_and_survive(tmp_path: Path) -> None:
    path, sheet = tmp_path / "a.xlsx", three_cases()
    for names in ("ab", "abc", "cb"):
        columns = put(sheet, **dict.fromkeys(names, X))
        save_workbook(sheet.parent, path)
        sheet = open_workbook(str(path)).active
    assert len(sheet.conditional_formatting) == 2
    rules = {str(rule.sqref).partition(":")[0]: rule for rule in sheet.data_validations.dataValidation}
    assert {rule.errorTitle for rule in rules.values()} == {CHOICE_TITLE}
    letters = {kind: [get_column_letter(at) for (one, _), at in columns.items() if one == kind]
               for kind in ("preferred", "rating")}  # fmt: skip
    assert sorted(rules) == sorted(f"{letter}2" for letter in letters["preferred"] + letters["rating"])
    assert rules[f"{letters['preferred'][0]}2"].formula1 == "judgements!$G$1:$G$4"
    assert [cell.value for cell in sheet.parent["judgements"]["G"][:4]] == ["c", "b", "tie", "neither"]
    assert sheet.parent["judgements"].sheet_state == "veryHidden"
    assert sheet.auto_filter.ref == f"A1:{get_column_letter(sheet.max_column)}4"
    assert sheet.freeze_panes == "B2" and sheet.max_column == max(columns.values())
    assert sheet.print_area.endswith(f"$A$1:${get_column_letter(columns['comment', ''])}$4")
    assert sheet.page_setup.fitToWidth == 1 and sheet.page_setup.orientation == "landscape"


def test_a_table_that_a_person_made_of_the_sheet_ends_before_our_columns(tmp_path: Path) -> None:
    sheet = three_cases()
    columns = put(sheet, a=X)
    sheet.auto_filter.ref = None
    table = Table(displayName="mine", ref=f"A1:{get_column_letter(max(columns.values()))}4")
    sheet.add_table(table)
    save_workbook(sheet.parent, tmp_path / "a.xlsx")
    sheet = open_workbook(str(tmp_path / "a.xlsx")).active
    put(sheet, b=X, c=X)
    assert sheet.tables["mine"].ref == "A1:B4"
    assert [column.name for column in sheet.tables["mine"].tableColumns] == ["review", "reference"]


def test_widths_that_a_program_set_for_a_group_of_columns_stay(tmp_path: Path) -> None:
    sheet = three_cases()
    sheet.column_dimensions["A"].width = 33
    sheet.column_dimensions["A"].min, sheet.column_dimensions["A"].max = 1, 16_384  # as LibreOffice does
    columns = put(sheet, a=X)
    assert [sheet.column_dimensions[letter].width for letter in "AB"] == [33, 33]
    assert sheet.column_dimensions["C"].width == 45 and columns["text", "a"] == 3


def test_find_columns_takes_the_left_of_two_with_one_header() -> None:
    sheet = three_cases()
    columns = put(sheet, a=X)
    kept = sheet.max_column + 1
    for row in range(1, 5):
        sheet.cell(row, kept).value = sheet.cell(row, columns["text", "a"]).value  # a copy to keep
    assert find_columns(sheet) == columns
    put(sheet, a=Y)
    assert sheet.cell(2, kept).value == "x" and sheet.cell(1, kept).value == "a"


def test_how_a_person_prints_the_sheet_stays() -> None:
    sheet = three_cases()
    sheet.print_area, sheet.page_setup.paperSize = "A1:B3", 9
    sheet.page_setup.orientation, sheet.sheet_properties.pageSetUpPr = "portrait", PageSetupProperties(fitToPage=True)
    for names in ("a", "abcdefgh"):
        put(sheet, **dict.fromkeys(names, X))
        assert sheet.print_area == "'Sheet'!$A$1:$B$3"
        assert (sheet.page_setup.orientation, sheet.page_setup.paperSize) == ("portrait", 9)


def test_rules_of_a_persons_own_stay() -> None:
    sheet = three_cases()
    sheet.conditional_formatting.add("A2:A4", ColorScaleRule("min", start_color="FF00FF00", end_type="max",
                                                            end_color=Color(theme=4)))  # fmt: skip
    sheet.add_data_validation(DataValidation("list", '"1,2"', sqref="B2:B4"))
    for _ in range(2):
        put(sheet, a=X)
        assert next(str(rule.sqref) for rule in sheet.conditional_formatting) == "A2:A4"
        assert len(sheet.conditional_formatting) == 3 and len(sheet.data_validations.dataValidation) == 3
