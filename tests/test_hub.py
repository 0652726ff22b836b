"""The three scripts against a Hub on loopback that the real clients talk to: what they read and what they leave."""

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SCRIPTS, hub_environment, hub_with_the_defaults, run_script
from datasets import load_from_disk
from hub import Hub
from huggingface_hub import DatasetCard, ModelCard
from openpyxl import load_workbook
from safetensors.torch import load_file

from evaluation import add_scores

TOKEN = "hf_SecretOfTheWriter"
PROCESSED, TOKENIZED = ("dataset", "reader/processed_meta_review"), ("dataset", "reader/tokenized_meta_review")
MODEL = ("model", "reader/pythia-70m_finetuned")


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
    printed = ""
    with hub_with_the_defaults({TOKEN: ("reader", "write")}) as hub:
        for script in SCRIPTS:
            flags = ["--hub_strategy", "checkpoint", "--learning_rate", "5e-3"] if script == "fine_tune.py" else []
            environment = hub_environment(hub, folder / "cache", TOKEN)
            result = run_script(script, "--push_to_hub", *flags, cwd=folder, **environment)
            assert result.returncode == 0, result.stderr
            printed += result.stdout + result.stderr
        assert hub.crashes == []
        yield Published(hub, folder, printed)


def test_the_three_commands_without_a_flag(tmp_path: Path) -> None:
    shutil.copy(ROOT / "eval_examples.xlsx", tmp_path)
    with hub_with_the_defaults() as hub:
        for script in SCRIPTS:
            result = run_script(script, cwd=tmp_path, **hub_environment(hub, tmp_path / "cache"))
            assert result.returncode == 0, result.stderr
        assert hub.crashes == [] and len(hub.repos) == 2
        revision = hub.repos["model", "EleutherAI/pythia-70m"].branches["main"]
    sheet = load_workbook(tmp_path / "eval_examples.xlsx").active
    header = [cell.value for cell in sheet[1]]
    assert header[:7] == ["case", "field", "situation", "review", "reference", "base", "fine_tuned"]
    assert sheet.max_row == 21
    card = ModelCard.load(tmp_path / "pythia_finetuned" / "README.md")
    assert card.data.base_model == "EleutherAI/pythia-70m" and card.data.datasets == ["zqz979/meta-review"]
    assert f'"base_revision": "{revision}"' in (tmp_path / "pythia_finetuned" / "training_record.json").read_text()


def test_what_is_on_the_hub_is_what_is_on_disk_and_private(published: Published) -> None:
    repos = published.hub.repos
    assert {key for key in repos if key[1].startswith("reader/")} == {PROCESSED, TOKENIZED, MODEL}
    assert all(repos[key].private for key in (PROCESSED, TOKENIZED, MODEL))
    folder = published.folder / "pythia_finetuned"
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
name = "reader/pythia-70m_finetuned"
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
    model="reader/pythia-70m_finetuned",
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
        assert re.search(r"\| train +\| +40 \| +40 \| +0 \| +0 \| +0 \| +[\d.]+% \|", card.text)  # kept and dropped
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
    assert card.text.startswith("# pythia-70m_finetuned") and "](loss_curve.png)" in card.text
    results = {
        (result.dataset_name, result.metric_name or result.metric_type): result for result in card.data.eval_results
    }
    loss = results["zqz979/meta-review", "loss"]
    assert loss.dataset_split == "validation" and f"| {loss.metric_value:.4f} (perplexity" in card.text
    sheet = load_workbook(published.folder / "eval_examples.xlsx").active
    column = next(cell.column for cell in sheet[1] if cell.value == "fine_tuned_rougeL")
    mean = sum(sheet.cell(row, column).value for row in range(2, 22)) / 20
    assert results["eval_examples.xlsx", "ROUGE-L"].metric_value == pytest.approx(mean, abs=1e-4)
    assert card.text.count("## Scores on 20 cases of `eval_examples.xlsx`") == 1
    assert "fine_tuned is " in card.text  # better than base, or not: in a sentence


def test_scores_replace_those_on_the_same_data_alone(published: Published) -> None:
    card = ModelCard(published.hub.repos[MODEL].files()["README.md"].decode())
    for rouge in (0.1, 0.2):
        run = {"data": "me/data", "split": "test", "cases": 4, "base": "a base"}
        add_scores(card, run, {"fine_tuned": {"rougeL": (rouge, 0.0, 1.0)}}, ["It is better."])
        card = ModelCard(str(card))
    assert re.findall("## Scores on .*", card.text) == [
        "## Scores on 20 cases of `eval_examples.xlsx`",
        "## Scores on 4 cases of the split `test` of `me/data`",
    ]
    results = {(result.dataset_name, result.metric_name): result.metric_value for result in card.data.eval_results}
    assert results["me/data", "ROUGE-L"] == 0.2 and len(card.data.eval_results) == 2 + 3 + 1
    assert card.text.index("## How it was made") < card.text.index("## Scores")


def test_the_data_on_the_hub_carry_how_they_were_cleaned(published: Published, tmp_path: Path) -> None:
    flags = ["--dataset_name", "reader/processed_meta_review", "--tokenized_dir", "reader/tokenized_meta_review"]
    environment = hub_environment(published.hub, tmp_path / "cache", TOKEN)
    result = run_script("fine_tune.py", *flags, "--max_steps", 1, cwd=tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    assert "Tokenizing" not in result.stdout  # the token ids on the Hub fit
    here, there = (
        (where / "pythia_finetuned" / "training_record.json").read_text() for where in (tmp_path, published.folder)
    )
    assert re.search('"texts": .*', here)[0] == re.search('"texts": .*', there)[0]
    assert '"dataset_name": "zqz979/meta-review"' in here and '"keep": "a-zA-Z0-9"' in here
    refused = run_script("processing_meta_review.py", *flags[:2], cwd=tmp_path, **environment)
    assert refused.returncode == 2 and "is cleaned already" in refused.stderr


def test_names_and_visibility_can_be_chosen(tmp_path: Path) -> None:
    flags = ["--hub_dataset_id", "texts", "--hub_tokenized_id", "reader/tokens", "--hub_private_repo", "False"]
    with hub_with_the_defaults({TOKEN: ("reader", "write")}) as hub:
        environment = hub_environment(hub, tmp_path / "cache", TOKEN)
        result = run_script("processing_meta_review.py", "--push_to_hub", *flags, cwd=tmp_path, **environment)
        assert result.returncode == 0, result.stderr
        assert not hub.repos["dataset", "reader/texts"].private and ("dataset", "reader/tokens") in hub.repos


def test_the_token_is_nowhere(published: Published, tmp_path: Path) -> None:
    """Not in what is printed, written or pushed, in Base64 neither, also where it is given as a flag."""
    with hub_with_the_defaults({TOKEN: ("reader", "write")}) as hub:
        for name in ("processed_meta_review", "tokenized_meta_review"):
            shutil.copytree(published.folder / name, tmp_path / name)
        flags = ["--hub_token", TOKEN, "--push_to_hub", "--hub_strategy", "checkpoint", "--max_steps", 4]
        result = run_script("fine_tune.py", *flags, cwd=tmp_path, **hub_environment(hub, tmp_path / "cache"))
        assert result.returncode == 0, result.stderr
        wrong = run_script("fine_tune.py", "--hub_tokn", TOKEN, cwd=tmp_path)
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
    push = ["--push_to_hub", "--hub_strategy", "checkpoint", "--output_dir", "lost"]
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
        second = run_script("fine_tune.py", *flags, *push, cwd=tmp_path, **environment)
        assert second.returncode == 0, second.stderr
        assert f"Going on from step {step}" in second.stdout
        assert checkpoints(hub)[0] == 30 and "Checkpoints in reader/lost" not in second.stdout
        third = run_script("fine_tune.py", *flags, *push[:-1], "elsewhere", cwd=tmp_path, **environment)
        assert third.returncode == 0, third.stderr  # finished already: only fetched
    unbroken = run_script("fine_tune.py", *flags, cwd=tmp_path, **hub_environment(published.hub, tmp_path / "cache2"))
    assert unbroken.returncode == 0, unbroken.stderr
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
