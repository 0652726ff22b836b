"""Data sets: divided into splits, and in folders with a record of what they were made with."""

import re
from contextlib import suppress
from itertools import permutations
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
from datasets import Dataset, DatasetDict
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError

from metareview.common.cli import InputError
from metareview.common.files import read_json, replacing, write_json
from metareview.common.hub import reading

SPLITS = ("train", "validation", "test")
SPLIT_ALIASES = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation"}
RECORD = "processing_record.json"  # in a folder of data: what it was made with
_OURS = re.compile(  # what a folder of data consists of
    rf"{RECORD}|dataset_dict\.json|({'|'.join(SPLITS)})/(data-\d+-of-\d+\.arrow|state\.json|dataset_info\.json)"
)


def complete_splits(cleaned: DatasetDict, seed: int) -> DatasetDict:
    """Splits train, validation, test of cleaned papers; a missing one is a twentieth of the meta-reviews of train.

    The same rows are taken every time, and rows with one meta-review stay together. Empty ones stay in train.
    """
    train = cleaned["train"]
    keys = train.select_columns(["summary_key", "empty"]).to_pandas()
    group, names = keys["summary_key"].factorize()  # numbered as they appear: the keys differ from run to run
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.isin(order, group[~keys["empty"]])]
    held_out = max(1, round(len(order) / 20))
    splits = dict(cleaned)
    taken = 0
    for name in SPLITS:
        if name not in splits and len(order) > taken + held_out:
            splits[name] = train.select(np.flatnonzero(np.isin(group, order[taken : taken + held_out])))
            taken += held_out
        if name not in splits or len(splits[name]) == 0:
            raise InputError(f"the split {name!r} is empty, or the source has too few rows to make one")
    splits["train"] = train.select(np.flatnonzero(~np.isin(group, order[:taken])))
    return DatasetDict({name: splits[name] for name in SPLITS})


def read_record(source: str, name: str = RECORD) -> dict[str, Any]:
    """What a folder, or a data set on the Hub, was made with by these scripts; empty where it holds no record."""
    path = Path(source, name)
    if source.count("/") == 1 and not path.parent.parent.exists():  # a Hub id, no folder that is yet to be written
        with reading("data set", source), suppress(EntryNotFoundError, RepositoryNotFoundError, HFValidationError):
            path = Path(huggingface_hub.hf_hub_download(source, name, repo_type="dataset"))
    return read_json(path) if path.is_file() else {}


def check_output_folders(*folders: str) -> None:
    """Raise `InputError` if a folder holds something that processing did not write, or one lies in another."""
    paths = [Path(folder).resolve() for folder in folders]
    if any(path.is_relative_to(other) for path, other in permutations(paths, 2)):
        raise InputError(f"{' and '.join(folders)} must not lie in one another; nothing was written")
    for folder, path in zip(folders, paths, strict=True):
        files = {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()}
        others = sorted(file for file in files if not _OURS.fullmatch(file))
        if path.is_file() or others or (files and RECORD not in files):
            found = f"{folder!r} exists and holds something else" + (f" ({others[0]})" if others else "")
            raise InputError(f"{found}; nothing was written. Choose another folder")


def save_splits(splits: DatasetDict, record: dict[str, Any], folder: str) -> None:
    """Write splits and record beside `folder` and put them in its place when they are complete."""
    datasets.disable_progress_bars()  # saving takes no time, and is the last that a script does with `datasets`
    with replacing(folder) as new:
        splits.save_to_disk(new)
        write_json(new / RECORD, record)


def load_source(name: str) -> DatasetDict:
    """Load a data set from a folder that `save_to_disk` has written, or from the Hub."""
    datasets.disable_caching()  # else every map leaves a file beside the data that were read
    with reading("data set", name):
        if Path(name, "dataset_dict.json").is_file():
            return DatasetDict.load_from_disk(name)
        if Path(name, "state.json").is_file():
            return DatasetDict(train=Dataset.load_from_disk(name))
        return datasets.load_dataset(name)
