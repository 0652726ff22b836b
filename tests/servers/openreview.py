"""OpenReview on 127.0.0.1: answers the real client as both versions of its API do, with papers written by us.

    with OpenReview() as server:
        server.add_paper(2, "Shells.org/2024/Conference", "abc", [a_review, ...])
        ...  # in a process with server.environment(), whose names the client reads

Not as on the real one: one user; a note is read with all replies or with none; a private paper opens to that user.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD, TOKEN = "ada@example.org", "sesame-77", "token-of-ada"
YEAR_2024 = 1_700_000_000_000  # milliseconds


@dataclass
class Fault:
    """What is answered to one of the next requests, or to all, whose paths contain something."""

    path_contains: str = ""
    status: int = 500
    always: bool = False
    body: bytes = b'{"name": "Error", "message": "asked for by the test"}'
    cut_after: int | None = None  # bytes of it, after which the connection is closed


def make_reply(version: int, invitation: str, content: dict[str, Any], by: str = "Reviewer_1", **more: Any) -> dict:
    """A reply to a paper; `invitation` and `by` are the ends of what they are on OpenReview."""
    named: dict[str, Any] = {"invitation": f"Shells.org/-/{invitation}"}
    if version == 2:
        named = {"invitations": [f"Shells.org/Paper1/-/{invitation}", "Shells.org/-/Edit"]}
        content = {name: {"value": value} for name, value in content.items()}
    return {"signatures": [f"Shells.org/Paper1/{by}"], "content": content, "tcdate": 1, **named, **more}


class OpenReview(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.venues: dict[str, int] = {}  # name -> version
        self.papers: dict[int, dict[str, dict]] = {1: {}, 2: {}}  # version -> id -> note
        self.private: set[str] = set()  # ids of papers that only the user may read
        self.tokens = {TOKEN}  # take it out, and it has expired
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, int]] = []  # path and status

    def __enter__(self) -> OpenReview:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def environment(self) -> dict[str, str]:
        address = f"http://127.0.0.1:{self.server_port}"
        guest = dict.fromkeys(("OPENREVIEW_USERNAME", "OPENREVIEW_PASSWORD"), "")
        return {"OPENREVIEW_API_BASEURL": f"{address}/1", "OPENREVIEW_API_BASEURL_V2": f"{address}/2", **guest}

    def add_paper(
        self, version: int, venue: str, id: str, replies: list[dict], title: str = "On shells", **more: Any
    ) -> None:
        invitation = f"{venue}/-/{'Submission' if version == 2 else 'Blind_Submission'}"
        named = {"invitations": [invitation], "domain": venue} if version == 2 else {"invitation": invitation}
        content = {"title": {"value": title} if version == 2 else title}
        note = {"id": id, "forum": id, "cdate": YEAR_2024, "content": content, "details": {"replies": replies}}
        self.venues[venue] = version
        self.papers[version][id] = note | named | more

    def answer(self, version: int, path: str, query: dict[str, str], token: str, body: bytes) -> tuple[int, dict]:
        if path == "login":
            wanted = json.loads(body)
            if (wanted["id"], wanted["password"]) != (USER, PASSWORD):
                return 400, {"name": "Error", "message": f"Invalid username or password: {wanted['id']}"}
            return 200, {"token": TOKEN, "user": {"profile": {"id": "~Ada_L1"}}}
        if token and token not in self.tokens:
            return 401, {"name": "TokenExpiredError", "message": "Token has expired"}
        if path == "groups" and (venue := query["id"]) in self.venues:
            group = {"domain": venue, "content": {"submission_name": {"value": "Submission"}}}
            return 200, {"groups": [{"id": venue} | (group if self.venues[venue] == 2 else {})]}
        hidden = set() if query.get("details") == "replies" else {"details"}
        notes = {id: {name: note[name] for name in note.keys() - hidden} for id, note in self.papers[version].items()}
        if path != "notes" or query.get("id", "") not in {"", *notes}:
            return 404, {"name": "NotFoundError", "message": "Not found"}
        if "id" in query:
            if query["id"] in self.private and not token:
                return 403, {"name": "ForbiddenError", "message": "You don't have permission to read it"}
            return 200, {"notes": [notes[query["id"]]]}
        if "after" in query and query.get("sort") != "id":
            return 400, {"name": "Error", "message": "after goes with sort=id"}
        named = {id: note.get("invitations") or [note["invitation"]] for id, note in notes.items()}
        invited = sorted(id for id in named if query["invitation"] in named[id])
        fitting = [notes[id] for id in invited if id > query.get("after", "")]
        return 200, {"notes": fitting[: int(query["limit"])], "count": len(fitting)}


class Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OpenReview

    def log_message(self, *_: object) -> None:
        pass

    def serve(self) -> None:
        sent = self.rfile.read(int(self.headers.get("content-length", 0)))
        address = urlsplit(self.path)
        _, version, path = address.path.split("/", 2)
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        fault = next((fault for fault in self.server.faults if fault.path_contains in self.path), None)
        if fault is None:
            status, answer = self.server.answer(int(version), path, query, token, sent)
            fault = Fault(status=status, body=json.dumps(answer).encode())
        elif not fault.always:
            self.server.faults.remove(fault)
        self.server.requests.append((self.path, fault.status))
        self.send_response(fault.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(fault.body)))
        self.end_headers()
        self.wfile.write(fault.body[: fault.cut_after])
        self.close_connection = fault.cut_after is not None

    do_GET = do_POST = serve
