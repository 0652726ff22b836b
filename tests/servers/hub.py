"""A Hugging Face Hub on 127.0.0.1, so that tests can run the real clients against something that answers like it.

    HUB.add_repo("dataset", "reader/reviews", {"data.csv": b"..."}, private=True)
    ...  # in a process with HUB.environment(cache), which the clients read when they are imported
    HUB.repos["model", "reader/pushed"].files()

Unlike the real Hub: files are uploaded in the commit itself, not through Xet or LFS; every ETag is a SHA-256; there are
no pages, branches and tags; only its owner can write to a repository or read a gated one.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

WRITER, READER = "hf_SecretOfTheWriter", "hf_reader1"
TOKENS = {WRITER: ("reader", "write"), READER: ("reader", "read")}  # user and role


@dataclass
class Fault:
    """Spoils the next requests that match, `times` of them (-1: all)."""

    method: str | None = None  # None: any
    path_contains: str = ""
    status: int = 500
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)  # of the answer, e.g. {"Retry-After": "0"}
    cut_after: int | None = None  # instead of an answer: read this much of the body, then close the connection

    def fits(self, call: Request) -> bool:
        return bool(self.times) and self.method in (None, call.method) and self.path_contains in call.path


@dataclass
class Request:
    method: str
    path: str  # as sent, with the query
    headers: dict[str, str]  # names in lower case, without `authorization`
    authorization: str | None
    body: bytes = b""
    status: int = 0  # of the answer
    user: str = ""  # whose token it has; "": none
    role: str = ""
    args: dict[str, str] = field(default_factory=dict)  # the groups of the route


@dataclass
class Reply(Exception):
    """An answer; a handler returns or raises it."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def refusal(status: int, message: str, code: str = "", **more: str) -> Reply:
    """An error. The clients choose their exception by `code`."""
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return Reply(status, json.dumps({"error": message, **more}).encode(), headers)


@dataclass
class Commit:
    id: str
    title: str
    files: dict[str, bytes]


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    commits: list[Commit] = field(default_factory=list)

    def files(self) -> dict[str, bytes]:
        return self.commits[-1].files

    def at(self, revision: str) -> Commit:
        return next(commit for commit in reversed(self.commits) if revision in ("main", commit.id))

    def commit(self, title: str, files: dict[str, bytes]) -> None:
        self.commits.append(Commit(secrets.token_hex(20), title, files))


class Hub(ThreadingHTTPServer):
    """Serves from a thread of its own until the process ends."""

    request_queue_size = 64  # the clients open many connections at once

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[tuple[str, str], Repo] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.lock = threading.RLock()
        self.home = TemporaryDirectory()  # for the cache of this process
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def environment(self, home: str, token: str = "") -> dict[str, str]:
        """What makes the clients of a new process use this Hub, and a cache in `home`."""
        variables = {"HF_ENDPOINT": self.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        return variables | {"HF_HOME": home, "HF_TOKEN": token}

    def add_repo(self, kind: str, repo_id: str, files: dict[str, bytes], **access: bool) -> Repo:
        """A repository with one commit; it has a .gitattributes besides the files, as all on the Hub have."""
        repo = self.repos[kind, repo_id] = Repo(**access)
        repo.commit("initial commit", {".gitattributes": b"", **files})
        return repo

    def answer(self, call: Request, fault: Fault | None) -> Reply:
        if fault:
            raise refusal(fault.status, "A fault that the test asked for")
        if call.authorization:
            call.user, call.role = TOKENS.get(call.authorization.removeprefix("Bearer "), ("", ""))
            if not call.user:
                raise refusal(401, "Invalid credentials in Authorization header")
        for route, handler in ROUTES.items():
            if match := re.fullmatch(route, f"{call.method} {urlsplit(call.path).path}"):
                call.args = match.groupdict(default="")
                result = handler(self, call)
                return result if isinstance(result, Reply) else Reply(body=json.dumps(result).encode())
        raise refusal(404, f"The Hub for tests does not serve {call.method} {call.path}")

    def find(self, call: Request, read: bool = False, write: bool = False) -> Repo:
        repo = self.repos.get((call.args["kind"] or "model", call.args["id"]))
        owns = call.args["id"].startswith(f"{call.user}/")
        if repo is None or (repo.private and not owns):  # the two look the same from outside
            raise refusal(404 if call.user else 401, "Repository not found", "RepoNotFound")
        if read and repo.gated and not owns:
            raise refusal(403 if call.user else 401, f"Access to {call.args['id']} is restricted.", "GatedRepo")
        if write and not (owns and call.role == "write"):
            raise refusal(403, "Forbidden: you must use a write token to upload to a repository.")
        return repo

    def whoami(self, call: Request) -> dict[str, Any]:
        return {"name": call.user, "auth": {"type": "access_token", "accessToken": {"role": call.role}}}

    def create(self, call: Request) -> dict[str, Any]:
        wanted = json.loads(call.body)
        kind, owner = wanted.get("type") or "model", wanted.get("organization") or call.user
        if (call.user, call.role) != (owner, "write"):
            raise refusal(403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"')
        repo_id = f"{owner}/{wanted['name']}"
        url = f"{self.url}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"
        if (kind, repo_id) in self.repos:  # the client reads the address, also when it has no objection
            raise refusal(409, "You already created this repo", url=url)
        self.add_repo(kind, repo_id, {}, private=wanted.get("visibility") == "private")
        return {"url": url}

    def info(self, call: Request) -> dict[str, Any]:
        repo = self.find(call)
        commit = repo.at(call.args["rev"] or "main")
        siblings = [{"rfilename": path} for path in commit.files]
        return {"id": call.args["id"], "sha": commit.id, "private": repo.private, "siblings": siblings}

    def tree(self, call: Request) -> list[dict[str, Any]]:
        commit, listed = self.find(call).at(call.args["rev"]), {}
        prefix = f"{call.args['path']}/".removeprefix("/")
        for path, content in commit.files.items():
            name, *inside = path.removeprefix(prefix).split("/")
            if path.startswith(prefix) and inside:
                listed[prefix + name] = {"type": "directory", "path": prefix + name, "oid": commit.id}
            if path.startswith(prefix) and (not inside or "recursive=true" in call.path):
                listed[path] = {"type": "file", "path": path, "size": len(content), "oid": sha256(content).hexdigest()}
        return list(listed.values())

    def preupload(self, call: Request) -> dict[str, Any]:
        self.find(call, write=True)
        mode = {"uploadMode": "regular", "shouldIgnore": False}
        return {"files": [file | mode for file in json.loads(call.body)["files"]]}

    def commit(self, call: Request) -> dict[str, Any]:
        repo = self.find(call, write=True)
        (_, header), *operations = [json.loads(line).values() for line in call.body.splitlines()]
        files = dict(repo.files())
        for kind, value in operations:
            if kind == "deletedFile":
                del files[value["path"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        repo.commit(header["summary"], files)
        commit = repo.commits[-1].id
        return {"commitOid": commit, "commitUrl": f"{self.url}/{call.args['id']}/commit/{commit}"}

    def resolve(self, call: Request) -> Reply:
        commit = self.find(call, read=True).at(call.args["rev"])
        content = commit.files.get(call.args["path"])
        if content is None:
            reply = refusal(404, "Entry not found", "EntryNotFound")
        else:
            reply = Reply(200, content, {"ETag": f'"{sha256(content).hexdigest()}"'})
        reply.headers["X-Repo-Commit"] = commit.id
        return reply


REPO = r"(?P<id>[^/]+/[^/]+)"
API = rf"/api/(?P<kind>model|dataset)s/{REPO}"
ROUTES = {
    r"GET /api/whoami-v2": Hub.whoami,
    r"POST /api/repos/create": Hub.create,
    r"POST /api/validate-yaml": lambda hub, call: {"errors": [], "warnings": []},
    rf"GET {API}(?:/revision/(?P<rev>[^/]+))?": Hub.info,
    rf"GET {API}/tree/(?P<rev>[^/]+)(?:/(?P<path>.+))?": Hub.tree,
    rf"POST {API}/preupload/main": Hub.preupload,
    rf"POST {API}/commit/main": Hub.commit,
    rf"(?:GET|HEAD) /(?:(?P<kind>dataset)s/)?{REPO}/resolve/(?P<rev>[^/]+)/(?P<path>.+)": Hub.resolve,
}


class Connection(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together; apart, the body would wait for the headers' receipt

    def log_message(self, *_: object) -> None:
        pass

    def serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, headers.pop("authorization", None))
        length = int(headers.get("content-length", 0))
        with self.server.lock:
            self.server.requests.append(request)
            fault = next((fault for fault in self.server.faults if fault.fits(request)), None)
            if fault:
                fault.times -= 1
        if fault and fault.cut_after is not None:
            self.rfile.read(min(length, fault.cut_after))
            self.close_connection = True
            return
        request.body = self.rfile.read(length)
        with self.server.lock:
            try:
                reply = self.server.answer(request, fault)
            except Reply as early:
                reply = early
        request.status = reply.status
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_POST = do_PUT = serve


HUB = Hub()  # that of this process
