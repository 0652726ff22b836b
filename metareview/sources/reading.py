"""Where reviews come from: files, folders, the Hub, venues of OpenReview; read into splits."""

import hashlib
import re
from pathlib import Path

import datasets

from metareview.common.cli import InputError
from metareview.data.splits import RECORD, SPLIT_ALIASES, SPLITS, load_source
from metareview.sources.columns import Rows
from metareview.sources.openreview import fetch_venue
from metareview.sources.table_files import FORMATS, Row, read_table


def read_source(name: str, encoding: str = "utf-8") -> tuple[dict[str, Rows], list[str]]:
    """The splits of a file, a folder or a data set on the Hub, under the names in SPLITS; what was not read."""
    datasets.disable_caching()  # else every map leaves a file beside the data that were read
    path = Path(name)
    is_saved = any((path / marker).is_file() for marker in ("dataset_dict.json", "state.json"))  # by `datasets`
    source: dict[str, Rows] = {}
    unread: list[str] = []
    if is_saved or not path.exists():
        source = dict(load_source(name))
    else:
        files, others = ({"train": [path]}, []) if path.is_file() else _find_files(path)
        for split, paths in files.items():
            source[split], parts = _read_files(paths, encoding)
            unread += parts
        unread += others
    splits, extra = name_splits(source)
    return splits, unread + extra


def _find_files(folder: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """The data files in a folder by the split that their names or folders say; all other files.

    If no name says train, files of the same format that no name gives to a split are the training data.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    paths = [path for path in paths if not any(part[0] in ".~" for part in path.relative_to(folder).parts)]
    tables = [path for path in paths if path.suffix.lower() in FORMATS and path.name != RECORD]
    if not tables:
        raise InputError(f"the folder {str(folder)!r} holds no data: no file that ends in {', '.join(FORMATS)}")
    by_split: dict[str, list[Path]] = {}
    for path in tables:
        words = re.findall(r"[a-z]+", str(path.relative_to(folder).with_suffix("")).lower())
        split = next((word for word in words if word in (*SPLITS, *SPLIT_ALIASES)), "")
        by_split.setdefault(split, []).append(path)
    unnamed = by_split.pop("", [])
    formats = {path.suffix.lower() for paths in by_split.values() for path in paths}
    train = [path for path in unnamed if path.suffix.lower() in formats or not formats]
    if train and not {"train", "training"} & by_split.keys():
        by_split["train"] = train
    read = {path for files in by_split.values() for path in files}
    return by_split, [str(path.relative_to(folder)) for path in paths if path not in read]


def _read_files(paths: list[Path], encoding: str) -> tuple[list[Row], list[str]]:
    """The rows of the files of a split, with the columns that all have; what was not read. `InputError` for no rows."""
    tables, unread = [], []
    for path in paths:
        rows, others = read_table(path, encoding)
        if not rows:
            raise InputError(f"{str(path)!r} has no rows")
        tables.append(rows)
        unread += [f"{other} of {path.name}" for other in others]
    shared = set.intersection(*(set(rows[0]) for rows in tables))
    return [{name: row[name] for name in row if name in shared} for rows in tables for row in rows], unread


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
    if test_year and year == test_year:
        return "test"
    share = int(hashlib.sha256(forum.encode()).hexdigest(), 16) % 20
    shares = {1: "validation"} if test_year else {0: "test", 1: "validation"}
    return shares.get(share, "train")


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
