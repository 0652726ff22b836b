"""What goes wrong with the Hub: one or two plain lines, nothing half-written there, the result safe here."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import hub_environment, hub_with_the_defaults, run_in_turn, run_script
from hub import Fault, Hub

TOKENS = {"hf_writer1": ("reader", "write"), "hf_reader1": ("reader", "read"), "hf_other1": ("other", "write")}
PROCESS, TUNE, EVALUATE = "processing_meta_review.py", "fine_tune.py", "evaluation.py"
COMMIT = "/commit/main"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A folder with the processed data."""
    folder = tmp_path_factory.mktemp("data")
    with hub_with_the_defaults() as hub:
        result = run_script(PROCESS, cwd=folder, **hub_environment(hub, cache))
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_with_the_defaults(dict(TOKENS)) as hub:
        yield hub
    assert hub.crashes == []


def last_line(status: int, printed: str, expected: int, token: str) -> str:
    """The line that a script ends with; it must have exited as expected, without a traceback or the token."""
    last = printed.strip().splitlines()[-1]
    assert status == expected and "Traceback" not in printed and not (token and token in printed), printed
    assert last.startswith("error: " if status == 2 else "failed: "), printed
    return last


def written(hub: Hub) -> list[str]:
    """What lies in the user's repositories besides the file that each is made with."""
    mine = [repo for repo in hub.repos.values() if repo.owner in ("reader", "other")]
    return [path for repo in mine for path in repo.files() if path != ".gitattributes"]


def test_what_would_be_refused_is_refused_before_the_work(hub: Hub, tmp_path: Path) -> None:
    hub.add_repo("dataset", "reader/public", {"mine.txt": b"precious"})
    refusals = [
        ("", [], ["needs a token that may write", "HF_TOKEN", "hf auth login"]),
        ("hf_wrong1", [], ["answers 401", "HF_TOKEN"]),
        ("hf_reader1", [], ["token of reader may only read"]),
        ("hf_writer1", ["--hub_user", "other"], ["cannot push to other/processed_meta_review", "answers 403"]),
        ("hf_writer1", ["--hub_dataset_id", "two words"], ["cannot push to reader/two words", "neither"]),
        ("hf_writer1", ["--hub_dataset_id", "reader/public"], ["reader/public is public", "--hub_private_repo False"]),
    ]
    commands = [(PROCESS, ["--push_to_hub", *flags], token) for token, flags, _ in refusals]
    results = run_in_turn(commands, tmp_path, hub_environment(hub, tmp_path / "cache"))
    for result, (token, _, words) in zip(results, refusals, strict=True):
        line = last_line(*result, 2, token)
        assert all(word in line for word in words), line
    assert written(hub) == ["mine.txt"] and not (tmp_path / "processed_meta_review").exists()


def test_a_data_set_that_is_not_pushed_is_here_and_not_half_there(hub: Hub, tmp_path: Path) -> None:
    faults = [
        (Fault("POST", "first/commit/main", 500), ["answers 500", "try again later"]),
        (Fault("POST", "second/commit/main", 429), ["answers 429", "try again later"]),
        (Fault("POST", "third/commit/main", cut_after=100), ["out of reach"]),
        (Fault("POST", "fourth/preupload/", 403), ["answers 403", "HF_TOKEN"]),
    ]
    hub.faults += [fault for fault, _ in faults]
    names = [fault.path_contains.split("/")[0] for fault, _ in faults]
    commands = [(PROCESS, ["--push_to_hub", "--hub_dataset_id", name], "hf_writer1") for name in names]
    results = run_in_turn(commands, tmp_path, hub_environment(hub, tmp_path / "cache"))
    for result, name, (_, words) in zip(results, names, faults, strict=True):
        line = last_line(*result, 1, "hf_writer1")
        assert all(word in line for word in [f"reader/{name} was not pushed", "same command", *words]), line
    assert written(hub) == [] and (tmp_path / "tokenized_meta_review" / "dataset_dict.json").exists()


def test_the_client_tries_again_and_then_all_is_well(hub: Hub, tmp_path: Path) -> None:
    again = {"Retry-After": "0"}
    hub.faults += [Fault("POST", "/preupload/", 500, headers=again), Fault("PUT", "/lfs/", 429, headers=again)]
    environment = hub_environment(hub, tmp_path / "cache", "hf_writer1")
    result = run_script(PROCESS, "--push_to_hub", cwd=tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    assert all(fault.times == 0 for fault in hub.faults)
    assert "data/train.parquet" in hub.repos["dataset", "reader/tokenized_meta_review"].files()


def test_a_push_replaces_what_an_earlier_one_left(hub: Hub, tmp_path: Path) -> None:
    old = {"data/train-00000-of-00002.parquet": b"old", "notes.txt": b"mine"}
    hub.add_repo("dataset", "reader/processed_meta_review", old, private=True)
    environment = hub_environment(hub, tmp_path / "cache", "hf_writer1")
    result = run_script(PROCESS, "--push_to_hub", cwd=tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    there = hub.repos["dataset", "reader/processed_meta_review"].files()
    assert {path for path in there if path.startswith("data/")} == {
        f"data/{name}.parquet" for name in ("train", "validation", "test")
    }
    assert there["notes.txt"] == b"mine"


def test_what_may_not_be_read_and_a_hub_in_trouble_are_told_apart(hub: Hub, tmp_path: Path) -> None:
    commands = []
    for kind, flag in (("model", "--model_name_or_path"), ("dataset", "--dataset_name")):
        files = next(repo for repo in hub.repos.values() if repo.kind == kind).files()
        hub.add_repo(kind, f"other/private_{kind}", files, private=True)
        hub.add_repo(kind, f"other/gated_{kind}", files, gated=True)
        hub.add_repo(kind, f"other/troubled_{kind}", files)
        names = [f"other/{state}_{kind}" for state in ("private", "gated", "troubled")]
        commands += [(PROCESS, [flag, name], token) for name, token in zip(names, ("", "hf_writer1", ""), strict=True)]
    hub.faults.append(Fault(None, "/troubled_", 500, times=-1, headers={"Retry-After": "0"}))
    results = run_in_turn(commands, tmp_path, hub_environment(hub, tmp_path / "cache"))
    for result, (_, (_, name), token) in zip(results, commands, strict=True):
        line = last_line(*result, 1 if "troubled" in name else 2, token)
        if "troubled" in name:
            assert f"{name!r}: the Hub" in line and "answers 500" in line and "try again later" in line
        else:
            assert f"{name!r}: it is neither here nor for you to use" in line and "HF_TOKEN" in line


@pytest.fixture
def tuning(data: Path) -> list[str]:
    folders = ["--dataset_name", data / "processed_meta_review", "--tokenized_dir", data / "tokenized_meta_review"]
    steps = ["--max_steps", 6, "--save_steps", 2, "--eval_steps", 2]
    return [*map(str, folders + steps), "--push_to_hub", "--hub_strategy", "checkpoint"]


def test_a_model_that_is_not_pushed_is_safe_and_the_command_that_is_printed_pushes_it(
    hub: Hub, tuning: list[str], tmp_path: Path
) -> None:
    hub.faults.append(Fault("POST", "pythia-70m_finetuned" + COMMIT, 500, times=-1))
    environment = hub_environment(hub, tmp_path / "cache", "hf_writer1")
    result = run_script(TUNE, *tuning, cwd=tmp_path, **environment)
    line = last_line(result.returncode, result.stderr, 1, "hf_writer1")
    assert "the model was not pushed to reader/pythia-70m_finetuned" in line and "answers 500" in line
    assert "none of those saved now" in result.stdout and written(hub) == []
    hub.faults.clear()
    later = subprocess.run(
        [Path(sys.executable).with_name("hf"), *shlex.split(line[line.index("hf upload") :])[1:]],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert later.returncode == 0, later.stderr
    here = {file.name for file in (tmp_path / "pythia_finetuned").iterdir() if file.is_file()}
    assert set(written(hub)) == here and "model.safetensors" in here
    assert hub.repos["model", "reader/pythia-70m_finetuned"].private


def test_a_checkpoint_that_is_not_pushed_is_told_and_training_goes_on(
    hub: Hub, tuning: list[str], tmp_path: Path
) -> None:
    hub.faults.append(Fault("POST", COMMIT, cut_after=50))
    result = run_script(TUNE, *tuning, cwd=tmp_path, **hub_environment(hub, tmp_path / "cache", "hf_writer1"))
    assert result.returncode == 0, result.stderr
    assert "the checkpoint of step 2 was not pushed" in result.stdout and "of step 4 was" not in result.stdout
    assert "step 6, and the best" in result.stdout and "last-checkpoint/optimizer.pt" in written(hub)


def test_scores_go_to_a_card_that_is_there(hub: Hub, data: Path, tmp_path: Path) -> None:
    model = "EleutherAI/pythia-70m"
    flags = ["--model_name_or_path", model, "--base_model", model, "--num_examples", "2", "--max_new_tokens", "2"]
    flags += ["--dataset_name", str(data / "processed_meta_review"), "--push_to_hub"]
    nothing = ["--push_to_hub", "--model_name_or_path", "reader/nothing"]
    commands = [(EVALUATE, nothing, "hf_writer1"), (EVALUATE, flags, "hf_writer1")]
    first, second = run_in_turn(commands, tmp_path, hub_environment(hub, tmp_path / "cache"))
    assert "'reader/nothing': it is neither here" in last_line(*first, 2, "hf_writer1")
    line = last_line(*second, 1, "hf_writer1")
    assert f"the card of {model} was not pushed" in line and "answers 403" in line
    assert "The scores are in eval_test.xlsx" in line and (tmp_path / "eval_test.xlsx").exists()
