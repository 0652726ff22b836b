"""What the Trainer is told: intervals, steps and devices, and what the Trainer takes beyond our constants."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_arguments, make_examples, make_model, make_trainer
from transformers import TrainingArguments

from fine_tune import FineTuningFlags
from metareview.common.cli import InputError
from metareview.training.arguments import build_training_arguments, count_steps
from metareview.training.trainer_flags import PASSED, REFUSED, accepts, read_trainer_settings


@pytest.mark.parametrize(("examples", "sizes"), [(1, {}), (28, {}), (25, {"batch_size": 2, "accumulation_steps": 3})])
def test_one_evaluation_in_one_epoch_is_that_of_the_last_step(examples: int, sizes: dict, tmp_path: Path) -> None:
    """Which we count as the Trainer does."""
    args = make_arguments(tmp_path, evaluations_per_epoch=1, save_strategy="no", **sizes)
    trainer = make_trainer(make_model("gpt_neox"), args, make_examples([(1, 2)] * examples))
    trainer.train()
    steps = [entry["step"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert steps == [0, count_steps(args, examples)]


def test_a_precision_that_is_turned_off_leaves_fp32(tmp_path: Path) -> None:
    args = make_arguments(tmp_path, fp16=False)
    assert not args.bf16 and not args.fp16


def test_one_process_uses_one_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The Trainer would use DataParallel, and that replicas do not get along with a forward of their own."""

    def two_gpus(args: TrainingArguments) -> torch.device:
        args._n_gpu = 2
        return torch.device("cpu")

    monkeypatch.setattr(TrainingArguments, "_setup_devices", property(two_gpus))
    args = make_arguments(tmp_path, batch_size=4)
    assert args.n_gpu == 1 and args.train_batch_size == 4


# What the Trainer takes beyond our constants


def test_the_trainers_own_flags_join_the_constant(tmp_path: Path) -> None:
    flags = FineTuningFlags(output_dir=str(tmp_path), trainer={"warmup_steps": 10, "use_cpu": True})
    flags.passed_flags = ["--warmup-steps", "100", "--lr_scheduler_type=cosine_with_min_lr"]
    flags.passed_flags += ["--lr_scheduler_kwargs", '{"min_lr": 1e-6}']
    args = build_training_arguments(flags)
    assert (args.warmup_steps, args.lr_scheduler_type) == (100, "cosine_with_min_lr")
    assert args.lr_scheduler_kwargs == {"min_lr": 1e-6}
    assert flags.trainer.keys() == {"use_cpu", "warmup_steps", "lr_scheduler_type", "lr_scheduler_kwargs"}


@pytest.mark.parametrize(
    ("trainer", "told"),
    [
        ({"gradient_accumulation_steps": 1}, "cannot set 'gradient_accumulation_steps': edit ACCUMULATION_STEPS"),
        ({"eval_on_start": True}, "cannot set 'eval_on_start': the script sets it itself"),
        ({"no_such": 1}, "with these flags and TRAINER: TrainingArguments.__init__() got an unexpected keyword"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "evaluations would change what is learned"),
        ({"ignore_data_skip": True}, "could not resume exactly"),
        ({"report_to": "nowhere"}, "nowhere is not supported"),
        ({"report_to": "comet_ml"}, "CometCallback requires comet-ml"),
        ({"adam_beta2": 1.5}, "the Trainer cannot work with these flags and TRAINER: "),
        ({"lr_scheduler_kwargs": {"wild": 1}}, "the Trainer cannot work with these flags and TRAINER: "),
    ],
)
def test_what_cannot_be_honored_is_refused_in_a_line(trainer: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        make_arguments(tmp_path, **trainer)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_only_names_that_the_trainer_has_are_passed_on() -> None:
    names = {name.partition("=")[0] for names in REFUSED.values() for name in names.split()}
    assert all(map(accepts, names)) and accepts("adam-beta1")
    assert not accepts("warmup_step") and not accepts("self") and not accepts("")
    assert "--adam_beta1" in PASSED.describe()
    with pytest.raises(InputError, match="warmup_steps"):
        read_trainer_settings({}, ["--warmup_steps", "soon"])
