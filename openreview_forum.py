"""Reading OpenReview: the reviews and the meta-review of one paper, or of all papers of a venue into a file.

Part of processing_meta_review.py (`--venue`) and evaluation.py (`--forum`, `--reviews`), and imported by both: so it
imports neither, and raises ValueError for a wrong argument or input and OSError for a failure at run time, which they
show as they show their own.

It reads through the official client, the optional package openreview-py, in both versions of its API: 2 for venues
since about 2023, 1 for older ones. It logs in with OPENREVIEW_USERNAME and OPENREVIEW_PASSWORD, else reads as a guest.
"""

import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tqdm import tqdm

PAGE = 500  # papers that are asked for at once, with all that was written about them; 1,000 is the most
PAUSE = 1.0  # seconds between two pages
RETRIES = 6  # of a request that is refused as one too many (429) or fails on the other side (5xx)
BACKOFF = 2.0  # seconds before the second retry (the first comes at once), doubled each time; Retry-After goes first
TIMEOUT = 300  # seconds without an answer
LOGIN = ("OPENREVIEW_USERNAME", "OPENREVIEW_PASSWORD")  # the client's own names, as those of the addresses
ADDRESSES = {
    2: ("OPENREVIEW_API_BASEURL_V2", "https://api2.openreview.net"),
    1: ("OPENREVIEW_API_BASEURL", "https://api.openreview.net"),
}

# Names of the fields of a form, in lower case and with _ for all else, in the order in which they are read. Only these:
# a form also has fields that are meant for the chairs alone. Add those of your venue.
REVIEW_FIELDS = (
    "summary", "summary_of_the_paper", "paper_summary", "summary_of_contributions",
    "paper_topic_and_main_contributions", "review", "main_review", "comments", "comments_to_authors",
    "strengths_and_weaknesses", "strength_and_weaknesses", "strengths", "summary_of_strengths", "reasons_to_accept",
    "weaknesses", "summary_of_weaknesses", "reasons_to_reject", "claims_and_evidence",
    "experimental_designs_or_analyses", "other_strengths_and_weaknesses",
    "clarity_quality_novelty_and_reproducibility", "questions", "questions_for_authors", "questions_for_the_authors",
    "requested_changes", "comments_suggestions_and_typos", "other_comments_or_suggestions", "limitations",
    "limitations_and_societal_impact", "summary_of_the_review",
)  # fmt: skip
META_REVIEW_FIELDS = ("metareview", "meta_review", "metareview_summary_strengths_and_weaknesses", "comment", "comments",
                      "summary", "recommendation")  # fmt: skip
VERDICT_WORDS = 10  # a `recommendation` of fewer words is a verdict ("Accept (poster)"), not a meta-review
RATING_FIELDS = ("rating", "recommendation", "overall_recommendation", "overall_assessment", "overall_rating",
                 "overall_score", "final_rating", "score")  # fmt: skip
CONFIDENCE_FIELDS = ("confidence", "reviewer_confidence")
KINDS = {  # of a reply, by the end of its invitation: Submission12/-/Official_Review, once -/Paper12/Official_Review
    "review": r"(paper_?\d+_)?(official_|anon_|blind_)?review",
    "meta-review": r"(paper_?\d+_)?(official_)?meta_?review",
    "decision": r"(paper_?\d+_)?(acceptance_)?(decision|acceptance)",
}


@dataclass
class Paper:
    """What was written about a paper. Ratings and confidences stand in the order of the reviews, None where missing."""

    reviews: list[str]
    meta_review: str = ""
    forum: str = ""
    title: str = ""
    venue: str = ""
    year: int | None = None
    ratings: list[float | None] = field(default_factory=list)
    confidences: list[float | None] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)  # replies that might have been a review: why not, how many
    skipped: str = ""  # why the paper is of no use

    def to_row(self, separator: str) -> dict[str, Any]:
        """The columns of zqz979/meta-review, and what else is known."""
        row = {"Input": f" {separator} ".join(self.reviews), "Output": self.meta_review} | vars(self)
        return {name: value for name, value in row.items() if name not in ("reviews", "meta_review")}


def read_id(given: str) -> str:
    """The id in an address of openreview.net, or the id itself. Raises `ValueError` for anything else."""
    found = parse_qs(urlsplit(given).query).get("id", [given])[0].strip().strip("/")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", found):
        raise ValueError(f"{given!r} is neither an id of OpenReview nor an address with one (.../forum?id=ID)")
    return found


def connect(version: int) -> Any:
    """The official client for a version of the API, logged in if there is a login, patient and polite."""
    try:
        import openreview
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry
    except ImportError as error:
        raise ValueError("reading OpenReview needs its client; first: pip install openreview-py") from error
    if sum(bool(os.environ.get(name)) for name in LOGIN) == 1:
        raise ValueError(f"of {' and '.join(LOGIN)} only one is set; set both, or neither to read as a guest")

    class ToldRetry(Retry):
        """The client's own way of retrying prints whole answers."""

        def sleep(self, response: Any = None) -> None:
            seconds = (self.get_retry_after(response) if response is not None else None) or self.get_backoff_time()
            if seconds > 1:
                tqdm.write(f"OpenReview is busy; waiting {seconds:,.0f} s", file=sys.stderr)
            super().sleep(response)

    name, default = ADDRESSES[version]
    address = os.environ.get(name, default).rstrip("/")
    make = openreview.api.OpenReviewClient if version == 2 else openreview.Client
    client = ask(f"cannot log in to OpenReview ({address})", make, baseurl=address)
    if client is None:
        raise OSError(f"there is no OpenReview at {address} ({name})")
    statuses = (429, 500, 502, 503, 504)
    retry = ToldRetry(RETRIES, connect=1, backoff_factor=BACKOFF, status_forcelist=statuses, raise_on_status=False)
    client.session.mount(address, HTTPAdapter(max_retries=retry))
    client.session.request = partial(client.session.request, timeout=TIMEOUT)
    return client


def ask(attempt: str, call: Callable[..., Any], **query: Any) -> Any:
    """What a call of the client returns, None where OpenReview has nothing of this name.

    Raises `ValueError` where it does not let us, `OSError` where it cannot answer.
    """
    import openreview
    import requests

    try:
        return call(**query)
    except openreview.OpenReviewException as error:
        status = getattr(getattr(error.__context__, "response", None), "status_code", 0)
        told = error.args[0] if error.args and isinstance(error.args[0], dict) else {"message": error}
        name, message = str(told.get("name", "")), " ".join(str(told.get("message", "")).split())[:200]
        for secret in filter(None, map(os.environ.get, LOGIN)):
            message = message.replace(secret, "...")
        if status == 404:
            return None
        if status == 429 or status >= 500:
            raise OSError(f"{attempt}: OpenReview answers {status} ({message}); try again later") from error
        if "expired" in f"{name} {message}".lower():
            raise OSError(f"{attempt}: the login to OpenReview has expired; give the same command again") from error
        advice = f"check {' and '.join(LOGIN)}" if os.environ.get(LOGIN[0]) else f"log in: set {' and '.join(LOGIN)}"
        raise ValueError(f"{attempt}: OpenReview answers {status or name} ({message}); {advice}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # no JSON, or not what the client expects
        raise OSError(f"{attempt}: OpenReview's answer makes no sense ({type(error).__name__}); try later") from error
    except requests.RequestException as error:
        raise OSError(f"{attempt}: OpenReview is out of reach; check the network and try again") from error


def name_fields(content: Any) -> dict[str, Any]:
    """The fields of a note, their names made alike; version 2 of the API wraps each value."""
    pairs = content.items() if isinstance(content, dict) else ()
    values = {name: value.get("value") if isinstance(value, dict) else value for name, value in pairs}
    return {re.sub(r"[\W_]+", "_", name.lower()).strip("_"): value for name, value in values.items()}


def find_texts(fields: dict[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    """Those of the named fields that hold a text, in the order of the names."""
    texts = {name: fields[name].strip() for name in names if isinstance(fields.get(name), str)}
    short = len(texts.get("recommendation", "").split()) < VERDICT_WORDS
    return {name: text for name, text in texts.items()
            if re.search(r"\w", text) and not (name == "recommendation" and short)}  # fmt: skip


def find_number(fields: dict[str, Any], names: tuple[str, ...]) -> float | None:
    """The number that the first of the named fields begins with: 8.0 for 8 and for "8: accept, good paper"."""
    given = next((fields[name] for name in names if fields.get(name) is not None), "")
    number = re.match(r"\s*(-?\d+(?:\.\d+)?)", str(given))
    return float(number[1]) if number else None


def find_kind(reply: dict[str, Any]) -> str | None:
    """One of KINDS; None for all else, such as comments, and for whatever the authors write."""
    if any(str(signature).endswith("/Authors") for signature in reply.get("signatures") or ()):
        return None
    for invitation in reply.get("invitations") or [reply.get("invitation") or ""]:
        name = re.sub(r"[\W_]+", "_", invitation.rpartition("/-/")[2].lower())
        for kind, pattern in KINDS.items():
            if re.fullmatch(pattern, name):
                return kind
    return None


def read_paper(note: Any) -> Paper:
    """What was written about a paper: from its submission, a note of the client that has its replies with it."""
    paper, fields, meta_reviews = Paper([], forum=note.id), name_fields(note.content), {}
    invitations = getattr(note, "invitations", None) or [getattr(note, "invitation", None) or ""]
    paper.title, paper.venue = str(fields.get("title") or ""), invitations[0].partition("/-/")[0]
    named = re.search(r"(?<!\d)20\d\d(?!\d)", paper.venue)
    created = note.cdate or note.tcdate  # milliseconds; for a journal, which has no year in its name
    paper.year = int(named[0]) if named else time.gmtime(created / 1000).tm_year if created else None
    replies = (note.details or {}).get("replies") or []
    for reply in sorted(replies, key=lambda reply: reply.get("tcdate") or 0):
        kind, answers = find_kind(reply), name_fields(reply.get("content"))
        texts = find_texts(answers, REVIEW_FIELDS if kind == "review" else META_REVIEW_FIELDS)
        if kind and reply.get("ddate"):
            paper.left_out[f"{kind}s deleted"] += 1
        elif kind == "review" and texts:
            titled = [f"{name.replace('_', ' ').capitalize()}: {text}" for name, text in texts.items()]
            paper.reviews.append("\n".join(titled if len(titled) > 1 else texts.values()))
            paper.ratings.append(find_number(answers, RATING_FIELDS))
            paper.confidences.append(find_number(answers, CONFIDENCE_FIELDS))
        elif kind and texts:
            meta_reviews.setdefault(kind, next(iter(texts.values())))
        elif kind and kind != "decision":  # which need not give reasons
            paper.left_out[f"{kind}s without a text in a known field"] += 1
    paper.meta_review = meta_reviews.get("meta-review") or meta_reviews.get("decision", "")
    marks = " ".join(map(str, [*invitations, fields.get("venueid"), "withdrawn" * bool(fields.get("withdrawal"))]))
    gone = re.search(r"withdrawn|desk_?reject", marks, re.IGNORECASE)
    reasons = {"deleted": note.ddate, "withdrawn or desk-rejected": gone, "without a review": not paper.reviews}
    paper.skipped = next((reason for reason, holds in reasons.items() if holds), "")
    return paper


def fetch_forum(forum: str) -> Paper:
    """The paper of a forum, given by its id. Raises `ValueError` where there is none with a review."""
    for version in ADDRESSES:
        client = connect(version)
        if notes := ask(f"cannot read the forum {forum}", client.get_notes, id=forum, details="replies"):
            break
    else:
        raise ValueError(f"OpenReview has no forum {forum!r} that you may read; if it is not public, log in: "
                         f"set {' and '.join(LOGIN)}")  # fmt: skip
    if (notes[0].forum or forum) != forum:
        raise ValueError(f"{forum!r} is a reply, not a paper; its forum is {notes[0].forum}")
    paper = read_paper(notes[0])
    if not paper.reviews:
        others = describe_counts(paper.left_out)
        raise ValueError(f"the forum {forum!r} has no review that you may read{f' ({others})' if others else ''}")
    return paper


def describe_counts(counts: Counter[str]) -> str:
    """What was left out, the most frequent first."""
    return ", ".join(f"{number:,} {what}" for what, number in counts.most_common())


def describe_paper(paper: Paper) -> str:
    """Title, number of reviews, ratings and confidences, in lines for a person."""

    def line(title: str, values: list[float | None]) -> str:
        there = [value for value in values if value is not None]
        mean = f" (mean {sum(there) / len(there):.1f})" if there else ""
        return f"{title}: {' '.join('-' if value is None else f'{value:g}' for value in values)}{mean}"

    lines = [f"{paper.title or paper.forum} ({paper.venue})", f"Reviews: {len(paper.reviews)}"]
    lines += [line("Ratings", paper.ratings), line("Confidences", paper.confidences)]
    return "\n".join([*lines, *([f"Left out: {others}"] if (others := describe_counts(paper.left_out)) else [])])


def find_submissions(venue: str) -> tuple[Any, str]:
    """The client for a venue and the invitation of its submissions. Raises `ValueError` where there is none."""
    client = connect(2)
    group = ask(f"cannot read the venue {venue}", client.get_group, id=venue)
    if group is not None and group.domain:  # that of a venue of version 1 has none
        return client, f"{venue}/-/{name_fields(group.content).get('submission_name') or 'Submission'}"
    client = connect(1)
    for name in ("Blind_Submission", "Submission", "submission"):
        invitation = f"{venue}/-/{name}"
        if ask(f"cannot read the venue {venue}", client.get_notes, invitation=invitation, limit=1):
            return client, invitation
    raise ValueError(f"OpenReview has no venue {venue!r} with submissions that you may read; it is named as in the "
                     f"address of its page: .../group?id=ICLR.cc/2024/Conference")  # fmt: skip


def read_pages(client: Any, invitation: str, after: str | None) -> Iterator[tuple[list[Any], int]]:
    """Pages of submissions, those after a forum in the order of their ids, and how many OpenReview counts in all."""
    attempt = f"cannot read {invitation}"
    query = {"invitation": invitation, "details": "replies", "sort": "id", "limit": PAGE}
    page, total = ask(attempt, client.get_notes, after=after, with_count=True, **query) or (None, 0)
    while page and page[-1].id != after:
        yield page, total
        time.sleep(PAUSE)
        after = page[-1].id
        page = ask(attempt, client.get_notes, after=after, **query)
    if page != []:
        raise OSError(f"{attempt}: OpenReview does not go on after {after}; try again later")


def find_end(part: Path) -> tuple[int, str | None]:
    """How many papers a file holds and the last one's forum; what an interruption left of a line is cut off."""
    count, size, last = 0, 0, None
    with part.open("a+b") as file:
        file.seek(0)
        for line in file:
            if line.endswith(b"\n"):
                try:
                    count, size, last = count + 1, size + len(line), json.loads(line)["forum"]
                except (ValueError, LookupError, TypeError) as error:
                    raise ValueError(f"line {count + 1} of {part} is damaged; delete it to fetch anew") from error
        file.truncate(size)
    return count, last


def fetch_venue(venue: str, folder: Path, separator: str) -> Path:
    """The file in `folder` with a row for each paper of a venue that has a review; fetched if it is not there yet.

    Papers go into a file beside as they come, and an interrupted fetch goes on after the last one there.
    """
    target = folder / f"{venue.replace('/', '_')}.jsonl"
    part = target.with_name(f"{target.name}.part")
    if target.exists():
        print(f"{venue}: {target} is there already; delete it to fetch anew.")
        return target
    client, invitation = find_submissions(venue)
    folder.mkdir(parents=True, exist_ok=True)
    there, last = find_end(part)
    with part.open("a", encoding="utf-8") as file, tqdm(desc=venue, unit=" papers", initial=there) as progress:
        for page, total in read_pages(client, invitation, last):
            progress.total = max(total, progress.n + len(page))
            for paper in map(read_paper, page):
                file.write(json.dumps(paper.to_row(separator)) + "\n")
            file.flush()
            progress.update(len(page))
    keep_useful(part, target, venue)
    return target


def keep_useful(part: Path, target: Path, venue: str) -> None:
    """Write the papers that have a review to `target`, put in place when it is whole, and say what was left out."""
    new, counts, left_out = target.with_name(f".{target.name}.new"), Counter[str](), Counter[str]()
    with part.open(encoding="utf-8") as rows, new.open("w", encoding="utf-8") as file:
        for row in map(json.loads, rows):
            left_out.update(row.pop("left_out"))
            if reason := row.pop("skipped"):
                left_out[f"papers {reason}"] += 1
            else:
                counts.update(["papers"] + ["meta-reviews"] * bool(row["Output"]))
                file.write(json.dumps(row) + "\n")
    others = f"; left out: {describe_counts(left_out)}" if left_out else ""
    if not counts:
        new.unlink()
        part.unlink()  # there may be reviews the next time
        raise ValueError(f"{venue} has no paper with a review that you may read{others}")
    new.replace(target)
    part.unlink()
    print(f"{target}: {describe_counts(counts)} of {venue}{others}.")


def read_review_files(names: list[str]) -> list[str]:
    """The reviews in these files, one in each; a single file, or - for standard input, may hold several.

    A line --- stands between them there. Raises `ValueError` for a file that is missing, empty or no text.
    """
    texts = []
    for name in names:
        try:
            content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
            texts.append(content.decode("utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
            raise ValueError(f"cannot read --reviews {name!r}: {reason}") from error
    if len(texts) == 1:
        parts = re.split(r"(?m)^[ \t]*---[ \t]*\r?$", texts[0])
        texts = [part for part in parts if re.search(r"\w", part)] or texts
    if empty := [name for name, text in zip(names, texts, strict=False) if not re.search(r"\w", text)]:
        raise ValueError(f"there is no review in --reviews {empty[0]!r}")
    return [text.strip() for text in texts]
