"""Test cases: where they are found, what counts as one, what a data set has that a cell could not hold."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from openpyxl import load_workbook
from workbooks import make_sheet

from metareview.common.cli import InputError
from metareview.workbook.cases import Case, Source, draw_examples, find_case_sheet, name_target, open_cases, read_cases


def read(*rows: list, keeps: Sequence[str] = ()) -> list[Case]:
    source = Source(make_sheet(*rows).parent, "a", "a")
    return read_cases(find_case_sheet(source.workbook, "a"), "a", source, keeps)


def test_the_cases_are_found_when_another_sheet_was_left_open() -> None:
    sheet = make_sheet(["review"], ["a"])
    sheet.parent.active = sheet.parent.create_sheet("summary")
    sheet.parent["summary"]["A1"] = "review"  # ours
    assert find_case_sheet(sheet.parent, "a.xlsx") is sheet
    sheet.parent.remove(sheet)
    with pytest.raises(InputError, match="has a column 'review' in row 1"):
        find_case_sheet(sheet.parent, "a.xlsx")


def test_results_go_to_the_test_cases_only_if_these_are_what_is_tested() -> None:
    assert name_target("mine.xlsx", "mine.xlsx", None) == Path("mine.xlsx")
    with pytest.raises(InputError, match="never writes to the test cases"):
        name_target("mine.xlsx", "mine.xlsx", "test")


def test_texts_longer_than_a_cell_come_from_the_data_set(tmp_path: Path) -> None:
    long = "\n\n".join(["word " * 5_000, "last " * 5_000]).strip()
    rows = [{"review": review, "summary": "s"} for review in (long, "bad\x0bcharacter", "short")]
    DatasetDict(test=Dataset.from_list(rows)).save_to_disk(tmp_path / "data")
    source = draw_examples(str(tmp_path / "data"), "test", 3, 42)
    source.workbook.save(tmp_path / "a.xlsx")
    sheet = load_workbook(tmp_path / "a.xlsx").active
    sheet["B4"] = "changed by a person"
    assert [cell.value for cell in sheet["A"]] == ["row", 0, 1, 2]
    cases = read_cases(sheet, "a", source)
    assert cases[0].review == long.replace("\n\n", "\n<REVBREAK>\n") and cases[1].review == "bad\x0bcharacter"
    assert cases[2].review == "changed by a person"


def test_what_a_model_cannot_read_is_no_case_and_what_it_can_read_is_one(capsys: pytest.CaptureFixture) -> None:
    """By the KEEP of the models; a row that is only separators is empty."""
    rows = [["review"], ["<REVBREAK>"], ["很好\n---\n不好"], ["Fine."], ["---"], [" "]]
    assert [case.row for case in read(*rows)] == [3, 4] and capsys.readouterr().out == ""
    assert [case.row for case in read(*rows, keeps=["\u4e00-\u9fffa-z", "\u4e00-\u9fff a-z"])] == [3, 4]
    assert [case.row for case in read(*rows, keeps=["\u4e00-\u9fffa-z", "a-z"])] == [4]
    assert capsys.readouterr().out == "Skipped rows 3: KEEP 'a-z' leaves nothing.\n"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([["review", "REFERENCE ", "reference"], ["a", "b"]], "has several columns 'reference'; rename all but one"),
        ([["review", "reference"], ["a", "b"], ["c", "#REF!"]], "the cell B3 of 'a' has the error #REF!"),
        ([["review"], ["=A1"]], "the cell A2 of 'a' has a formula; put"),
        ([["review"], ["<REVBREAK>"]], "has no row with a review"),
    ],
)
def test_what_cannot_be_a_case_is_refused(rows: list[list[str]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(*rows)


def test_cases_are_the_rows_with_a_review_of_a_sheet_or_of_csv(tmp_path: Path) -> None:
    rows = [("No", " Review ", "reference", "Decision"), (1, '"naïve\n---\n=1+1"', "r", "Accept"), (2, "", "r", "")]
    path = tmp_path / "a.csv"
    path.write_bytes("\n".join(";".join(map(str, row)) for row in [*rows, (3, "last", "", "")]).encode("cp1252"))
    source = open_cases(str(path), "cp1252")
    csv = read_cases(find_case_sheet(source.workbook, "a"), "a", source)
    sheet = read(list(rows[0]), [1, "naïve\n---\n=1+1", "r", "Accept"], [2, None, "r"], [3, "last", None])
    for cases in (csv, sheet):
        assert [(case.row, case.review, case.reference, case.details["decision"]) for case in cases] == [
            (2, "naïve\n---\n=1+1", "r", "Accept"), (4, "last", "", "")]  # fmt: skip
    path.write_text("review\n")
    with pytest.raises(InputError, match="has no rows"):
        open_cases(str(path))
