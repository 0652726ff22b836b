"""Reading, dividing and dropping rows; what the script writes and prints."""

import json
from pathlib import Path

import pytest
from conftest import make_rows, run_script, write_csv
from datasets import Dataset, DatasetDict, load_from_disk

from processing_meta_review import (
    InputError,
    choose_column,
    clean_splits,
    complete_splits,
    load_source,
)


def rows(*pairs: tuple[str | None, str | None]) -> Dataset:
    return Dataset.from_dict({"Input": [pair[0] for pair in pairs], "Output": [pair[1] for pair in pairs]})


def test_rows_are_dropped_for_the_stated_reasons() -> None:
    splits = DatasetDict(
        train=rows(
            ("a.", "s"), ("a", "s!"), ("a", "t"), (None, "s"), ("b", None), ("...", "s"), ("v", "s"), ("t", "s")
        ),
        validation=rows(("v", "x"), ("t", "x"), ("w", "x")),
        test=rows(("t", "y"), ("t", "y"), ("u", "y")),
    )
    cleaned, (header, *table) = clean_splits(splits, "Input", "Output", "a-zA-Z0-9", "<REVBREAK>")
    assert cleaned["train"]["review"][:] == ["a", "a"]  # "a." is "a" after cleaning; another summary is no duplicate
    assert cleaned["train"]["summary"][:] == ["s", "t"]
    assert cleaned["validation"]["review"][:] == ["v", "w"]  # "t" stands in test
    assert cleaned["test"]["review"][:] == ["t", "u"]
    assert header == ["split", "rows read", "kept", "empty", "duplicate", "in a later split", "characters removed"]
    assert table[0] == ["train", 8, 2, 3, 1, 2, "27.8%"]  # of 18 characters 5 go: one ".", one "!", three "..."
    assert table[1][:6] == ["validation", 3, 2, 0, 0, 1]
    assert table[2][:6] == ["test", 3, 2, 0, 1, 0]


def test_nothing_left_of_a_split_is_an_error() -> None:
    splits = DatasetDict(train=rows(("a", "s")), validation=rows(("!", "s")), test=rows(("b", "s")))
    with pytest.raises(InputError, match="'validation'"):
        clean_splits(splits, "Input", "Output", "a-zA-Z0-9", "<REVBREAK>")


def test_one_split_is_divided_90_5_5_the_same_way_every_time() -> None:
    source = Dataset.from_dict({"Input": [str(i) for i in range(200)], "Output": ["s"] * 200})
    splits = complete_splits(DatasetDict(everything=source))
    assert {name: len(split) for name, split in splits.items()} == {"train": 180, "validation": 10, "test": 10}
    again = complete_splits(DatasetDict(train=source))
    assert all(splits[name]["Input"][:] == again[name]["Input"][:] for name in splits)
    values = [value for split in splits.values() for value in split["Input"]]
    assert sorted(values) == sorted(source["Input"])  # every row once
    assert complete_splits(DatasetDict(train=source), seed=1)["test"]["Input"][:] != splits["test"]["Input"][:]


def test_only_what_is_missing_is_made() -> None:
    test, train = rows(("t", "s")), Dataset.from_dict({"Input": [str(i) for i in range(40)], "Output": ["s"] * 40})
    splits = complete_splits(DatasetDict(train=train, test=test))
    assert splits["test"]["Input"][:] == ["t"] and len(splits["validation"]) == 2 and len(splits["train"]) == 38
    named = complete_splits(DatasetDict(train=train, dev=test, test=test))
    assert named["validation"]["Input"][:] == ["t"] and len(named["train"]) == 40


def test_too_few_rows_or_no_train_split_are_errors() -> None:
    with pytest.raises(InputError, match="too few rows"):
        complete_splits(DatasetDict(train=rows(("a", "s"))))
    with pytest.raises(InputError, match="no split 'train'"):
        complete_splits(DatasetDict(test=rows(("a", "s")), validation=rows(("a", "s"))))


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


def test_what_the_script_leaves(processed: Path) -> None:
    texts = load_from_disk(str(processed / "processed_meta_review"))
    tokens = load_from_disk(str(processed / "tokenized_meta_review"))
    assert {name: len(split) for name, split in texts.items()} == {"train": 24, "validation": 8, "test": 8}
    assert texts["train"].column_names == ["review", "summary"]
    assert tokens["train"].column_names == ["input_ids", "labels", "length"]
    assert texts["train"][0]["review"].count("\n\n") == 2  # three reviews
    record = json.loads((processed / "tokenized_meta_review" / "processing_record.json").read_text())
    assert record["max_length"] == 256 and record["max_summary_tokens"] == 100
    assert record["prompt_template"].startswith("### Review:")
    assert "Next: python fine_tune.py" in (processed / "stdout.txt").read_text()
    assert not list(processed.glob("*.new"))


def test_running_again_replaces_the_old_data_with_the_same(
    processed: Path, source: Path, base: Path, tmp_path: Path
) -> None:
    flags = ["--dataset_name", source, "--model_name_or_path", base, "--max_summary_tokens", 100]
    for _ in range(2):
        result = run_script("processing_meta_review.py", *flags, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    for folder in ("processed_meta_review", "tokenized_meta_review"):
        first, again = (load_from_disk(str(where / folder)) for where in (processed, tmp_path))
        assert all(first[name].to_list() == again[name].to_list() for name in first)
