"""Judging blind: the judgements come back to those who wrote the texts."""

from pathlib import Path

import pytest
from openpyxl import Workbook
from openpyxl.utils import get_column_letter
from workbooks import changed, judge, put

from metareview.cli import InputError
from metareview.scoring import MODELS
from metareview.workbook.cases import read_cases
from metareview.workbook.cells import read_header
from metareview.workbook.judging import make_blind, read_key, take_judgements
from metareview.workbook.opening import open_workbook, save_workbook


def test_judging_blind_gives_the_judgements_to_those_who_wrote_the_texts(tmp_path: Path) -> None:
    workbook = Workbook()
    sheet = workbook.active
    sheet.append(["review", "reference"])
    for number in range(40):
        sheet.append([f"review {number}", "r"])
    columns = put(sheet, *[(f"base {number}", f"tuned {number}") for number in range(40)])
    cases = read_cases(sheet, "a.xlsx")
    blind, key = make_blind(sheet, columns, cases)
    save_workbook(blind, tmp_path / "blind.xlsx")
    blind = open_workbook(str(tmp_path / "blind.xlsx")).active
    there = read_header(blind)
    assert not {*MODELS, "base_rougel", "fine_tuned_rougel"} & set(there)
    first = [blind.cell(row, there["a"]).value.split()[0] for row in range(2, 42)]
    assert 5 < first.count("base") < 35  # swapped at random: outside once in two million times
    for row, writer in enumerate(first, start=2):  # the judge likes what fine_tuned wrote: 5 against 1
        a, b = (1, 5) if writer == "base" else (5, 1)
        values = {"preferred": "AB"[b > a], "rating_a": a, "rating_b": b, "comment": writer}
        for name, value in values.items():
            blind.cell(row, there[name]).value = value
    for name in ("preferred", "rating_a", "rating_b", "comment"):
        blind.cell(41, there[name]).value = None
    judge(sheet, 2, preferred="tie")
    sheet.cell(3, columns["base"]).value = "other"
    blind.cell(5, there["preferred"]).value = blind.cell(5, there["preferred"]).value.lower() + " "
    assert take_judgements(sheet, columns, cases, blind, key) == 1
    assert [cell.value for cell in sheet[get_column_letter(columns["preferred"])]].count("fine_tuned") == 38
    assert take_judgements(sheet, columns, cases, blind, key) == 1  # once more: nothing changes
    ratings = [(row[columns["rating_base"] - 1], row[columns["rating_fine_tuned"] - 1]) for row in sheet.values][1:]
    assert ratings == [(None, None), *[(1, 5)] * 38, (None, None)]
    assert sheet.cell(2, columns["preferred"]).value == "tie"  # judged openly before: stays
    assert [row for row in range(2, 42) if changed(sheet, row)] == [3]


@pytest.mark.parametrize("text", ["[]", "not JSON", '{"a": 3}', '{"a": ["base", "base"]}', '{"a": [1, "base"]}'])
def test_what_is_no_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a_blind_key.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a_blind_key\.json' is no key of a blind copy: "):
        read_key(path)
    path.write_text('{"a": ["fine_tuned", "base"]}')
    assert read_key(path) == {"a": ["fine_tuned", "base"]}
