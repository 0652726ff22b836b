"""Judging blind: the judgements come back to those who wrote the texts."""

from pathlib import Path

import pytest
from openpyxl import Workbook, load_workbook
from workbooks import judge, put

from metareview.cli import InputError
from metareview.workbook.cases import read_cases
from metareview.workbook.cells import read_header
from metareview.workbook.judging import blind_path, check_blind, unblind, write_blind
from metareview.workbook.opening import save_workbook


def test_judging_blind_gives_the_judgements_to_those_who_wrote_the_texts(tmp_path: Path, capsys) -> None:
    """Three models; the judge likes what `best` wrote."""
    target, sheet = tmp_path / "a.xlsx", Workbook().active
    sheet.append(["case", "review", "reference"])
    for number in range(40):
        sheet.append([f"title {number}", f"review {number}", "r"])
    models = ("base", "good", "best")
    columns = put(sheet, **{model: [f"{model} {number}" for number in range(40)] for model in models})
    judge(sheet, columns, 2, "rating", "best", 2)  # judged openly before: stays
    save_workbook(sheet.parent, target)
    copy = write_blind(sheet, columns, read_cases(sheet, "a.xlsx"), target)
    blind = load_workbook(copy)
    there = read_header(blind.active)
    assert list(there) == [
        "case", "review", "reference", "a", "b", "c", "preferred", "rating a", "rating b", "rating c", "comment"
    ]  # fmt: skip
    assert not any(model in str(cell.value) for cell in blind.active[1] for model in models)
    firsts = []
    for row in range(2, 42):
        assert blind.active.cell(row, there["case"]).value == f"title {row - 2}"
        writers = {letter: blind.active.cell(row, there[letter]).value.split()[0] for letter in "abc"}
        firsts.append(writers["a"])
        for letter, writer in writers.items():
            blind.active.cell(row, there[f"rating {letter}"]).value = {"base": 1, "good": 3, "best": 5}[writer]
            if writer == "best":
                blind.active.cell(row, there["preferred"]).value = f" {letter} "
    assert 3 < firsts.count("best") < 27  # in random order: outside once in a hundred thousand times
    save_workbook(blind, copy)
    with pytest.raises(InputError, match="has judgements: take them with --unblind"):
        check_blind(target)
    unblind(target)
    said = capsys.readouterr().out
    assert "best: preferred 40 times" in said and "good: preferred 0 times, rated 3.0 on average (40 texts)" in said
    assert "Not taken from" in said and "rows 2:" in said
    after = load_workbook(target).active
    header = read_header(after)
    ratings = [[after.cell(row, header[f"rating {model}"]).value for model in models] for row in (2, 3, 41)]
    assert ratings == [[1, 3, 2], [1, 3, 5], [1, 3, 5]]
    assert after.cell(30, header["preferred"]).value == "best"


def test_a_copy_that_is_not_there_or_without_its_columns(tmp_path: Path) -> None:
    target, sheet = tmp_path / "a.xlsx", Workbook().active
    sheet.append(["review"])
    sheet.append(["review 1"])
    columns = put(sheet, base=["x"])
    save_workbook(sheet.parent, target)
    with pytest.raises(InputError, match="make them with --blind"):
        unblind(target)
    write_blind(sheet, columns, read_cases(sheet, "a.xlsx"), target)
    blind = load_workbook(blind_path(target))
    blind.active.cell(1, read_header(blind.active)["rating a"]).value = "stars"
    save_workbook(blind, blind_path(target))
    with pytest.raises(InputError, match=r"no column rating a \(any more\)"):
        unblind(target)
