"""The Trainer's own flags: what cannot be honoured is refused, what changes what is learned is a setting of the run."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import LENGTHS, make_arguments, make_examples, make_model, make_trainer, plain_losses
from torch.nn.functional import cross_entropy

from fine_tune import FineTuningArguments
from metareview.training.resuming import SETTINGS
from metareview.training.run_name import DEFAULTS, LABELS, name_run
from metareview.training.trainer_flags import COURSE, REFUSED

FIELDS = {field.name: field for field in fields(FineTuningArguments)}


@pytest.mark.parametrize("name", [name for names in REFUSED.values() for name in names])
def test_a_flag_that_cannot_be_honoured_is_refused(name: str, tmp_path: Path) -> None:
    default = FIELDS[name].default
    other = (
        not default if isinstance(default, bool) else ["x"] if name in ("include_for_metrics", "label_names") else "x"
    )
    with pytest.raises(ValueError, match=rf"^--{name} \S+ cannot be used here: \w+"):
        make_arguments(tmp_path, **{name: other})
    given = [] if name == "include_for_metrics" else default
    make_arguments(tmp_path, **{name: given})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seed": -1}, "^--seed must be from 0 to 4294967295, got -1$"),
        ({"seed": 2**32}, "^--seed must be from 0"),
        ({"data_seed": -1}, "^--data_seed must be from 0"),
        ({"adam_beta2": 1.5}, "^--adam_beta2 must be at least 0 and less than 1, got 1.5$"),
        ({"adam_epsilon": -1.0}, "^--adam_epsilon must be 0 or more"),
        ({"weight_decay": float("nan")}, "^--weight_decay must be 0 or more"),
        ({"label_smoothing_factor": 1.0}, "^--label_smoothing_factor must be"),
        ({"dataloader_num_workers": -1}, "^--dataloader_num_workers must be"),
        (
            {"train_sampling_strategy": "wild"},
            "^--train_sampling_strategy must be group_by_length, random or sequential",
        ),
        ({"optim": "adalomo"}, "^--optim adalomo cannot be used here: its state"),
        ({"optim": "galore_adamw"}, "^cannot train with --optim, --optim_args as given: "),
        ({"optim_args": "a"}, "^cannot train with --optim, --optim_args as given: "),
        (
            {"lr_scheduler_type": "reduce_lr_on_plateau"},
            "^--lr_scheduler_type reduce_lr_on_plateau cannot be used here",
        ),
        (
            {"lr_scheduler_type": "cosine_with_min_lr"},
            "^cannot train with --lr_scheduler_type, --lr_scheduler_kwargs as",
        ),
        (
            {"lr_scheduler_kwargs": {"wild": 1}},
            "^cannot train with --lr_scheduler_type, --lr_scheduler_kwargs as given",
        ),
        ({"eval_accumulation_steps": 0}, "^--eval_accumulation_steps must be at least 1, got 0"),
        ({"dataloader_prefetch_factor": 0}, "^--dataloader_prefetch_factor must be at least 1"),
        ({"log_level_replica": "loud"}, "^--log_level_replica must be .*, critical or passive, got loud"),
        ({"fsdp_config": "a.json"}, "^--fsdp_config goes with --fsdp$"),
        ({"torch_compile_mode": "wild"}, "^cannot train with --torch_compile_backend, --torch_compile_mode as given"),
    ],
)
def test_a_value_that_no_training_takes_is_refused_at_once(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words) as told:
        make_arguments(tmp_path, **given)
    assert "\n" not in str(told.value)


def test_what_training_takes_is_not_refused(tmp_path: Path) -> None:
    schedule = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": '{"min_lr": 1e-6}'}
    arguments = make_arguments(tmp_path, optim="adafactor", max_grad_norm=0.0, data_seed=0, **schedule)
    assert arguments.lr_scheduler_kwargs == {"min_lr": 1e-6}


@pytest.mark.parametrize("name", COURSE)
def test_what_changes_the_course_of_a_run_is_a_setting_and_in_its_name(name: str) -> None:
    assert name in SETTINGS and name in LABELS
    other = {"lr_scheduler_kwargs": {"min_lr": 1e-6}, "train_sampling_strategy": "random", "torch_compile": True}
    names = {name_run("base", DEFAULTS | {name: value}) for value in (DEFAULTS[name], other.get(name, 0.25))}
    assert len(names) == 2


@pytest.mark.parametrize(("batch", "accumulation"), [(1, 5), (5, 1)])
def test_smoothed_labels_are_those_of_pytorch(batch: int, accumulation: int, tmp_path: Path) -> None:
    """The loss of a step on summaries alone; validation stays the plain loss, so that runs can be compared."""
    model, plain, examples = make_model("gpt_neox"), make_model("gpt_neox"), make_examples(LENGTHS)
    logits = [plain(input_ids=torch.tensor([example["input_ids"]])).logits[0, :-1] for example in examples]
    labels = [torch.tensor(example["labels"][1:]) for example in examples]
    expected = cross_entropy(torch.cat(logits), torch.cat(labels), label_smoothing=0.1)
    arguments = make_arguments(
        tmp_path, label_smoothing_factor=0.1, max_steps=1, bf16=False, eval_strategy="no", save_strategy="no",
        logging_steps=1, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation,
    )  # fmt: skip
    trainer = make_trainer(model, arguments, examples)
    trainer.train()
    losses = {
        name: entry[name] for entry in trainer.state.log_history for name in ("loss", "eval_loss") if name in entry
    }
    assert losses["loss"] == pytest.approx(expected.item(), rel=1e-4)
    assert losses["eval_loss"] == pytest.approx(torch.cat(plain_losses(plain, examples)).mean().item(), rel=1e-5)
