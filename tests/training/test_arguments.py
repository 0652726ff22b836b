"""The arguments of training: precision, steps and devices; values that this project cannot work with."""

import re
from pathlib import Path

import pytest
import torch
from conftest import make_arguments, make_examples, make_model, make_trainer
from transformers import TrainingArguments

from fine_tune import FineTuningArguments
from metareview.common.cli import parse_flags


@pytest.mark.parametrize(
    ("flags", "bf16"), [(["--bf16"], True), (["--bf16", "False"], False), (["--fp16", "0"], False)]
)
def test_precision_can_be_chosen_with_the_trainers_flags(
    flags: list[str], bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["fine_tune.py", "--use_cpu", *flags])
    arguments = parse_flags(FineTuningArguments, "fine_tune.py")
    assert (arguments.bf16, arguments.fp16, arguments.use_cpu) == (bf16, False, True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"save_total_limit": 1}, "--save_total_limit must be at least 2"),
        ({"save_strategy": "best"}, "--save_strategy must be no, steps or epoch, got best"),
        ({"hub_strategy": "every_save"}, "--hub_strategy must be end or checkpoint, got every_save"),
        ({"lora_r": 0}, "--lora_r must be greater than 0"),
        ({"max_steps": 0}, "--max_steps must be at least 1, or -1"),
        ({"eval_steps": -1}, "--eval_steps must be a number of steps, or a share of them below 1, got -1"),
        ({"save_steps": 2.5}, "--save_steps must be a number of steps"),
        ({"lr_scheduler_kwargs": "{bad"}, "'{bad' is not JSON"),
    ],
)
def test_what_this_project_cannot_work_with_is_refused(given: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make_arguments(tmp_path, **given)


@pytest.mark.parametrize(
    ("given", "evaluated", "saved", "logged"),
    [
        ({}, 1 / 4, 1 / 4, 1 / 20),
        ({"num_train_epochs": 3}, 1 / 12, 1 / 12, 1 / 60),
        ({"evaluations_per_epoch": 1, "num_train_epochs": 2}, 1 / 2, 1 / 2, 1 / 10),
        ({"evaluations_per_epoch": 1}, 1, 1, 1 / 5),  # not 1 itself, which would mean every step: see the next test
        ({"num_train_epochs": 0.1}, 1, 1, 1 / 5),
        ({"eval_steps": 100, "save_steps": 50}, 100, 50, 20),
        ({"max_steps": 100, "num_train_epochs": 3}, 1 / 4, 1 / 4, 1 / 20),
    ],
)
def test_evaluations_are_spread_over_the_run(
    given: dict, evaluated: float, saved: float, logged: float, tmp_path: Path
) -> None:
    arguments = make_arguments(tmp_path, **given)
    intervals = (arguments.eval_steps, arguments.save_steps, arguments.logging_steps)
    assert intervals == pytest.approx((evaluated, saved, logged))


@pytest.mark.parametrize("examples", [1, 4, 5, 28])
def test_one_evaluation_in_one_epoch_is_that_of_the_last_step(examples: int, tmp_path: Path) -> None:
    arguments = make_arguments(tmp_path, evaluations_per_epoch=1, eval_on_start=False)
    trainer = make_trainer(make_model("gpt_neox"), arguments, make_examples([(1, 2)] * examples))
    trainer.train()
    steps = [entry["step"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert steps == [arguments.count_steps(examples)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"eval_steps": 50, "save_steps": 100}, r"--eval_steps \(50\) must be --save_steps \(100\) or a multiple"),
        ({"eval_steps": 0.5, "save_steps": 0.25}, "--eval_steps"),  # of 10 steps: 5 and 10; 3, 6, 9 and 10
        ({"save_steps": 100}, "--eval_steps"),
        ({"save_strategy": "epoch"}, "--save_strategy is epoch, --eval_strategy steps"),
        ({"eval_strategy": "epoch", "save_strategy": "steps"}, "--save_strategy is steps, --eval_strategy epoch"),
    ],
)
def test_what_is_evaluated_is_saved(given: dict, words: str, tmp_path: Path) -> None:
    """Else the best checkpoint might be one that is not there."""
    with pytest.raises(ValueError, match=words):
        make_arguments(tmp_path, **given)
    assert make_arguments(tmp_path, **given | {"save_strategy": "no"}).save_strategy == "no"


@pytest.mark.parametrize(("evaluates", "saves"), [("steps", "steps"), ("epoch", "epoch"), ("no", "steps")])
def test_saving_follows_evaluating(evaluates: str, saves: str, tmp_path: Path) -> None:
    assert make_arguments(tmp_path, eval_strategy=evaluates, eval_on_start=False).save_strategy == saves


@pytest.mark.parametrize("examples", [1, 7, 24, 25])
@pytest.mark.parametrize(("batch", "accumulation", "epochs"), [(4, 1, 1), (2, 3, 2), (5, 2, 0.5), (1, 4, 3)])
def test_steps_are_counted_as_the_trainer_counts_them(
    examples: int, batch: int, accumulation: int, epochs: float, tmp_path: Path
) -> None:
    sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
    arguments = make_arguments(tmp_path, num_train_epochs=epochs, **sizes)
    trainer = make_trainer(make_model("gpt_neox"), arguments, make_examples([(1, 2)] * examples))
    expected = trainer.set_initial_training_values(arguments, trainer.get_train_dataloader())[-1]
    assert arguments.count_steps(examples) == expected


def test_one_process_uses_one_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The Trainer would use DataParallel, and that replicas do not get along with a forward of their own."""

    def two_gpus(arguments: TrainingArguments) -> torch.device:
        arguments._n_gpu = 2
        return torch.device("cpu")

    monkeypatch.setattr(TrainingArguments, "_setup_devices", property(two_gpus))
    arguments = make_arguments(tmp_path, per_device_train_batch_size=4)
    assert arguments.n_gpu == 1 and arguments.train_batch_size == 4
