"""A Hugging Face Hub on 127.0.0.1 that answers the real clients.

    HUB.add_repo("dataset", "reader/reviews", {"data.csv": b"..."}, private=True)
    ...  # in a process with HUB.environment(cache), which the clients read when they are imported
    HUB.repos["model", "reader/pushed"].files()

Unlike the real one: it has one user, `reader`; files are uploaded in the commit itself, not through Xet or LFS; folders
are always listed with all that is in them; there are no gates, pages, branches and tags.
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
from pathlib import PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

WRITER, READER = "hf_SecretOfTheWriter", "hf_reader1"
ROLES = {"": "", f"Bearer {WRITER}": "write", f"Bearer {READER}": "read"}  # of the user's tokens
PATH = r"(?:/api)?/(?:(model|dataset)s/)?([^/]+/[^/]+)(?:/(\w+)/([^/]+)(?:/(.+))?)?"  # kind, id, action, revision, file


class Refusal(Exception):
    """A status, and the headers by which the clients choose their exception."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        self.status, self.headers = status, {"X-Error-Message": message, "X-Error-Code": code}


@dataclass
class Commit:
    title: str
    files: dict[str, bytes]
    id: str = field(default_factory=lambda: secrets.token_hex(20))

    def list(self, folder: str) -> list[dict[str, Any]]:
        paths = [path for path in self.files if path.startswith(folder)]
        folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents} - {".", folder}
        listed = [{"type": "directory", "path": path, "oid": self.id} for path in folders]
        return listed + [{"type": "file", "path": path, "size": len(self.files[path]), "oid": path} for path in paths]


@dataclass
class Repo:
    private: bool
    commits: list[Commit]

    def files(self) -> dict[str, bytes]:
        return self.commits[-1].files


class Hub(ThreadingHTTPServer):
    """Serves from a thread of its own until the process ends."""

    request_queue_size = 64  # the clients open many connections at once

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[tuple[str, str], Repo] = {}
        self.faults: list[tuple[str, int]] = []  # part of a path, and the status that the next such request gets
        self.requests: list[tuple[str, str, bytes]] = []  # path, authorization, body
        self.home = TemporaryDirectory()  # for the cache of this process
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def environment(self, home: str, token: str = "") -> dict[str, str]:
        """What makes the clients of a new process use this Hub, and a cache in `home`."""
        variables = {"HF_ENDPOINT": self.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        return variables | {"HF_HOME": home, "HF_TOKEN": token}

    def add_repo(self, kind: str, repo_id: str, files: dict[str, bytes], private: bool = False) -> Repo:
        """A repository with one commit; it has a .gitattributes besides the files, as all on the Hub have."""
        self.repos[kind, repo_id] = Repo(private, [Commit("initial commit", {".gitattributes": b"", **files})])
        return self.repos[kind, repo_id]

    def answer(self, path: str, role: str, body: bytes) -> tuple[Any, str]:
        """A file or what becomes JSON, and the id of the commit that it is from."""
        if path == "/api/whoami-v2":
            return {"name": "reader", "auth": {"type": "access_token", "accessToken": {"role": role}}}, ""
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}, ""
        if path == "/api/repos/create":
            return self.create(json.loads(body), role), ""
        if not (match := re.fullmatch(PATH, path)):
            raise Refusal(404, "The Hub for tests does not serve that")
        kind, repo_id, action, revision, name = match.groups(default="")
        repo, owns = self.repos.get((kind or "model", repo_id)), role and repo_id.startswith("reader/")
        if repo is None or (repo.private and not owns):  # the two look the same from outside
            raise Refusal(404 if role else 401, "Repository not found", "RepoNotFound")
        if action in ("preupload", "commit"):
            if not (owns and role == "write"):
                raise Refusal(403, "Forbidden: you must use a write token to upload to a repository.")
            return self.upload(repo, action, body) | {"commitUrl": f"{self.url}/{repo_id}/commit/main"}, ""
        commit = next(commit for commit in repo.commits[::-1] if revision in ("", "main", commit.id))
        if action == "tree":
            return commit.list(name), commit.id
        if action == "resolve" and name not in commit.files:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        info = {"id": repo_id, "sha": commit.id, "private": repo.private}
        return commit.files[name] if action == "resolve" else info, commit.id

    def create(self, wanted: dict[str, Any], role: str) -> dict[str, str]:
        """Where a repository is, which is made if it is not there."""
        kind, owner = wanted.get("type") or "model", wanted.get("organization") or "reader"
        if (owner, role) != ("reader", "write"):
            raise Refusal(403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"')
        repo_id = f"reader/{wanted['name']}"
        if (kind, repo_id) not in self.repos:
            self.add_repo(kind, repo_id, {}, wanted.get("visibility") == "private")
        return {"url": f"{self.url}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"}

    def upload(self, repo: Repo, action: str, body: bytes) -> dict[str, Any]:
        """Before a commit, how each file is to be sent; then the commit itself: a header and a line for each file."""
        if action == "preupload":
            how = {"uploadMode": "regular", "shouldIgnore": False}
            return {"files": [file | how for file in json.loads(body)["files"]]}
        header, *lines = map(json.loads, body.splitlines())
        deleted = [line["value"]["path"] for line in lines if line["key"] == "deletedFile"]
        files = {path: content for path, content in repo.files().items() if path not in deleted}
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        repo.commits.append(Commit(header["value"]["summary"], files))
        return {"commitOid": repo.commits[-1].id}


class Connection(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together; apart, the body would wait for the headers' receipt

    def log_message(self, *_: object) -> None:
        pass

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        authorization = self.headers.get("Authorization", "")
        self.server.requests.append((self.path, authorization, body))
        try:
            for fault in self.server.faults:
                if fault[0] in self.path:
                    self.server.faults.remove(fault)
                    raise Refusal(fault[1], "A fault that the test asked for")
            if authorization not in ROLES:
                raise Refusal(401, "Invalid credentials in Authorization header")
            answer, commit = self.server.answer(self.path.partition("?")[0], ROLES[authorization], body)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            status, headers = 200, {"X-Repo-Commit": commit, "ETag": f'"{sha256(content).hexdigest()}"'}
        except Refusal as refusal:
            content, status, headers = b"", refusal.status, refusal.headers
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = serve


HUB = Hub()  # that of this process
