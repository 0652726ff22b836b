"""Data sets: dividing them; folders that are left alone."""

from pathlib import Path

import pytest
from conftest import make_rows
from datasets import Dataset, DatasetDict

from metareview.common.cli import InputError
from metareview.data.rows import clean_splits
from metareview.data.splits import SPLITS, check_output_folders, complete_splits, save_splits


def complete(seed: int = 42, **summaries: list[str]) -> DatasetDict:
    """The splits of papers with these meta-reviews, whose reviews are their numbers."""
    papers = DatasetDict()
    for name, texts in summaries.items():
        rows = [{"reviews": [str(i)], "summary": text, "paper": ""} for i, text in enumerate(texts)]
        papers[name] = Dataset.from_list(rows)
    return complete_splits(clean_splits(papers, "a-zA-Z0-9"), seed)


def test_one_split_is_divided_90_5_5_the_same_way_in_every_process() -> None:
    summaries = [f"s{index}" for index in range(200)]
    splits = {name: split["summary"][:] for name, split in complete(train=summaries).items()}
    assert splits["test"] == [f"s{number}" for number in (20, 24, 37, 50, 106, 138, 144, 178, 190, 197)]
    assert [len(split) for split in splits.values()] == [180, 10, 10]
    assert sorted(text for split in splits.values() for text in split) == sorted(summaries)  # every row once
    assert complete(1, train=summaries)["test"]["summary"][:] != splits["test"]


def test_rows_with_one_meta_review_stay_together() -> None:
    """A review in each row, three to a paper: the papers are divided."""
    splits = complete(train=[f"Summary {i // 3}" + "." * (i % 3) for i in range(120)])
    papers = [set(split["summary"]) for split in splits.values()]
    assert [len(names) for names in papers] == [36, 2, 2] and not papers[0] & papers[1] | papers[0] & papers[2]


def test_only_what_is_missing_is_made_and_rows_that_are_empty_stay_in_train() -> None:
    splits = complete(train=["" if index % 3 else f"s{index}" for index in range(90)])
    assert [len(split) for split in splits.values()] == [86, 2, 2]
    assert all(splits["validation"]["summary"]) and all(splits["test"]["summary"])
    train = [f"s{index}" for index in range(40)]
    assert [len(split) for split in complete(train=train, test=["t"]).values()] == [38, 2, 1]
    complete_ones = complete(train=train, test=["t"], validation=["v"])
    assert list(complete_ones) == list(SPLITS) and len(complete_ones["train"]) == 40


def test_too_few_papers_are_an_error() -> None:
    with pytest.raises(InputError, match="too few rows"):
        complete(train=["the same"] * 50)


def test_one_output_folder_is_never_in_the_other() -> None:
    for folder in ("data", "data/texts"):
        with pytest.raises(InputError, match="must not lie in one another"):
            check_output_folders(folder, "data")


@pytest.mark.parametrize("name", ["notes.txt", "train/more/data.arrow", ".hidden"])
def test_a_file_of_the_users_in_a_folder_of_ours_is_noticed(name: str, tmp_path: Path) -> None:
    save_splits(DatasetDict.fromkeys(SPLITS, Dataset.from_list(make_rows(1))), {}, str(tmp_path / "data"))
    (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "data" / name).write_text("precious")
    with pytest.raises(InputError, match=f"holds something else .{name}.; nothing was written"):
        check_output_folders(str(tmp_path / "data"))
