"""Progress: what is going on, and a line for each loss."""

from functools import partialmethod
from pathlib import Path

from conftest import make_arguments, make_examples, make_model, make_trainer
from tqdm import tqdm

from metareview.training import callbacks


def test_bar_and_loss_lines_tell_how_far_training_and_evaluation_are(tmp_path: Path, capsys, monkeypatch) -> None:
    """The first evaluation comes before the first step, and may take a while."""
    arguments = make_arguments(
        tmp_path, max_steps=2, evaluation_batch_size=3, save_strategy="no", eval_steps=2, logging_steps=2
    )
    arguments.disable_tqdm = False
    every_step = {"__init__": partialmethod(tqdm.__init__, mininterval=0)}  # is shown, however fast
    monkeypatch.setattr(callbacks, "tqdm", type("Bar", (tqdm,), every_step))
    make_trainer(make_model("gpt_neox"), arguments, make_examples([(5, 3)] * 8)).train()
    told, seen = capsys.readouterr()
    order = [seen.find("Evaluate 3/3"), seen.find("Train:  50%"), seen.rfind("Evaluate 2/3"), seen.rfind("Train: 100%")]
    assert min(order) > 0 and order == sorted(order)
    lines = [line[: line.rindex(" ")] for line in told.splitlines()]
    last = "step 2 of 2, epoch 1.00:"
    assert lines == ["step 0 of 2, epoch 0.00: validation loss", f"{last} loss", f"{last} validation loss"]
