"""Papers: ids, notes, reviews from files, and a paper in words."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from servers.openreview import make_reply

from metareview.common.cli import InputError
from metareview.sources.forms import Paper, describe_paper, find_year, read_id, read_paper
from metareview.workbook.drafting import read_review_files


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("https://openreview.net/forum?id=a-B_9&noteId=other", "a-B_9"),
        ("https://openreview.net/group?id=ICLR.cc/2024/Conference#tab-accept-oral", "ICLR.cc/2024/Conference"),
        ("ICLR.cc/2024/Conference", "ICLR.cc/2024/Conference"),
        (" abc ", "abc"),
    ],
)
def test_ids_and_addresses(given: str, wanted: str) -> None:
    assert read_id(given) == wanted


@pytest.mark.parametrize("given", ["", "two words", "https://openreview.net/about", "../../etc/passwd", "a//b"])
def test_what_is_no_id(given: str) -> None:
    with pytest.raises(InputError, match="neither an id"):
        read_id(given)


def test_the_year_of_a_venue() -> None:
    assert find_year("ICLR.cc/2024/Conference", 0) == 2024
    assert find_year("TMLR", 1_700_000_000_000) == 2023  # a journal: when the paper came
    assert find_year("TMLR", None) is None


def test_a_note_gives_a_paper() -> None:
    reviews = [
        make_reply(2, "Official_Review", {"review": "Second.", "rating": "6: weak accept"}, tcdate=2),
        make_reply(2, "Official_Review", {"strengths": "Tested.", "weaknesses": "Small."}, tcdate=1),
    ]
    note = SimpleNamespace(
        id="abc",
        content={"title": {"value": "On shells"}},
        invitations=["Shells.org/2024/Conference/-/Submission"],
        cdate=None,
        tcdate=None,
        ddate=None,
        details={"replies": reviews},
    )
    paper = read_paper(note)
    assert paper.reviews == ["Strengths: Tested.\nWeaknesses: Small.", "Second."]
    assert paper.ratings == [None, 6.0] and (paper.venue, paper.year) == ("Shells.org/2024/Conference", 2024)
    assert (paper.meta_review, paper.skipped) == ("", "")
    note.content["withdrawal"] = {"value": "Confirmed"}
    assert read_paper(note).skipped == "withdrawn or desk-rejected"
    note.ddate = 7
    assert read_paper(note).skipped == "deleted"


def test_a_paper_in_words() -> None:
    paper = Paper(["a", "b"], forum="abc", venue="Shells.org", ratings=[8.0, 5.5], confidences=[None, None])
    lines = ["abc (Shells.org)", "Reviews: 2", "Ratings: 8 5.5 (mean 6.8)", "Confidences: - -"]
    assert describe_paper(paper).splitlines() == lines
    paper.title, paper.left_out = "On shells", Counter({"reviews deleted": 2})
    assert describe_paper(paper).splitlines() == ["On shells (Shells.org)", *lines[1:], "Left out: 2 reviews deleted"]


def test_reviews_from_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_bytes(b"\xef\xbb\xbfone\r\n---\r\ntwo\n--- \n  \n")  # with a mark of Windows, and nothing at the end
    second.write_text("three\n---\nstill three")
    assert read_review_files([str(first)]) == ["one", "two"]
    assert read_review_files([str(first), str(second)])[1] == "three\n---\nstill three"  # of several, one in each
    first.write_text("one <REVBREAK> two\n---\nstill two")
    assert read_review_files([str(first)]) == ["one", "two\n---\nstill two"]
    with pytest.raises(InputError, match=r"'rows\.csv' is a table.*--test_cases"):
        read_review_files(["rows.csv"])
    with pytest.raises(InputError, match=r"cannot read --reviews .*c\.txt': No such file"):
        read_review_files([str(tmp_path / "c.txt")])
    first.write_text("---")
    with pytest.raises(InputError, match=r"there is no review in --reviews .*a\.txt"):
        read_review_files([str(second), str(first)])
