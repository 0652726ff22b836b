"""A Hugging Face Hub on 127.0.0.1, so that tests can run the real clients against something that answers like it.

    with Hub({"hf_w": ("user", "write"), "hf_r": ("user", "read")}) as hub:
        hub.add_repo("dataset", "user/reviews", {"data.csv": b"..."}, private=True)
        ...  # in a process with HF_ENDPOINT=hub.url and HF_HUB_DISABLE_XET=1, which the clients read when imported
        hub.repos["model", "user/pushed"].files()

Not as on the real Hub: uploads go there through Xet, here through its older way, LFS; downloads are not sent on to
another host; lists come in one page; a name without a user ("gpt2"), tags, pull requests and the rules of .gitignore
are not known; a user may write to the own repositories alone, and a gated repository opens to its owner alone.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_SUFFIXES = (".arrow", ".bin", ".parquet", ".png", ".safetensors")
LFS_SIZE = 10 * 1024 * 1024
GITATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()


@dataclass
class Fault:
    """Takes the next requests that fit, as many as `times` (-1: all of them), and spoils them."""

    method: str | None = None  # None: any
    path_contains: str = ""
    status: int = 500
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)  # of the answer, e.g. {"Retry-After": "0"}
    cut_after: int | None = None  # no answer at all: read that much of the body, then close the connection


@dataclass
class Request:
    method: str
    path: str  # as sent, with the query
    headers: dict[str, str]  # names in lower case; `authorization` is kept apart, so that tests can search for a token
    authorization: str | None
    body: bytes = b""
    status: int = 0  # of the answer; 0: cut off without one
    user: str = ""  # whose token it is; "": sent without one
    role: str = ""
    args: dict[str, str] = field(default_factory=dict)  # the groups of the route

    def flag(self, name: str) -> bool:
        return parse_qs(urlsplit(self.path).query).get(name, [""])[0].lower() in ("true", "1")


@dataclass
class Reply(Exception):
    """An answer; a handler may also raise it."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def refusal(status: int, message: str, code: str = "", headers: dict[str, str] | None = None, **more: str) -> Reply:
    """An error. The clients choose their exception by `code`."""
    in_ascii = message.encode("ascii", "replace").decode()  # a header takes no more
    named = {"X-Error-Message": in_ascii, **({"X-Error-Code": code} if code else {}), **(headers or {})}
    return Reply(status, json.dumps({"error": message, **more}).encode(), named)


@dataclass(frozen=True)
class Entry:
    sha256: str
    is_lfs: bool
    commit: str = ""  # the one that wrote the file


@dataclass(frozen=True)
class Commit:
    id: str
    title: str
    message: str
    author: str
    date: str
    files: dict[str, Entry]
    before: tuple[Commit, ...]  # the latest first

    def names(self) -> set[str]:
        """All files and folders."""
        folders = {str(parent) for path in self.files for parent in PurePosixPath(path).parents}
        return (folders - {"."}) | self.files.keys()


@dataclass
class Repo:
    kind: str  # "model" or "dataset"
    id: str
    private: bool = False
    gated: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)  # by sha256: all that was pushed, committed or not
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.id.split("/")[0]

    @property
    def web_path(self) -> str:
        return f"datasets/{self.id}" if self.kind == "dataset" else self.id

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return {path: self.blobs[entry.sha256] for path, entry in self.at(revision).files.items()}

    def at(self, revision: str) -> Commit:
        commit = self.commits.get(self.branches.get(revision, revision))
        if commit is None:
            raise refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def store(self, content: bytes) -> str:
        self.blobs[key := sha256(content).hexdigest()] = content
        return key

    def commit(self, branch: str, files: dict[str, Entry], title: str, message: str = "") -> Commit:
        """Move the branch on to a new commit. Entries that are new have no commit yet."""
        key, date = secrets.token_hex(20), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        head = self.commits.get(self.branches.get(branch, ""))
        files = {
            path: entry if entry.commit else Entry(entry.sha256, entry.is_lfs, key) for path, entry in files.items()
        }
        self.commits[key] = Commit(key, title, message, self.owner, date, files, (head, *head.before) if head else ())
        self.branches[branch] = key
        return self.commits[key]

    def describe(self, commit: Commit, path: str, expand: bool = False) -> dict[str, Any]:
        """A file or a folder as in the tree of the real Hub."""
        if path in commit.files:
            entry = commit.files[path]
            last, content = self.commits[entry.commit], self.blobs[entry.sha256]
            details = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
            if entry.is_lfs:
                text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{entry.sha256}\nsize {len(content)}\n"
                lfs = {"oid": entry.sha256, "size": len(content), "pointerSize": len(text)}
                details |= {"oid": git_oid(text.encode()), "lfs": lfs}
        else:
            last, oid = commit, sha1(f"{commit.id}/{path}".encode()).hexdigest()
            details = {"type": "directory", "path": path, "size": 0, "oid": oid}
        return details | ({"lastCommit": {"id": last.id, "title": last.title, "date": last.date}} if expand else {})


def git_oid(content: bytes) -> str:
    return sha1(b"blob %d\0" % len(content) + content).hexdigest()


def goes_to_lfs(path: str, size: int) -> bool:
    return path.endswith(LFS_SUFFIXES) or size > LFS_SIZE


class Hub(ThreadingHTTPServer):
    request_queue_size = 64  # the clients open many connections at once

    def __init__(self, tokens: dict[str, tuple[str, str]] | None = None):
        super().__init__(("127.0.0.1", 0), Connection)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.tokens = dict(tokens or {})  # token -> (user, "read" or "write")
        self.repos: dict[tuple[str, str], Repo] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.crashes: list[str] = []  # errors of this file itself, which the retries of a client could hide
        self.uploads: dict[str, tuple[Repo, str]] = {}
        self.lock = threading.RLock()

    def start(self) -> Hub:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def __enter__(self) -> Hub:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add_repo(
        self, repo_type: str, repo_id: str, files: dict[str, bytes], private: bool = False, gated: bool = False
    ) -> Repo:
        """A repository with one commit; it has a .gitattributes besides the files, as all on the Hub have."""
        repo = Repo(repo_type, repo_id, private, gated)
        content = {".gitattributes": GITATTRIBUTES, **files}
        entries = {path: Entry(repo.store(data), goes_to_lfs(path, len(data))) for path, data in content.items()}
        repo.commit("main", entries, "initial commit")
        with self.lock:
            self.repos[repo_type, repo_id] = repo
        return repo

    def blobs(self) -> list[bytes]:
        """The content of every file that was pushed, also of those that no commit took or that a later one deleted."""
        with self.lock:
            return [content for repo in self.repos.values() for content in repo.blobs.values()]

    def answer(self, call: Request) -> Reply:
        if call.authorization:
            call.user, call.role = self.tokens.get(call.authorization.removeprefix("Bearer "), ("", ""))
            if not call.user:
                raise refusal(401, "Invalid credentials in Authorization header")
        for methods, pattern, handler in ROUTES:
            if call.method in methods.split() and (match := re.fullmatch(pattern, urlsplit(call.path).path)):
                call.args = {name: unquote(value) for name, value in match.groupdict(default="").items()}
                result = handler(self, call)
                return result if isinstance(result, Reply) else Reply(body=json.dumps(result).encode())
        raise refusal(404, f"The Hub for tests does not serve {call.method} {call.path}")

    def find(self, call: Request, write: bool = False) -> Repo:
        repo = self.repos.get((call.args["kind"] or "model", call.args["id"]))
        hidden = repo is None or (repo.private and call.user != repo.owner)  # the two look the same from outside
        if not call.user and (hidden or write):
            raise refusal(401, "Invalid username or password.", "RepoNotFound")
        if hidden:
            raise refusal(404, "Repository not found", "RepoNotFound")
        if write and (call.user, call.role) != (repo.owner, "write"):
            raise refusal(403, "Forbidden: you must use a write token to upload to a repository.")
        return repo

    def whoami(self, call: Request) -> dict[str, Any]:
        if not call.user:
            raise refusal(401, "Invalid username or password.")
        access = {"type": "access_token", "accessToken": {"displayName": "test", "role": call.role}}
        return {"type": "user", "id": call.user, "name": call.user, "fullname": call.user, "orgs": [], "auth": access}

    def create(self, call: Request) -> dict[str, Any]:
        key, wanted = self.named_in_body(call)
        if key in self.repos:  # the client reads the address, also when it has no objection
            raise refusal(409, "You already created this repo", url=f"{self.url}/{self.repos[key].web_path}")
        repo = self.add_repo(*key, {}, private=wanted.get("visibility") == "private")
        return {"url": f"{self.url}/{repo.web_path}", "name": repo.id, "id": repo.id}

    def delete(self, call: Request) -> dict[str, Any]:
        key, _ = self.named_in_body(call)
        if self.repos.pop(key, None) is None:
            raise refusal(404, "Repository not found", "RepoNotFound")
        return {}

    def named_in_body(self, call: Request) -> tuple[tuple[str, str], dict[str, Any]]:
        wanted = json.loads(call.body)
        kind, owner = wanted.get("type") or "model", wanted.get("organization") or call.user
        if not call.user:
            raise refusal(401, "Invalid username or password.")
        if (call.user, call.role) != (owner, "write"):
            raise refusal(403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"')
        return (kind, f"{owner}/{wanted['name']}"), wanted

    def info(self, call: Request) -> dict[str, Any]:
        repo = self.find(call)
        commit = repo.at(call.args["rev"] or "main")
        siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(commit.files)]
        for sibling in siblings if call.flag("blobs") else []:
            details = repo.describe(commit, sibling["rfilename"])
            sibling |= {"size": details["size"], "blobId": details["oid"]}
            if lfs := details.get("lfs"):
                sibling["lfs"] = {**lfs, "sha256": lfs["oid"]}
        names = {"id": repo.id, "author": repo.owner, "sha": commit.id, "tags": [], "siblings": siblings}
        access = {"private": repo.private, "gated": "manual" if repo.gated else False, "disabled": False}
        return {**names, **access, "createdAt": [commit, *commit.before][-1].date, "lastModified": commit.date}

    def preupload(self, call: Request) -> dict[str, Any]:
        """Tells which files go to LFS, and the `oid` of those that are there: the client skips what did not change."""
        repo, files = self.find(call, write=True), []
        for wanted in json.loads(call.body)["files"]:
            mode = "lfs" if goes_to_lfs(wanted["path"], wanted["size"]) else "regular"
            files.append({"path": wanted["path"], "uploadMode": mode, "shouldIgnore": False})
            if entry := repo.at(call.args["rev"]).files.get(wanted["path"]):
                files[-1]["oid"] = entry.sha256 if entry.is_lfs else git_oid(repo.blobs[entry.sha256])
        return {"files": files}

    def lfs_batch(self, call: Request) -> dict[str, Any]:
        repo, objects = self.find(call, write=True), []
        for wanted in json.loads(call.body)["objects"]:
            objects.append({"oid": wanted["oid"], "size": wanted["size"]})
            if wanted["oid"] not in repo.blobs:
                ticket = secrets.token_hex(16)  # stands for the signed address: the upload itself carries no token
                self.uploads[ticket] = (repo, wanted["oid"])
                upload = f"{self.url}/lfs/{repo.web_path}/{ticket}"
                verify = f"{self.url}/{repo.web_path}.git/info/lfs/verify"
                objects[-1]["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
        return {"transfer": "basic", "objects": objects}

    def lfs_upload(self, call: Request) -> dict[str, Any]:
        repo, oid = self.uploads.get(call.args["ticket"], (None, ""))
        if repo is None or sha256(call.body).hexdigest() != oid:
            raise refusal(400, "The content is not the one that was announced")
        repo.store(call.body)
        return {}

    def lfs_verify(self, call: Request) -> dict[str, Any]:
        if json.loads(call.body)["oid"] not in self.find(call, write=True).blobs:
            raise refusal(404, "Object not found")
        return {}

    def commit(self, call: Request) -> dict[str, Any]:
        repo, branch = self.find(call, write=True), call.args["rev"]
        head = repo.at(branch)
        if branch not in repo.branches or call.flag("create_pr"):
            raise refusal(400, "The Hub for tests takes commits on branches alone")
        operations = [json.loads(line) for line in call.body.splitlines()]
        header, files = operations[0]["value"], dict(head.files)
        if header.get("parentCommit", head.id) != head.id:
            raise refusal(412, "A commit has happened since. Please refresh and try again.")
        for operation in operations[1:]:
            key, value, path = operation["key"], operation["value"], operation["value"]["path"]
            if key == "file":
                files[path] = Entry(repo.store(base64.b64decode(value["content"])), is_lfs=False)
            elif key == "lfsFile" and value["oid"] in repo.blobs:
                files[path] = Entry(value["oid"], is_lfs=True)
            elif key == "deletedFile" and path in files:
                del files[path]
            elif key == "deletedFolder" and path.rstrip("/") in head.names():
                files = {name: entry for name, entry in files.items() if not name.startswith(path.rstrip("/") + "/")}
            elif key.startswith("deleted"):
                raise refusal(404, "A file with this name doesn't exist", "EntryNotFound")
            else:
                raise refusal(400, f"The Hub for tests cannot do {key} for {path}, or its content was not uploaded")
        commit = repo.commit(branch, files, header["summary"], header.get("description", ""))
        url = f"{self.url}/{repo.web_path}/commit/{commit.id}"
        return {"success": True, "commitOid": commit.id, "commitUrl": url, "hookOutput": ""}

    def tree(self, call: Request) -> list[dict[str, Any]]:
        repo, folder = self.find(call), call.args["path"]
        commit = repo.at(call.args["rev"])
        if folder and folder not in commit.names():
            raise refusal(404, f"{folder} does not exist", "EntryNotFound", {"X-Repo-Commit": commit.id})
        prefix = f"{folder}/" if folder else ""
        found = [folder] if folder in commit.files else [n for n in sorted(commit.names()) if n.startswith(prefix)]
        if not call.flag("recursive"):
            found = [name for name in found if "/" not in name.removeprefix(prefix)]
        return [repo.describe(commit, name, call.flag("expand")) for name in found]

    def paths_info(self, call: Request) -> list[dict[str, Any]]:
        repo, form = self.find(call), parse_qs(call.body.decode())
        commit = repo.at(call.args["rev"])
        known = [path for path in form["paths"] if path in commit.names()]
        return [repo.describe(commit, path, form.get("expand") == ["true"]) for path in known]

    def refs(self, call: Request) -> dict[str, Any]:
        branches = self.find(call).branches.items()
        found = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": key} for name, key in branches]
        return {"branches": found, "tags": [], "converts": [], "pullRequests": []}

    def add_branch(self, call: Request) -> dict[str, Any]:
        repo, name = self.find(call, write=True), call.args["rev"]
        if name in repo.branches:
            raise refusal(409, "Reference already exists")
        repo.branches[name] = repo.at(json.loads(call.body or b"{}").get("startingPoint", "main")).id
        return {}

    def commits(self, call: Request) -> list[dict[str, Any]]:
        head = self.find(call).at(call.args["rev"])
        return [
            {"id": c.id, "title": c.title, "message": c.message, "authors": [{"user": c.author}], "date": c.date}
            for c in (head, *head.before)
        ]

    def resolve(self, call: Request) -> Reply:
        repo, path = self.find(call), call.args["path"]
        if repo.gated and call.user != repo.owner:
            raise refusal(403 if call.user else 401, f"Access to {repo.kind} {repo.id} is restricted.", "GatedRepo")
        commit = repo.at(call.args["rev"])
        headers = {"X-Repo-Commit": commit.id, "Accept-Ranges": "bytes"}
        if path not in commit.files:
            raise refusal(404, "Entry not found", "EntryNotFound", headers)
        entry, content = commit.files[path], repo.blobs[commit.files[path].sha256]
        headers["ETag"] = f'"{entry.sha256 if entry.is_lfs else git_oid(content)}"'
        if entry.is_lfs:
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-ETag": headers["ETag"]}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", call.headers.get("range", ""))
        if not wanted:
            return Reply(200, content, headers)
        first, last = wanted.groups()
        start = int(first) if first else max(0, len(content) - int(last or 0))
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
        if start >= stop:
            raise refusal(416, "Range not satisfiable", "", headers | {"Content-Range": f"bytes */{len(content)}"})
        return Reply(206, content[start:stop], headers | {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})


REPO, REV = r"(?P<id>[^/]+/[^/]+)", r"(?P<rev>[^/]+)"
API, WEB = rf"/api/(?P<kind>model|dataset)s/{REPO}", rf"/(?:(?P<kind>dataset)s/)?{REPO}"
ROUTES: list[tuple[str, str, Callable[[Hub, Request], Any]]] = [
    ("GET", r"/api/whoami-v2", Hub.whoami),
    ("POST", r"/api/repos/create", Hub.create),
    ("DELETE", r"/api/repos/delete", Hub.delete),
    ("POST", r"/api/validate-yaml", lambda hub, call: {"errors": [], "warnings": []}),
    ("GET", r"/api/agent-harnesses", lambda hub, call: {"standardEnvVars": [], "harnesses": {}}),
    ("HEAD", r"/api/telemetry/.*", lambda hub, call: {}),
    ("GET", rf"{API}(?:/revision/{REV})?", Hub.info),
    ("POST", rf"{API}/preupload/{REV}", Hub.preupload),
    ("POST", rf"{API}/commit/{REV}", Hub.commit),
    ("GET", rf"{API}/tree/{REV}(?:/(?P<path>.+))?", Hub.tree),
    ("POST", rf"{API}/paths-info/{REV}", Hub.paths_info),
    ("GET", rf"{API}/refs", Hub.refs),
    ("GET", rf"{API}/commits/{REV}", Hub.commits),
    ("POST", rf"{API}/branch/{REV}", Hub.add_branch),
    ("POST", rf"{WEB}\.git/info/lfs/objects/batch", Hub.lfs_batch),
    ("POST", rf"{WEB}\.git/info/lfs/verify", Hub.lfs_verify),
    ("PUT", r"/lfs/.+/(?P<ticket>\w+)", Hub.lfs_upload),
    ("GET HEAD", rf"{WEB}/resolve/{REV}/(?P<path>.+)", Hub.resolve),
]


class Connection(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together; apart, the body would wait for the headers' receipt

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # clients may hang up when they like
            super().handle()

    def log_message(self, *_: object) -> None:
        pass

    def serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, headers.pop("authorization", None))
        with self.server.lock:
            self.server.requests.append(request)
            fits = (f for f in self.server.faults if f.times and f.method in (None, self.command))
            fault = next((f for f in fits if f.path_contains in self.path), None)
            if fault:
                fault.times -= 1
        length = int(headers.get("content-length", 0))
        cut = fault is not None and fault.cut_after is not None
        request.body = self.rfile.read(min(length, fault.cut_after) if cut else length)
        if cut or len(request.body) < length:
            self.close_connection = True
            return
        try:
            if fault:
                raise refusal(fault.status, "A fault that the test asked for", headers=fault.headers)
            with self.server.lock:
                reply = self.server.answer(request)
        except Reply as early:
            reply = early
        except Exception:
            self.server.crashes.append(traceback.format_exc())
            reply = Reply(500)
        request.status = reply.status
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve
