"""Benchmarks: each one still runs, on a tiny model, and says what it measured. No figure is asserted. make test-slow"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TOKENIZED

pytest.importorskip("trl")
pytestmark = pytest.mark.slow  # each contestant is a process of its own


def run_benchmark(name: str, folder: Path, *flags: object) -> tuple[str, dict]:
    command = [sys.executable, ROOT / "benchmarks" / f"{name}.py", *map(str, flags), "--rounds", "1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "benchmark_results" / f"{name}.json").read_text())
    assert results["command"].startswith(f"python benchmarks/{name}.py --") and results["matmul TFLOP/s"]["float32"] > 0
    return done.stdout, results["medians"]


def test_training_and_generation_are_compared_and_shown(fine_tuned: Path, tmp_path: Path) -> None:
    flags = ["--size", "14m", "--tokenized_dir", fine_tuned / TOKENIZED, "--rows"]
    printed, medians = run_benchmark("training", tmp_path, *flags, 4, "--contestants", "old", "bare", "ours")
    assert "ours / old: examples/s" in printed and medians["ours"]["epoch hours"] > 0
    assert "epoch hours" not in medians["bare"]
    printed, medians = run_benchmark("generation", tmp_path, *flags, 2)
    assert "ours / old: tokens/s" in printed
    for name in ("old", "ours"):  # they write the same number of tokens
        assert medians[name]["tokens/s"] / medians[name]["cases/s"] == pytest.approx(256)
    subprocess.run([sys.executable, ROOT / "benchmarks" / "picture.py"], cwd=tmp_path, check=True)
    for name in ("training", "speed"):
        assert (tmp_path / "benchmark_results" / f"{name}.png").stat().st_size > 0


def test_processing_repeats_the_rows(source: Path, base: Path, tmp_path: Path) -> None:
    flags = ["--dataset_name", source, "--tokenizer", base, "--times", 1, 2, "--max_summary_tokens", 60]
    printed, medians = run_benchmark("processing", tmp_path, *flags)
    assert medians["ours_x2"]["rows"] == 2 * medians["ours_x1"]["rows"] == medians["old_x2"]["rows"]
    assert "ours_x2 / old_x2: rows/s" in printed


def test_attention_and_scaling_count_and_compare(tmp_path: Path) -> None:
    printed, medians = run_benchmark("attention", tmp_path, "--lengths", 64, "--contestants", "no_mask", "math")
    assert "no_mask_x64 / math_x64: layers/s" in printed and medians["math_x64"]["ms"] > 0
    _, medians = run_benchmark("scaling", tmp_path, "--contestants", "14m-1-256", "14m-1-512")
    assert medians["14m-1-512"]["TFLOP"] > 1.9 * medians["14m-1-256"]["TFLOP"]
