"""Files that are replaced when the new ones are complete, and left alone when they are not."""

from pathlib import Path

import pytest

from metareview.common.files import remove, replacing

NOBODY = 2**22 + 1  # no process has this number: it is beyond what Linux gives


def write(target: Path, text: str) -> None:
    """A file, or a folder with one, by the name."""
    if "file" not in target.name:
        target.mkdir()
        target /= "inner.txt"
    target.write_text(text)


def read(target: Path) -> str:
    assert target.is_file() or [path.name for path in target.iterdir()] == ["inner.txt"]
    return (target if "file" in target.name else target / "inner.txt").read_text()


@pytest.mark.parametrize("name", ["file.txt", "folder"])
def test_what_is_written_replaces_the_old_unless_it_failed(name: str, tmp_path: Path) -> None:
    target = tmp_path / name
    for old, text in ((None, "first"), ("first", "second")):
        with replacing(target) as new:
            write(new, text)

            assert read(target) == old if old else not target.exists()
        assert read(target) == text and list(tmp_path.iterdir()) == [target]
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), replacing(target) as new:
            write(new, "half")
            raise error
        assert read(target) == "second" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["file.txt", "folder"])
@pytest.mark.parametrize("left", [{"new": "half"}, {"new": "second", "old": "first"}, {"": "second", "old": "half"}])
def test_what_a_killed_process_left_is_not_in_the_way(left: dict[str, str], name: str, tmp_path: Path) -> None:
    """Killed while it wrote, between the two steps of the replacement, while it deleted the old one."""
    target = tmp_path / name
    for suffix, text in left.items():
        write(target.with_name(f".{name}.{NOBODY}.{suffix}") if suffix else target, text)
    with pytest.raises(ValueError), replacing(target):
        raise ValueError  # so far, all is as it was
    expected = left.get("") or left.get("old")
    assert read(target) == expected if expected else not target.exists()
    with replacing(target) as new:
        write(new, "third")
    assert read(target) == "third" and list(tmp_path.iterdir()) == [target]


def test_of_a_link_only_the_link_is_deleted(tmp_path: Path) -> None:
    write(tmp_path / "folder", "precious")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("link", "nothing"):
        remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"] and read(tmp_path / "folder") == "precious"
