"""The sheets `summary` and `runs`: formulas that calculate, figures in their places, a row for each model and test."""

import shutil
import subprocess
from pathlib import Path

import pytest
from openpyxl import Workbook, load_workbook
from openpyxl.worksheet.worksheet import Worksheet
from workbooks import CASES, judge, judged, make_sheet, run

from metareview.data.tokenization import TokenizationArguments
from metareview.generation.variants import Variant
from metareview.scoring.metrics import ROUGE
from metareview.workbook.judgments import CHOICES
from metareview.workbook.runs import describe_training, write_runs
from metareview.workbook.saving import open_workbook, save_workbook
from metareview.workbook.summary import Comparison, write_summary

SOFFICE = shutil.which("soffice")
TEXTS = {"base": ["a"] * 3, "tuned": ["b\nc"] * 3}
TEST = {"data": "d", "split": "test", "cases": 3}
LOSSES = {"tuned": [[0.0, 12.0], [0.5, 1.5], [1.0, 1.0]]}
SCORES = {name: (mean, None, None) for name, mean in zip(ROUGE, (0.2, 0.1, 0.3), strict=True)}
AVERAGES = {"base": SCORES, "tuned": SCORES, "lead": SCORES | {"named": (0.5, None, None)}}
SPREAD = {"tuned (2 seeds)": {"rougeL": (0.25, 0.2, 0.3)}}


def find_row(sheet: Worksheet, first: str) -> list:
    return next([cell.value for cell in row] for row in sheet.iter_rows() if row[0].value == first)


def test_sentences_then_a_table_with_intervals_then_the_details() -> None:
    sheet = run(make_sheet(*CASES), base=TEXTS["base"], t=TEXTS["tuned"])
    verdicts = {"tuned": "tuned is better than its base (ROUGE-L +0.1, 0 to 0.2)."}
    averages = AVERAGES | {"tuned": dict.fromkeys(ROUGE, (0.25, 0.2, 0.3))}
    comparison = Comparison(averages, SPREAD, verdicts, ["=no formula"])
    write_summary(sheet, TEST, comparison, {"tuned": "t"}, ["a remark"], LOSSES)
    summary = sheet.parent["summary"]
    first = [cell.value for cell in summary["A"][1:4]]
    assert first[0].endswith(": 3 cases of d, split test.") and first[2] == "tuned is better than its base."
    assert first[1] == "tuned has a ROUGE-L of 0.250; base 0.300, lead 0.300."
    header = find_row(summary, "model")
    assert header[:5] == ["model", "ROUGE-1", "ROUGE-2", "ROUGE-L", "names a verdict"]
    assert find_row(summary, "base")[1:4] == [0.2, 0.1, 0.3] and find_row(summary, "t")[1:4] == [0.25] * 3
    cells = {row[0].value: row for row in summary.iter_rows()}
    formats = [cells[name][3].number_format for name in ("base", "t", "tuned (2 seeds)")]
    assert formats == ["0.000", '0.000" ± 0.050"', '0.000" (0.200–0.300)"']
    gray = [name for name in AVERAGES if cells.get(name) and cells[name][3].font.color.rgb == "00808080"]
    assert gray == ["lead"] and cells["=no formula"][0].data_type == "s" and "a remark" in cells
    assert find_row(summary, "tuned: epoch")[1:4] == [0.0, 0.5, 1.0] and len(summary._charts) == 2


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed")
def test_formulas_calculate_in_libreoffice_and_nothing_is_lost_there(tmp_path: Path) -> None:
    path, sheet = tmp_path / "a.xlsx", run(make_sheet(*CASES), **TEXTS)
    for row, choice, rating in ((2, "tuned", 2), (3, "tie", 4), (4, None, 9)):  # a 9 does not count
        judge(sheet, row, "preferred", choice)
        judge(sheet, row, "rating", rating, "base")
    judge(sheet, 4, "preferred", "tuned (newer not seen)")
    judge(sheet, 4, "comment", "short")
    write_summary(sheet, TEST, Comparison(AVERAGES, {}, {}, []), {}, [], LOSSES)
    write_runs(sheet.parent, [{"model": "tuned", "date": "today"}])
    save_workbook(sheet.parent, path)
    convert = [SOFFICE, f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to", "xlsx"]
    subprocess.run([*convert, "--outdir", tmp_path / "out", path], check=True, capture_output=True)
    summary = load_workbook(tmp_path / "out" / "a.xlsx", data_only=True)["summary"]
    header, base, tuned, tie = (find_row(summary, name) for name in ("model", "base", "tuned", "tie"))
    place = header.index("preferred")
    assert base[place : place + 3] == [0, 3, 2] and tuned[place] == 2 and tuned[place + 2] == 0 and tie[place] == 1
    saved = open_workbook(str(tmp_path / "out" / "a.xlsx"))  # as a person saves it there: we go on with it
    assert CHOICES in {rule.formula1 for rule in saved.active.data_validations.dataValidation}
    sheet = run(make_sheet(*CASES), saved.active, **TEXTS)
    assert [judged(sheet, row, "rating", "base") for row in (2, 3, 4)] == [2, 4, 9]
    assert judged(sheet, 2, "preferred") == "tuned" and judged(sheet, 4, "comment") == "short"
    assert sheet.parent["runs"]["A2"].value == "tuned"


def test_a_row_for_each_model_and_test() -> None:
    """A figure that a later run lacks is emptied: else the row would show the score of another encoder."""
    workbook = Workbook()
    first = {"model": "=a", "weights": "1", "prompt": "plain", "data": "d", "split": "test", "cases": 3}
    write_runs(workbook, [first | {"ROUGE-L": 0.25, "BERTScore": 0.5}, {"model": "lead", "cases": 3}])
    sheet = workbook["runs"]
    assert sheet["A2"].data_type == "s" and sheet["A2"].value == "=a" and sheet["G2"].number_format == "0.000"
    sheet["I1"], sheet["I2"], sheet["K2"] = "my remark", "good", "a note without a header"
    again = first | {"ROUGE-L": 0.5, "words": 7, "BERTScore": None}
    write_runs(workbook, [again, first | {"weights": "2"}, {"model": "lead", "cases": 3, "words": 8}])
    header, *values = sheet.iter_rows(values_only=True)
    rows = [dict(zip(header, row, strict=True)) for row in values]
    assert [(row["model"], row["words"]) for row in rows] == [("=a", 7), ("lead", 8), ("=a", None)]
    assert rows[0] == again | {"my remark": "good", None: "a note without a header"}
    for test in ("some", "other cases"):  # the first in the place of a row that does not say its own
        write_runs(workbook, [again | {"test": test}])
    assert [sheet.cell(row, 13).value for row in range(1, 6)] == ["test", "some", None, None, "other cases"]


def test_what_a_record_does_not_say_is_left_open() -> None:
    variant = Variant("a", "somewhere/a", {}, None, True, TokenizationArguments("a", "word_limit"), "a-z", 20)
    told = {name: value for name, value in describe_training(variant).items() if value is not None}
    assert told == {"model": "a", "prompt": "word_limit", "cleaning": "a-z"}
    variant.record = {"settings": {"use_lora": True, "lora_r": 8}, "results": {"epochs": 2.0, "saved_epoch": 1.0}}
    told = describe_training(variant)
    assert [told[name] for name in ("LoRA rank", "epochs", "weights of epoch")] == [8, 2.0, 1.0]
