"""The three scripts and the real clients against a Hub on loopback: what is read from it, pushed to it, and told."""

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import (
    EVALUATE,
    FOLDERS,
    PROCESS,
    PROCESSED,
    ROOT,
    TOKENIZED,
    TUNE,
    WEIGHTS,
    copy_data,
    online,
    read_record,
    run_process,
    run_script,
    run_to_end,
    same_weights,
)
from datasets import load_from_disk
from huggingface_hub import DatasetCard, ModelCard
from servers.hub import HUB, READER, WRITER, Hub, Repo
from workbooks import read_rows

from metareview.common.model import RUN
from metareview.generation.previews import PREVIEWS

Repos = dict[tuple[str, str], Repo]
TEXTS, TOKENS = (("dataset", f"reader/{name}") for name in FOLDERS)
MODEL, SECOND = ("model", "reader/pythia-70m_finetuned"), ("model", "reader/second")
PUSH = ["--push_to_hub", "--hub_strategy", "checkpoint"]
AS_WRITER = {"HF_HUB_OFFLINE": "0", "HF_TOKEN": WRITER}


class Published(NamedTuple):
    repos: Repos  # on the Hub
    first: Path  # a machine
    second: Path
    printed: str


@pytest.fixture(scope="module")
def published(on_the_hub: Repos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """The three commands of the README; then a second model from what they pushed, in an empty folder."""
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    shutil.copy(ROOT / "eval_examples.xlsx", first)
    data = ["--dataset_name", TEXTS[1]]
    training = ["--tokenized_dir", TOKENS[1], "--hub_model_id", "second", "--max_steps", 2]
    cases = ["--models", SECOND[1], "--num_examples", 2, "--max_new_tokens", 2, "--push_to_hub"]
    commands = [
        (first, PROCESS, "--push_to_hub"),
        (first, TUNE, *PUSH),
        (first, EVALUATE, "--push_to_hub"),
        (second, TUNE, *data, *training, *PUSH),
        (second, EVALUATE, *data, *cases),
    ]
    printed = ""
    with online(dict(on_the_hub)) as hub:
        hub.requests.clear()
        for folder, *command in commands:
            result = run_script(*command, cwd=folder, HF_TOKEN=WRITER)
            assert result.returncode == 0, result.stdout + result.stderr
            printed += result.stdout + result.stderr
        yield Published(hub.repos, first, second, printed)


def read_card(published: Published, key: tuple[str, str]) -> ModelCard | DatasetCard:
    kind = ModelCard if key[0] == "model" else DatasetCard
    return kind(published.repos[key].files()["README.md"].decode())


def test_the_three_commands_without_a_flag(published: Published) -> None:
    rows = read_rows(published.first / "eval_examples_results.xlsx")
    assert list(rows[0])[4:9] == ["reference", "preferred", "base", "rating base", "finetuned"]
    scores = [row["finetuned ROUGE-L"] for row in rows]
    card = read_card(published, MODEL)
    results = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert len(scores) == 20 and len(results) == 3
    assert results["ROUGE-L"] == pytest.approx(sum(scores) / 20, abs=1e-4)
    record = read_record(published.first / "models" / "pythia-70m_finetuned")
    assert record["base_revision"] == published.repos["model", "EleutherAI/pythia-70m"].commits[0].id


def test_what_is_on_the_hub_is_what_is_on_disk_and_private(published: Published) -> None:
    pushed = {key for key in published.repos if key[1].startswith("reader/")}
    assert pushed == {TEXTS, TOKENS, MODEL, SECOND}
    assert all(published.repos[key].private for key in pushed)
    folder = published.first / "models" / "pythia-70m_finetuned"
    files = (file for file in folder.iterdir() if file.is_file() and file.name != PREVIEWS)  # with people's texts
    local = {file.name: file.read_bytes() for file in files}
    remote = {path: content for path, content in published.repos[MODEL].files().items() if "/" not in path}
    assert remote.keys() - {".gitattributes"} == local.keys()
    assert all(remote[name] == local[name] for name in local if name != RUN)  # which says there that it trains


def test_data_from_the_hub_bring_token_ids_model_and_cleaning(published: Published) -> None:
    assert "Tokenizing" not in published.printed
    machines = (published.first, published.second)
    first, second = (read_record(next(folder.glob("models/*/"))) for folder in machines)
    assert first["texts"] == second["texts"] and second["base_model"] == "EleutherAI/pythia-70m"
    assert (second["dataset_name"], second["keep"]) == ("zqz979/meta-review", "a-zA-Z0-9")
    result = run_script(PROCESS, "--dataset_name", TEXTS[1], cwd=published.second, HF_TOKEN=WRITER)
    assert_failed(result, 2, "is cleaned already")


WITHOUT_THIS_PROJECT = """
import json
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

texts, tokens = (load_dataset(f"reader/{name}_meta_review") for name in ("processed", "tokenized"))
settings = {"max_length": None, "max_steps": 1, "per_device_train_batch_size": 40, "use_cpu": True, "bf16": False}
model = "reader/pythia-70m_finetuned"
trainer = SFTTrainer(model, train_dataset=tokens["train"], args=SFTConfig("out", report_to="none", **settings))
learned = next(iter(trainer.get_train_dataloader()))["labels"] != -100
trainer.train()
print("=====", json.dumps([texts["test"][:], tokens["train"][:], learned.sum().item()]), sep="")
"""


def test_what_was_pushed_works_without_this_project(published: Published, tmp_path: Path) -> None:
    """With datasets, TRL and the snippet in the model's card, in an empty folder."""
    card = published.repos[MODEL].files()["README.md"].decode()
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1] + WITHOUT_THIS_PROJECT
    environment = os.environ | HUB.environment(str(tmp_path / "cache"), WRITER)
    command = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    result = subprocess.run([sys.executable, "-c", code], **command)
    assert result.returncode == 0, result.stderr
    test, train, learned = json.loads(result.stdout.partition("=====")[2])
    texts, tokens = (load_from_disk(str(published.first / name)) for name in FOLDERS)
    assert test == texts["test"][:] and train == tokens["train"][:]
    assert learned == sum(label != -100 for labels in train["labels"] for label in labels)


def test_the_cards_say_what_they_are(published: Published) -> None:
    texts, tokens, model, second = (read_card(published, key) for key in (TEXTS, TOKENS, MODEL, SECOND))
    for card in (texts, tokens):
        assert len(card.data.configs[0]["data_files"]) == 3 and "`zqz979/meta-review`" in card.text
        assert re.search(r"\| train +\| +40 \| +40 \| +0 \| +0 \| +0 \| +3\.0 \|", card.text)  # kept, reviews a paper
        assert not re.search(r"\{[{%]|\| *None", card.text)
    assert 'load_dataset("reader/processed_meta_review")' in texts.text and r"### Review:\n{review}" in tokens.text
    assert model.data.base_model == "EleutherAI/pythia-70m" and model.data.license == "apache-2.0"
    assert model.text.count("## Scores on 20 cases of `eval_examples.xlsx`") == model.text.count("## Scores on") == 1
    assert "## Scores on 2 cases of the split `test` of `zqz979/meta-review`" in second.text


def test_the_token_is_nowhere(published: Published) -> None:
    """Not in what is printed, written or pushed, not even in Base64."""
    files = [file for folder in (published.first, published.second) for file in folder.rglob("*") if file.is_file()]
    texts = [published.printed.encode(), *(file.read_bytes() for file in files)]
    texts += [path.encode() + body for path, _, body in HUB.requests]
    texts += [content for repo in published.repos.values() for content in repo.files().values()]
    hidden = [base64.b64encode(b"x" * shift + WRITER.encode())[4:-4] for shift in range(3)]
    for secret in (WRITER.encode(), *hidden):
        assert not any(secret in text for text in texts)
    assert any(authorization == f"Bearer {WRITER}" for _, authorization, _ in HUB.requests)
    assert_failed(run_script(TUNE, "--hub_token", WRITER, cwd=published.second), 2, "set HF_TOKEN")
    pushed = {Path(path).name for repo in published.repos.values() for path in repo.files()}
    assert "training_args.bin" in {file.name for file in files} - pushed  # a pickle, which would hold it


def test_lost_on_one_machine_and_finished_on_another(published: Published, tmp_path: Path) -> None:
    """What is on the Hub in the middle of a run is enough to end with the same weights."""
    copy_data(published.first, tmp_path)
    flags = ["--num_train_epochs", 3, "--learning_rate", "5e-3", "--output_dir", "lost", *PUSH]
    run_to_end(TUNE, *flags, cwd=tmp_path, HF_TOKEN=WRITER)
    repo = published.repos["model", "reader/lost"]
    kept = {path.partition("/")[0] for path in repo.files() if "checkpoint-" in path}
    assert "checkpoint-30" in kept and len(kept) <= 2  # the last and the best
    titles = [commit.title for commit in repo.commits]
    third = [title for title in titles if title.startswith("Checkpoint of step ")][2]
    del repo.commits[titles.index(third) + 1 :]
    (tmp_path / "lost").rename(tmp_path / "unbroken")
    printed = run_to_end(TUNE, *flags, cwd=tmp_path, HF_TOKEN=WRITER)
    assert f"from {third.removeprefix('Checkpoint of ')}" in printed and not third.endswith(" 30")
    assert same_weights(tmp_path / "lost" / WEIGHTS, tmp_path / "unbroken" / WEIGHTS)


# What goes wrong


@pytest.fixture
def data(published: Published) -> list[object]:
    return ["--dataset_name", published.first / PROCESSED]


def assert_failed(result: subprocess.CompletedProcess[str], status: int, *words: str) -> str:
    """The line that a script ends with, which has these words; without a traceback and a token."""
    printed = result.stdout + result.stderr
    line = printed.strip().splitlines()[-1]
    assert result.returncode == status and "Traceback" not in printed and WRITER not in printed, printed
    assert line.startswith("error: " if status == 2 else "failed: ") and all(word in line for word in words), printed
    return line


def written(hub: Hub) -> set[str]:
    """The files in the user's repositories besides the one that each is created with."""
    mine = [repo for (_, name), repo in hub.repos.items() if name.startswith("reader/")]
    return {path for repo in mine for path in repo.files()} - {".gitattributes"}


@pytest.mark.parametrize(
    ("token", "flags", "words"),
    [
        ("", [], ["needs a token with write access", "HF_TOKEN", "hf auth login"]),
        ("hf_wrong1", [], ["answers 401", "HF_TOKEN"]),
        (READER, [], ["token of reader is read-only"]),
        (WRITER, ["--hub_user", "other"], ["cannot push to other/processed_meta_review", "answers 403"]),
        (WRITER, ["--hub_dataset_id", "a", "--hub_tokenized_id", "reader/A"], ["both mean reader/a"]),
        (WRITER, ["--hub_dataset_id", "two words"], ["cannot push to two words: Repo id must use", "--hub_dataset_id"]),
        (WRITER, ["--hub_dataset_id", "public"], ["reader/public is public", "--hub_private_repo False"]),
    ],
)
def test_refused_before_the_work(token: str, flags: list[str], words: list[str], hub: Hub, tmp_path: Path) -> None:
    hub.add_repo("dataset", "reader/public", {"mine.txt": b"precious"})
    assert_failed(run_script(PROCESS, "--push_to_hub", *flags, cwd=tmp_path, HF_TOKEN=token), 2, *words)
    assert written(hub) == {"mine.txt"} and not (tmp_path / PROCESSED).exists()


def test_a_failed_push_is_told_and_an_earlier_one_is_replaced_in_one_commit(hub: Hub, tmp_path: Path) -> None:
    texts = hub.add_repo("dataset", "reader/texts", {"data/train-0-of-2.parquet": b"old", "notes.txt": b"mine"})
    names = ["--hub_dataset_id", "texts", "--hub_tokenized_id", "reader/tokens", "--hub_private_repo", "False"]
    command = [PROCESS, "--push_to_hub", *names]
    hub.faults.append(("/preupload/", 403))
    result = run_script(*command, cwd=tmp_path, HF_TOKEN=WRITER)
    assert_failed(result, 1, "reader/texts was not pushed", "run the same command again", "answers 403", "HF_TOKEN")
    assert len(texts.commits) == 1 and (tmp_path / TOKENIZED / "dataset_dict.json").exists()
    run_to_end(*command, cwd=tmp_path, HF_TOKEN=WRITER)
    tokens = hub.repos["dataset", "reader/tokens"]
    assert texts.files().keys() - tokens.files().keys() == {"notes.txt"}
    assert "data/train.parquet" in texts.files() and len(texts.commits) == 2 and not tokens.private


def test_the_printed_command_pushes_a_model(hub: Hub, data: list[object], tmp_path: Path) -> None:
    hub.faults.append(("/commit/", 500))
    flags = [*data, "--max_steps", 2, "--output_dir", "the model's", "--hub_model_id", "it", "--push_to_hub"]
    result = run_script(TUNE, *flags, cwd=tmp_path, HF_TOKEN=WRITER)
    line = assert_failed(result, 1, "the model was not pushed to reader/it", "answers 500")
    assert written(hub) == set()
    command = [Path(sys.executable).with_name("hf"), *shlex.split(line[line.index("hf upload") :])[1:]]
    subprocess.run(command, cwd=tmp_path, env=os.environ | AS_WRITER, capture_output=True, check=True)
    local = {file.name for file in (tmp_path / "the model's").iterdir() if file.is_file()}
    assert written(hub) == local and WEIGHTS in local and hub.repos["model", "reader/it"].private


def test_a_run_that_has_finished_is_pushed_too(hub: Hub, data: list[object], tmp_path: Path) -> None:
    """With what the run leaves, and nothing of the user's."""
    flags = [*data, "--max_steps", 2, "--output_dir", "it"]
    run_to_end(TUNE, *flags, cwd=tmp_path)
    for name in ("notes.txt", "notes.json"):
        (tmp_path / "it" / name).write_text("mine")
    assert "Pushed reader/it" in run_to_end(TUNE, *flags, "--push_to_hub", cwd=tmp_path, HF_TOKEN=WRITER)
    pushed = hub.repos["model", "reader/it"].files()
    local = {path.name for path in (tmp_path / "it").iterdir() if path.is_file()}
    assert pushed.keys() - {".gitattributes"} == local - {"notes.txt", "notes.json", "run.json", "previews.md"}
    assert b'model="reader/it"' in pushed["README.md"] and read_record(tmp_path / "it")["hub_model_id"] == "reader/it"


def test_two_models_under_one_id_are_not_mixed(hub: Hub, data: list[object], tmp_path: Path) -> None:
    """Neither are checkpoints of the first resumed by the second, nor its scores put onto the card of that."""
    flags = [*data, "--max_steps", 2, "--hub_model_id", "it", "--output_dir"]
    run_to_end(TUNE, *flags, "a", *PUSH, cwd=tmp_path, HF_TOKEN=WRITER)
    other = [*flags, "b", "--learning_rate", "1e-4"]
    result = run_script(TUNE, *other, *PUSH, cwd=tmp_path, HF_TOKEN=WRITER)
    assert_failed(result, 2, "reader/it has the checkpoints of a run that differs in learning_rate", "--hub_model_id")
    assert not (tmp_path / "b").exists()
    record = read_record(tmp_path / "a")
    (tmp_path / "a" / "training_record.json").write_text(json.dumps(record | {"finished": "2026-01-01T00:00:00"}))
    cases = [*data, "--num_examples", 2, "--models", "a", "--push_to_hub"]
    result = run_script(EVALUATE, *cases, cwd=tmp_path, HF_TOKEN=WRITER)
    assert_failed(result, 2, "reader/it has another model than a by now")


def test_training_goes_on_after_a_failed_push(hub: Hub, data: list[object], tmp_path: Path) -> None:
    """The tokenized data, which would be nowhere/tokens, are nowhere: not here, and not on the Hub."""
    hub.faults.append(("/commit/", 500))
    flags = [*data, "--tokenized_dir", "nowhere/tokens", "--max_steps", 4, "--save_steps", 2, "--eval_steps", 2]
    printed = run_to_end(TUNE, *flags, *PUSH, cwd=tmp_path, HF_TOKEN=WRITER)
    assert "again: there is no nowhere/tokens" in printed
    assert "the checkpoint of step 2 was not pushed" in printed and "of step 4 was" not in printed
    assert "checkpoint-4/optimizer.pt" in written(hub) and not any("training_args" in name for name in written(hub))


def test_scores_that_are_not_pushed_are_here(hub: Hub, data: list[object], tmp_path: Path) -> None:
    model = "EleutherAI/pythia-70m"
    flags = [*data, "--models", model, "--base_model", model, "--num_examples", 2, "--max_new_tokens", 2]
    result = run_script(EVALUATE, "--push_to_hub", *flags, cwd=tmp_path, HF_TOKEN=WRITER)
    assert_failed(result, 1, f"the card of {model} was not pushed", "answers 403", "The scores are in eval_test.xlsx")
    assert (tmp_path / "eval_test.xlsx").exists()


def test_without_a_network_what_is_cached_is_used(published: Published, tmp_path: Path) -> None:
    result = run_process(PROCESS, cwd=tmp_path, HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9")
    assert result.returncode == 0 and "Retrying" not in result.stderr, result.stderr
    assert "Cannot reach the Hub (http://127.0.0.1:9); using what is cached." in result.stdout
