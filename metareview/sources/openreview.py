"""Reading OpenReview: one paper with what was written about it, or all papers of a venue into a file.

Everything goes through the official client, the optional package openreview-py, in both versions of its API: 2 for
venues since about 2023, 1 for older ones. It logs in with OPENREVIEW_USERNAME and OPENREVIEW_PASSWORD; without them it
reads as a guest. A wrong argument or input raises `InputError`, a failure at run time `OSError`.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from metareview.common.cli import InputError
from metareview.common.files import replacing
from metareview.sources.forms import Paper, describe_counts, name_fields, read_paper

PAGE = 500  # papers per request, with everything that was written about them; 1,000 is the most
PAUSE = 1.0  # seconds between two pages
RETRIES = 6  # of a request that is refused as one too many (429) or fails on the server's side (5xx)
BACKOFF = 2.0  # seconds before the second retry (the first comes at once), doubled each time; Retry-After goes first
TIMEOUT = 300  # seconds without an answer
LOGIN = ("OPENREVIEW_USERNAME", "OPENREVIEW_PASSWORD")  # the client's own names, as are those of the addresses
ADDRESSES = {
    2: ("OPENREVIEW_API_BASEURL_V2", "https://api2.openreview.net"),
    1: ("OPENREVIEW_API_BASEURL", "https://api.openreview.net"),
}


def connect(version: int) -> Any:
    """The official client for a version of the API, logged in if there is a login, patient and polite.

    Raises `InputError` where the client is not installed or half of the login is missing.
    """
    try:
        import openreview
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry
    except ImportError as error:
        raise InputError("reading OpenReview needs its client; first: pip install openreview-py") from error
    if sum(bool(os.environ.get(name)) for name in LOGIN) == 1:
        raise InputError(f"of {' and '.join(LOGIN)} only one is set; set both, or neither to read as a guest")

    class AnnouncedRetry(Retry):
        """A retry that says so; the client's own prints whole answers."""

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
    retry = AnnouncedRetry(RETRIES, connect=1, backoff_factor=BACKOFF, status_forcelist=statuses, raise_on_status=False)
    client.session.mount(address, HTTPAdapter(max_retries=retry))
    client.session.request = partial(client.session.request, timeout=TIMEOUT)
    return client


def ask(attempt: str, call: Callable[..., Any], **query: Any) -> Any:
    """What a call of the client returns, None where OpenReview has nothing of this name.

    Raises `InputError` where it refuses, `OSError` where it cannot answer.
    """
    import openreview
    import requests

    try:
        return call(**query)
    except openreview.OpenReviewException as error:
        status = getattr(getattr(error.__context__, "response", None), "status_code", 0)
        answer = error.args[0] if error.args and isinstance(error.args[0], dict) else {"message": error}
        name, message = str(answer.get("name", "")), " ".join(str(answer.get("message", "")).split())[:200]
        for secret in filter(None, map(os.environ.get, LOGIN)):
            message = message.replace(secret, "...")
        if status == 404:
            return None
        if status == 429 or status >= 500:
            raise OSError(f"{attempt}: OpenReview answers {status} ({message}); try again later") from error
        if "expired" in f"{name} {message}".lower():
            raise OSError(f"{attempt}: the login to OpenReview has expired; give the same command again") from error
        advice = f"check {' and '.join(LOGIN)}" if os.environ.get(LOGIN[0]) else f"log in: set {' and '.join(LOGIN)}"
        raise InputError(f"{attempt}: OpenReview answers {status or name} ({message}); {advice}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # not JSON, or not what the client expects
        raise OSError(f"{attempt}: OpenReview's answer makes no sense ({type(error).__name__}); try later") from error
    except requests.RequestException as error:
        raise OSError(f"{attempt}: OpenReview is out of reach; check the network and try again") from error


def fetch_forum(forum: str) -> Paper:
    """The paper of a forum, given by its id. Raises `InputError` where there is none with a review."""
    for version in ADDRESSES:
        client = connect(version)
        if notes := ask(f"cannot read the forum {forum}", client.get_notes, id=forum, details="replies"):
            break
    else:
        login = f"set {' and '.join(LOGIN)}"
        raise InputError(f"OpenReview has no forum {forum!r} that you may read; if it is not public, log in: {login}")
    if (notes[0].forum or forum) != forum:
        raise InputError(f"{forum!r} is a reply, not a paper; its forum is {notes[0].forum}")
    paper = read_paper(notes[0])
    if not paper.reviews:
        others = f" ({describe_counts(paper.left_out)})" if paper.left_out else ""
        raise InputError(f"the forum {forum!r} has no review that you may read{others}")
    return paper


def find_submissions(venue: str) -> tuple[Any, str]:
    """The client for a venue and the invitation of its submissions. Raises `InputError` where there is none."""
    client = connect(2)
    group = ask(f"cannot read the venue {venue}", client.get_group, id=venue)
    if group is not None and group.domain:  # that of a venue of version 1 has none
        return client, f"{venue}/-/{name_fields(group.content).get('submission_name') or 'Submission'}"
    client = connect(1)
    for name in ("Blind_Submission", "Submission", "submission"):
        invitation = f"{venue}/-/{name}"
        if ask(f"cannot read the venue {venue}", client.get_notes, invitation=invitation, limit=1):
            return client, invitation
    raise InputError(
        f"OpenReview has no venue {venue!r} with submissions that you may read; it is named as in the "
        "address of its page: .../group?id=ICLR.cc/2024/Conference"
    )


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
                    raise InputError(f"line {count + 1} of {part} is damaged; delete it to fetch anew") from error
        file.truncate(size)
    return count, last


def fetch_venue(venue: str, folder: Path) -> Path:
    """The file in `folder` with a row for each paper of a venue that has a review; fetched if it is not there yet.

    Papers go into a file beside it as they come, and an interrupted fetch goes on after the last one there.
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
                file.write(json.dumps(paper.to_row()) + "\n")
            file.flush()
            progress.update(len(page))
    keep_useful(part, target, venue)
    return target


def keep_useful(part: Path, target: Path, venue: str) -> None:
    """Write the papers in `part` that have a review to `target`, delete `part`, and print what was left out."""
    counts, left_out = Counter[str](), Counter[str]()
    with replacing(target) as new:
        with part.open(encoding="utf-8") as rows, new.open("w", encoding="utf-8") as file:
            for row in map(json.loads, rows):
                left_out.update(row.pop("left_out"))
                if reason := row.pop("skipped"):
                    left_out[f"papers {reason}"] += 1
                    continue
                counts["papers"] += 1
                if row["Output"]:
                    counts["meta-reviews"] += 1
                file.write(json.dumps(row) + "\n")
        others = f"; left out: {describe_counts(left_out)}" if left_out else ""
        if not counts:
            part.unlink()  # there may be reviews the next time
            raise InputError(f"{venue} has no paper with a review that you may read{others}")
    part.unlink()
    print(f"{target}: {describe_counts(counts)} of {venue}{others}.")
