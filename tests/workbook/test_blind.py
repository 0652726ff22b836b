"""Judging blind: any number of models, and the judgments come back to the texts."""

import re
from pathlib import Path

import pytest
from workbooks import judge, judged, make_sheet, make_workbook, open_sheet, sort_rows, write_texts

from metareview.common.cli import InputError
from metareview.workbook.blind import blind_path, check_blind, make_blind, unblind
from metareview.workbook.cells import read_header
from metareview.workbook.saving import open_workbook, save_workbook

MODELS = ("base", "tuned", "other")
CASES = [["case", "A", "review", "reference", "mine"]]
CASES += [[f"paper {number}", "clash", f"review {number}", "r", "secret"] for number in range(40)]
TEXTS = {model: [f"{model} {number}! *" for number in range(40)] for model in MODELS}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A workbook with forty cases, which have titles, and the texts of three models; and its blind copy."""
    book = open_sheet(make_sheet(*CASES))
    write_texts(book, **TEXTS)
    save_workbook(book.sheet.parent, tmp_path / "a.xlsx")
    save_workbook(make_blind(book, "a-z0-9"), blind_path(tmp_path / "a.xlsx"))
    return tmp_path / "a.xlsx"


def test_the_copy_hides_who_wrote_what_and_keeps_the_title(target: Path) -> None:
    sheet = open_workbook(str(blind_path(target))).active
    header = read_header(sheet)
    assert list(header) == ["case", "review", "reference", "preferred", "a", "rating a", "b", "rating b", "c",
                            "rating c", "comment"]  # fmt: skip
    assert sheet["A3"].value == "paper 1"
    first = [sheet.cell(row, header["a"]).value.split()[0] for row in range(2, 42)]
    assert all(3 < first.count(model) < 30 for model in MODELS)  # in random order: outside once in 2,000 times or less
    assert {sheet.cell(2, header[letter]).value for letter in "abc"} == {f"{model} 0" for model in MODELS}  # cleaned
    words = [str(cell.value) for other in sheet.parent.worksheets for row in other.iter_rows() for cell in row]
    assert not {"secret", *MODELS} & set(words)


def test_the_judgments_go_to_those_who_wrote_the_texts(target: Path, capsys: pytest.CaptureFixture) -> None:
    blind = open_workbook(str(blind_path(target))).active
    header = read_header(blind)
    for row in range(2, 42):
        writers = {blind.cell(row, header[letter]).value.split()[0]: letter for letter in "abc"}
        judge(blind, row, "preferred", writers["tuned"] if row % 2 else f" {writers['tuned'].upper()} ")
        for model, rating in (("base", 1), ("tuned", 5), ("other", 3)):
            judge(blind, row, "rating", rating, writers[model].upper())
        judge(blind, row, "comment", f"comment {row}")
    judge(blind, 7, "preferred", "D")
    sort_rows(blind, range(39, -1, -1))
    save_workbook(blind.parent, blind_path(target))
    workbook = open_workbook(str(target))
    judge(workbook.active, 2, "rating", 2, "base")  # judged openly before: stays
    judge(workbook.active, 3, "rating", 9, "base")  # does not count: in the place of this one comes a valid one
    save_workbook(workbook, target)
    for _ in range(2):  # once more changes nothing
        unblind(target)
        said = capsys.readouterr().out
        assert "tuned: preferred 39 of 39, mean rating 5.0 (rated 40)" in said
        assert re.search(r"Not taken from .*a_blind\.xlsx, rows 36, 41: ", said)
        sheet = open_workbook(str(target)).active
        ratings = [[judged(sheet, row, "rating", model) for model in MODELS] for row in range(2, 42)]
        assert ratings == [[2, 5, 3], *[[1, 5, 3]] * 39]
        assert [judged(sheet, row, "comment") for row in range(2, 42)] == [f"comment {row}" for row in range(2, 42)]
        assert [judged(sheet, row, "preferred") for row in (6, 7, 8)] == ["tuned", None, "tuned"]


def test_a_copy_with_judgments_is_never_written_over_and_needs_its_workbook(target: Path) -> None:
    check_blind(target)  # nobody has judged in it
    blind = open_workbook(str(blind_path(target)))
    judge(blind.active, 3, "comment", "mine")
    save_workbook(blind, blind_path(target))
    with pytest.raises(InputError, match=r"a_blind\.xlsx' has judgments: take them with --unblind"):
        check_blind(target)
    make_workbook(target, *CASES)
    with pytest.raises(InputError, match="holds no results to which the judgments belong"):
        unblind(target)
