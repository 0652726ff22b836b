"""Sources: files, folders and data sets with splits; what of them is not read is said."""

from pathlib import Path

import pytest
from conftest import make_rows, write_csv
from datasets import Dataset, DatasetDict

from metareview.common.cli import InputError
from metareview.sources.reading import choose_split, name_splits, read_source

TRAIN, OTHERS = make_rows(5), make_rows(9)[5:]


def fill(folder: Path, *names: str) -> None:
    """Files with rows: those whose names end in train have the rows of TRAIN, all others OTHERS."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = Dataset.from_list(TRAIN if "train" in name.lower() else OTHERS)
        write = {".parquet": rows.to_parquet, ".jsonl": rows.to_json}.get(path.suffix, rows.to_csv)
        write(path)


@pytest.mark.parametrize(
    ("names", "unread"),
    [
        (["train.CSV", "validation.csv", "test.csv", "more.csv", "README.md"], ["README.md", "more.csv"]),
        (["data/train-00000-of-00001.parquet", "data/val.parquet", "data/test.parquet"], []),
        (["train/a.csv", "dev/a.csv", "test/a.csv", ".cache/test/b.csv", "test/.~lock.a.csv#"], []),
    ],
)
def test_a_folder_is_read_by_the_names_in_it(names: list[str], unread: list[str], tmp_path: Path) -> None:
    fill(tmp_path, *names)
    splits, others = read_source(str(tmp_path))
    assert {name: [dict(row) for row in rows] for name, rows in splits.items()} == {
        "train": TRAIN, "validation": OTHERS, "test": OTHERS}  # fmt: skip
    assert others == unread


def test_several_files_make_one_split_and_what_datasets_has_saved_is_read(tmp_path: Path) -> None:
    fill(tmp_path, "a.csv", "b.parquet", "c.jsonl")
    assert read_source(str(tmp_path)) == ({"train": OTHERS * 3}, [])
    write_csv(tmp_path / "a.csv", [{"Output": "s", "Input": "r", "more": "m"}])
    assert read_source(str(tmp_path))[0]["train"][0] == {"Output": "s", "Input": "r"}
    fill(tmp_path, "test.csv")
    assert read_source(str(tmp_path))[1] == ["b.parquet", "c.jsonl"]  # of the format of the test split is a.csv alone
    DatasetDict(train=Dataset.from_list(TRAIN), test=Dataset.from_list(OTHERS)).save_to_disk(tmp_path / "saved")
    assert read_source(str(tmp_path / "saved"))[0]["test"].to_list() == OTHERS


def test_no_split_is_left_out_silently() -> None:
    source = {"Train": TRAIN, "DEV": OTHERS, "unlabeled": TRAIN}
    assert name_splits(source) == ({"train": TRAIN, "validation": OTHERS}, ["split 'unlabeled' (5 rows)"])
    assert name_splits({"everything": TRAIN}) == ({"train": TRAIN}, [])
    with pytest.raises(InputError, match="'validation' and 'val' are both the split 'validation'"):
        name_splits({"train": TRAIN, "validation": OTHERS, "val": OTHERS})
    with pytest.raises(InputError, match="no split 'train'"):
        name_splits({"test": TRAIN, "validation": OTHERS})


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").write_text("Input,Output\n")
    (tmp_path / "a.docx").write_text("x")
    reasons = {"empty": "holds no data", "a.csv": r"a\.csv' has no rows", "a.docx": r"must end in one of \.csv, \.tsv"}
    for name, words in reasons.items():
        with pytest.raises(InputError, match=words):
            read_source(str(tmp_path / name))


def test_splits_go_by_paper_and_by_year() -> None:
    forums = [f"forum{number}" for number in range(2_000)]
    splits = [choose_split(forum, 2023, None) for forum in forums]
    assert splits == [choose_split(forum, 2021, None) for forum in forums]  # the id alone decides
    assert 70 < splits.count("test") < 130 and 70 < splits.count("validation") < 130
    by_year = [choose_split(forum, 2023 + number % 2, 2024) for number, forum in enumerate(forums)]
    assert set(by_year[1::2]) == {"test"} and set(by_year[::2]) == {"train", "validation"}
