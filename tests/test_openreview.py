"""OpenReview through its real client, against a server on loopback: papers, venues, reviews from files, failures."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FINE_TUNING, ROOT, make_rows, run_script
from hub import Fault
from openpyxl import Workbook, load_workbook
from openreview_server import PASSWORD, TOKEN, USER, OpenReview, make_reply

import openreview_forum
from openreview_forum import fetch_forum, fetch_venue, find_number, read_id
from processing_meta_review import choose_split

PROCESS, TUNE, EVALUATE = "processing_meta_review.py", "fine_tune.py", "evaluation.py"
NEW, OLD = "Shells.org/2024/Conference", "Shells.org/2021/Conference"
STRUCTURED = {
    "summary": "Sorts shells by their pitch.",
    "strengths": "The recordings are public.",
    "weaknesses": "Only two beaches.",
    "questions": "Why not a third?",
    "rating": "8: accept, good paper",
    "confidence": 4,
}
META = {"metareview": "All agree that sorting shells by pitch works. Accept."}


def make_replies(version: int, **rating: object) -> list[dict]:
    """Two reviews, a meta-review, and what is neither."""
    return [
        make_reply(version, "Official_Review", STRUCTURED | rating, tcdate=2),
        make_reply(version, "Official_Review", {"review": "One field for all of it.", "rating": 6}, tcdate=3),
        make_reply(version, "Official_Review", {"review": "I took this back."}, ddate=5),
        make_reply(version, "Official_Review", {"review": "  "}),
        make_reply(version, "Official_Review", {"verdict_in_verse": "A form that nobody knows."}),
        make_reply(version, "Official_Review", {"review": "Written by the authors."}, by="Authors"),
        make_reply(version, "Official_Comment", {"comment": "We thank the reviewers."}, by="Authors"),
        make_reply(version, "Public_Comment", {"comment": "I hear the sea."}, by="~Passer_By1"),
        make_reply(version, "Meta_Review", META, by="Area_Chair_1"),
        make_reply(version, "Decision", {"decision": "Accept (poster)", "comment": ""}, by="Program_Chairs"),
    ]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenReview]:
    """A server that the client in this process talks to, as a guest and without pauses."""
    with OpenReview() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        for name, value in {"PAUSE": 0.0, "BACKOFF": 0.01, "RETRIES": 3}.items():
            monkeypatch.setattr(openreview_forum, name, value)
        yield server


def log_in(monkeypatch: pytest.MonkeyPatch, password: str = PASSWORD) -> None:
    monkeypatch.setenv("OPENREVIEW_USERNAME", USER)
    monkeypatch.setenv("OPENREVIEW_PASSWORD", password)


@pytest.mark.parametrize(("version", "venue", "year"), [(2, NEW, 2024), (1, OLD, 2021)])
def test_a_forum_in_both_versions(server: OpenReview, version: int, venue: str, year: int) -> None:
    server.add_paper(version, venue, "abc-_1", make_replies(version), title="Pitch of shells")
    paper = fetch_forum("abc-_1")
    assert (paper.title, paper.venue, paper.year) == ("Pitch of shells", venue, year)
    assert paper.reviews == [
        "Summary: Sorts shells by their pitch.\nStrengths: The recordings are public.\n"
        "Weaknesses: Only two beaches.\nQuestions: Why not a third?",
        "One field for all of it.",
    ]
    assert paper.ratings == [8.0, 6.0] and paper.confidences == [4.0, None]
    assert paper.meta_review == META["metareview"]
    assert paper.left_out == {"reviews deleted": 1, "reviews without a text in a known field": 2}
    assert not paper.skipped


@pytest.mark.parametrize(
    ("invitation", "content", "words"),
    [
        ("Meta_Review", {"meta_review": "Clear accept."}, "Clear accept."),
        ("Meta_Review", {"recommendation": "Accept (Poster)", "metareview": "Sound."}, "Sound."),
        ("Meta_Review", {"recommendation": "Accept (Poster)"}, ""),
        ("Meta_Review", {"recommendation": "The reviewers like it and so do I, take it for the oral session."}, "oral"),
        ("Decision", {"decision": "Reject", "comment": "Too few beaches."}, "Too few beaches."),
        ("Decision", {"decision": "Accept", "metareview:_summary,_strengths_and_weaknesses": "Fine."}, "Fine."),
        ("Acceptance_Decision", {"decision": "Accept", "comment": "Of old."}, "Of old."),
        ("Paper12/Meta_Review", {"metareview": "Of 2019."}, "Of 2019."),
        ("Ethics_Meta_Review", {"metareview": "Ethics only."}, ""),
    ],
)
def test_names_of_meta_reviews(server: OpenReview, invitation: str, content: dict, words: str) -> None:
    replies = [make_reply(1, "Official_Review", {"main_review": "Good."})]
    server.add_paper(1, OLD, "old", [*replies, make_reply(1, invitation, content, by="Area_Chair1")])
    meta_review = fetch_forum("old").meta_review
    assert words in meta_review and bool(words) == bool(meta_review)


def test_names_of_reviews_and_of_numbers(server: OpenReview) -> None:
    forms = [
        ("Official_Review", {"main_review": "x1", "recommendation": "5: borderline"}),
        ("Paper7/Official_Review", {"summary_of_the_paper": "x2", "strength_and_weaknesses": "y2"}),
        ("paper7/official/review", {"review": "x3", "confidence": "3: fairly"}),
        ("Review", {"Summary": "x4", "Overall_Assessment": "3.5 = Good"}),
    ]
    others = [("Ethics_Review", {"review": "no"}), ("Paper7/Public_Review", {"review": "no"})]
    server.add_paper(1, OLD, "old", [make_reply(1, *form) for form in forms + others])
    paper = fetch_forum("old")
    expected = ["x1", "Summary of the paper: x2\nStrength and weaknesses: y2", "x3", "x4"]
    assert paper.reviews == expected and paper.meta_review == ""
    assert paper.ratings == [5.0, None, None, 3.5] and paper.confidences == [None, None, 3.0, None]
    assert find_number({"rating": "Accept"}, ("rating",)) is None


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
    with pytest.raises(ValueError, match="neither an id"):
        read_id(given)


def test_a_login_opens_what_is_private_and_is_never_shown(
    server: OpenReview, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server.add_paper(2, NEW, "hidden", make_replies(2))
    server.private.add("hidden")
    with pytest.raises(ValueError, match=r"403 \(You don't have permission .* log in: set OPENREVIEW_USERNAME"):
        fetch_forum("hidden")
    log_in(monkeypatch)
    assert len(fetch_forum("hidden").reviews) == 2
    log_in(monkeypatch, "wrong")
    with pytest.raises(ValueError, match=r"cannot log in .*Invalid username or password: \.\.\.\); check") as wrong:
        fetch_forum("hidden")
    monkeypatch.delenv("OPENREVIEW_PASSWORD")
    with pytest.raises(ValueError, match="only one is set") as half:
        fetch_forum("hidden")
    said = "".join(capfd.readouterr()) + str(wrong.value) + str(half.value)
    assert not any(secret in said for secret in (USER, PASSWORD, TOKEN, "wrong"))


def test_an_expired_token(server: OpenReview, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add_paper(2, NEW, "abc", make_replies(2))
    server.tokens.clear()
    log_in(monkeypatch)
    with pytest.raises(OSError, match="login to OpenReview has expired; give the same command again"):
        fetch_forum("abc")


def test_an_unknown_forum_a_reply_and_one_without_reviews(server: OpenReview) -> None:
    with pytest.raises(ValueError, match="no forum 'nowhere' that you may read"):
        fetch_forum("nowhere")
    assert [call.path.split("/")[1] for call in server.requests] == ["2", "1"]
    server.add_paper(2, NEW, "reply", [], forum="abc")
    with pytest.raises(ValueError, match="its forum is abc"):
        fetch_forum("reply")
    server.add_paper(2, NEW, "early", make_replies(2)[2:])
    with pytest.raises(ValueError, match=r"no review that you may read .*1 reviews deleted"):
        fetch_forum("early")


@pytest.mark.parametrize("body", [b"{ not JSON", b"[]", b'{"notes": 3}', b'{"noted": []}', b"<html>Down</html>"])
def test_an_answer_that_makes_no_sense(server: OpenReview, body: bytes) -> None:
    server.add_paper(2, NEW, "abc", make_replies(2))
    server.bodies.append(body)
    with pytest.raises(OSError, match="cannot read the forum abc: OpenReview's answer makes no sense"):
        fetch_forum("abc")


def test_too_many_requests_then_an_answer(server: OpenReview, capfd: pytest.CaptureFixture[str]) -> None:
    server.add_paper(2, NEW, "abc", make_replies(2))
    server.faults += [Fault(status=429, headers={"Retry-After": "2"}), Fault(status=503)]
    assert len(fetch_forum("abc").reviews) == 2
    assert [call.status for call in server.requests] == [429, 503, 200]
    said = capfd.readouterr()
    assert said.err.count("OpenReview is busy; waiting 2 s") == 1 and not said.out


def test_a_server_that_fails_for_good(server: OpenReview) -> None:
    server.faults.append(Fault(status=500, times=-1))
    with pytest.raises(OSError, match=r"OpenReview answers 500 \(asked for by the test\); try again later"):
        fetch_forum("abc")
    assert len(server.requests) == 1 + 3


def test_an_answer_that_is_cut_off(server: OpenReview) -> None:
    server.add_paper(2, NEW, "abc", make_replies(2))
    server.faults.append(Fault(cut_after=30, times=-1))
    with pytest.raises(OSError, match="cannot read the forum abc: OpenReview is out of reach"):
        fetch_forum("abc")


def test_out_of_reach_and_not_there(server: OpenReview, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch)
    monkeypatch.setenv("OPENREVIEW_API_BASEURL_V2", os.environ["OPENREVIEW_API_BASEURL_V2"] + "/elsewhere")
    with pytest.raises(OSError, match=r"there is no OpenReview at .*elsewhere"):
        fetch_forum("abc")
    monkeypatch.setenv("OPENREVIEW_API_BASEURL_V2", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="out of reach"):
        fetch_forum("abc")


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(("version", "venue"), [(2, NEW), (1, OLD)])
def test_a_venue_of_2500_papers_comes_in_pages(server: OpenReview, tmp_path: Path, version: int, venue: str) -> None:
    replies = make_replies(version)
    for number in range(2_500):
        server.add_paper(version, venue, f"p{number:04}", replies if number % 5 else replies[2:], title=f"P {number}")
    server.papers[version]["p0001"]["ddate"] = 7
    withdrawn = {"venueid": {"value": f"{venue}/Withdrawn_Submission"}} if version == 2 else {"withdrawal": "Confirmed"}
    server.papers[version]["p0002"]["content"] = withdrawn
    path = fetch_venue(venue, tmp_path, "<REVBREAK>")
    rows = read_rows(path)
    assert [row["title"] for row in rows] == [f"P {number}" for number in range(3, 2_500) if number % 5]
    assert rows[0] == {
        "Input": "Summary: Sorts shells by their pitch.\nStrengths: The recordings are public.\nWeaknesses: Only two "
        "beaches.\nQuestions: Why not a third? <REVBREAK> One field for all of it.",
        "Output": META["metareview"], "forum": "p0003", "title": "P 3", "venue": venue,
        "year": int(venue.split("/")[1]), "ratings": [8.0, 6.0], "confidences": [4.0, None],
    }  # fmt: skip
    assert path.name == f"{venue.replace('/', '_')}.jsonl" and list(tmp_path.iterdir()) == [path]
    pages = [call for call in server.requests if "details=replies" in call.path]
    assert len(pages) == 6  # the last one is empty: the client too asks until then


def test_left_out_is_said_and_a_file_that_is_there_is_not_fetched_again(
    server: OpenReview, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.add_paper(2, NEW, "good", make_replies(2))
    server.add_paper(2, NEW, "early", [])
    path = fetch_venue(NEW, tmp_path, "<REVBREAK>")
    said = capsys.readouterr().out
    assert f"{path}: 1 papers, 1 meta-reviews of {NEW}; left out: " in said
    assert "1 papers without a review" in said and "2 reviews without a text in a known field" in said
    before, asked = path.read_bytes(), len(server.requests)
    assert fetch_venue(NEW, tmp_path, "<REVBREAK>") == path
    assert (path.read_bytes(), len(server.requests)) == (before, asked)


def test_an_interrupted_venue_goes_on_without_asking_twice(
    server: OpenReview, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openreview_forum, "PAGE", 10)
    for number in range(45):
        server.add_paper(2, NEW, f"p{number:02}", make_replies(2))
    server.faults.append(Fault(path_contains="after=p29", times=-1))
    with pytest.raises(OSError, match="500"):
        fetch_venue(NEW, tmp_path, "<REVBREAK>")
    [part] = tmp_path.iterdir()
    assert part.name.endswith(".jsonl.part") and len(read_rows(part)) == 30
    with part.open("a") as file:
        file.write('{"forum": "p30", "Inp')  # as an interruption leaves it
    server.faults.clear()
    asked = len(server.requests)
    rows = read_rows(fetch_venue(NEW, tmp_path, "<REVBREAK>"))
    assert [row["forum"] for row in rows] == [f"p{number:02}" for number in range(45)]
    answered = [call.path.partition("after=")[2][:3] for call in server.requests[asked:] if "replies" in call.path]
    assert answered == ["p29", "p39", "p44"]


def test_a_damaged_file_and_a_venue_that_breaks_off(server: OpenReview, tmp_path: Path) -> None:
    server.add_paper(2, NEW, "p1", make_replies(2))
    part = tmp_path / f"{NEW.replace('/', '_')}.jsonl.part"
    part.write_bytes(b'{"forum": "p0"}\n\x00\x00\n')
    with pytest.raises(ValueError, match=r"line 2 of .*\.part is damaged; delete it"):
        fetch_venue(NEW, tmp_path, "<REVBREAK>")
    part.unlink()
    server.faults.append(Fault(path_contains="after=p1", status=404))
    with pytest.raises(OSError, match="does not go on after p1"):
        fetch_venue(NEW, tmp_path, "<REVBREAK>")
    assert list(tmp_path.iterdir()) == [part]  # not taken for the whole


def test_an_unknown_venue_and_one_without_reviews(server: OpenReview, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no venue 'Shells\.org/1999'"):
        fetch_venue("Shells.org/1999", tmp_path, "<REVBREAK>")
    server.add_paper(2, NEW, "early", [])
    with pytest.raises(ValueError, match=r"no paper with a review .*1 papers without a review"):
        fetch_venue(NEW, tmp_path, "<REVBREAK>")
    assert not list(tmp_path.iterdir())


def test_splits_go_by_paper_and_by_year() -> None:
    forums = [f"forum{number}" for number in range(2_000)]
    splits = [choose_split(forum, 2023, None) for forum in forums]
    assert splits == [choose_split(forum, 2021, None) for forum in forums]  # the id alone decides
    assert 70 < splits.count("test") < 130 and 70 < splits.count("validation") < 130
    by_year = [choose_split(forum, 2023 + number % 2, 2024) for number, forum in enumerate(forums)]
    assert set(by_year[1::2]) == {"test"} and set(by_year[::2]) == {"train", "validation"}


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        (PROCESS, ["--venue", "two words"], ["'two words'", "neither an id"]),
        (PROCESS, ["--venue", NEW, "--dataset_name", "a.csv"], ["--venue", "--dataset_name"]),
        (PROCESS, ["--venue", NEW, "--review_separator", "|"], ["--venue", "--review_separator"]),
        (PROCESS, ["--test_year", 2024], ["--test_year", "--venue"]),
        (PROCESS, ["--venue", ""], ["''", "neither an id"]),
        (EVALUATE, ["--forum", ""], ["''", "neither an id"]),
        (PROCESS, ["--venue"], ["--venue", "expected at least one argument"]),
        (EVALUATE, ["--forum", "https://openreview.net/about"], ["neither an id"]),
        (EVALUATE, ["--forum", "abc", "--reviews", "a.txt"], ["--reviews and --forum"]),
        (EVALUATE, ["--reviews", "a.txt", "--num_examples", 3], ["--num_examples"]),
        (EVALUATE, ["--reviews", "a.txt", "--blind"], ["--blind"]),
        (EVALUATE, ["--save"], ["--save", "--reviews", "--forum"]),
    ],
)
def test_wrong_flags(refused, script: str, flags: list, words: list[str]) -> None:
    message = refused(script, *flags)
    assert all(word in message for word in words), message


def test_wrong_input_of_the_scripts(refused, server: OpenReview, fine_tuned: Path, base: Path, tmp_path: Path) -> None:
    model = ["--model_name_or_path", fine_tuned / "pythia_finetuned"]
    assert "no forum 'nowhere'" in refused(EVALUATE, *model, "--forum", "nowhere")
    small = ["--model_name_or_path", base, "--max_summary_tokens", 100]
    assert "no venue 'Shells.org/1999'" in refused(PROCESS, *small, "--venue", "Shells.org/1999")
    assert "'a.txt': No such file" in refused(EVALUATE, *model, "--reviews", "a.txt")
    (tmp_path / "a.txt").write_text(" \n---\n!\n")
    assert "no review in --reviews 'a.txt'" in refused(EVALUATE, *model, "--reviews", "a.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    assert "'b.txt': it is no text in UTF-8" in refused(EVALUATE, *model, "--reviews", "b.txt", "a.txt")
    (tmp_path / "c.txt").write_text("Только кириллица.")
    assert "cleaning leaves nothing" in refused(EVALUATE, *model, "--reviews", "c.txt")
    (tmp_path / "d.txt").write_text("A fine paper.")
    assert "no review in --reviews 'a.txt'" in refused(EVALUATE, *model, "--reviews", "d.txt", "a.txt")
    assert "no workbook 'eval_examples.xlsx'" in refused(EVALUATE, *model, "--reviews", "d.txt", "--save")


def test_without_the_package(refused, fine_tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openreview", None)  # as if it were not installed
    model = ["--model_name_or_path", fine_tuned / "pythia_finetuned"]
    assert "pip install openreview-py" in refused(EVALUATE, *model, "--forum", "abc")


def test_a_failure_of_openreview_ends_with_status_1(server: OpenReview, fine_tuned: Path) -> None:
    server.add_paper(2, NEW, "abc", make_replies(2))
    server.bodies.append(b"<html>")
    flags = ["--model_name_or_path", "pythia_finetuned", "--forum", "abc"]
    result = run_script(EVALUATE, *flags, cwd=fine_tuned, **server.environment())
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "failed: cannot read the forum abc: OpenReview's answer makes no sense" in result.stderr


def draft(folder: Path, *flags: object, given: str = "") -> str:
    """What evaluation.py prints, with no way to OpenReview and with `given` as standard input."""
    result = subprocess.run(
        [sys.executable, ROOT / EVALUATE, "--model_name_or_path", "pythia_finetuned", *map(str, flags)],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OPENREVIEW_API_BASEURL_V2": "http://127.0.0.1:9"},
        input=given,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_own_reviews_in_three_forms(fine_tuned: Path, tmp_path: Path) -> None:
    reviews = make_rows(1, seed=5)[0]["Input"].split(" <REVBREAK> ")
    for name, review in zip("abc", reviews, strict=True):
        (tmp_path / f"{name}.txt").write_text(review)
    (tmp_path / "all.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n---\r\n".join(reviews).encode())
    before = sorted(fine_tuned.iterdir())
    said = draft(fine_tuned, "--reviews", *(tmp_path / f"{name}.txt" for name in "abc"))
    assert said == draft(fine_tuned, "--reviews", tmp_path / "all.txt")
    assert said == draft(fine_tuned, "--reviews", "-", given="\n---\n".join(reviews))
    assert "Read of each review (156 tokens in all): 100%, 100%, 100%" in said
    assert "Draft by a model (pythia_finetuned); check it against the reviews:\n\n" in said
    assert len(said.partition("reviews:\n\n")[2].split()) > 3
    assert sorted(fine_tuned.iterdir()) == before  # a draft leaves nothing behind


def test_how_much_was_read_is_said(fine_tuned: Path, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("the method is convincing " * 100)
    (tmp_path / "short.txt").write_text("the proof")
    said = draft(fine_tuned, "--reviews", tmp_path / "long.txt", tmp_path / "short.txt")
    long, short = said.partition("in all): ")[2].splitlines()[0].split(", ")
    assert short == "100%" and 5 < int(long.removesuffix("%")) < 60


def test_save_adds_the_case_and_keeps_a_persons_things(fine_tuned: Path, tmp_path: Path) -> None:
    workbook, path = Workbook(), tmp_path / "mine.xlsx"
    for row in (["note", "review", "case"], ["=1+1", "an old case", "old"], ["below it", None, None]):
        workbook.active.append(row)
    workbook.active.column_dimensions["B"].width = 33
    workbook.create_sheet("mine").append(["precious"])
    workbook.save(path)
    flags = ["--reviews", "-", "--save", "--test_cases", path]
    for _ in range(2):  # the second time it is there already
        said = draft(fine_tuned, *flags, given="=SUM(1) is no formula\n---\nIt lacks a baseline.")
        assert f"Saved as row 4 of {path}." in said
    saved = load_workbook(path)
    rows = [[cell.value for cell in row] for row in saved.active.iter_rows()]
    assert rows[:3] == [["note", "review", "case"], ["=1+1", "an old case", "old"], ["below it", None, None]]
    assert rows[3:] == [[None, "=SUM(1) is no formula\n<REVBREAK>\nIt lacks a baseline.", None]]
    assert saved.active["B4"].data_type == "s" and saved.active["A2"].data_type == "f"
    assert saved.active.column_dimensions["B"].width == 33 and saved["mine"]["A1"].value == "precious"
    assert [file.name for file in tmp_path.iterdir()] == ["mine.xlsx"]


def test_a_case_too_long_for_a_cell_is_not_saved(refused, fine_tuned: Path, tmp_path: Path) -> None:
    workbook, path = Workbook(), tmp_path / "mine.xlsx"
    workbook.active.append(["review"])
    workbook.save(path)
    before = path.read_bytes()
    (tmp_path / "long.txt").write_text("word " * 8_000)
    flags = ["--model_name_or_path", fine_tuned / "pythia_finetuned", "--reviews", "long.txt", "--save"]
    assert "nothing was saved" in refused(EVALUATE, *flags, "--test_cases", path)
    assert path.read_bytes() == before


def test_from_a_venue_to_a_meta_review(server: OpenReview, base: Path, tmp_path: Path) -> None:
    for number, row in enumerate(make_rows(60)):
        version, venue = (2, NEW) if number % 3 == 0 else (1, OLD)
        reviews = [
            make_reply(
                version, "Official_Review", {"review": review, "rating": "8: good"} if number else {"review": review}
            )
            for review in row["Input"].split(" <REVBREAK> ")
        ]
        meta_review = make_reply(version, "Meta_Review", {"metareview": row["Output"]}, by="Area_Chair_1")
        server.add_paper(version, venue, f"forum{number:02}", [*reviews, meta_review], title=f"Paper {number}")
    environment = server.environment()
    small = ["--model_name_or_path", base, "--max_summary_tokens", 100]
    result = run_script(PROCESS, *small, "--venue", NEW, OLD, "--test_year", 2031, cwd=tmp_path, **environment)
    assert result.returncode == 2 and "no paper is of --test_year 2031, only of 2021, 2024" in result.stderr
    result = run_script(PROCESS, *small, "--venue", NEW, OLD, "--test_year", 2024, cwd=tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    cleaned = next(line for line in result.stdout.splitlines() if line.startswith("| test "))
    assert cleaned.split("|")[2].strip() == "20"  # all of 2024, and nothing else
    record = json.loads((tmp_path / "processed_meta_review" / "processing_record.json").read_text())
    assert record["test_year"] == 2024 and record["dataset_name"].count("https://openreview.net/group?id=Shells") == 2
    result = run_script(TUNE, "--model_name_or_path", base, *FINE_TUNING, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    result = run_script(EVALUATE, "--forum", "https://openreview.net/forum?id=forum00", cwd=tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    for words in (f"Paper 0 ({NEW})", "Reviews: 3", "Ratings: - - -\n", "Draft by a model (pythia_finetuned)",
                  f"Written by a person:\n\n{make_rows(1)[0]['Output']}", "| ROUGE-L ", " lead |"):  # fmt: skip
        assert words in result.stdout, (words, result.stdout)
