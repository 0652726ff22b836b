"""What came out of a run: losses in numbers and words, and a curve of them."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from transformers import TrainerState

from metareview.training.curves import plot_losses, plot_sweep
from metareview.training.results import advise_on_losses, describe_loss, describe_results, describe_training

HISTORY = [
    {"step": 0, "epoch": 0.0, "eval_loss": 5.0},
    {"step": 1, "epoch": 0.25, "loss": 4.0},
    {"step": 4, "epoch": 1.0, "loss": 2.0},
    {"step": 4, "epoch": 1.0, "eval_loss": 3.0},
]


def summarize(history: list[dict], saved_step: int) -> dict:
    """The results of a run of 4 steps that logged this."""
    state = TrainerState(epoch=1.0, global_step=4, log_history=history)
    record = describe_training("base", {"seed": 7}, {}, state, saved_step)
    assert record["group"] == "base_finetuned"  # whatever the seed
    return record["results"]


def test_the_training_loss_is_the_mean_over_all_steps() -> None:
    results = summarize(HISTORY, 4)
    assert results == {
        "epochs": 1.0, "steps": 4, "train_loss": (4 + 3 * 2) / 4, "eval_loss_before": 5.0, "eval_loss": 3.0,
        "saved_step": 4, "saved_epoch": 1.0,
    }  # fmt: skip
    length, losses = describe_results(results, 12.345).splitlines()
    assert length.startswith("1 epoch, 4 steps, 12.35 examples/s") and losses.count("perplexity 12.18") == 1
    assert summarize([], 4)["train_loss"] is None and describe_loss(None) == "not evaluated"
    assert describe_loss(1e4) == "10000.0000 (perplexity inf)"


def test_lower_losses_before_the_saved_weights_are_told_with_the_command_that_compares_them() -> None:
    best = Path("models/my run/checkpoint-2")
    history = [{"step": step, "epoch": step / 4, "eval_loss": loss} for step, loss in ((0, 1.0), (2, 2.0), (4, 3.0))]
    worse, line = advise_on_losses(history, summarize(history, 4), best)
    assert worse.startswith("The model got worse: its validation loss rose from 1.0000 to 3.0000; try a LEARNING_RATE")
    assert line.startswith("The validation loss was lower at step 2 (2.0000).")
    assert line.endswith("python evaluation.py --models 'models/my run/checkpoint-2'\n")
    history[0]["eval_loss"] = 5.0
    assert advise_on_losses(history, summarize(history, 2), best) == []
    assert advise_on_losses(history, summarize(history, 4), best) == [line]


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
