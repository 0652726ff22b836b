"""Draw what training.py and generation.py have measured, for the README: benchmark_results/speed.png.

python benchmarks/picture.py
"""

import json

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measuring import RESULTS

from metareview.common.cli import InputError, run

NAMES = {"old": "former recipe", "trl": "TRL", "ours": "this toolkit"}
COLORS = {"old": "tab:gray", "trl": "tab:orange", "ours": "tab:blue"}
PANELS = (
    ("training", "examples/s", "training: examples per second\n(higher is better)"),
    ("training", "GB", "training: peak memory, GB\n(lower is better)"),
    ("generation", "tokens/s", "writing: tokens per second\n(higher is better)"),
)


def read_medians(benchmark: str) -> dict[str, dict[str, float]]:
    """The medians of each contestant. Raises `InputError` where the benchmark has not been run."""
    file = RESULTS / f"{benchmark}.json"
    if not file.exists():
        raise InputError(f"there is no {file}. First: python benchmarks/{benchmark}.py")
    return json.loads(file.read_text())["medians"]


def draw_bars(axes: Axes, medians: dict[str, dict[str, float]], figure: str, title: str) -> None:
    """A bar for each contestant that has a name here."""
    shown = [name for name in NAMES if name in medians]
    values = [medians[name][figure] for name in shown]
    bars = axes.barh([NAMES[name] for name in shown], values, color=[COLORS[name] for name in shown])
    axes.bar_label(bars, fmt="%.3g", padding=3)
    axes.margins(x=0.2)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    picture = Figure(figsize=(11, 2.2), layout="constrained")
    for axes, (benchmark, figure, title) in zip(picture.subplots(1, len(PANELS)), PANELS, strict=True):
        draw_bars(axes, read_medians(benchmark), figure, title)
    picture.savefig(RESULTS / "speed.png", dpi=150)
    print(f"Picture: {RESULTS / 'speed.png'}")


if __name__ == "__main__":
    run(main)
