"""What the tests share: a tiny tokenizer, tiny models, reviews that are made on the spot, and ways to run a script."""

import gc
import json
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import fields
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from servers.hub import HUB, Hub, Repo
from servers.openreview import OpenReview

# Before the Hub's clients are imported, which read it then. They go online only where a test says so.
os.environ.update(HUB.environment(HUB.home.name), HF_HUB_OFFLINE="1")

import datasets
import huggingface_hub
import pandas
import pytest
import torch
import transformers
from accelerate.state import AcceleratorState
from datasets import Dataset
from hypothesis import settings
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from fine_tune import FineTuningFlags
from metareview.common.model import RUN
from metareview.data.prompts import PROMPTS, build_frame, frame_as_chat_template
from metareview.training.arguments import build_training_arguments
from metareview.training.batching import draw_validation
from metareview.training.trainer import SummaryTrainer

settings.register_profile("repeatable", deadline=None, derandomize=True)  # the same examples in every run
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parent.parent
PROCESS, TUNE, EVALUATE = SCRIPTS = ("processing_meta_review.py", "fine_tune.py", "evaluation.py")
FINE_TUNING = ["--output_dir", "pythia_finetuned", "--max_summary_tokens", 100, "--max_new_tokens", 40]
FINE_TUNING += ["--learning_rate", "5e-3", "--num_train_epochs", 2]
LENGTHS = [(30, 10), (5, 3), (60, 25), (17, 1), (41, 12)]  # tokens of prompt and of summary
PROCESSED, TOKENIZED = FOLDERS = ("processed_meta_review", "tokenized_meta_review")
WEIGHTS, ADAPTER = "model.safetensors", "adapter_model.safetensors"
TOPICS = ["sorting", "translation", "folding", "routing", "speech", "vision", "planning", "parsing"]
JUDGEMENTS = ["is convincing", "lacks a baseline", "is hard to follow", "was tested with care", "repeats known work"]
PARTS = ["the method", "the proof", "the evaluation", "section 3", "the main table", "the appendix"]

# Texts, examples, models


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
    pandas.DataFrame(rows).to_csv(path, index=False)
    return path


def write_splits(folder: Path, train: int, validation: int) -> Path:
    """A folder with train.csv, validation.csv and test.csv, of 40 rows in all."""
    rows, end = make_rows(40), train + validation
    for name, part in (("train", rows[:train]), ("validation", rows[train:end]), ("test", rows[end:])):
        write_csv(folder / f"{name}.csv", part)
    return folder


def make_examples(lengths: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Tokenized examples with random tokens; `lengths` are those of prompt and summary."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for prompt, summary in lengths:
        ids = torch.randint(1, 400, (prompt + summary,), generator=generator).tolist()
        made.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:], "length": len(ids)})
    return made


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


def make_frame_template(tokenizer: PreTrainedTokenizerFast, prompt: str = PROMPTS["plain"]) -> str:
    """The chat template of a prompt for a tokenizer that has none of its own."""
    return frame_as_chat_template(build_frame(tokenizer, "it", prompt))


SIZES = {"vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
SIZES |= {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
SIZES |= dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0)
MAMBA = {"mamba_n_heads": 4, "mamba_d_state": 8, "mamba_chunk_size": 8}
SPECIAL = {
    "codegen": {"num_attention_heads": 4, "rotary_dim": 8},
    "deepseek_v3": {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "head_dim": 8},
    "falcon": {"head_dim": None},
    "falcon_h1": {"mamba_d_ssm": 64, **MAMBA},
    "gemma2": {"sliding_window": 16},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "gpt_neo": {"num_hidden_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 16},
    "gptj": {"rotary_dim": 8},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], **MAMBA},
    "bamba": {"attn_layer_indices": [1], **MAMBA},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba": {"state_size": 8},
    "falcon_mamba": {"state_size": 8},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "chunk_size": 8, "n_groups": 1},
    "nemotron_h": {"mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 8, "chunk_size": 8, "n_groups": 1},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"]},
    "recurrent_gemma": {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 16},
    "rwkv": {"attention_hidden_size": 32, "context_length": 256},
}


def make_model(architecture: str, context: int = 256, scale: float = 1.0) -> PreTrainedModel:
    """A random model with the size of a toy; if its weights are scaled up, its tokens follow from all it has read."""
    default = AutoConfig.for_model(architecture)
    sizes = {name: size for name, size in SIZES.items() if hasattr(default, name)} | SPECIAL.get(architecture, {})
    sizes |= {"max_position_embeddings": context} if hasattr(default, "max_position_embeddings") else {}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **sizes))
    for name, weights in model.named_parameters():
        weights.data *= scale if weights.ndim > 1 and "A_log" not in name else 1
    return model


def plain_losses(model: torch.nn.Module, examples: list[dict[str, Any]]) -> list[torch.Tensor]:
    """One example at a time, no padding, all logits: the token losses as textbooks have them."""
    losses = []
    for example in examples:
        ids, labels = torch.tensor([example["input_ids"]]), torch.tensor(example["labels"])
        logits = model(input_ids=ids).logits[0, :-1].float()
        picked = labels[1:] != -100
        losses.append(torch.nn.functional.cross_entropy(logits[picked], labels[1:][picked], reduction="none"))
    return losses


def make_arguments(folder: Path, **given: Any) -> transformers.TrainingArguments:
    """What fine_tune.py tells the Trainer on a CPU, writing to a folder; flags of the script, or of the Trainer."""
    names = {option.name for option in fields(FineTuningFlags)}
    flags = FineTuningFlags(output_dir=str(folder), **{name: given[name] for name in given if name in names})
    flags.trainer = {"use_cpu": True, "disable_tqdm": True}
    flags.trainer |= {name: given[name] for name in given if name not in names}
    return build_training_arguments(flags)


def make_trainer(
    model: torch.nn.Module,
    args: transformers.TrainingArguments,
    examples: list[dict[str, Any]],
    callbacks: tuple[transformers.TrainerCallback, ...] = (),
    validation_examples: int = 300,
) -> SummaryTrainer:
    """The Trainer as fine_tune.py makes it; the same examples serve for training and validation."""
    tokenizer, data = make_tokenizer(), Dataset.from_list(examples)
    tokenizer.pad_token = tokenizer.eos_token
    return SummaryTrainer(
        model=model,
        args=args,
        train_dataset=data,
        eval_dataset=draw_validation(data, validation_examples),
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )


def same_weights(first: Path, second: Path) -> bool:
    """Whether two files hold the same tensors, bit for bit."""
    one, other = load_file(first), load_file(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def read_record(model: Path) -> dict[str, Any]:
    """What the folder of a finished model says of its training."""
    return json.loads((model / "training_record.json").read_text())


def read_logged(checkpoint: Path, name: str) -> dict[int, float]:
    """The values of a logged number, by step."""
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return {entry["step"]: entry[name] for entry in history if name in entry}


def save_base(folder: Path, architecture: str = "gpt_neox", context: int = 256) -> Path:
    """A tiny model in a folder, its weights in fp16 as those of Pythia are."""
    make_model(architecture, context).half().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_splits(tmp_path_factory.mktemp("source"), 24, 8)


# Running scripts


def run_script(
    script: str, *flags: object, cwd: Path, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script with `given` as standard input, in this process: a new one would import PyTorch for seconds.

    What a script changes in its process is put back afterwards.
    """
    out, err, status = StringIO(), StringIO(), 0
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    verbosity = transformers.utils.logging.get_verbosity()
    with (
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(err),
        patch.dict(os.environ, environment),
        patch.object(sys, "argv", [str(ROOT / script), *map(str, flags)]),
        patch.object(sys, "stdin", TextIOWrapper(BytesIO(given.encode()))),
    ):
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as stopped:
            status = stopped.code or 0
        except BaseException:
            status = 1
            traceback.print_exc()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    transformers.utils.logging.set_verbosity(verbosity)
    AcceleratorState._reset_state(reset_partial_state=True)
    gc.collect()
    return subprocess.CompletedProcess([script, *flags], status, out.getvalue(), err.getvalue())


def run_to_end(script: str, *flags: object, **more: Any) -> str:
    """Run a script that must succeed; what it printed."""
    result = run_script(script, *flags, **more)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def run_process(script: str, *flags: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a person does, in a process of its own: for signals, limits and what its own processes print."""
    command, variables = [sys.executable, ROOT / script, *map(str, flags)], {**os.environ, **environment}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=240)


# The Hub and OpenReview


@pytest.fixture(scope="session")
def on_the_hub() -> dict[tuple[str, str], Repo]:
    """The data set and the model that the constants name: the data written by us, the weights random."""
    rows = make_rows(60)
    splits = {"train": rows[:40], "validation": rows[40:50], "test": rows[50:]}
    data = {f"{name}.json": json.dumps(part).encode() for name, part in splits.items()}
    HUB.add_repo("dataset", "zqz979/meta-review", data)
    with TemporaryDirectory() as folder:
        files = {file.name: file.read_bytes() for file in save_base(Path(folder), context=1024).iterdir()}
    card = b"---\nlicense: apache-2.0\n---\n# A base\n"
    HUB.add_repo("model", "EleutherAI/pythia-70m", {**files, "README.md": card})
    return HUB.repos


@contextmanager
def online(repos: dict[tuple[str, str], Repo]) -> Iterator[Hub]:
    """Let the clients in this process use the Hub, which has these repositories."""
    with (
        patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", False),
        patch.object(datasets.config, "HF_HUB_OFFLINE", False),
        patch.object(HUB, "repos", repos),
    ):
        yield HUB


@pytest.fixture
def hub(on_the_hub: dict[tuple[str, str], Repo], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The Hub with nothing else; the clients in this process use it, and retry without waiting."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(HUB, "faults", [])
    with online(dict(on_the_hub)) as hub:
        yield hub


@pytest.fixture
def openreview(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenReview]:
    """OpenReview, which the client in this process talks to, as a guest and without pauses."""
    with OpenReview() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("metareview.sources.openreview.PAUSE", 0.0)
        monkeypatch.setattr("metareview.sources.openreview.PAGE", 2)
        monkeypatch.setattr("urllib3.util.Retry.sleep", lambda *_: None)
        yield server


@pytest.fixture
def refused(tmp_path: Path):
    """Run a script in an empty folder and return the lines it ends with; fails unless it exits with status 2."""

    def run(script: str, *flags: object) -> str:
        result = run_script(script, *flags, cwd=tmp_path)
        assert result.returncode == 2, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        lines = result.stderr[result.stderr.index("error: ") :].strip().splitlines()
        assert 1 <= len(lines) <= 2, result.stderr
        return "\n".join(lines)

    return run


@pytest.fixture(scope="session")
def processed(base: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which processing_meta_review.py has run."""
    folder = tmp_path_factory.mktemp("processed")
    flags = ["--dataset_name", source, "--model_name_or_path", base, "--max_summary_tokens", 100]
    run_to_end(PROCESS, *flags, cwd=folder)
    return folder


def from_data(folder: Path) -> list[object]:
    """The flags with which fine_tune.py reads the data in that folder."""
    return ["--dataset_name", folder / PROCESSED, "--tokenized_dir", folder / TOKENIZED]


def copy_data(source: Path, folder: Path) -> Path:
    """The processed data in `source`, in another folder too."""
    for name in FOLDERS:
        shutil.copytree(source / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def fine_tuned(base: Path, processed: Path) -> Path:
    """The folder of `processed`, in which fine_tune.py has run too: `pythia_finetuned/` in it."""
    with all_checkpoints_kept:
        printed = run_to_end(TUNE, "--model_name_or_path", base, *FINE_TUNING, cwd=processed)
    (processed / "fine_tune_stdout.txt").write_text(printed)
    return processed


# Runs inside keep the checkpoints that a finished run has no use for, so that a test can go back to them.
all_checkpoints_kept = patch("metareview.training.checkpoints.keep_weights", lambda *_: None)


def interrupt(finished: Path, folder: Path, *steps: int) -> Path:
    """A folder of the same run as it was before its model was saved: its settings, and checkpoints of these steps."""
    for step in steps:
        shutil.copytree(finished / f"checkpoint-{step}", folder / f"checkpoint-{step}")
    about = json.loads((finished / RUN).read_text())
    (folder / RUN).write_text(json.dumps(about | {"is_finished": False}))
    return folder


@pytest.fixture
def interrupted(fine_tuned: Path, tmp_path: Path) -> Path:
    """The folder of the model of `fine_tuned` before that was saved: its checkpoints, 12 and 10, and its settings."""
    return interrupt(fine_tuned / "pythia_finetuned", tmp_path / "pythia_finetuned", 10, 12)
