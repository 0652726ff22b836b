"""Data sets: sources, splits, and folders with a record of what they were made with."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import permutations
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
from datasets import DatasetDict
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError

from metareview.cleaning import DEFAULT_SEPARATOR
from metareview.cli import InputError
from metareview.files import read_json, replacing, write_json
from metareview.hub import explain_hub, reading
from metareview.openreview import fetch_venue

SPLITS = ("train", "validation", "test")
SPLIT_ALIASES = {"val": "validation", "valid": "validation", "dev": "validation"}
FILE_FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
RECORD = "processing_record.json"  # in a folder of data: what it was made with
VENUE_FEATURES = datasets.Features(  # of a file of fetch_venue, said outright: a year or a rating may be missing
    dict.fromkeys(("Input", "Output", "forum", "title", "venue"), datasets.Value("string"))
    | {"year": datasets.Value("int64")}
    | dict.fromkeys(("ratings", "confidences"), datasets.List(datasets.Value("float64")))
)

datasets.disable_caching()  # else every map leaves a file beside the data it read


def load_source(name: str) -> DatasetDict:
    """Load a data set from a file, a folder (of data files, or written by `save_to_disk`) or the Hub."""
    path = Path(name)
    if path.is_file() and path.suffix.lower() not in FILE_FORMATS:
        raise InputError(f"the file {name!r} must end in one of {', '.join(FILE_FORMATS)}")
    with reading("data set", name):
        if path.is_file():
            splits = datasets.load_dataset(FILE_FORMATS[path.suffix.lower()], data_files=str(path))
            check_encoding(splits)
            return splits
        if (path / "dataset_dict.json").is_file():
            return DatasetDict.load_from_disk(name)
        splits = datasets.load_dataset(name)
        check_encoding(splits)
        return splits


def check_encoding(splits: DatasetDict) -> None:
    """Raise `ValueError` for texts that are not UTF-8, which `datasets` reads from JSON Lines without a look."""
    for name, split in splits.items():
        try:
            split.data.validate(full=True)
        except ValueError as error:
            raise ValueError(f"a text of the split {name!r} is not UTF-8; convert the file to it") from error


def find_columns(splits: DatasetDict) -> list[str]:
    """The columns that all splits have."""
    return sorted(set.intersection(*map(set, splits.column_names.values())))


def choose_column(available: list[str], flag: str, given: str | None, defaults: tuple[str, ...]) -> str:
    """The column that the flag names, or the first default that is there. Raises `InputError` naming what is there."""
    names = (given,) if given else defaults
    if found := [name for name in names if name in available]:
        return found[0]
    raise InputError(f"no column {' or '.join(map(repr, names))}, only {', '.join(available)}; name it with --{flag}")


def complete_splits(source: DatasetDict, seed: int) -> DatasetDict:
    """Splits train, validation, test; one that the source lacks is a twentieth of train, the same rows every time."""
    splits = {SPLIT_ALIASES.get(name, name): split for name, split in source.items()}
    if len(splits) == 1:
        splits = {"train": next(iter(splits.values()))}
    if "train" not in splits:
        raise InputError(f"the source has no split 'train', only: {', '.join(source)}")
    held_out_rows = max(1, round(len(splits["train"]) / 20))
    for name in SPLITS:
        if name not in splits and len(splits["train"]) > held_out_rows:
            splits["train"], splits[name] = splits["train"].train_test_split(held_out_rows, seed=seed).values()
        if name not in splits or len(splits[name]) == 0:
            raise InputError(f"the split {name!r} is empty, or the source has too few rows to make one")
    return DatasetDict({name: splits[name] for name in SPLITS})


def choose_split(forum: str, year: int | None, test_year: int | None) -> str:
    """The split of a paper, by its id alone: it never moves from one to another. A test year takes all its papers."""
    share = int(hashlib.sha256(forum.encode()).hexdigest(), 16) % 20
    if test_year:
        return "test" if year == test_year else "validation" if share == 1 else "train"
    return {0: "test", 1: "validation"}.get(share, "train")


def load_venues(venues: list[str], folder: Path, test_year: int | None) -> DatasetDict:
    """Papers of venues of OpenReview, divided by paper; fetched into files in `folder` unless they are there."""
    files = [str(fetch_venue(venue, folder, DEFAULT_SEPARATOR)) for venue in venues]
    with explain_hub(f"cannot read {', '.join(files)}"):
        papers = datasets.load_dataset("json", data_files=files, split="train", features=VENUE_FEATURES)
    pairs = zip(papers["forum"], papers["year"], strict=True)
    chosen = np.array([choose_split(forum, year, test_year) for forum, year in pairs])
    if test_year and "test" not in chosen:
        years = sorted({year for year in papers["year"] if year})
        raise InputError(f"no paper is of --test_year {test_year}, only of {', '.join(map(str, years))}")
    return DatasetDict({name: papers.select(np.flatnonzero(chosen == name)) for name in SPLITS})


def read_record(source: str, name: str = RECORD) -> dict[str, Any]:
    """What a folder, or a data set on the Hub, was made with by these scripts; empty where it holds no record."""
    path = Path(source, name)
    a_hub_id = source.count("/") == 1 and not path.parent.parent.exists()  # else a folder that is yet to be written
    if a_hub_id:
        absent = (EntryNotFoundError, RepositoryNotFoundError, HFValidationError)
        with reading("data set", source), suppress(*absent):
            path = Path(huggingface_hub.hf_hub_download(source, name, repo_type="dataset"))
    return read_json(path) if path.is_file() else {}


def check_output_folders(*folders: str) -> None:
    """Raise `InputError` where a folder holds something that processing did not write, or one lies in another."""
    paths = [Path(folder).resolve() for folder in folders]
    if any(path == other or path in other.parents for path, other in permutations(paths, 2)):
        raise InputError(f"{' and '.join(folders)} must not lie in one another; nothing was written")
    for folder, path in zip(folders, paths, strict=True):
        names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
        if path.is_file() or (names and not {RECORD} <= names <= {RECORD, "dataset_dict.json", *SPLITS}):
            raise InputError(f"{folder!r} exists and holds something else; nothing was written. Choose another folder")


@contextmanager
def without_bars() -> Iterator[None]:
    """No progress bars of `datasets` for what is done at once."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def save_splits(splits: DatasetDict, record: dict[str, Any], folder: str) -> None:
    """Write splits and record beside `folder` and put them in its place when they are whole."""
    with replacing(folder) as new, without_bars():
        splits.save_to_disk(new)
        write_json(new / RECORD, record)
