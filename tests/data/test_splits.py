"""Data sets: dividing them; folders that are left alone."""

from pathlib import Path

import pytest
from conftest import make_rows
from datasets import Dataset, DatasetDict

from metareview.common.cli import InputError
from metareview.data.rows import clean_splits
from metareview.data.splits import check_output_folders, complete_splits, load_source, read_record, save_splits


def cleaned(**splits: list[tuple[str, str]]) -> DatasetDict:
    """Cleaned papers of pairs of review and summary."""
    papers = DatasetDict()
    for name, pairs in splits.items():
        rows = [{"reviews": [review], "summary": summary, "paper": ""} for review, summary in pairs]
        papers[name] = Dataset.from_list(rows)
    return clean_splits(papers, "a-zA-Z0-9")


def test_one_split_is_divided_90_5_5_the_same_way_every_time() -> None:
    source = cleaned(train=[(str(index), f"s{index}") for index in range(200)])
    splits = complete_splits(source, 42)
    assert {name: len(split) for name, split in splits.items()} == {"train": 180, "validation": 10, "test": 10}
    assert splits["test"]["review"][:] == [
        "20",
        "24",
        "37",
        "50",
        "106",
        "138",
        "144",
        "178",
        "190",
        "197",
    ]  # in every process
    again = complete_splits(source, 42)
    assert all(splits[name]["review"][:] == again[name]["review"][:] for name in splits)
    values = [value for split in splits.values() for value in split["review"]]
    assert sorted(values) == sorted(source["train"]["review"])  # every row once
    assert complete_splits(source, 1)["test"]["review"][:] != splits["test"]["review"][:]


def test_rows_with_one_meta_review_stay_together() -> None:
    """A review in each row, three to a paper: the papers are divided."""
    splits = complete_splits(cleaned(train=[(str(i), f"Summary {i // 3}" + "." * (i % 3)) for i in range(120)]), 42)
    papers = [set(split["summary"]) for split in splits.values()]
    assert [len(names) for names in papers] == [36, 2, 2] and not papers[0] & papers[1] | papers[0] & papers[2]
    assert [len(split) for split in splits.values()] == [108, 6, 6]


def test_only_what_is_missing_is_made() -> None:
    test, train = [("t", "s")], [(str(index), f"s{index}") for index in range(40)]
    splits = complete_splits(cleaned(train=train, test=test), 42)
    assert splits["test"]["review"][:] == ["t"] and len(splits["validation"]) == 2 and len(splits["train"]) == 38
    whole = complete_splits(cleaned(train=train, test=test, validation=test), 42)
    assert list(whole) == ["train", "validation", "test"] and len(whole["train"]) == 40


def test_rows_that_are_empty_stay_in_train() -> None:
    splits = complete_splits(cleaned(train=[(str(index), "" if index % 3 else f"s{index}") for index in range(90)]), 42)
    assert [len(split) for split in splits.values()] == [86, 2, 2]
    assert all(splits["validation"]["summary"]) and all(splits["test"]["summary"])


@pytest.mark.parametrize("train", [[("a", "s")], [(str(index), "the same") for index in range(50)]])
def test_too_few_papers_are_an_error(train: list[tuple[str, str]]) -> None:
    with pytest.raises(InputError, match="too few rows"):
        complete_splits(cleaned(train=train), 42)


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
    with pytest.raises(InputError, match=r"holds something else .notes\.txt.; nothing was written"):
        check_output_folders(folder)


@pytest.mark.parametrize("folders", [("data", "data"), ("data", "data/tokens"), ("data/texts", "data")])
def test_one_output_folder_never_lies_in_the_other(folders: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="must not lie in one another"):
        check_output_folders(*folders)


@pytest.mark.parametrize("name", ["notes.txt", "train/notes.txt", "train/more/data.arrow", ".hidden"])
def test_a_file_of_a_persons_in_a_folder_of_ours_is_noticed(name: str, tmp_path: Path) -> None:
    splits = DatasetDict({split: Dataset.from_list(make_rows(1)) for split in ("train", "validation", "test")})
    save_splits(splits, {}, str(tmp_path / "data"))
    check_output_folders(str(tmp_path / "data"))
    (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "data" / name).write_text("precious")
    with pytest.raises(InputError, match=f"holds something else .{name}.; nothing was written"):
        check_output_folders(str(tmp_path / "data"))
