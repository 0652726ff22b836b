"""Loss curves, of whatever was logged."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from metareview.training.curves import plot_losses, plot_sweep


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures, save = [], Figure.savefig

    def keep(figure: Figure, *args: object, **options: object) -> None:
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_a_curve_of_one_run_with_its_saved_weights(tmp_path: Path, drawn: list[Figure]) -> None:
    losses = [{"epoch": 0.0, "eval_loss": 5.0}, {"epoch": 0.5, "loss": 4.0}, {"epoch": 1.0, "eval_loss": 3.0}]
    results = {"saved_step": 4, "saved_epoch": 1.0}
    for history, curves in ((losses, ["training", "validation"]), (losses[:1], ["validation"]), ([], [])):
        plot_losses(history, results, tmp_path / "curve.png")
        [axes] = drawn[-1].axes
        assert [line.get_label() for line in axes.lines] == [*curves, "saved weights (step 4)"]
    assert (tmp_path / "curve.png").stat().st_size > 5_000


def test_a_sweep_has_a_curve_for_each_run_on_an_axis_in_plain_numbers(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_sweep({"lr1e-3": [(0, 20.0), (1, 0.5)], "lr1e-4": [(0, 20.0), (1, 2.0)], "none": []}, tmp_path / "losses.png")
    [axes] = drawn[0].axes
    assert [line.get_label() for line in axes.lines] == ["lr1e-3", "lr1e-4"] and axes.get_yscale() == "log"
    labels = {label.get_text() for label in axes.get_yticklabels()}
    assert {"0.5", "1", "10", "20"} <= labels
