"""Test cases: where they are found, how some are added, what a data set has that a cell could not hold."""

from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from openpyxl import Workbook, load_workbook
from openpyxl.styles import PatternFill
from openpyxl.worksheet.worksheet import Worksheet
from workbooks import AVERAGES, make_workbook, put, three_cases

from metareview.common.cli import InputError
from metareview.workbook.adding import continue_workbook
from metareview.workbook.cases import draw_examples, find_case_sheet, name_log, name_target, open_cases, read_cases
from metareview.workbook.cells import read_header
from metareview.workbook.saving import save_workbook
from metareview.workbook.summary import write_summary


def test_cases_are_the_rows_with_a_review(tmp_path: Path) -> None:
    path = make_workbook(
        tmp_path / "a.xlsx", ["No", " Review ", "reference"], [1, "a", "r"], [2, None, "r"], [3, "b", None]
    )
    sheet = load_workbook(path).active
    assert read_header(sheet) == {"no": 1, "review": 2, "reference": 3}
    assert [(case.row, case.review, case.reference) for case in read_cases(sheet, "a")] == [(2, "a", "r"), (4, "b", "")]


def test_the_cases_are_found_when_another_sheet_was_left_open(tmp_path: Path) -> None:
    sheet = three_cases()
    workbook = sheet.parent
    columns = put(sheet, base=["x"] * 3, tuned=["y"] * 3)
    write_summary(sheet, ["a sentence"], AVERAGES, {}, columns, {})
    workbook.active = workbook["summary"]
    assert find_case_sheet(workbook, "a.xlsx") is sheet
    workbook.remove(sheet)
    with pytest.raises(InputError, match="has a column 'review' in row 1"):
        find_case_sheet(workbook, "a.xlsx")


def test_where_results_go() -> None:
    assert name_target("some/mine.xlsx", None, None) == Path("some/mine_results.xlsx")
    assert name_target("mine.xlsx", "mine.xlsx", None) == Path("mine.xlsx")
    assert name_target("mine.xlsx", None, "test") == Path("eval_test.xlsx")
    assert name_log(Path("some/mine_results.xlsx")) == Path("some/mine_results_outputs.jsonl")
    with pytest.raises(InputError, match="never writes to the test cases"):
        name_target("mine.xlsx", "mine.xlsx", "test")


def test_new_cases_go_below_and_what_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source, target = tmp_path / "a.xlsx", tmp_path / "a_results.xlsx"
    make_workbook(source, ["review", "reference", "mine"], ["one", "r", 1], ["two", "r", 2])
    workbook = continue_workbook(open_cases(str(source), target), str(source), target)
    put(workbook.active, a=["x", "y"])
    workbook.active["B3"] = "corrected here"
    save_workbook(workbook, target)
    before = source.read_bytes()

    edited = load_workbook(source)
    sheet = edited.active
    sheet["A2"] = "one, edited"
    sheet.append(["three", "=1+1", 3, "=C4+1"])
    sheet["A4"].fill, sheet["D1"] = PatternFill("solid", fgColor="FF0000"), "new"
    sheet["B4"] = "r"
    edited.save(source)
    there = continue_workbook(open_cases(str(source), target), str(source), target).active
    said = capsys.readouterr().out
    assert "a_results.xlsx: 2\n" in said and "a.xlsx: 1. They stay" in said
    assert "keeps its own references in the rows 3" in said
    cases = read_cases(there, "a")
    assert [(case.row, case.review, case.reference) for case in cases] == [
        (2, "one", "r"), (3, "two", "corrected here"), (4, "one, edited", "r"), (5, "three", "r")]  # fmt: skip
    assert there["A5"].fill.fgColor.rgb.endswith("FF0000") and there["C5"].value == 3
    assert there.cell(5, read_header(there)["new"]).value == "=C5+1"
    assert before != source.read_bytes()


def test_what_a_copy_would_lack_is_said_and_no_reason_to_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_workbook(tmp_path / "a.xlsx", ["review"], ["one"])
    monkeypatch.setattr("metareview.workbook.saving.find_losses", lambda _: ["macros"])
    assert len(read_cases(open_cases(str(source), tmp_path / "b.xlsx").active, "a")) == 1
    assert "a.xlsx has macros that the workbook with the results will lack" in capsys.readouterr().out
    with pytest.raises(InputError, match="macros that would be lost"):
        open_cases(str(source), source)


def test_texts_longer_than_a_cell_come_from_the_data_set(tmp_path: Path) -> None:
    long = "\n\n".join(["word " * 5_000, "last " * 5_000]).strip()
    rows = [{"review": long, "summary": "s"}, {"review": "bad\x0bcharacter", "summary": "s"}]
    rows += [{"review": "short", "summary": "s"}]
    DatasetDict(test=Dataset.from_list(rows)).save_to_disk(tmp_path / "data")
    workbook, split = draw_examples(str(tmp_path / "data"), "test", 3, 42)
    save_workbook(workbook, tmp_path / "a.xlsx")
    sheet = load_workbook(tmp_path / "a.xlsx").active
    sheet["B4"] = "changed by a person"
    assert [cell.value for cell in sheet["A"]] == ["row", 0, 1, 2]
    cases = read_cases(sheet, "a", split)
    assert cases[0].review == long.replace("\n\n", "\n<REVBREAK>\n") and cases[1].review == "bad\x0bcharacter"
    assert cases[2].review == "changed by a person"
    assert [case.key for case in cases] == [case.key for case in read_cases(sheet, "a")]  # those of the cells
    other = Dataset.from_list([{"review": "of another data set", "summary": "s"}] * 3)
    assert read_cases(sheet, "a", other) == read_cases(sheet, "a")


def sheet_of(*rows: list) -> Worksheet:
    sheet = Workbook().active
    for row in rows:
        sheet.append(row)
    return sheet


def test_what_a_model_cannot_read_is_no_case_and_what_it_can_read_is_one(capsys: pytest.CaptureFixture) -> None:
    """By the KEEP of the models; a row that is only separators is empty."""
    sheet = sheet_of(["review"], ["<REVBREAK>"], ["很好\n---\n不好"], ["Fine."], ["---"], [" "])
    assert [case.row for case in read_cases(sheet, "a")] == [3, 4] and capsys.readouterr().out == ""
    assert [case.row for case in read_cases(sheet, "a", keeps=["\u4e00-\u9fffa-z", "\u4e00-\u9fff a-z"])] == [3, 4]
    assert [case.row for case in read_cases(sheet, "a", keeps=["\u4e00-\u9fffa-z", "a-z"])] == [4]
    assert capsys.readouterr().out == "Passed over rows 3: KEEP 'a-z' leaves nothing.\n"
    with pytest.raises(InputError, match="has no row with a review"):
        read_cases(sheet_of(["review"], ["<REVBREAK>"]), "a")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([["review", "Review"], ["a", "b"]], "has the columns 'review' and 'Review'; rename all but one"),
        ([["review", "REFERENCE ", "reference"], ["a", "b"]], "has the columns 'REFERENCE' and 'reference'"),
        ([["review"], ["#N/A"]], "row 2 of 'a' has the error #N/A"),
        ([["review", "reference"], ["a", "b"], ["c", "#REF!"]], "row 3 of 'a' has the error #REF!"),
    ],
)
def test_what_cannot_be_a_case_is_refused(rows: list[list[str]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        sheet = sheet_of(*rows)
        read_cases(find_case_sheet(sheet.parent, "a"), "a")


CSV_FILES = [("a.csv", ",", "utf-8"), ("a.csv", ";", "cp1252"), ("a.tsv", "\t", "utf-16")]


@pytest.mark.parametrize(("name", "delimiter", "encoding"), CSV_FILES)
def test_cases_from_csv(name: str, delimiter: str, encoding: str, tmp_path: Path) -> None:
    text = delimiter.join(("No", "Review", "reference\n")) + delimiter.join(("1", '"naïve\n---\n=1+1"', "r\n"))
    (tmp_path / name).write_bytes((text + delimiter.join(("2", "", "r\n"))).encode(encoding))
    target = name_target(str(tmp_path / name), None, None)
    assert target == tmp_path / "a_results.xlsx"
    save_workbook(open_cases(str(tmp_path / name), target, encoding), target)
    sheet = find_case_sheet(load_workbook(target), "a")
    assert [(case.row, case.review, case.reference) for case in read_cases(sheet, "a")] == [
        (2, "naïve\n---\n=1+1", "r")
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("text,reference\na,b\n", "has a column 'review' in row 1; .*text, reference"),
        ("review\n", "has no rows"),
        (f"review\na\n{'long ' * 7_000}\n", "row 3 of '.*' has a text of 35,000 characters.*holds 32,767"),
        (None, "there is no file .*--test_cases"),
    ],
)
def test_csv_that_holds_no_cases_is_refused(text: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    if text:
        path.write_text(text)
    with pytest.raises(InputError, match=words):
        find_case_sheet(open_cases(str(path), tmp_path / "a_results.xlsx"), str(path))


def test_a_formula_in_place_of_a_text_is_refused() -> None:
    sheet = Workbook().active
    sheet.append(["review"])
    sheet.append(["=A1"])
    with pytest.raises(InputError, match="row 2 of 'a' has a formula"):
        read_cases(sheet, "a")
