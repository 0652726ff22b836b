"""What the tests share: a tiny tokenizer, tiny models, reviews that are made on the spot, and a way to run a script."""

import csv
import json
import os
import random
import runpy
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hub import Hub
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("processing_meta_review.py", "fine_tune.py", "evaluation.py")
TOPICS = ["sorting", "translation", "folding", "routing", "speech", "vision", "planning", "parsing"]
JUDGEMENTS = ["is convincing", "lacks a baseline", "is hard to follow", "was tested with care", "repeats known work"]
PARTS = ["the method", "the proof", "the evaluation", "section 3", "the main table", "the appendix"]


def make_rows(number: int, seed: int = 0) -> list[dict[str, str]]:
    """Rows as in the real data set: reviews in `Input`, a meta-review in `Output`."""
    rng = random.Random(seed)
    rows = []
    for index in range(number):
        topic = rng.choice(TOPICS)
        points = [f"{rng.choice(PARTS)} {rng.choice(JUDGEMENTS)}" for _ in range(6)]
        reviews = [
            f"Paper {index} on {topic}: {points[i]}, {points[i + 1]}. Score {rng.randint(1, 10)}." for i in (0, 2, 4)
        ]
        rows.append({"Input": " <REVBREAK> ".join(reviews), "Output": f"A paper on {topic}; {points[0]}. {points[2]}!"})
    return rows


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def make_tokenizer(special: str = "<|endoftext|>") -> PreTrainedTokenizerFast:
    """Byte-level BPE like Pythia's: any text can be encoded, and decoding gives it back."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[special], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator([text for row in make_rows(50) for text in row.values()], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=special, eos_token=special, unk_token=special)


def make_model(architecture: str, context: int = 256) -> torch.nn.Module:
    """A random model with the size of a toy."""
    torch.manual_seed(0)
    shared = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 0}
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if architecture == "gpt2":
        dropouts = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=context, **dropouts, **shared))
    if architecture == "llama":
        return LlamaForCausalLM(LlamaConfig(max_position_embeddings=context, **sizes, **shared))
    return GPTNeoXForCausalLM(GPTNeoXConfig(max_position_embeddings=context, **sizes, **shared))


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-NeoX in a folder, its weights in fp16 as those of Pythia are."""
    folder = tmp_path_factory.mktemp("base")
    make_model("gpt_neox").half().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv, validation.csv and test.csv."""
    folder = tmp_path_factory.mktemp("source")
    rows = make_rows(40)
    for name, part in (("train", rows[:24]), ("validation", rows[24:32]), ("test", rows[32:])):
        write_csv(folder / f"{name}.csv", part)
    return folder


def run_script(script: str, *flags: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a person does, in a process of its own, without the Hub."""
    return subprocess.run(
        [sys.executable, ROOT / script, *map(str, flags)],
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


IN_TURN = """
import contextlib, io, json, os, runpy, sys
for script, flags, token in json.loads(sys.argv[1]):
    sys.argv, os.environ["HF_TOKEN"], status, said = [script, *flags], token, 0, io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as stop:
            status = stop.code
    print(json.dumps([status, said.getvalue()]))
"""


def run_in_turn(commands: list[tuple[str, list[str], str]], cwd: Path, environment: dict[str, str]) -> list[list]:
    """Run scripts (script, flags, token) one after the other in one process; the exit status and output of each."""
    calls = json.dumps([[str(ROOT / script), flags, token] for script, flags, token in commands])
    result = subprocess.run(
        [sys.executable, "-c", IN_TURN, calls],
        cwd=cwd,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def hub_with_the_defaults(tokens: dict[str, tuple[str, str]] | None = None) -> Hub:
    """A Hub with the data set and the model that the constants name: the data written by us, the weights random."""
    hub, rows = Hub(tokens), make_rows(60)
    splits = {"train": rows[:40], "validation": rows[40:50], "test": rows[50:]}
    data = {f"{name}.json": json.dumps(part).encode() for name, part in splits.items()}
    hub.add_repo("dataset", "zqz979/meta-review", data)
    with TemporaryDirectory() as folder:
        make_model("gpt_neox", context=1024).half().save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        files = {file.name: file.read_bytes() for file in Path(folder).iterdir()}
    card = b"---\nlicense: apache-2.0\n---\n# A base\n"
    hub.add_repo("model", "EleutherAI/pythia-70m", {**files, "README.md": card})
    return hub


def hub_environment(hub: Hub, cache: Path, token: str = "") -> dict[str, str]:
    """What makes the clients of a new process talk to this Hub. On the real one, uploads go through Xet."""
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(cache)}
    return settings | {"HF_TOKEN": token}


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path):
    """Run a script in this process and return the lines it ends with; fails unless it exits with status 2."""

    def run(script: str, *flags: object) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [script, *map(str, flags)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        message = capfd.readouterr().err
        assert stopped.value.code == 2, message
        assert "Traceback" not in message
        lines = message[message.index("error: ") :].strip().splitlines()
        assert 1 <= len(lines) <= 2, message
        return "\n".join(lines)

    return run


@pytest.fixture(scope="session")
def processed(base: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which processing_meta_review.py has run."""
    folder = tmp_path_factory.mktemp("processed")
    flags = ["--dataset_name", source, "--model_name_or_path", base, "--max_summary_tokens", 100]
    result = run_script("processing_meta_review.py", *flags, cwd=folder)
    assert result.returncode == 0, result.stderr
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


FINE_TUNING = ["--max_summary_tokens", 100, "--max_new_tokens", 40, "--learning_rate", "5e-3", "--num_train_epochs", 2]


@pytest.fixture(scope="session")
def fine_tuned(base: Path, processed: Path) -> Path:
    """The folder of `processed`, in which fine_tune.py has run too: `pythia_finetuned/` in it."""
    result = run_script("fine_tune.py", "--model_name_or_path", base, *FINE_TUNING, cwd=processed)
    assert result.returncode == 0, result.stderr
    (processed / "fine_tune_stdout.txt").write_text(result.stdout)
    return processed
