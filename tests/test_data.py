"""Data sets: reading them, dividing them, finding columns; folders that are left alone."""

import json
from pathlib import Path

import pytest
from conftest import make_rows, write_csv
from datasets import Dataset, DatasetDict

from metareview.cli import InputError
from metareview.data import check_output_folders, choose_column, complete_splits, load_source, read_record, save_splits


def rows(*pairs: tuple[str, str]) -> Dataset:
    return Dataset.from_dict({"Input": [pair[0] for pair in pairs], "Output": [pair[1] for pair in pairs]})


def test_one_split_is_divided_90_5_5_the_same_way_every_time() -> None:
    source = Dataset.from_dict({"Input": [str(i) for i in range(200)], "Output": ["s"] * 200})
    splits = complete_splits(DatasetDict(everything=source), 42)
    assert {name: len(split) for name, split in splits.items()} == {"train": 180, "validation": 10, "test": 10}
    again = complete_splits(DatasetDict(train=source), 42)
    assert all(splits[name]["Input"][:] == again[name]["Input"][:] for name in splits)
    values = [value for split in splits.values() for value in split["Input"]]
    assert sorted(values) == sorted(source["Input"])  # every row once
    assert complete_splits(DatasetDict(train=source), 1)["test"]["Input"][:] != splits["test"]["Input"][:]


def test_only_what_is_missing_is_made() -> None:
    test, train = rows(("t", "s")), Dataset.from_dict({"Input": [str(i) for i in range(40)], "Output": ["s"] * 40})
    splits = complete_splits(DatasetDict(train=train, test=test), 42)
    assert splits["test"]["Input"][:] == ["t"] and len(splits["validation"]) == 2 and len(splits["train"]) == 38
    named = complete_splits(DatasetDict(train=train, dev=test, test=test), 42)
    assert named["validation"]["Input"][:] == ["t"] and len(named["train"]) == 40


def test_too_few_rows_or_no_train_split_are_errors() -> None:
    with pytest.raises(InputError, match="too few rows"):
        complete_splits(DatasetDict(train=rows(("a", "s"))), 42)
    with pytest.raises(InputError, match="no split 'train'"):
        complete_splits(DatasetDict(test=rows(("a", "s")), validation=rows(("a", "s"))), 42)


def test_every_file_format_reads_alike(tmp_path: Path) -> None:
    made = make_rows(5)
    data = Dataset.from_list(made)
    write_csv(tmp_path / "a.csv", made)
    data.to_json(tmp_path / "b.jsonl")
    (tmp_path / "c.json").write_text(json.dumps(made))
    data.to_parquet(tmp_path / "d.parquet")
    for name in ("a.csv", "b.jsonl", "c.json", "d.parquet"):
        assert load_source(str(tmp_path / name))["train"].to_list() == made, name


def test_columns_are_found_by_name_or_flag() -> None:
    assert choose_column(["review", "Input"], "review_column", None, ("Input", "review")) == "Input"
    assert choose_column(["review"], "review_column", None, ("Input", "review")) == "review"
    assert choose_column(["a", "b"], "review_column", "b", ("Input", "review")) == "b"
    with pytest.raises(InputError, match=r"only a, b.*--review_column"):
        choose_column(["a", "b"], "review_column", None, ("Input", "review"))


def test_splits_come_back_with_the_record_of_how_they_were_made(tmp_path: Path) -> None:
    folder = str(tmp_path / "data")
    for number in (1, 2):  # the second takes the place of the first
        splits = DatasetDict({name: Dataset.from_list(make_rows(number)) for name in ("train", "validation", "test")})
        check_output_folders(folder)
        save_splits(splits, {"number": number}, folder)
        assert read_record(folder) == {"number": number} and load_source(folder)["test"].num_rows == number
        assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert read_record(str(tmp_path)) == read_record("nowhere") == {}
    (tmp_path / "data" / "notes.txt").write_text("precious")
    with pytest.raises(InputError, match="holds something else; nothing was written"):
        check_output_folders(folder)


@pytest.mark.parametrize("folders", [("data", "data"), ("data", "data/tokens"), ("data/texts", "data")])
def test_one_output_folder_never_lies_in_the_other(folders: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="must not lie in one another"):
        check_output_folders(*folders)
