"""Drafting: reviews from files, and how much of each was read. What is printed for a paper: the whole script's test."""

from pathlib import Path

import pytest

from metareview.common.cli import InputError
from metareview.workbook.drafting import describe_shares, read_review_files


def test_short_reviews_are_read_whole_and_long_ones_in_part() -> None:
    assert describe_shares([10, 100], cut=0) == "100%, 100%"
    assert describe_shares([10, 100], cut=50) == "100%, 50%"
    assert describe_shares([100, 10, 100], cut=100) == "50%, 100%, 50%"


def test_reviews_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_bytes(
        b"\xef\xbb\xbfone\r\n---\r\ntwo &amp; a half\n--- \n  \n"
    )  # with a mark of Windows, nothing at the end
    second.write_bytes("three\n---\nstill three, naïve".encode("cp1252"))
    assert read_review_files([str(first)]) == ["one", "two & a half"]
    assert capsys.readouterr().out == "Read 2 reviews.\n"
    several = read_review_files([str(first), str(second)], "cp1252")  # of several files, one in each
    assert several[1] == "three\n---\nstill three, naïve" and len(several) == 2
    first.write_text("one <REVBREAK> two\n---\nstill two")
    assert read_review_files([str(first)]) == ["one", "two\n---\nstill two"]
    first.write_text("Official Review by Reviewer a\none\nOfficial Review by Reviewer b\ntwo\nDecision by Chairs\nNo.")
    capsys.readouterr()
    assert read_review_files([str(first)]) == ["one", "two"]
    assert capsys.readouterr().out == "Read 2 reviews; left out: 1 decisions.\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.csv", b"", r"'.*rows\.csv' is a table.*--test_cases"),
        ("c.txt", None, r"cannot read --reviews .*c\.txt': No such file"),
        ("c.txt", b"---", r"there is no review in --reviews .*c\.txt"),
        ("c.docx", b"PK\x03\x04...", "is an Office document, not plain text; save it as text"),
        ("c.rtf", rb"{\rtf1 Good.}", "is RTF, not plain text; save it as text"),
        ("c.txt", "naïve".encode("cp1252"), "is not a text in UTF-8 .*try --encoding cp1252"),
    ],
)
def test_what_is_no_review_is_named(name: str, content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_review_files([str(tmp_path / name)])
