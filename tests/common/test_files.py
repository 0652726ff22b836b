"""Files that are replaced when the new ones are whole, and left alone when they are not."""

import json
import os
from pathlib import Path

import pytest

from metareview.common.files import remove, replacing, write_json


def write(target: Path, text: str) -> None:
    """A file, or a folder with one, by the name."""
    if "file" in target.name:
        target.write_text(text)
    else:
        target.mkdir()
        (target / "inner.txt").write_text(text)


def read(target: Path) -> str:
    assert target.is_file() or [path.name for path in target.iterdir()] == ["inner.txt"]
    return (target if "file" in target.name else target / "inner.txt").read_text()


NOBODY = 2**22 + 1  # no process has this number: it is beyond what Linux gives


def put_aside(path: Path, process: int = NOBODY, suffix: str = "new") -> Path:
    """Where `replacing` writes while the old one is still in its place."""
    return path.with_name(f".{path.name}.{process}.{suffix}")


@pytest.mark.parametrize("name", ["file.txt", "folder"])
def test_what_is_written_takes_the_place_of_the_old(name: str, tmp_path: Path) -> None:
    target = tmp_path / name
    for old, text in ((None, "first"), ("first", "second"), ("second", "third")):
        with replacing(target) as new:
            write(new, text)
            assert new == put_aside(target, os.getpid())
            assert read(target) == old if old else not target.exists()
        assert read(target) == text and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["file.txt", "folder"])
def test_after_an_error_the_old_one_is_as_it_was(name: str, tmp_path: Path) -> None:
    target = tmp_path / name
    write(target, "precious")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), replacing(target) as new:
            write(new, "half")
            raise error
        assert read(target) == "precious" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["file.txt", "folder"])
def test_what_a_killed_process_left_is_not_in_the_way(name: str, tmp_path: Path) -> None:
    """Killed while it wrote, between the two steps of the replacement, while it deleted the old one."""
    target = tmp_path / name
    for left in ({"new": "half"}, {"new": "whole", "old": "old"}, {"": "whole", "old": "half"}):
        for suffix, text in left.items():
            write(put_aside(target, suffix=suffix) if suffix else target, text)
        with pytest.raises(ValueError), replacing(target):
            raise ValueError  # so far, all is as it was
        if there := left.get("") or left.get("old"):
            assert read(target) == there
        with replacing(target) as new:
            write(new, "whole")
        assert read(target) == "whole" and list(tmp_path.iterdir()) == [target]
        remove(target)


def test_what_others_have_beside_the_target_stays(tmp_path: Path) -> None:
    """A folder of a person's with a name like ours, and what another process is writing."""
    target = tmp_path / "folder"
    others = [tmp_path / ".folder.new", put_aside(target, os.getppid()), tmp_path / ".folder.notes.old"]
    for path in others:
        write(path, "precious")
    with replacing(target) as new:
        write(new, "whole")
    assert read(target) == "whole" and all(read(path) == "precious" for path in others)


def test_of_a_link_only_the_link_is_deleted(tmp_path: Path) -> None:
    write(tmp_path / "folder", "precious")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    remove(tmp_path / "link")
    assert not (tmp_path / "link").is_symlink() and read(tmp_path / "folder") == "precious"
    for name in ("folder", "nothing"):
        remove(tmp_path / name)
        assert not (tmp_path / name).exists()


def test_json_is_for_people_to_read(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, None]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"b": [1, None]} and text.count("\n") == 6
