"""Where reviews come from: files, folders, the Hub, venues of OpenReview; read into splits."""

import hashlib
import re
from pathlib import Path

import datasets
import numpy as np
from datasets import Dataset, DatasetDict

from metareview.common.cli import InputError
from metareview.common.hub import explain_hub
from metareview.data.splits import SPLIT_ALIASES, SPLITS, load_source
from metareview.sources.columns import Rows
from metareview.sources.openreview import fetch_venue
from metareview.sources.table_files import FORMATS, read_table

VENUE_FEATURES = datasets.Features(  # of a file of fetch_venue, said outright: a year or a rating may be missing
    dict.fromkeys(("Input", "Output", "forum", "title", "venue"), datasets.Value("string"))
    | {"year": datasets.Value("int64")}
    | dict.fromkeys(("ratings", "confidences"), datasets.List(datasets.Value("float64")))
)

datasets.disable_caching()  # else every map leaves a file beside the data it read


def read_source(name: str, encoding: str = "utf-8") -> tuple[dict[str, Rows], list[str]]:
    """The splits of a file, a folder or a data set on the Hub, under the names in SPLITS; what was not read.

    A source with one split gives `train`. Raises `InputError` where there is nothing to read.
    """
    path = Path(name)
    if path.is_file():
        source, unread = read_files({"train": [path]}, encoding)
    elif path.is_dir() and not any((path / marker).is_file() for marker in ("dataset_dict.json", "state.json")):
        files, others = find_files(path)
        if not files:
            raise InputError(f"the folder {name!r} holds no data: no file that ends in {', '.join(FORMATS)}")
        source, unread = read_files(files, encoding)
        unread += [str(other.relative_to(path)) for other in others]
    elif path.suffix.lower() in FORMATS and not path.exists():
        raise InputError(f"there is no file {name!r}")
    else:
        source, unread = dict(load_source(name)), []
    splits, extra = name_splits(source)
    return splits, unread + extra


def find_files(folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """The data files in a folder by the split that their names, or those of their folders, say; all other files.

    Where no name says a split, all files are train: they are divided afterwards.
    """
    inside = sorted(path for path in folder.rglob("*") if path.is_file())
    visible = [path for path in inside if not any(part[0] in ".~" for part in path.relative_to(folder).parts)]
    data = [path for path in visible if path.suffix.lower() in FORMATS and path.name != "processing_record.json"]
    names = {*SPLITS, *SPLIT_ALIASES}
    by_split: dict[str, list[Path]] = {}
    for path in data:
        words = re.findall(r"[a-z]+", str(path.relative_to(folder).with_suffix("")).lower())
        if split := next((word for word in words if word in names), None):
            by_split.setdefault(split, []).append(path)
    if not by_split and data:
        by_split = {"train": data}
    taken = {path for paths in by_split.values() for path in paths}
    return by_split, [path for path in visible if path not in taken]


def read_files(files: dict[str, list[Path]], encoding: str) -> tuple[dict[str, Rows], list[str]]:
    """The rows of the files of each split, and what in them was not read. Raises `InputError` for one without rows."""
    source: dict[str, Rows] = {}
    unread: list[str] = []
    for split, paths in files.items():
        parts: list[Rows] = []
        for path in paths:
            if path.suffix.lower() not in FORMATS:
                raise InputError(f"the file {str(path)!r} must end in one of {', '.join(FORMATS)}")
            if path.suffix.lower() == ".parquet":
                with explain_hub(f"cannot read {str(path)!r}"):
                    rows: Rows = datasets.load_dataset("parquet", data_files=str(path), split="train")
            else:
                rows, others = read_table(path, encoding)
                unread += [f"{other} of {path.name}" for other in others]
            if not len(rows):
                raise InputError(f"{str(path)!r} has no rows")
            parts.append(rows)
        source[split] = parts[0] if len(parts) == 1 else join_parts(parts)
    return source, unread


def join_parts(parts: list[Rows]) -> Rows:
    """The rows of several files in one; those columns that all of them have."""
    if all(isinstance(part, Dataset) for part in parts):
        with explain_hub("the files of a split differ in their columns"):
            return datasets.concatenate_datasets(parts)
    shared = set.intersection(*(set(part.column_names if isinstance(part, Dataset) else part[0]) for part in parts))
    return [{name: value for name, value in row.items() if name in shared} for part in parts for row in part]


def name_splits(source: dict[str, Rows]) -> tuple[dict[str, Rows], list[str]]:
    """The splits under the names in SPLITS, and those that have another name. A single split is `train`.

    Raises `InputError` where there is no train, or where two splits are meant for one.
    """
    if len(source) == 1:
        return {"train": next(iter(source.values()))}, []
    meant: dict[str, list[str]] = {}
    for name in source:
        meant.setdefault(SPLIT_ALIASES.get(name.lower(), name.lower()), []).append(name)
    for split, names in meant.items():
        if len(names) > 1 and split in SPLITS:
            raise InputError(f"{' and '.join(map(repr, names))} are both the split {split!r}; rename or remove one")
    if "train" not in meant:
        raise InputError(f"the source has no split 'train', only: {', '.join(source)}")
    extra = [name for name in source if SPLIT_ALIASES.get(name.lower(), name.lower()) not in SPLITS]
    unread = [f"split {name!r} ({len(source[name]):,} rows)" for name in extra]
    return {split: source[meant[split][0]] for split in SPLITS if split in meant}, unread


def choose_split(forum: str, year: int | None, test_year: int | None) -> str:
    """The split of a paper, by its id alone: it never moves from one to another. A test year takes all its papers."""
    share = int(hashlib.sha256(forum.encode()).hexdigest(), 16) % 20
    if test_year:
        return "test" if year == test_year else "validation" if share == 1 else "train"
    return {0: "test", 1: "validation"}.get(share, "train")


def load_venues(venues: list[str], folder: Path, test_year: int | None) -> DatasetDict:
    """Papers of venues of OpenReview, divided by paper; fetched into files in `folder` unless they are there."""
    files = [fetch_venue(venue, folder) for venue in venues]
    rows = [row for file in files for row in read_table(file)[0]]
    named = [{name: row.get(name) for name in VENUE_FEATURES} for row in rows]
    papers = Dataset.from_list(named, features=VENUE_FEATURES)
    pairs = zip(papers["forum"], papers["year"], strict=True)
    chosen = np.array([choose_split(forum, year, test_year) for forum, year in pairs])
    if test_year and "test" not in chosen:
        years = sorted({year for year in papers["year"] if year})
        raise InputError(f"no paper is of --test_year {test_year}, only of {', '.join(map(str, years))}")
    return DatasetDict({name: papers.select(np.flatnonzero(chosen == name)) for name in SPLITS})
