"""Reading OpenReview: one paper with what was written about it, or all papers of a venue into a file.

All through the official client, the optional package openreview-py, in both versions of its API: 2 for venues since
about 2023, 1 for older ones. A wrong argument or input raises `InputError`, a failure at run time `OSError`.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from tqdm import tqdm

from metareview.common.cli import InputError
from metareview.data.cleaning import DEFAULT_SEPARATOR, join_reviews
from metareview.sources.forms import Paper, describe_counts, name_fields, read_paper

PAGE = 500  # papers per request, with everything that was written about them; 1,000 is the most
PAUSE = 1.0  # seconds between two pages; after an error the client waits by itself, as long as the server asks
TIMEOUT = 300  # seconds without an answer
KEPT = ("forum", "title", "venue", "year", "ratings", "confidences", "decision")  # of a paper, beside its texts
LOGIN = ("OPENREVIEW_USERNAME", "OPENREVIEW_PASSWORD")  # the client's own names, as are those of the addresses
ADDRESSES = {
    2: ("OPENREVIEW_API_BASEURL_V2", "https://api2.openreview.net"),
    1: ("OPENREVIEW_API_BASEURL", "https://api.openreview.net"),
}


def _connect(version: int) -> Any:
    """The official client, logged in if there is a login. Raises `InputError` if it is not installed."""
    try:
        import openreview
    except ImportError as error:
        raise InputError("reading OpenReview needs its client; first: pip install openreview-py") from error
    name, default = ADDRESSES[version]
    address = os.environ.get(name, default).rstrip("/")
    client_class = openreview.api.OpenReviewClient if version == 2 else openreview.Client
    client = _ask(f"cannot log in to OpenReview ({address})", client_class, baseurl=address)
    if client is None:
        raise OSError(f"there is no OpenReview at {address} ({name})")
    client.session.request = partial(client.session.request, timeout=TIMEOUT)
    return client


def _ask(attempt: str, call: Callable[..., Any], **query: Any) -> Any:
    """What a call of the client returns, None if there is no such thing. `InputError` if OpenReview refuses."""
    import openreview
    import requests

    try:
        with redirect_stdout(sys.stderr):  # there the client says that it tries again
            return call(**query)
    except openreview.OpenReviewException as error:
        status = getattr(getattr(error.__context__, "response", None), "status_code", 0)
        if status == 404:
            return None
        answer = error.args[0] if error.args and isinstance(error.args[0], dict) else {"message": error}
        reason = " ".join(f"{answer.get('name', '')} {answer.get('message', '')}".split())[:200]
        for secret in filter(None, map(os.environ.get, LOGIN)):
            reason = reason.replace(secret, "...")
        failure = f"{attempt}: OpenReview answers {status} ({reason})"
        if status == 429 or status >= 500 or "expired" in reason.lower():
            raise OSError(f"{failure}; run the same command again later") from error
        advice = "check" if os.environ.get(LOGIN[0]) else "log in: set"
        raise InputError(f"{failure}; {advice} {' and '.join(LOGIN)}") from error
    except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError) as error:
        failure = f"{attempt}: cannot reach OpenReview, or it answers nonsense ({error!r:.200})"
        raise OSError(f"{failure}; check the network and try again later") from error


def fetch_forum(forum: str) -> Paper:
    """The paper of a forum, given by its id. Raises `InputError` if there is none with a review."""
    attempt, query = f"cannot read the forum {forum}", {"id": forum, "details": "replies"}
    notes = _ask(attempt, _connect(2).get_notes, **query) or _ask(attempt, _connect(1).get_notes, **query)
    if not notes:
        advice = f"if it is not public, log in: set {' and '.join(LOGIN)}"
        raise InputError(f"OpenReview has no forum {forum!r} that you may read; {advice}")
    paper = read_paper(notes[0])
    if not paper.reviews:
        others = f" ({describe_counts(paper.left_out)})" if paper.left_out else ""
        raise InputError(f"the forum {forum!r} has no review that you may read{others}")
    return paper


def _find_submissions(venue: str) -> tuple[Any, str]:
    """The client for a venue and the invitation of its submissions. Raises `InputError` if there is none."""
    attempt, client = f"cannot read the venue {venue}", _connect(2)
    group = _ask(attempt, client.get_group, id=venue)
    if group is not None and group.domain:  # that of a venue of version 1 has none
        return client, f"{venue}/-/{name_fields(group.content).get('submission_name') or 'Submission'}"
    client = _connect(1)
    for name in ("Blind_Submission", "Submission", "submission"):
        if _ask(attempt, client.get_notes, invitation=f"{venue}/-/{name}", limit=1):
            return client, f"{venue}/-/{name}"
    advice = "its name is in the address of its page: .../group?id=ICLR.cc/2024/Conference"
    raise InputError(f"OpenReview has no venue {venue!r} with submissions that you may read; {advice}")


def _read_pages(client: Any, invitation: str, after: str | None) -> Iterator[tuple[list[Any], int]]:
    """Pages of submissions, those after a forum in the order of their ids, and how many OpenReview counts in all."""
    query = {"invitation": invitation, "details": "replies", "sort": "id", "limit": PAGE, "with_count": True}
    while True:
        page, total = _ask(f"cannot read {invitation}", client.get_notes, after=after, **query) or (None, 0)
        if page is None or (page and page[-1].id == after):
            raise OSError(f"cannot read {invitation}: OpenReview does not go on after {after}; try again later")
        if not page:
            return
        yield page, total
        time.sleep(PAUSE)
        after = page[-1].id


def _cut_part(part: Path) -> str | None:
    """Cut off what an interruption has left of a line at the end of a file; the forum of the last paper in it."""
    with part.open("a+b") as file:
        file.seek(0)
        lines = list(takewhile(lambda line: line.endswith(b"}\n"), file))
        file.truncate(sum(map(len, lines)))
    return json.loads(lines[-1])["forum"] if lines else None


def fetch_venue(venue: str, folder: Path) -> Path:
    """The file in `folder` with a row for each paper of a venue that has a review; fetched if it is not there yet.

    Rows go into a file beside it as they come, and an interrupted fetch resumes after the last one.
    """
    target = folder / f"{venue.replace('/', '_')}.jsonl"
    part = target.with_name(f"{target.name}.part")
    if target.exists():
        print(f"{venue}: {target} exists already; delete it to fetch anew.")
        return target
    client, invitation = _find_submissions(venue)
    folder.mkdir(parents=True, exist_ok=True)
    last, left_out = _cut_part(part), Counter[str]()
    with part.open("a", encoding="utf-8") as file, tqdm(desc=venue, unit=" papers") as progress:
        for page, progress.total in _read_pages(client, invitation, last):
            for paper in map(read_paper, page):
                left_out.update(paper.left_out)
                if paper.skipped:
                    left_out[f"papers {paper.skipped}"] += 1
                    continue
                row = {"Input": join_reviews(paper.reviews, f" {DEFAULT_SEPARATOR} "), "Output": paper.meta_review}
                row |= {name: getattr(paper, name) for name in KEPT}
                file.write(json.dumps(row) + "\n")
            file.flush()
            progress.update(len(page))
    written = [bool(json.loads(line)["Output"]) for line in part.read_text(encoding="utf-8").splitlines()]
    others = f"; left out: {describe_counts(left_out)}" if left_out else ""
    if not written:
        part.unlink()  # there may be reviews the next time
        raise InputError(f"{venue} has no paper with a review that you may read{others}")
    part.replace(target)
    print(f"{target}: {len(written):,} papers, {sum(written):,} meta-reviews of {venue}{others}.")
    return target
