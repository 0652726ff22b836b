"""Loss curves, of whatever was logged."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from metareview.training.curves import plot_losses, plot_sweep


def test_curves_of_a_run_and_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss before the first step is high, so the axis of a sweep is logarithmic, in plain numbers."""
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    losses = [{"epoch": 0.0, "eval_loss": 5.0}, {"epoch": 0.5, "loss": 4.0}, {"epoch": 1.0, "eval_loss": 3.0}]
    for history, curves in ((losses, ["training", "validation"]), (losses[:1], ["validation"]), ([], [])):
        plot_losses(history, {"saved_step": 4, "saved_epoch": 1.0}, tmp_path / "curve.png")
        assert [line.get_label() for line in drawn[-1].axes[0].lines] == [*curves, "saved weights (step 4)"]
    plot_sweep({"lr1e-3": [(0, 20.0), (1, 0.5)], "lr1e-4": [(0, 20.0), (1, 2.0)], "none": []}, tmp_path / "losses.png")
    [axes] = drawn[-1].axes
    assert [line.get_label() for line in axes.lines] == ["lr1e-3", "lr1e-4"] and axes.get_yscale() == "log"
    assert {"0.5", "1", "10", "20"} <= {label.get_text() for label in axes.get_yticklabels()}
