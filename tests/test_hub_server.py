"""The Hub of hub.py against the real clients, each in a process of its own, as they read HF_ENDPOINT when imported."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import make_rows
from hub import Fault, Hub

TOKENS = {"hf_w": ("user", "write"), "hf_r": ("user", "read"), "hf_o": ("other", "write")}

# What a script begins with: `attempt` notes the result of a call, or the name and the HTTP status of its error.
PREAMBLE = """
import json, os, sys
from huggingface_hub import HfApi
api, said = HfApi(), {}

def attempt(name, call):
    try:
        said[name] = call()
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        said[name] = [type(error).__name__, status, str(error)]

def upload(name, content, repo="user/pub", **more):
    return str(api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=repo, **more))
"""

Client = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def client_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Hub], Client]:
    def client_of(hub: Hub) -> Client:
        def client(script: str, *args: object, token: str | None = "hf_w") -> dict[str, Any]:
            """Run a script with an empty cache. Returns what it noted, and its warnings as `stderr`."""
            home = tmp_path_factory.mktemp("home")
            kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
            own = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "OMP_NUM_THREADS": "1"}
            result = subprocess.run(
                [sys.executable, "-c", f"{PREAMBLE}\n{script}\nprint(json.dumps(said))", *map(str, args)],
                cwd=home,
                env=kept | own | {"PYTHONPATH": str(Path(__file__).parent)} | ({"HF_TOKEN": token} if token else {}),
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert result.returncode == 0, result.stderr
            assert hub.crashes == []
            return {**json.loads(result.stdout.splitlines()[-1]), "stderr": result.stderr}

        return client

    return client_of


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(TOKENS) as hub:
        hub.add_repo("model", "user/pub", {"a.txt": b"public"})
        hub.add_repo("model", "user/priv", {"a.txt": b"private"}, private=True)
        hub.add_repo("model", "user/gated", {"a.txt": b"gated"}, gated=True)
        hub.add_repo("dataset", "user/gated", {"data.csv": b"a\n1\n"}, gated=True)
        yield hub


@pytest.fixture
def client(hub: Hub, client_of: Callable[[Hub], Client]) -> Client:
    return client_of(hub)


def seen(hub: Hub, method: str, part: str) -> list[int]:
    """The statuses of the answers to such requests."""
    return [request.status for request in hub.requests if request.method == method and part in request.path]


def test_a_folder_goes_up_and_comes_back(hub: Hub, client: Client, tmp_path: Path) -> None:
    files = {
        "README.md": b"---\nlicense: mit\n---\n",
        "sub dir/w \xe9.safetensors": os.urandom(300_000),
        "c.json": b"{}",
    }
    for name, content in files.items():
        (tmp_path / "up" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / name).write_bytes(content)
    said = client(
        """
from pathlib import Path
folder = Path(sys.argv[1])
said["me"] = api.whoami()["name"]
for _ in range(2):  # the second time it is there already
    said["url"] = str(api.create_repo("user/new", private=True, exist_ok=True))
attempt("twice", lambda: api.create_repo("user/new"))
said["first"] = api.upload_folder(repo_id="user/new", folder_path=folder / "up").oid
said["same"] = api.upload_folder(repo_id="user/new", folder_path=folder / "up").oid
api.snapshot_download("user/new", local_dir=folder / "down")
upload("c.json", b"[]", "user/new")
api.delete_file("README.md", "user/new")
api.delete_folder("sub dir/", "user/new")
attempt("no such file", lambda: api.delete_file("nothing", "user/new"))
attempt("old parent", lambda: upload("d.txt", b"", "user/new", parent_commit=said["first"]))
read = lambda **more: Path(api.hf_hub_download("user/new", "c.json", **more)).read_text()
said["now"], said["then"] = read(), read(revision=said["first"])
attempt("no such revision", lambda: read(revision="nothing"))
attempt("no such folder", lambda: list(api.list_repo_tree("user/new", "\u2192")))
api.create_branch("user/new", branch="side", revision=said["first"])
upload("e.txt", b"e", "user/new", revision="side")
said["refs"] = {ref.name: ref.target_commit for ref in api.list_repo_refs("user/new").branches}
said["titles"] = [commit.title for commit in api.list_repo_commits("user/new")]
tree = lambda **more: [item.path for item in api.list_repo_tree("user/new", revision=said["first"], **more)]
said["tree"], said["top"] = tree(recursive=True, expand=True), tree()
said["sizes"] = [getattr(item, "size", None) for item in api.get_paths_info("user/new", ["c.json", "nothing"])]
info = api.model_info("user/new", revision=said["first"], files_metadata=True)
said["info"] = [info.sha, info.private, sum(file.size for file in info.siblings if file.lfs)]
api.create_repo("user/gone")
api.delete_repo("user/gone")
""",
        tmp_path,
    )
    repo = hub.repos["model", "user/new"]
    assert repo.private
    assert said["me"] == "user"
    assert said["url"] == f"{hub.url}/user/new"
    assert said["twice"][:2] == ["HfHubHTTPError", 409]
    assert said["first"] == said["same"]
    for name, content in files.items():
        assert repo.files(said["first"])[name] == content
        assert (tmp_path / "down" / name).read_bytes() == content
    assert repo.files().keys() == {".gitattributes", "c.json"}
    assert set(files.values()) <= set(hub.blobs())  # also what was deleted since
    assert said["no such file"][:2] == ["RemoteEntryNotFoundError", 404]
    assert said["old parent"][:2] == ["HfHubHTTPError", 412]
    assert (said["now"], said["then"]) == ("[]", "{}")
    assert said["no such revision"][:2] == ["RevisionNotFoundError", 404]
    assert said["no such folder"][:2] == ["RemoteEntryNotFoundError", 404]
    assert said["refs"] == repo.branches
    assert repo.files("side").keys() == {".gitattributes", "e.txt", *files}
    assert said["titles"][-2:] == ["Upload folder using huggingface_hub", "initial commit"]
    assert len(said["titles"]) == 5
    assert said["tree"] == [".gitattributes", "README.md", "c.json", "sub dir", "sub dir/w \xe9.safetensors"]
    assert said["top"] == said["tree"][:-1]
    assert said["sizes"] == [2]
    assert said["info"] == [said["first"], True, 300_000]
    assert ("model", "user/gone") not in hub.repos
    assert [len(request.body) for request in hub.requests if request.method == "PUT"] == [300_000]  # one LFS file, once
    assert not any(request.authorization for request in hub.requests if request.method == "PUT")
    assert not any("hf_w" in f"{request.headers}{request.body}" for request in hub.requests)


def test_who_may_do_what(hub: Hub, client: Client) -> None:
    said = client(
        """
from datasets import load_dataset
for who, token in {"owner": "hf_w", "reader": "hf_r", "other": "hf_o", "wrong": "hf_x", "nobody": False}.items():
    attempt(f"{who} whoami", lambda: api.whoami(token=token)["auth"]["accessToken"]["role"])
    for repo in ("pub", "priv", "gated", "none"):
        own = {"token": token, "cache_dir": f"{who}-{repo}"}  # a cache in common would answer in place of the Hub
        attempt(f"{who} reads {repo}", lambda: open(api.hf_hub_download(f"user/{repo}", "a.txt", **own)).read())
    attempt(f"{who} writes", lambda: upload("b.txt", b"b", token=token))
    attempt(f"{who} creates", lambda: str(api.create_repo(f"user/{who}", token=token)))
    attempt(f"{who} creates again", lambda: str(api.create_repo("user/priv", exist_ok=True, token=token)))
    attempt(f"{who} loads", lambda: load_dataset("user/gated", token=token, cache_dir=who)["train"]["a"][:])
""",
        token=None,
    )
    short = {name: value[:2] if isinstance(value, list) else value for name, value in said.items()}
    unknown, refused = "RepositoryNotFoundError", "HfHubHTTPError"
    expected: dict[str, list[Any]] = {
        "whoami": ["write", "read", "write", [refused, 401], ["ValueError", None]],
        "reads pub": ["public", "public", "public", [refused, 401], "public"],
        "reads priv": ["private", "private", [unknown, 404], [refused, 401], [unknown, 401]],
        "reads gated": ["gated", "gated", ["GatedRepoError", 403], [refused, 401], ["GatedRepoError", 401]],
        "reads none": [[unknown, 404], [unknown, 404], [unknown, 404], [refused, 401], [unknown, 401]],
        "writes": [short["owner writes"], [refused, 403], [refused, 403], [refused, 401], [unknown, 401]],
        "creates": [f"{hub.url}/user/owner", [refused, 403], [refused, 403], [refused, 401], [refused, 401]],
        # the client forgives the reader the 403, as the repository is there
        "creates again": [f"{hub.url}/user/priv"] * 2 + [[refused, 403], [refused, 401], [refused, 401]],
        "loads": [[1], [1], ["DatasetNotFoundError", None], [refused, 401], ["DatasetNotFoundError", None]],
    }
    people = ["owner", "reader", "other", "wrong", "nobody"]
    assert {what: [short[f"{who} {what}"] for who in people] for what in expected} == expected
    assert short["owner writes"].startswith(f"{hub.url}/user/pub/commit/")
    assert {key for key in hub.repos if key[0] == "model"} == {
        ("model", f"user/{name}") for name in ("pub", "priv", "gated", "owner")
    }


def test_faults(hub: Hub, client: Client) -> None:
    names = ["limited", "broken", "unstored", "cut", "cut commit", "forbidden"]
    for name in names:
        hub.add_repo("model", f"user/{name.replace(' ', '-')}", {})
    soon = {"Retry-After": "0"}  # the client waits a second more than that, and without it 1, 2, 4, 8 and 8 seconds
    hub.faults += [
        Fault("POST", "user/limited/preupload", 429, times=2, headers=soon),
        Fault(None, "user/broken/commit", 500, times=-1),
        Fault("PUT", "user/unstored/", 503, times=-1, headers=soon),
        Fault("PUT", "user/cut/", cut_after=100_000),
        Fault("POST", "user/cut-commit/commit", cut_after=10),
        Fault("POST", "user/forbidden/preupload", 403),
    ]
    said = client(
        """
for name in sys.argv[1:]:
    attempt(name, lambda: upload("w.bin", os.urandom(3_000_000), "user/" + name.replace(" ", "-")))
""",
        *names,
    )
    assert seen(hub, "POST", "user/limited/preupload") == [429, 429, 200]
    assert "w.bin" in hub.repos["model", "user/limited"].files()
    assert said["broken"][:2] == ["HfHubHTTPError", 500]
    assert seen(hub, "POST", "user/broken/commit") == [500]  # of all requests for an upload this one is not repeated
    assert said["unstored"][0] == "RuntimeError"
    assert seen(hub, "PUT", "user/unstored/") == [503] * 6
    assert seen(hub, "PUT", "user/cut/") == [0, 200]
    assert len(hub.repos["model", "user/cut"].files()["w.bin"]) == 3_000_000
    assert [len(request.body) for request in hub.requests if "/lfs/user/cut/" in request.path] == [100_000, 3_000_000]
    assert said["cut commit"][:2] == ["RemoteProtocolError", None]
    assert said["forbidden"][:2] == ["HfHubHTTPError", 403]
    for name in ("broken", "unstored", "cut-commit", "forbidden"):
        assert hub.repos["model", f"user/{name}"].files().keys() == {".gitattributes"}


@pytest.fixture(scope="module")
def pushed(client_of: Callable[[Hub], Client]) -> Iterator[tuple[Hub, dict[str, Any], dict[str, Any]]]:
    """A model, its tokenizer and a data set, pushed by one process and loaded by another."""
    digest = """
import hashlib
from transformers import AutoModelForCausalLM, AutoTokenizer
def digest(model):
    weights = sorted(model.state_dict().items())
    return hashlib.sha256(b"".join(name.encode() + part.numpy().tobytes() for name, part in weights)).hexdigest()
"""
    with Hub(TOKENS) as hub:
        client = client_of(hub)
        sent = client(
            f"""{digest}
from conftest import make_model, make_rows, make_tokenizer
from datasets import Dataset, DatasetDict
model, tokenizer = make_model("gpt_neox"), make_tokenizer()
model.push_to_hub("user/neox", private=True)
tokenizer.push_to_hub("user/neox")
said["digest"], said["ids"] = digest(model), tokenizer("The method is convincing.")["input_ids"]
rows = make_rows(30)
data = DatasetDict({{"train": Dataset.from_list(rows[:20]), "test": Dataset.from_list(rows[20:])}})
said["old"] = data.push_to_hub("user/reviews", private=True).oid
DatasetDict({{"train": Dataset.from_list(rows[:5])}}).push_to_hub("user/reviews")
"""
        )
        loaded = client(
            f"""{digest}
from datasets import load_dataset
model, tokenizer = AutoModelForCausalLM.from_pretrained("user/neox"), AutoTokenizer.from_pretrained("user/neox")
said["type"], said["digest"] = type(model).__name__, digest(model)
said["ids"] = tokenizer("The method is convincing.")["input_ids"]
attempt("no model", lambda: AutoModelForCausalLM.from_pretrained("user/none"))
attempt("no token", lambda: load_dataset("user/reviews", token=False))
attempt("no data", lambda: load_dataset("user/none"))
said["new"] = {{name: part.to_list() for name, part in load_dataset("user/reviews").items()}}
said["old"] = {{name: part.to_list() for name, part in load_dataset("user/reviews", revision=sys.argv[1]).items()}}
said["stream"] = list(load_dataset("user/reviews", split="train", streaming=True))
""",
            sent["old"],
        )
        yield hub, sent, loaded


def test_a_model_goes_up_and_comes_back(pushed: tuple[Hub, dict[str, Any], dict[str, Any]]) -> None:
    hub, sent, loaded = pushed
    files = {".gitattributes", "README.md", "config.json", "generation_config.json", "model.safetensors"}
    assert hub.repos["model", "user/neox"].files().keys() == files | {"tokenizer.json", "tokenizer_config.json"}
    assert hub.repos["model", "user/neox"].private
    assert loaded["type"] == "GPTNeoXForCausalLM"
    assert (loaded["digest"], loaded["ids"]) == (sent["digest"], sent["ids"])
    assert loaded["no model"][0] == "OSError"


def test_a_dataset_goes_up_and_comes_back(pushed: tuple[Hub, dict[str, Any], dict[str, Any]]) -> None:
    hub, _, loaded = pushed
    rows = make_rows(30)
    assert hub.repos["dataset", "user/reviews"].private
    assert loaded["old"] == {"train": rows[:20], "test": rows[20:]}
    assert loaded["new"] == {"train": rows[:5]}  # the second push replaced all splits
    assert loaded["stream"] == rows[:5]
    assert loaded["no token"][0] == loaded["no data"][0] == "DatasetNotFoundError"
    assert 206 in seen(hub, "GET", "/resolve/")  # streaming asks for a range


@pytest.mark.parametrize(
    ("wanted", "status", "content", "content_range"),
    [
        (None, 200, b"public", None),
        ("bytes=1-2", 206, b"ub", "bytes 1-2/6"),
        ("bytes=4-", 206, b"ic", "bytes 4-5/6"),
        ("bytes=-3", 206, b"lic", "bytes 3-5/6"),
        ("bytes=4-99", 206, b"ic", "bytes 4-5/6"),
        ("bytes=6-", 416, None, "bytes */6"),
    ],
)
def test_ranges(hub: Hub, wanted: str | None, status: int, content: bytes | None, content_range: str | None) -> None:
    request = urllib.request.Request(
        f"{hub.url}/user/pub/resolve/main/a.txt", headers={"Range": wanted} if wanted else {}
    )
    try:
        answer = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        assert (answer.status, answer.headers["Content-Range"]) == (status, content_range)
        assert content in (None, answer.read())
        assert answer.headers["X-Repo-Commit"] == hub.repos["model", "user/pub"].branches["main"]


def test_what_it_does_not_serve_is_refused_and_noted(hub: Hub) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{hub.url}/api/spaces/user/pub")
    assert [(request.path, request.status) for request in hub.requests] == [("/api/spaces/user/pub", 404)]
