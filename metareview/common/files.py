"""Files and folders that are written beside their place and put there when they are whole, by one process at a time."""

import glob
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from metareview.common.cli import InputError

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"  # of cards


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there; of a link only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def lock(target: str | Path) -> FileLock:
    """Keep other processes from writing to a file or folder for as long as the lock is kept.

    Raises `InputError` if another one is writing there. The lock of a process that was killed does not count.
    """
    target = Path(target).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    file_lock = FileLock(target.with_name(f".{target.name}.lock"), timeout=0)
    try:
        file_lock.acquire()
    except Timeout as error:
        raise InputError(f"another process is writing to {str(target)!r}; wait until it has ended") from error
    return file_lock


def _remove_leftovers(target: Path) -> None:
    """Delete what a process that was killed in `replacing` has left beside `target`; an old one goes back to its place.

    The names have the number of the process: what a living one is writing stays.
    """
    for path in target.parent.glob(f".{glob.escape(target.name)}.*"):
        left = re.fullmatch(r"\.(\d+)\.(new|old)", path.name.removeprefix(f".{target.name}"))
        if left is None or (int(left[1]) != os.getpid() and psutil.pid_exists(int(left[1]))):
            continue
        if left[2] == "old" and not target.exists():
            path.rename(target)
        else:
            remove(path)


@contextmanager
def replacing(target: str | Path) -> Iterator[Path]:
    """A path beside `target` to write a file or a folder to; it takes the place of `target` when the block has ended.

    After an error `target` is as it was. A folder cannot be replaced in one step: the old one is moved aside first, and
    moved back by the next process if this one is killed.
    """
    target = Path(target).resolve()
    _remove_leftovers(target)
    new, old = (target.with_name(f".{target.name}.{os.getpid()}.{suffix}") for suffix in ("new", "old"))
    try:
        yield new
        if target.is_dir():
            target.rename(old)
        new.replace(target)
        remove(old)
    except BaseException:
        remove(new)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote. Raises `InputError` if the file is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no record")
        return content
    except ValueError as error:
        raise InputError(f"{str(path)!r} is damaged: {error}; delete that file, or make its folder anew") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people to read, in one step."""
    with replacing(path) as new:
        new.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
