"""OpenReview through its real client, against a server on loopback: papers, venues, failures."""

from pathlib import Path

import pytest
from servers.openreview import PASSWORD, TOKEN, USER, Fault, OpenReview, make_reply

from metareview.common.cli import InputError
from metareview.data.details import DETAILS
from metareview.sources.columns import choose_columns, read_papers
from metareview.sources.openreview import fetch_forum, fetch_venue
from metareview.sources.reading import load_venues
from metareview.sources.table_files import read_table

NEW, OLD = "Shells.org/2024/Conference", "Shells.org/2021/Conference"
STRUCTURED = {
    "summary": "Sorts shells.",
    "strengths": "Public recordings.",
    "weaknesses": "Few beaches &amp; no dunes.",
    "rating": "8: accept, good paper",
    "confidence": 4,
}
READ = "Summary: Sorts shells.\nStrengths: Public recordings.\nWeaknesses: Few beaches & no dunes."
META = {"metareview": "All agree that sorting shells by pitch works. Accept."}


def make_replies(version: int) -> list[dict]:
    """Two reviews, a meta-review, and what is neither."""
    return [
        make_reply(version, "Official_Review", {"review": "One field for all of it.", "rating": 6}, tcdate=3),
        make_reply(version, "Official_Review", STRUCTURED, tcdate=2),
        make_reply(version, "Official_Review", {"review": "I took this back."}, ddate=5),
        make_reply(version, "Official_Review", {"review": "  ", "verdict_in_verse": "A form that nobody knows."}),
        make_reply(version, "Official_Review", {"review": "Written by the authors."}, by="Authors"),
        make_reply(version, "Public_Comment", {"comment": "I hear the sea."}, by="~Passer_By1"),
        make_reply(version, "Meta_Review", META, by="Area_Chair_1"),
        make_reply(version, "Decision", {"decision": "Accept (poster)", "comment": ""}, by="Program_Chairs"),
    ]


def log_in(monkeypatch: pytest.MonkeyPatch, password: str = PASSWORD) -> None:
    monkeypatch.setenv("OPENREVIEW_USERNAME", USER)
    monkeypatch.setenv("OPENREVIEW_PASSWORD", password)


def test_a_login_opens_what_is_private_and_is_never_shown(openreview: OpenReview, monkeypatch, capfd) -> None:
    openreview.add_paper(2, NEW, "hidden", make_replies(2))
    openreview.private.add("hidden")
    with pytest.raises(InputError, match=r"403 \(.*You don't have permission .* log in: set OPENREVIEW_USERNAME"):
        fetch_forum("hidden")
    log_in(monkeypatch)
    assert len(fetch_forum("hidden").reviews) == 2
    openreview.tokens.clear()
    with pytest.raises(OSError, match=r"401 \(.*expired\); run the same command again"):
        fetch_forum("hidden")
    log_in(monkeypatch, "wrong")
    with pytest.raises(InputError, match=r"cannot log in .*Invalid username or password: \.\.\.\); check") as wrong:
        fetch_forum("hidden")
    said = "".join(capfd.readouterr()) + str(wrong.value)
    assert not any(secret in said for secret in (USER, PASSWORD, TOKEN, "wrong"))


def test_an_unknown_forum_and_one_without_reviews(openreview: OpenReview) -> None:
    with pytest.raises(InputError, match="no forum 'nowhere' that you may read"):
        fetch_forum("nowhere")
    assert [path.split("/")[1] for path, _ in openreview.requests] == ["2", "1"]
    openreview.add_paper(2, NEW, "early", make_replies(2)[2:])
    with pytest.raises(InputError, match=r"no review that you may read .*1 reviews deleted"):
        fetch_forum("early")


def test_failures_of_the_server_and_of_the_network(openreview: OpenReview, capfd) -> None:
    openreview.add_paper(2, NEW, "abc", make_replies(2))
    openreview.faults += [Fault(status=429), Fault(status=503)]
    assert len(fetch_forum("abc").reviews) == 2
    said = capfd.readouterr()
    assert said.err.count("Retrying") == 2 and not said.out
    for body in (b"{ not JSON", b'{"notes": 3}'):
        openreview.faults.append(Fault(status=200, body=body))
        with pytest.raises(OSError, match="the forum abc: cannot reach OpenReview, or it answers nonsense"):
            fetch_forum("abc")
    openreview.faults.append(Fault(cut_after=5, always=True))
    with pytest.raises(OSError, match="cannot read the forum abc: cannot reach OpenReview"):
        fetch_forum("abc")


@pytest.mark.parametrize(("version", "venue", "year"), [(2, NEW, 2024), (1, OLD, 2021)])
def test_a_venue_comes_in_pages_and_is_not_fetched_again(
    openreview: OpenReview, tmp_path: Path, version: int, venue: str, year: int, capsys: pytest.CaptureFixture[str]
) -> None:
    replies = make_replies(version)
    for number in range(5):
        openreview.add_paper(version, venue, f"p{number}", replies if number else [], title=f"P {number}")
    openreview.papers[version]["p1"]["ddate"] = 7
    withdrawn = {"venueid": {"value": f"{venue}/Withdrawn_Submission"}} if version == 2 else {"withdrawal": "Confirmed"}
    openreview.papers[version]["p2"]["content"] = withdrawn
    path = fetch_venue(venue, tmp_path)
    rows, _ = read_table(path)
    assert [row["title"] for row in rows] == ["P 3", "P 4"]
    assert (rows[0]["Input"], rows[0]["Output"]) == (f"{READ} <REVBREAK> One field for all of it.", META["metareview"])
    assert path.name == f"{venue.replace('/', '_')}.jsonl" and list(tmp_path.iterdir()) == [path]
    assert sum("details=replies" in path for path, _ in openreview.requests) == 4  # the last page is empty
    said, asked = capsys.readouterr().out, len(openreview.requests)
    assert f"{path}: 2 papers, 2 meta-reviews of {venue}; left out: " in said
    assert all(words in said for words in ("1 papers without a review", "1 papers deleted", "1 papers withdrawn"))
    assert fetch_venue(venue, tmp_path) == path and len(openreview.requests) == asked
    source = load_venues([venue], tmp_path, year)
    papers, _ = read_papers(source, choose_columns(source, None, None, None, "<REVBREAK>"))
    assert [papers["test"][0][name] for name in DETAILS] == ["P 3", "8; 6", "Accept (poster)"]
    assert vars(fetch_forum("p3")) == {
        "reviews": [READ, "One field for all of it."], "meta_review": META["metareview"], "forum": "p3",
        "title": "P 3", "venue": venue, "year": year, "ratings": [8.0, 6.0], "confidences": [4.0, None],
        "decision": "Accept (poster)", "skipped": "",
        "left_out": {"reviews deleted": 1, "reviews without a text in a known field": 1},
    }  # fmt: skip


def test_an_interrupted_venue_resumes_without_asking_twice(openreview: OpenReview, tmp_path: Path) -> None:
    for number in range(5):
        openreview.add_paper(2, NEW, f"p{number}", make_replies(2))
    openreview.faults.append(Fault(path_contains="after=p3", status=404))
    with pytest.raises(OSError, match="does not go on after p3"):
        fetch_venue(NEW, tmp_path)
    [part] = tmp_path.iterdir()
    assert part.name.endswith(".jsonl.part") and part.read_text().count("\n") == 4
    with part.open("a") as file:
        file.write('\0\0\n{"forum": "p4", "Inp')  # as an interruption leaves it
    asked = len(openreview.requests)
    rows, _ = read_table(fetch_venue(NEW, tmp_path))
    assert [row["forum"] for row in rows] == [f"p{number}" for number in range(5)]
    answered = [path.partition("after=")[2][:2] for path, _ in openreview.requests[asked:] if "replies" in path]
    assert answered == ["p3", "p4"]


def test_an_unknown_venue_and_one_without_reviews(openreview: OpenReview, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no venue 'Shells\.org/1999'"):
        fetch_venue("Shells.org/1999", tmp_path)
    openreview.add_paper(2, NEW, "early", [])
    with pytest.raises(InputError, match=r"no paper with a review .*1 papers without a review"):
        fetch_venue(NEW, tmp_path)
    assert not list(tmp_path.iterdir())
