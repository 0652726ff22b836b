"""What the benchmarks share: models of known shapes, rows, memory, the machine, and contestants that take turns.

Speed and memory depend on the shapes, not on the weights: so the models are random and nothing is downloaded.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the scripts and their package

from metareview.common.cli import InputError, format_table
from metareview.common.device import choose_device
from metareview.data.splits import load_source
from metareview.training.batching import LengthGroupedSampler

SEED = 42
RESULTS = Path("benchmark_results")  # in the current folder: a JSON file and pictures for each benchmark
PYTHIA = {  # hidden size, layers, heads, vocabulary: table 1 of Biderman et al. 2023 and the configurations on the Hub
    "14m": (128, 6, 4, 50304),
    "31m": (256, 6, 8, 50304),
    "70m": (512, 6, 8, 50304),
    "160m": (768, 12, 12, 50304),
    "410m": (1024, 24, 16, 50304),
    "1b": (2048, 16, 8, 50304),
    "1.4b": (2048, 24, 16, 50304),
    "2.8b": (2560, 32, 32, 50304),
    "6.9b": (4096, 32, 32, 50432),
    "12b": (5120, 36, 40, 50688),
}


def make_pythia(size: str, context: int = 2048) -> GPTNeoXForCausalLM:
    """A model of the shape of Pythia-`size` with random fp32 weights, on the CPU."""
    hidden, layers, heads, vocabulary = PYTHIA[size]
    torch.manual_seed(SEED)
    config = GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=context,
        bos_token_id=0,
        eos_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.25},
    )
    return GPTNeoXForCausalLM(config)


def make_smollm2(context: int = 8192) -> LlamaForCausalLM:
    """A model of the shape of SmolLM2-135M (its configuration on the Hub) with random fp32 weights, on the CPU."""
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
    )
    return LlamaForCausalLM(config)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer for models that get token ids and write nothing worth reading: it only knows the end of the text."""
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({end: 0}, unk_token=end)), eos_token=end, pad_token=end, unk_token=end
    )


def draw_rows(tokenized_dir: str, split: str, number: int) -> Dataset:
    """Random rows of a split that processing_meta_review.py has tokenized, the same ones every time."""
    if not Path(tokenized_dir).exists():
        raise InputError(f"there is no folder {tokenized_dir!r}. First: python processing_meta_review.py")
    rows = load_source(tokenized_dir)[split].shuffle(SEED)
    return rows.select(range(min(number, len(rows))))


def draw_steps(tokenized_dir: str, split: str, number: int, step_size: int) -> Dataset:
    """The rows of the first steps of an epoch of the whole split: few rows by chance would be grouped badly."""
    rows = draw_rows(tokenized_dir, split, sys.maxsize)
    return rows.select(list(LengthGroupedSampler(rows["length"][:], step_size, SEED))[:number])


def synchronize() -> None:
    """Wait for what the GPU still has to do; nothing on a CPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(work: Callable[[], Any]) -> float:
    """How long a call takes."""
    synchronize()
    started = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - started


def matmul_peak(dtype: torch.dtype, size: int = 4096) -> float:
    """FLOP/s of the best of ten products of square matrices: what the machine can do at most."""
    device = choose_device()[0]
    size = size * 2 if device == "cuda" else size
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    left @ right
    return 2 * size**3 / min(seconds(lambda: left @ right) for _ in range(10))


def describe_machine() -> dict[str, Any]:
    """What a figure depends on: processor or GPU, cores, measured matrix-multiply peaks, versions, the day.

    The peak in a precision that the processor only emulates is left out: it means nothing, and takes minutes.
    """
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = names[0] if names else platform.processor()
    features = [feature for feature in ("amx_bf16", "avx512_bf16") if torch.cpu.get_capabilities().get(feature)]
    return {
        "date": date.today().isoformat(),
        "machine": name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "features": features,
        "matmul TFLOP/s": {
            str(dtype).removeprefix("torch."): round(matmul_peak(dtype) / 1e12, 2)
            for dtype in dict.fromkeys((torch.float32, choose_device()[1]))
        },
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "tokenizers")},
    }


def train_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Any]) -> None:
    """A step as fine_tune.py makes it, without the Trainer."""
    device, dtype = choose_device()
    inputs = {key: value.to(device) if torch.is_tensor(value) else value for key, value in batch.items()}
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        loss = model(**inputs).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def parse(
    parser: argparse.ArgumentParser, measure: Callable[[argparse.Namespace], dict[str, float]], rounds: int = 3
) -> argparse.Namespace:
    """The flags of a run. In the process of a contestant: measure it, print its figures as JSON, and end."""
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        print(json.dumps(measure(arguments)))
        sys.exit()
    return arguments


def take_turns(
    script: str, arguments: argparse.Namespace, environments: dict[str, dict[str, str]]
) -> dict[str, list[dict[str, float]]]:
    """Run each of `arguments.contestants` in a process of its own, `arguments.rounds` times in turn; what each printed.

    A contestant gets the flags of this run and `--contestant NAME`, and prints its figures as JSON in its last line.
    """
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.contestants}
    for number in range(arguments.rounds):
        for name in runs:
            print(f"round {number + 1} of {arguments.rounds}: {name}", file=sys.stderr)
            command = [sys.executable, script, *sys.argv[1:], "--contestant", name]
            environment = os.environ | {"THP_MEM_ALLOC_ENABLE": "1"} | environments.get(name, {})
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode or "cannot be preloaded" in done.stderr:
                sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    return runs


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure over the rounds."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def print_ratios(
    results: dict[str, dict[str, float]],
    runs: dict[str, list[dict[str, float]]],
    formats: dict[str, str],
    speed: str,
    ours: str = "ours",
) -> None:
    """Print the medians as a table, and how many times faster `ours` is: of the medians, and of the rounds."""
    table = [["", *formats]]
    for name, result in results.items():
        table.append([name, *(format(result[key], form) if key in result else "-" for key, form in formats.items())])
    print(format_table(table))
    for name in results.keys() - {ours} if ours in results else ():
        rounds = sorted(mine[speed] / other[speed] for mine, other in zip(runs[ours], runs[name], strict=True))
        line = f"{ours} / {name}: {speed} {results[ours][speed] / results[name][speed]:.2f}"
        line += f" ({rounds[0]:.2f} to {rounds[-1]:.2f}), memory {results[ours]['GB'] / results[name]['GB']:.2f}"
        if {"epoch hours"} <= results[ours].keys() & results[name].keys():
            line += f", an epoch {results[name]['epoch hours'] / results[ours]['epoch hours']:.2f} times faster"
        print(line)


def save_results(name: str, results: dict[str, Any]) -> None:
    """Write the figures with the command, the machine and the versions that they come from."""
    RESULTS.mkdir(exist_ok=True)
    command = " ".join(["python", f"benchmarks/{name}.py", *sys.argv[1:]])
    whole = {"command": command} | describe_machine() | results
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=2) + "\n")
