"""Benchmarks: each one still runs, on a tiny model, and says what it measured. No figure is asserted. make test-slow"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytest.importorskip("trl")
pytestmark = pytest.mark.slow  # each contestant is a process of its own
BENCHMARKS = ROOT / "benchmarks"


def run_benchmark(name: str, folder: Path, *flags: str) -> tuple[str, dict]:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *flags, "--rounds", "1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "benchmark_results" / f"{name}.json").read_text())
    assert results["command"].startswith(f"python benchmarks/{name}.py --") and results["matmul TFLOP/s"]["float32"] > 0
    return done.stdout, results["medians"]


def test_training_compares_ours_with_a_bare_loop(fine_tuned: Path, tmp_path: Path) -> None:
    tokenized = str(fine_tuned / "tokenized_meta_review")
    flags = ["--size", "14m", "--rows", "4", "--tokenized_dir", tokenized, "--contestants", "old", "bare", "ours"]
    printed, medians = run_benchmark("training", tmp_path, *flags)
    assert "ours / old: examples/s" in printed and "epoch" in printed
    assert medians["ours"]["epoch hours"] > 0 and "epoch hours" not in medians["bare"]
    assert (tmp_path / "benchmark_results" / "training.png").stat().st_size > 0


def test_generation_writes_the_same_number_of_tokens(fine_tuned: Path, tmp_path: Path) -> None:
    tokenized = str(fine_tuned / "tokenized_meta_review")
    printed, medians = run_benchmark(
        "generation", tmp_path, "--size", "14m", "--rows", "2", "--tokenized_dir", tokenized
    )
    assert "ours / old: tokens/s" in printed
    ratios = {name: medians[name]["tokens/s"] / medians[name]["cases/s"] for name in ("old", "ours")}
    assert ratios["old"] == pytest.approx(256) and ratios["ours"] == pytest.approx(256)


def test_processing_repeats_the_rows(source: Path, base: Path, tmp_path: Path) -> None:
    flags = ["--dataset_name", str(source), "--tokenizer", str(base), "--times", "1", "2", "--max_summary_tokens", "60"]
    printed, medians = run_benchmark("processing", tmp_path, *flags)
    assert medians["ours_x2"]["rows"] == 2 * medians["ours_x1"]["rows"] == medians["old_x2"]["rows"]
    assert "ours_x2 / old_x2: rows/s" in printed


def test_attention_compares_kernels(tmp_path: Path) -> None:
    printed, medians = run_benchmark("attention", tmp_path, "--lengths", "64", "--contestants", "no_mask", "math")
    assert "no_mask_x64 / math_x64: layers/s" in printed and medians["math_x64"]["ms"] > 0


def test_the_picture_shows_what_was_measured(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "picture.py")]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2 and "First: python benchmarks/training.py" in refused.stderr
    folder = tmp_path / "benchmark_results"
    folder.mkdir()
    for name in ("training", "generation"):
        medians = {"ours": {"examples/s": 2, "tokens/s": 20, "GB": 1}, "old": {"examples/s": 1, "tokens/s": 9, "GB": 2}}
        (folder / f"{name}.json").write_text(json.dumps({"medians": medians}))
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (folder / "speed.png").stat().st_size > 0


def test_scaling_counts_more_work_for_longer_inputs(tmp_path: Path) -> None:
    _, medians = run_benchmark("scaling", tmp_path, "--contestants", "14m-1-256", "14m-1-512")
    assert medians["14m-1-512"]["TFLOP"] > 1.9 * medians["14m-1-256"]["TFLOP"]
    assert medians["14m-1-512"]["of peak"] > 0
