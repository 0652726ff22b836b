"""Time and memory of a training step against input length, batch size and model size, and what share of the machine's
measured matrix-multiply peak it reaches.

    python benchmarks/scaling.py                                  # lengths, batches and sizes, one after the other
    python benchmarks/scaling.py --contestants 410m-4-1024        # size-batch-length; smollm2: the 135M of that name

A step is that of fine_tune.py: batch, forward, backward, clipping, AdamW. A seventh of the tokens are the summary.
"""

import argparse
from functools import partial

import torch
from matplotlib.figure import Figure
from measuring import (
    PYTHIA,
    RESULTS,
    SEED,
    make_pythia,
    make_smollm2,
    matmul_peak,
    medians,
    parse,
    print_ratios,
    save_results,
    seconds,
    take_turns,
    train_step,
)
from torch.utils.flop_counter import FlopCounterMode

from metareview.common.cli import run
from metareview.common.device import choose_device, peak_memory
from metareview.data.tokenization import IGNORE_INDEX
from metareview.training.batching import SummaryCollator, use_summary_loss

SUMMARY_SHARE = 7
GRIDS = {
    "input length": [f"70m-4-{length}" for length in (256, 512, 1024, 2048)],
    "long inputs": [f"smollm2-1-{length}" for length in (512, 1024, 2048, 4096)],
    "batch size": [f"70m-{batch}-1024" for batch in (1, 2, 4, 8)],
    "model size": [f"{size}-4-1024" for size in ("14m", "31m", "70m", "160m", "410m")],
}
if torch.cuda.is_available():
    GRIDS["model size"] += [f"{size}-4-1024" for size in ("1b", "1.4b", "2.8b", "6.9b")]


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step (the best of three after a warm-up), examples/s, GB, and the share of the peak."""
    size, batch, length = arguments.contestant.split("-")
    device, dtype = choose_device()
    model = (make_smollm2() if size == "smollm2" else make_pythia(size)).to(device)
    use_summary_loss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    ids = torch.randint(1, 49_000, (int(batch), int(length)), generator=torch.Generator().manual_seed(SEED))
    labels = ids.clone()
    labels[:, : -int(length) // SUMMARY_SHARE] = IGNORE_INDEX
    rows = [{"input_ids": row, "labels": label} for row, label in zip(ids.tolist(), labels.tolist(), strict=True)]
    step = partial(train_step, model, optimizer, SummaryCollator(0)(rows))
    with FlopCounterMode(display=False) as counter:  # the warm-up
        step()
    time = min(seconds(step) for _ in range(3))
    memory, peak = peak_memory(), matmul_peak(dtype)
    flops = counter.get_total_flops()
    figures = {"seconds": time, "examples/s": int(batch) / time, "tokens/s": int(batch) * int(length) / time}
    return figures | {"GB": memory / 1e9, "TFLOP": flops / 1e12, "of peak": flops / time / peak}


def draw(results: dict[str, dict[str, float]]) -> None:
    """Seconds per step against each of them, on logarithmic axes."""
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, len(GRIDS), sharey=True), GRIDS.items(), strict=True):
        names = [name for name in names if name in results]
        part = {"model size": 0, "batch size": 1}.get(title, 2)
        ticks = [name.split("-")[part] for name in names]
        axes.semilogy(ticks, [results[name]["seconds"] for name in names], "o-")
        axes.set_xlabel(title)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("seconds per step")
    figure.savefig(RESULTS / "scaling.png", dpi=150)


def main() -> None:
    known = list(dict.fromkeys(name for names in GRIDS.values() for name in names))
    parser = argparse.ArgumentParser(description="Time and memory of a training step against what it depends on.")
    parser.add_argument(
        "--contestants", nargs="+", default=known, help=f"size-batch-length; sizes: smollm2, {', '.join(PYTHIA)}"
    )
    arguments = parse(parser, measure, rounds=1)
    runs = take_turns(__file__, arguments, {})
    results = {name: medians(runs[name]) for name in runs}
    formats = {"seconds": ".2f", "examples/s": ".2f", "tokens/s": ",.0f", "GB": ".2f", "of peak": ".0%"}
    print_ratios(results, runs, formats, "seconds")
    save_results("scaling", {"medians": results, "rounds": runs})
    draw(results)


if __name__ == "__main__":
    run(main)
