"""The sheet `runs`: a row for each model and test; a run that repeats another takes the place of its row."""

from openpyxl import Workbook

from metareview.data.tokenization import TokenizationArguments
from metareview.generation.variants import Variant
from metareview.workbook.runs import describe_training, write_runs


def test_a_row_for_each_model_and_test() -> None:
    """A figure that a later run lacks is emptied: else the row would show the score of another encoder."""
    workbook = Workbook()
    first = {"model": "=a", "weights": "1", "prompt": "plain", "data": "d", "split": "test", "cases": 3}
    lead = {"model": "lead", "data": "d", "split": "test", "cases": 3}
    write_runs(workbook, [first | {"ROUGE-L": 0.25, "date": "1", "BERTScore": 0.5}, lead | {"date": "1"}])
    sheet = workbook["runs"]
    assert sheet["A2"].data_type == "s" and sheet["A2"].value == "=a" and sheet["G2"].number_format == "0.000"
    sheet.cell(1, 10).value, sheet.cell(2, 10).value = "my remark", "good"
    again = first | {"ROUGE-L": 0.5, "date": "2", "words": 7, "BERTScore": None}
    write_runs(workbook, [again, first | {"weights": "2"}, first | {"prompt": "other"}, lead | {"date": "2"}])
    header, *values = sheet.iter_rows(values_only=True)
    rows = [dict(zip(header, row, strict=True)) for row in values]
    assert [row["model"] for row in rows] == ["=a", "lead", "=a", "=a"]
    assert rows[0] == again | {"my remark": "good"} and rows[1]["date"] == "2"
    sheet["R2"] = "a note without a header"
    write_runs(workbook, [again | {"test": "other cases"}])
    assert [sheet.cell(row, 19).value for row in (1, 2, 6)] == ["test", None, "other cases"]
    assert sheet["R2"].value == "a note without a header"


def test_what_a_record_does_not_say_is_left_open() -> None:
    variant = Variant("a", "somewhere/a", {}, None, True, TokenizationArguments("a", "word_limit"), "a-z", 20)
    told = {name: value for name, value in describe_training(variant).items() if value is not None}
    assert told == {"model": "a", "prompt": "word_limit", "cleaning": "a-z"}
    variant.record = {"settings": {"learning_rate": 1e-4, "use_lora": True, "lora_r": 8}}
    variant.record["results"] = {"epochs": 2.0, "saved_epoch": 1.0, "saved_step": 5}  # the best weights, not the last
    told = describe_training(variant)
    assert [told[name] for name in ("learning rate", "LoRA rank", "epochs")] == [1e-4, 8, 2.0]
    assert [told[name] for name in ("weights of epoch", "weights of step")] == [1.0, 5]
