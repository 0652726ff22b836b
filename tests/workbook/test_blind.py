"""Judging blind: any number of models, and the judgements come back to the texts."""

import re
from pathlib import Path

import pytest
from openpyxl import Workbook
from openpyxl.utils import get_column_letter
from workbooks import judge, judged, put, three_cases

from metareview.common.cli import InputError
from metareview.workbook.blind import check_blind, make_blind, read_blind, unblind, write_blind
from metareview.workbook.cases import read_cases
from metareview.workbook.cells import read_header
from metareview.workbook.judgments import read_store
from metareview.workbook.saving import open_workbook, save_workbook

MODELS = ("base", "tuned", "other")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A workbook with forty cases, which have titles, and the texts of three models; and its blind copy."""
    sheet = Workbook().active
    sheet.append(["case", "A", "review", "reference", "mine"])
    for number in range(40):
        sheet.append([f"paper {number}", "clash", f"review {number}", "r", "secret"])
    columns = put(sheet, **{model: [f"{model} {number}" for number in range(40)] for model in MODELS})
    save_workbook(sheet.parent, tmp_path / "a.xlsx")
    write_blind(sheet, columns, read_cases(sheet, "a.xlsx"), tmp_path / "a.xlsx")
    return tmp_path / "a.xlsx"


def test_the_copy_hides_who_wrote_what_and_keeps_the_title(target: Path) -> None:
    sheet = open_workbook(str(target.with_stem("a_blind"))).active
    there = read_header(sheet)
    assert list(there) == ["case", "review", "reference", "a", "b", "c", "preferred", "rating a", "rating b",
                           "rating c", "comment"]  # fmt: skip
    assert sheet.cell(3, 1).value == "paper 1" and sheet.parent.sheetnames == ["examples"]
    first = [sheet.cell(row, there["a"]).value.split()[0] for row in range(2, 42)]
    assert all(3 < first.count(model) < 30 for model in MODELS)  # in random order: outside once in 2,000 times or less


def test_the_judgements_go_to_those_who_wrote_the_texts(target: Path, capsys: pytest.CaptureFixture) -> None:
    copy = target.with_stem("a_blind")
    blind = open_workbook(str(copy)).active
    there = read_header(blind)
    for row in range(2, 42):
        writers = {letter: blind.cell(row, there[letter]).value.split()[0] for letter in "abc"}
        best = next(letter for letter in "abc" if writers[letter] == "tuned")
        blind.cell(row, there["preferred"]).value = best if row % 2 else f" {best.upper()} "
        for letter, writer in writers.items():
            blind.cell(row, there[f"rating {letter}"]).value = {"base": 1, "tuned": 5, "other": 3}[writer]
        blind.cell(row, there["comment"]).value = f"comment {row}"
    blind.cell(7, there["preferred"]).value = "D"
    rows = [[cell.value for cell in row] for row in blind.iter_rows(min_row=2)]
    for row, values in enumerate(reversed(rows), start=2):  # somebody has sorted it
        for column, value in enumerate(values, start=1):
            blind.cell(row, column).value = value
    save_workbook(blind.parent, copy)
    workbook = open_workbook(str(target))
    judge(workbook.active, 2, "rating", 2, "base")  # judged openly before: stays
    save_workbook(workbook, target)
    for _ in range(2):  # once more changes nothing
        unblind(target)
        said = capsys.readouterr().out
        assert "tuned: preferred 39, mean rating 5.0 (rated 40)" in said
        assert re.search(r"Not taken from .*a_blind\.xlsx, rows 36, 41: ", said)
        sheet = open_workbook(str(target)).active
        ratings = [[judged(sheet, row, "rating", model) for model in MODELS] for row in range(2, 42)]
        assert ratings == [[2, 5, 3], *[[1, 5, 3]] * 39]
        assert [judged(sheet, row, "comment") for row in range(2, 42)] == [f"comment {row}" for row in range(2, 42)]
        assert {judged(sheet, row, "preferred") for row in range(2, 42)} == {"tuned", None}
    models = {judgement.model for key, judgement in read_store(sheet.parent).items() if key[0] == "preferred"}
    assert models == {"tuned"}


def test_judgements_of_texts_that_have_left_the_sheet_are_kept(target: Path) -> None:
    copy = target.with_stem("a_blind")
    blind = open_workbook(str(copy)).active
    there = read_header(blind)
    letter = next(letter for letter in "abc" if blind.cell(2, there[letter]).value == "other 0")
    blind.cell(2, there[f"rating {letter}"]).value = 4
    save_workbook(blind.parent, copy)
    workbook = open_workbook(str(target))
    put(workbook.active, base=[f"base {number}" for number in range(40)])
    save_workbook(workbook, target)
    unblind(target)
    sheet = open_workbook(str(target)).active
    put(sheet, other=[f"other {number}" for number in range(40)])
    assert judged(sheet, 2, "rating", "other") == 4


def test_a_copy_with_judgements_is_never_written_over(target: Path) -> None:
    copy = target.with_stem("a_blind")
    check_blind(target)  # nobody has judged in it
    blind = open_workbook(str(copy))
    blind.active.cell(3, read_header(blind.active)["comment"]).value = "mine"
    save_workbook(blind, copy)
    with pytest.raises(InputError, match=r"a_blind\.xlsx' has judgments: take them with --unblind"):
        check_blind(target)


def test_what_is_no_blind_copy(target: Path, tmp_path: Path) -> None:
    copy = target.with_stem("a_blind")
    blind = open_workbook(str(copy))
    blind.active.delete_cols(read_header(blind.active)["rating b"])
    save_workbook(blind, copy)
    with pytest.raises(InputError, match="has no column rating b"):
        read_blind(copy)
    (lock := target.with_name(f".~lock.{target.name}#")).touch()
    with pytest.raises(InputError, match="open in another program"):
        unblind(target)
    lock.unlink()
    save_workbook(three_cases().parent, target)
    with pytest.raises(InputError, match="holds no results to which the judgments belong"):
        unblind(target)
    copy.unlink()
    with pytest.raises(InputError, match="make them with --blind"):
        unblind(target)


def test_many_models_have_a_drop_down_that_excel_takes() -> None:
    sheet = three_cases()
    names = [f"pythia-70m_finetuned_lr1e-{number}" for number in range(30)]
    columns = put(sheet, **{name: [f"{name} {row}" for row in range(3)] for name in names})
    blind = make_blind(sheet, columns, read_cases(sheet, "a.xlsx")).active
    assert blind.cell(1, read_header(blind)["ad"]).value == get_column_letter(30)
    for rule in [*sheet.data_validations.dataValidation, *blind.data_validations.dataValidation]:
        assert len(rule.formula1) <= 255 and len(rule.error) <= 225
