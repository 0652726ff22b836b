"""Drafting: papers that become test cases. What is printed for a paper is tested with the whole script."""

from pathlib import Path

import pytest
from openpyxl import load_workbook
from workbooks import make_sheet, make_workbook

from metareview.common.cli import InputError
from metareview.sources.forms import Paper
from metareview.workbook.drafting import add_case, print_drafts, read_review_files


def test_a_saved_case_goes_below_everything_once_and_all_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "mine.xlsx"
    workbook = make_sheet(["note", "review", "case"], ["=1+1", "an old case", "old"], ["below it", None, None]).parent
    workbook.active.column_dimensions["B"].width = 33
    workbook.create_sheet("mine").append(["precious"])
    workbook.save(path)
    case = {"case": "", "review": "=SUM(1) is no formula\n<REVBREAK>\nIt lacks a baseline.", "reference": "r"}
    for _ in range(2):  # the second time it is there already
        assert add_case(str(path), case) == 4
    saved = load_workbook(path)
    rows = [[cell.value for cell in row] for row in saved.active.iter_rows()]
    assert rows == [["note", "review", "case", "reference"], ["=1+1", "an old case", "old", None],
                    ["below it", None, None, None], [None, case["review"], None, "r"]]  # fmt: skip
    assert saved.active["B4"].data_type == "s" and saved.active["A2"].data_type == "f"
    assert saved.active.column_dimensions["B"].width == 33 and saved["mine"]["A1"].value == "precious"
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"the review is longer than.*nothing was saved"):
        add_case(str(path), case | {"review": "word " * 8_000})
    assert path.read_bytes() == before


def test_a_saved_case_has_what_a_prompt_reads_if_the_sheet_has_the_columns(tmp_path: Path) -> None:
    path = make_workbook(tmp_path / "mine.xlsx", ["review", "Ratings", "title", "decision"])
    paper = Paper(["good"], title="On knots", ratings=[6, 7.5, None], decision="Accept (Poster)")
    print_drafts(paper, [], str(path), tmp_path / "log.jsonl")
    [_, row] = load_workbook(path).active.iter_rows(values_only=True)
    assert row[:4] == ("good", "6, 7.5", "On knots", "Accept (Poster)")


def test_reviews_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_bytes(b"\xef\xbb\xbfone\r\n---\r\ntwo &amp; a half\n--- \n  \n")  # as Windows does
    second.write_bytes("three\n---\nstill three, naïve".encode("cp1252"))
    assert read_review_files([str(first)]) == ["one", "two & a half"]
    several = read_review_files([str(first), str(second)], "cp1252")  # of several files, one in each
    assert several[1] == "three\n---\nstill three, naïve" and len(several) == 2
    first.write_text("one <REVBREAK> two\n---\nstill two")
    assert read_review_files([str(first)]) == ["one", "two\n---\nstill two"]
    first.write_text("Official Review by Reviewer a\none\nOfficial Review by Reviewer b\ntwo\nDecision by Chairs\nNo.")
    capsys.readouterr()
    assert read_review_files([str(first)]) == ["one", "two"]
    assert capsys.readouterr().out == "Read 2 reviews; left out: 1 decisions.\n"


def test_what_is_no_review_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("---")
    reasons = {"rows.csv": "is a table.*--test_cases", "nowhere": "No such file", "empty.txt": "there is no review in"}
    for name, words in reasons.items():
        with pytest.raises(InputError, match=words):
            read_review_files([str(tmp_path / name)])
