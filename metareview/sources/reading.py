"""Where reviews come from: files, folders, the Hub, venues of OpenReview; read into splits."""

import hashlib
import re
from pathlib import Path

import datasets

from metareview.common.cli import InputError
from metareview.common.hub import explain_hub
from metareview.data.splits import SPLIT_ALIASES, SPLITS, load_source
from metareview.sources.columns import Rows, list_columns
from metareview.sources.openreview import fetch_venue
from metareview.sources.table_files import FORMATS, read_table


def read_source(name: str, encoding: str = "utf-8") -> tuple[dict[str, Rows], list[str]]:
    """The splits of a file, a folder or a data set on the Hub, under the names in SPLITS; what was not read."""
    datasets.disable_caching()  # else every map leaves a file beside the data that were read
    path = Path(name)
    saved = any((path / marker).is_file() for marker in ("dataset_dict.json", "state.json"))  # by `datasets`
    if path.is_file() or (path.is_dir() and not saved):
        files, others = ({"train": [path]}, []) if path.is_file() else _find_files(path)
        parts = {split: _read_files(paths, encoding) for split, paths in files.items()}
        source = {split: rows for split, (rows, _) in parts.items()}
        unread = [part for _, unread in parts.values() for part in unread] + others
    elif path.suffix.lower() in FORMATS:
        raise InputError(f"there is no file {name!r}")
    else:
        source, unread = dict(load_source(name)), []
    splits, extra = name_splits(source)
    return splits, unread + extra


def _find_files(folder: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """The data files in a folder by the split that their names or folders say; all other files.

    Where no name says train, files of the same format that no name gives to a split are the training data.

    Raises `InputError` if there is no data file.
    """
    by_split: dict[str, list[Path]] = {}
    others = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parts = path.relative_to(folder).with_suffix("").parts
        if any(part[0] in ".~" for part in parts):
            continue
        if path.suffix.lower() in FORMATS and path.name != "processing_record.json":
            words = re.findall(r"[a-z]+", " ".join(parts).lower())
            split = next((word for word in words if word in (*SPLITS, *SPLIT_ALIASES)), "")
            by_split.setdefault(split, []).append(path)
        else:
            others.append(path)
    if not by_split:
        raise InputError(f"the folder {str(folder)!r} holds no data: no file that ends in {', '.join(FORMATS)}")
    unnamed = by_split.pop("", [])
    if not any(SPLIT_ALIASES.get(split, split) == "train" for split in by_split):
        formats = {path.suffix.lower() for paths in by_split.values() for path in paths}
        if train := [path for path in unnamed if path.suffix.lower() in formats or not formats]:
            by_split["train"], unnamed = train, [path for path in unnamed if path not in train]
    others += unnamed
    return by_split, [str(other.relative_to(folder)) for other in sorted(others)]


def _read_files(paths: list[Path], encoding: str) -> tuple[Rows, list[str]]:
    """The rows of the files of a split, with the columns that all have; what was not read. `InputError` for no rows."""
    parts, unread = [], []
    for path in paths:
        if path.suffix.lower() == ".parquet":
            with explain_hub(f"cannot read {str(path)!r}"):
                rows: Rows = datasets.load_dataset("parquet", data_files=str(path), split="train")
        else:
            rows, others = read_table(path, encoding)
            unread += [f"{other} of {path.name}" for other in others]
        if not len(rows):
            raise InputError(f"{str(path)!r} has no rows")
        parts.append(rows)
    if all(isinstance(part, datasets.Dataset) for part in parts):
        with explain_hub("the files of a split differ in their columns"):
            return datasets.concatenate_datasets(parts), unread
    shared = set.intersection(*(set(list_columns(part)) for part in parts))
    return [{name: value for name, value in row.items() if name in shared} for part in parts for row in part], unread


def name_splits(source: dict[str, Rows]) -> tuple[dict[str, Rows], list[str]]:
    """The splits under the names in SPLITS, a single one as `train`; those with another name. `train` must be one."""
    names: dict[str, str] = {}
    unread = []
    for name, rows in source.items():
        split = SPLIT_ALIASES.get(name.lower(), name.lower()) if len(source) > 1 else "train"
        if split not in SPLITS:
            unread.append(f"split {name!r} ({len(rows):,} rows)")
        elif split in names:
            raise InputError(f"{names[split]!r} and {name!r} are both the split {split!r}; rename or remove one")
        else:
            names[split] = name
    if "train" not in names:
        raise InputError(f"the source has no split 'train', only: {', '.join(source)}")
    return {split: source[names[split]] for split in SPLITS if split in names}, unread


def choose_split(forum: str, year: int | None, test_year: int | None) -> str:
    """The split of a paper, by its id alone: it never moves from one to another. A test year takes all its papers."""
    share = int(hashlib.sha256(forum.encode()).hexdigest(), 16) % 20
    if test_year:
        return "test" if year == test_year else "validation" if share == 1 else "train"
    return {0: "test", 1: "validation"}.get(share, "train")


def load_venues(venues: list[str], folder: Path, test_year: int | None) -> dict[str, Rows]:
    """Papers of venues of OpenReview, divided by paper; fetched into files in `folder` unless they are there."""
    splits: dict[str, list] = {split: [] for split in SPLITS}
    years = set()
    for venue in venues:
        rows, _ = read_table(fetch_venue(venue, folder))
        years |= {row["year"] for row in rows if row["year"]}
        for row in rows:
            splits[choose_split(row["forum"], row["year"], test_year)].append({"decision": ""} | row)
    if test_year and not splits["test"]:
        raise InputError(f"no paper is of --test_year {test_year}, only of {', '.join(map(str, sorted(years)))}")
    return {split: rows for split, rows in splits.items() if rows}
