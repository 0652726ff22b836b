"""The sheet `runs`: a row for each model and test; a run that repeats another takes the place of its row."""

from openpyxl import Workbook
from openpyxl.utils import get_column_letter

from metareview.data.tokenization import TokenizationArguments
from metareview.generation.variants import Variant
from metareview.workbook.runs import describe_training, update_judgements, write_runs


def rows(workbook: Workbook) -> list[dict]:
    header, *values = workbook["runs"].iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in values]


def test_a_row_for_each_model_and_test() -> None:
    workbook = Workbook()
    first = {"model": "=a", "weights": "1", "prompt": "plain", "data": "d", "split": None, "cases": 3}
    lead = {"model": "lead", "data": "d", "split": None, "cases": 3}
    write_runs(workbook, [first | {"ROUGE-L": 0.25, "date": "1"}, lead | {"date": "1"}])
    sheet = workbook["runs"]
    assert sheet["A2"].data_type == "s" and sheet["A2"].value == "=a"
    sheet.cell(1, 9).value, sheet.cell(2, 9).value = "my remark", "good"
    again = first | {"ROUGE-L": 0.5, "date": "2", "words": 7}
    write_runs(workbook, [again, first | {"weights": "2"}, first | {"prompt": "other"}, lead | {"date": "2"}])
    found = rows(workbook)
    assert [row["model"] for row in found] == ["=a", "lead", "=a", "=a"]
    assert found[0] == again | {"my remark": "good"} and found[1]["date"] == "2"


def test_numbers_are_rounded_and_columns_narrow() -> None:
    workbook = Workbook()
    write_runs(workbook, [{"model": "a", "learning rate": 1e-5, "ended": 0.5, "validation loss": 1.23456}])
    sheet = workbook["runs"]
    assert [sheet.cell(2, column).number_format for column in (2, 3, 4)] == ["0.0E+00", "0%", "0.000"]
    assert all(sheet.column_dimensions[get_column_letter(column)].width <= 30 for column in range(1, 5))
    assert sheet["A1"].font.name == "Calibri" and sheet["A1"].font.size == 11


def test_judgements_of_the_last_run_are_brought_up_to_date() -> None:
    workbook = Workbook()
    row = {"model": "a", "cases": 3, "rated": None, "mean rating": None}
    write_runs(workbook, [row | {"date": "2026-01-01 10:00"}])
    write_runs(workbook, [row | {"cases": 4, "date": "2026-01-02 09:00"}])
    update_judgements(workbook, {"a": {"rated": 2, "mean rating": 3.5, "preferred": 1}})
    assert [(row["rated"], row["mean rating"]) for row in rows(workbook)] == [(None, None), (2, 3.5)]


def test_what_a_record_does_not_say_is_left_open() -> None:
    settings = TokenizationArguments("somewhere/a", "word_limit")
    variant = Variant("a", "somewhere/a", {}, None, True, settings, "a-z", 20)
    told = {name: value for name, value in describe_training(variant).items() if value is not None}
    assert told == {"model": "a", "prompt": "word_limit", "cleaning": "a-z"}
    variant.record = {"settings": {"learning_rate": 1e-4, "use_lora": True, "lora_r": 8}, "results": {"epochs": 1.0},
                      "dataset_name": "me/data"}  # fmt: skip
    told = describe_training(variant)
    assert (told["learning rate"], told["LoRA rank"], told["epochs"], told["training data"]) == (
        1e-4,
        8,
        1.0,
        "me/data",
    )
