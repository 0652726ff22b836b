"""Loss curves: of one run, and of the runs of a sweep side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

Points = Sequence[tuple[float, float]]  # epoch and loss


def plot_losses(history: list[dict[str, float]], results: dict[str, Any], path: Path) -> None:
    """Plot training and validation loss against the epoch, from the Trainer's `log_history`; mark the saved weights."""
    keys = {"training": "loss", "validation": "eval_loss"}
    curves = {name: [(entry["epoch"], entry[key]) for entry in history if key in entry] for name, key in keys.items()}
    axes = _plot_curves("Loss while fine-tuning", curves)
    label = f"saved weights (step {results['saved_step']:,})"
    axes.axvline(results["saved_epoch"], color="gray", linestyle=":", label=label)
    _save_plot(axes, path, legend_columns=3)


def plot_sweep(losses: dict[str, Points], path: Path) -> None:
    """Plot the validation losses of several runs, by their names."""
    axes = _plot_curves("Validation loss of each run", losses)
    axes.figure.set_figheight(4 + len(losses) / 5)
    _save_plot(axes, path, legend_columns=1)


def _plot_curves(title: str, curves: dict[str, Points]) -> Axes:
    axes = Figure(figsize=(7, 4), layout="constrained").subplots()
    axes.set(xlabel="epoch", ylabel="loss (nats per summary token)", title=title)
    axes.grid(alpha=0.3)
    for label, points in curves.items():
        if points:
            axes.plot(*zip(*points, strict=True), "o-", label=label, markersize=4)
    return axes


def _save_plot(axes: Axes, path: Path, legend_columns: int) -> None:
    low, high = axes.dataLim.intervaly
    if high > 10 * low > 0:  # else the first values would press all others to the ground
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.figure.legend(loc="outside lower center", ncols=legend_columns, fontsize="small")
    axes.figure.savefig(path, dpi=150)
