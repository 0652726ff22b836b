"""The three scripts against a Hub on loopback that the real clients talk to: what they read, what they leave there.

And what goes wrong: one or two plain lines, nothing half-written there, the result safe here.
"""

import base64
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import (
    EVALUATE,
    PROCESS,
    ROOT,
    SCRIPTS,
    TUNE,
    hub_environment,
    hub_with_the_defaults,
    run_in_turn,
    run_process,
)
from datasets import load_from_disk
from huggingface_hub import DatasetCard, ModelCard
from openpyxl import load_workbook
from safetensors.torch import load_file
from servers.hub import Fault, Hub

from metareview.generation.decoding import Decoding
from metareview.scoring.score_card import add_scores

TOKEN = "hf_SecretOfTheWriter"
PROCESSED, TOKENIZED = ("dataset", "reader/processed_meta_review"), ("dataset", "reader/tokenized_meta_review")
MODEL = ("model", "reader/pythia-70m_finetuned_lr5e-3")
TOKENS = {"hf_writer1": ("reader", "write"), "hf_reader1": ("reader", "read"), "hf_other1": ("other", "write")}
COMMIT = "/commit/main"


@dataclass
class Published:
    """A Hub and a folder after the three scripts have run with --push_to_hub, and what they printed."""

    hub: Hub
    folder: Path
    printed: str

    def python(self, code: str, home: Path) -> str:
        """Run code with an empty cache and no file of this project; returns what it prints."""
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=home,
            env={**os.environ, **hub_environment(self.hub, home, TOKEN)},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("published")
    shutil.copy(ROOT / "eval_examples.xlsx", folder)
    more = {TUNE: ["--hub_strategy", "checkpoint", "--learning_rate", "5e-3"]}
    commands = [(script, ["--push_to_hub", *more.get(script, [])], TOKEN) for script in SCRIPTS]
    with hub_with_the_defaults({TOKEN: ("reader", "write")}) as hub:
        results = run_in_turn(commands, folder, hub_environment(hub, folder / "cache"))
        assert [result.returncode for result in results] == [0, 0, 0], results
        printed = "".join(result.stdout + result.stderr for result in results)
        assert hub.crashes == []
        yield Published(hub, folder, printed)


def test_the_three_commands_without_a_flag(tmp_path: Path) -> None:
    shutil.copy(ROOT / "eval_examples.xlsx", tmp_path)
    with hub_with_the_defaults() as hub:
        for script in SCRIPTS:
            result = run_process(script, cwd=tmp_path, **hub_environment(hub, tmp_path / "cache"))
            assert result.returncode == 0, result.stderr
        assert hub.crashes == [] and len(hub.repos) == 2
        revision = hub.repos["model", "EleutherAI/pythia-70m"].branches["main"]
    sheet = load_workbook(tmp_path / "eval_examples_results.xlsx").active
    header = [cell.value for cell in sheet[1]]
    assert header[:7] == ["case", "field", "situation", "review", "reference", "pythia-70m", "pythia-70m_finetuned"]
    assert sheet.max_row == 21
    card = ModelCard.load(tmp_path / "models" / "pythia-70m_finetuned" / "README.md")
    assert card.data.base_model == "EleutherAI/pythia-70m" and card.data.datasets == ["zqz979/meta-review"]
    assert (
        f'"base_revision": "{revision}"'
        in (tmp_path / "models" / "pythia-70m_finetuned" / "training_record.json").read_text()
    )


def test_what_is_on_the_hub_is_what_is_on_disk_and_private(published: Published) -> None:
    repos = published.hub.repos
    assert {key for key in repos if key[1].startswith("reader/")} == {PROCESSED, TOKENIZED, MODEL}
    assert all(repos[key].private for key in (PROCESSED, TOKENIZED, MODEL))
    folder = published.folder / "models" / "pythia-70m_finetuned_lr5e-3"
    here = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    there = {path: content for path, content in repos[MODEL].files().items() if "/" not in path}
    assert there.keys() - {".gitattributes"} == here.keys()
    assert all(there[name] == here[name] for name in here if name != "README.md")  # its scores are only on the Hub
    assert "Pushed reader/pythia-70m_finetuned" in published.printed


def test_data_sets_load_without_this_project(published: Published, tmp_path: Path) -> None:
    code = (
        "from datasets import load_dataset\n"
        "texts, tokens = (load_dataset(f'reader/{name}_meta_review') for name in ('processed', 'tokenized'))\n"
        "print({name: len(split) for name, split in texts.items()})\n"
        "print(texts['test'][0])\nprint(tokens['train'][3])"
    )
    local = [load_from_disk(str(published.folder / f"{name}_meta_review")) for name in ("processed", "tokenized")]
    expected = [{"train": 40, "validation": 10, "test": 10}, local[0]["test"][0], local[1]["train"][3]]
    assert published.python(code, tmp_path).splitlines() == [str(line) for line in expected]


def test_the_model_loads_without_this_project_and_the_snippet_of_its_card_works(
    published: Published, tmp_path: Path
) -> None:
    snippet = re.search(r"```python\n(.*?)```", published.hub.repos[MODEL].files()["README.md"].decode(), re.DOTALL)[1]
    code = f"""
{snippet}
from transformers import AutoModelForCausalLM, AutoTokenizer
name = "reader/pythia-70m_finetuned_lr5e-3"
model, tokenizer = AutoModelForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)
inputs = tokenizer.apply_chat_template(
    [{{"role": "user", "content": reviews}}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
print("=====")
print(tokenizer.decode(inputs["input_ids"][0]))
print("=====")
print(tokenizer.decode(model.generate(**inputs)[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""
    by_pipeline, prompt, by_hand = (text.strip() for text in published.python(code, tmp_path).split("=====\n"))
    assert prompt == "### Review:\nfirst review\n\nsecond review\n\n### Summary:"
    assert by_pipeline == by_hand


def test_the_tokenized_data_train_as_they_are_in_trl(published: Published, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    code = """
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer
data = load_dataset("reader/tokenized_meta_review", split="train")
trainer = SFTTrainer(
    model="reader/pythia-70m_finetuned_lr5e-3",
    train_dataset=data,
    args=SFTConfig("out", max_length=None, max_steps=1, per_device_train_batch_size=40, use_cpu=True, bf16=False,
                   report_to="none", save_strategy="no"),
)
batch = next(iter(trainer.get_train_dataloader()))
ours = sorted([label for label in labels if label != -100] for labels in data["labels"])
theirs = sorted([label for label in labels if label != -100] for labels in batch["labels"].tolist())
trainer.train()
print("=====", ours == theirs, trainer.state.global_step)
"""
    assert published.python(code, tmp_path).strip().endswith("===== True 1")


def test_the_cards_say_what_it_is(published: Published) -> None:
    files = {key: published.hub.repos[key].files() for key in (PROCESSED, TOKENIZED, MODEL)}
    processed, tokenized = (DatasetCard(files[key]["README.md"].decode()) for key in (PROCESSED, TOKENIZED))
    for card in (processed, tokenized):
        assert card.data.task_categories == ["summarization"] and len(card.data.configs[0]["data_files"]) == 3
        assert "`zqz979/meta-review`" in card.text and "`a-zA-Z0-9`" in card.text
        assert re.search(r"\| train +\| +40 \| +40 \| +0 \| +0 \| +0 \| +3\.0 \|", card.text)  # kept, reviews a paper
        assert re.search(r"\| test +\| +\d+ \| +\d+ \| +\d+ \| +0 \| +0% \| +0 \|", card.text)  # token lengths
    row = load_from_disk(str(published.folder / "processed_meta_review"))["train"][0]
    assert 'load_dataset("reader/processed_meta_review")' in processed.text and row["summary"] in processed.text
    assert "`labels`" in tokenized.text and "1024 tokens, of which 512" in tokenized.text
    assert r"### Review:\n{review}" in tokenized.text
    assert not re.search(r"\{[{%]|\| *None", processed.text + tokenized.text)


def test_the_model_card_has_metadata_results_and_scores(published: Published) -> None:
    card = ModelCard(published.hub.repos[MODEL].files()["README.md"].decode())
    assert card.data.base_model == "EleutherAI/pythia-70m" and card.data.datasets == ["zqz979/meta-review"]
    assert card.data.license == "apache-2.0" and card.data.pipeline_tag == "text-generation"
    assert card.text.startswith("# pythia-70m_finetuned_lr5e-3\n") and "](loss_curve.png)" in card.text
    results = {
        (result.dataset_name, result.metric_name or result.metric_type): result for result in card.data.eval_results
    }
    loss = results["zqz979/meta-review", "loss"]
    assert loss.dataset_split == "validation" and f"| {loss.metric_value:.4f} (perplexity" in card.text
    sheet = load_workbook(published.folder / "eval_examples_results.xlsx").active
    column = next(cell.column for cell in sheet[1] if cell.value == "pythia-70m_finetuned_lr5e-3 ROUGE-L")
    mean = sum(sheet.cell(row, column).value for row in range(2, 22)) / 20
    assert results["eval_examples.xlsx", "ROUGE-L"].metric_value == pytest.approx(mean, abs=1e-4)
    assert card.text.count("## Scores on 20 cases of `eval_examples.xlsx`") == 1
    assert "pythia-70m_finetuned_lr5e-3 is " in card.text  # better than base, or not: in a sentence


def test_scores_replace_those_on_the_same_data_alone(published: Published) -> None:
    card = ModelCard(published.hub.repos[MODEL].files()["README.md"].decode())
    for rouge in (0.1, 0.2):
        test = {"data": "me/data", "split": "test", "cases": 4}
        ways = {"max_new_tokens": 20, "decoding": Decoding(), "load_in_4bit": False, "precision": "float32"}
        model = SimpleNamespace(name="tuned", base="a base", **ways)
        add_scores(card, test, model, {"tuned": {"rougeL": (rouge, 0.0, 1.0)}}, "It is better.")
        card = ModelCard(str(card))
    assert re.findall("## Scores on .*", card.text) == [
        "## Scores on 20 cases of `eval_examples.xlsx`",
        "## Scores on 4 cases of the split `test` of `me/data`",
    ]
    results = {(result.dataset_name, result.metric_name): result.metric_value for result in card.data.eval_results}
    assert results["me/data", "ROUGE-L"] == 0.2 and len(card.data.eval_results) == 2 + 3 + 1
    assert card.text.index("## How it was made") < card.text.index("## Scores")


def test_the_data_on_the_hub_carry_how_they_were_made(published: Published, tmp_path: Path) -> None:
    """The model too: fine_tune.py needs no --model."""
    flags = ["--dataset_name", "reader/processed_meta_review"]
    tokenized = ["--tokenized_dir", "reader/tokenized_meta_review"]
    commands = [(TUNE, [*flags, *tokenized, "--max_steps", 1], TOKEN), (PROCESS, flags, TOKEN)]
    result, refused = run_in_turn(commands, tmp_path, hub_environment(published.hub, tmp_path / "cache"))
    assert result.returncode == 0, result.stderr
    assert "Tokenizing" not in result.stdout  # the token ids on the Hub fit
    records = [next(where.glob("models/*/training_record.json")) for where in (tmp_path, published.folder)]
    here, there = (json.loads(record.read_text()) for record in records)
    assert here["texts"] == there["texts"] and here["base_model"] == "EleutherAI/pythia-70m"
    assert (here["dataset_name"], here["keep"]) == ("zqz979/meta-review", "a-zA-Z0-9")
    assert refused.returncode == 2 and "is cleaned already" in refused.stderr


def test_the_token_is_nowhere(published: Published, tmp_path: Path) -> None:
    """Not in what is printed, written or pushed, in Base64 neither, also where it is given as a flag."""
    with hub_with_the_defaults({TOKEN: ("reader", "write")}) as hub:
        for name in ("processed_meta_review", "tokenized_meta_review"):
            shutil.copytree(published.folder / name, tmp_path / name)
        flags = ["--hub_token", TOKEN, "--push_to_hub", "--hub_strategy", "checkpoint", "--max_steps", 4]
        commands = [(TUNE, flags, ""), (TUNE, ["--hub_tokn", TOKEN], "")]
        result, wrong = run_in_turn(commands, tmp_path, hub_environment(hub, tmp_path / "cache"))
        assert result.returncode == 0, result.stderr
        assert wrong.returncode == 2 and "--hub_tokn" in wrong.stderr
    printed = published.printed + result.stdout + result.stderr + wrong.stdout + wrong.stderr
    texts = [printed.encode()]
    texts += [
        file.read_bytes() for where in (published.folder, tmp_path) for file in where.rglob("*") if file.is_file()
    ]
    for server in (published.hub, hub):
        texts += server.blobs()
        texts += [part for request in server.requests for part in (request.path.encode(), request.body)]
        assert any(request.authorization == f"Bearer {TOKEN}" for request in server.requests)
    assert any(file.name == "training_args.bin" for file in tmp_path.rglob("*"))  # the file that would hold it
    hidden = [base64.b64encode(b"x" * shift + TOKEN.encode())[4:-4] for shift in range(3)]
    for secret in (TOKEN.encode(), *hidden):
        assert not any(secret in text for text in texts)
    names = [path for server in (published.hub, hub) for repo in server.repos.values() for path in repo.files()]
    assert not [name for name in names if name.endswith("training_args.bin")]


def test_killed_on_one_machine_and_finished_on_another(published: Published, tmp_path: Path) -> None:
    """Training is killed and its folder lost; the same command ends with the weights of a run that was not."""
    for name in ("processed_meta_review", "tokenized_meta_review"):
        shutil.copytree(published.folder / name, tmp_path / name)
    flags = ["--num_train_epochs", "3", "--learning_rate", "5e-3"]
    push = ["--push_to_hub", "--hub_strategy", "checkpoint", "--hub_model_id", MODEL[1], "--output_dir", "lost"]
    with hub_with_the_defaults({TOKEN: ("reader", "write")}) as hub:
        environment = hub_environment(hub, tmp_path / "cache", TOKEN)
        command = [sys.executable, str(ROOT / "fine_tune.py"), *flags, *push]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while not (pushed := checkpoints(hub)) or len(pushed) < 3:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        step = checkpoints(hub)[0]
        assert 0 < step < 30
        shutil.rmtree(tmp_path / "lost")
        ways = (
            [*flags, *push],
            [*flags, *push[:-1], "elsewhere"],
            [*flags, "--output_dir", "pythia_finetuned"],
        )  # goes on; fetches what is finished; unbroken
        second, *others = run_in_turn([(TUNE, way, TOKEN) for way in ways], tmp_path, environment)
        assert second.returncode == 0, second.stderr
        assert f"Going on from step {step}" in second.stdout
        assert checkpoints(hub)[0] == 30 and "Checkpoints in reader/lost" not in second.stdout
        assert [other.returncode for other in others] == [0, 0], others
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("pythia_finetuned", "lost", "elsewhere")]
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]) and torch.equal(tensor, weights[2][name]), name


def checkpoints(hub: Hub) -> list[int]:
    """The steps of the checkpoints that were pushed, the latest first."""
    if MODEL not in hub.repos:
        return []
    head = hub.repos[MODEL].at("main")
    titles = [commit.title for commit in (head, *head.before)]
    return [int(title.rpartition(" ")[2]) for title in titles if title.startswith("Checkpoint of step")]


# What goes wrong


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A folder with the processed data."""
    folder = tmp_path_factory.mktemp("data")
    with hub_with_the_defaults() as hub:
        result = run_process(PROCESS, cwd=folder, **hub_environment(hub, cache))
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_with_the_defaults(dict(TOKENS)) as hub:
        yield hub
    assert hub.crashes == []


def last_line(result: subprocess.CompletedProcess[str], expected: int, token: str) -> str:
    """The line that a script ends with; it must have exited as expected, without a traceback or the token."""
    status, printed = result.returncode, result.stdout + result.stderr
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
        ("hf_writer1", ["--hub_dataset_id", "a", "--hub_tokenized_id", "reader/A"], ["both mean reader/a"]),
        ("hf_writer1", ["--hub_dataset_id", "two words"], ["cannot push to reader/two words", "neither"]),
        ("hf_writer1", ["--hub_dataset_id", "reader/public"], ["reader/public is public", "--hub_private_repo False"]),
    ]
    commands = [(PROCESS, ["--push_to_hub", *flags], token) for token, flags, _ in refusals]
    results = run_in_turn(commands, tmp_path, hub_environment(hub, tmp_path / "cache"))
    for result, (token, _, words) in zip(results, refusals, strict=True):
        line = last_line(result, 2, token)
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
        line = last_line(result, 1, "hf_writer1")
        assert all(word in line for word in [f"reader/{name} was not pushed", "same command", *words]), line
    assert written(hub) == [] and (tmp_path / "tokenized_meta_review" / "dataset_dict.json").exists()


def test_the_client_tries_again_and_then_all_is_well(hub: Hub, tmp_path: Path) -> None:
    """What an earlier push left is replaced; names and visibility can be chosen."""
    again = {"Retry-After": "0"}
    hub.faults += [Fault("POST", "/preupload/", 500, headers=again), Fault("PUT", "/lfs/", 429, headers=again)]
    old = {"data/train-00000-of-00002.parquet": b"old", "notes.txt": b"mine"}
    hub.add_repo("dataset", "reader/processed_meta_review", old, private=True)
    names = ["--hub_dataset_id", "texts", "--hub_tokenized_id", "reader/tokens", "--hub_private_repo", "False"]
    commands = [(PROCESS, ["--push_to_hub", *flags], "hf_writer1") for flags in ([], names)]
    results = run_in_turn(commands, tmp_path, hub_environment(hub, tmp_path / "cache"))
    assert [result.returncode for result in results] == [0, 0], results
    assert all(fault.times == 0 for fault in hub.faults)
    assert "data/train.parquet" in hub.repos["dataset", "reader/tokenized_meta_review"].files()
    there = hub.repos["dataset", "reader/processed_meta_review"].files()
    assert {path for path in there if path.startswith("data/")} == {
        f"data/{name}.parquet" for name in ("train", "validation", "test")
    }
    assert there["notes.txt"] == b"mine"
    assert not hub.repos["dataset", "reader/texts"].private and ("dataset", "reader/tokens") in hub.repos


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
        line = last_line(result, 1 if "troubled" in name else 2, token)
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
    hub.faults.append(Fault("POST", "pythia-70m_finetuned_steps6" + COMMIT, 500, times=-1))
    environment = hub_environment(hub, tmp_path / "cache", "hf_writer1")
    result = run_process(TUNE, *tuning, cwd=tmp_path, **environment)
    line = last_line(result, 1, "hf_writer1")
    assert "the model was not pushed to reader/pythia-70m_finetuned_steps6" in line and "answers 500" in line
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
    here = {file.name for file in (tmp_path / "models" / "pythia-70m_finetuned_steps6").iterdir() if file.is_file()}
    assert set(written(hub)) == here and "model.safetensors" in here
    assert hub.repos["model", "reader/pythia-70m_finetuned_steps6"].private


def test_a_checkpoint_that_is_not_pushed_is_told_and_training_goes_on(
    hub: Hub, tuning: list[str], tmp_path: Path
) -> None:
    """The tokenized data, which would be nowhere/tokens, are nowhere: not here, and not on the Hub."""
    hub.faults.append(Fault("POST", COMMIT, cut_after=50))
    flags = [*tuning, "--tokenized_dir", "nowhere/tokens"]
    result = run_process(TUNE, *flags, cwd=tmp_path, **hub_environment(hub, tmp_path / "cache", "hf_writer1"))
    assert result.returncode == 0, result.stderr
    assert "again: there is no nowhere/tokens" in result.stdout
    assert "the checkpoint of step 2 was not pushed" in result.stdout and "of step 4 was" not in result.stdout
    assert "step 6, and the best" in result.stdout and "last-checkpoint/optimizer.pt" in written(hub)


def test_scores_go_to_a_card_that_is_there(hub: Hub, data: Path, tmp_path: Path) -> None:
    model = "EleutherAI/pythia-70m"
    flags = ["--model_name_or_path", model, "--base_model", model, "--num_examples", "2", "--max_new_tokens", "2"]
    flags += ["--dataset_name", str(data / "processed_meta_review"), "--push_to_hub"]
    nothing = ["--push_to_hub", "--model_name_or_path", "reader/nothing"]
    commands = [(EVALUATE, nothing, "hf_writer1"), (EVALUATE, flags, "hf_writer1")]
    first, second = run_in_turn(commands, tmp_path, hub_environment(hub, tmp_path / "cache"))
    assert "'reader/nothing': it is neither here" in last_line(first, 2, "hf_writer1")
    line = last_line(second, 1, "hf_writer1")
    assert f"the card of {model} was not pushed" in line and "answers 403" in line
    assert "The scores are in eval_test.xlsx" in line and (tmp_path / "eval_test.xlsx").exists()


def test_an_empty_hub_and_one_out_of_reach(base: Path, tmp_path: Path) -> None:
    flags = ["--model_name_or_path", base, "--max_summary_tokens", 100]
    with Hub() as hub:
        commands = [(PROCESS, [], ""), (PROCESS, flags, "")]
        model, data = run_in_turn(commands, tmp_path, hub_environment(hub, tmp_path / "cache"))
        url = hub.url
    line = last_line(model, 2, "")
    assert "the model 'EleutherAI/pythia-70m': it is neither here nor for you to use on the Hub" in line
    line = last_line(data, 2, "")
    assert "the data set 'zqz979/meta-review': it is neither here nor for you to use on the Hub" in line
    assert url in line and "HF_TOKEN" in line
    away = hub_environment(hub, tmp_path / "cache") | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    [out_of_reach] = run_in_turn([(PROCESS, [], "")], tmp_path, away)
    line = last_line(out_of_reach, 2, "")
    assert "out of reach" in line and "make demo" in line and "HF_ENDPOINT" in line
    assert "Retrying" not in out_of_reach.stderr
    with hub_with_the_defaults() as hub:
        online = hub_environment(hub, tmp_path / "cache")
        [there] = run_in_turn([(PROCESS, [], "")], tmp_path, online)
    [cached] = run_in_turn([(PROCESS, [], "")], tmp_path, online)
    assert (there.returncode, cached.returncode) == (0, 0), there.stderr + cached.stderr
    assert "out of reach" not in there.stdout and "Retrying" not in cached.stderr
    assert f"The Hub ({hub.url}) is out of reach; what is cached of it is used." in cached.stdout
