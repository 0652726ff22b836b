"""Progress: what is going on, and a short line for each loss."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import make_arguments, make_examples, make_model, make_trainer
from transformers.trainer_callback import TrainerState

from metareview.training.callbacks import describe_log


def test_losses_are_told_in_a_line_and_nothing_else_is() -> None:
    state = TrainerState(global_step=3, max_steps=12, epoch=0.5)
    assert describe_log({"loss": 1.23456, "grad_norm": 2.0}, state) == "step 3 of 12, epoch 0.50: loss 1.2346"
    assert describe_log({"eval_loss": 2.0}, state) == "step 3 of 12, epoch 0.50: validation loss 2.0000"
    assert describe_log({"train_runtime": 7.0}, replace(state, epoch=1.0)) is None


def test_it_is_seen_how_far_training_and_evaluation_are(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The first evaluation comes before the first step, and may take a while."""
    arguments = make_arguments(tmp_path, max_steps=2, evaluation_batch_size=3, save_strategy="no", eval_steps=2)
    arguments.disable_tqdm = False
    make_trainer(make_model("gpt_neox"), arguments, make_examples([(5, 3)] * 8)).train()
    seen = capsys.readouterr().err
    assert "Evaluate 1/3" in seen and "Train: 100%" in seen
    assert 0 < seen.find("Evaluate 3/3") < seen.find("Train:  50%") < seen.rfind("Evaluate 2/3")
