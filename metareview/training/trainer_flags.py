"""The Trainer's own flags: those that cannot be honoured here, and those that change what is learned."""

from dataclasses import fields
from typing import Any

import torch
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.training_args import trainer_log_levels

REFUSED = {  # why, and the flags that must stay at their defaults
    "evaluating is the mean loss of a summary token, and nothing else": (
        "batch_eval_metrics",
        "bf16_full_eval",
        "eval_do_concat_batches",
        "eval_use_gather_object",
        "fp16_full_eval",
        "include_for_metrics",
        "label_names",
        "prediction_loss_only",
    ),
    "the best checkpoint is the one with the lowest eval_loss, and it becomes the finished model": (
        "greater_is_better",
        "load_best_model_at_end",
        "metric_for_best_model",
    ),
    "an interrupted run could not go on as if nothing had happened": (
        "auto_find_batch_size",
        "dataloader_in_order",
        "enable_jit_checkpoint",
        "ignore_data_skip",
        "optim_target_modules",
        "restore_callback_states_from_checkpoint",
        "save_only_model",
    ),
    "a step is --per_device_train_batch_size examples on each device, each example once, each token alike": (
        "accelerator_config",
        "average_tokens_across_devices",
        "dataloader_drop_last",
        "parallelism_config",
    ),
    "the loss is computed for the summaries alone, in a way of its own": ("liger_kernel_config", "use_liger_kernel"),
    "it would do nothing: a batch is made in no time": (
        "dataloader_multiprocessing_context",
        "dataloader_persistent_workers",
        "length_column_name",
    ),
    "it would do nothing: this script trains, evaluates and saves": ("do_eval", "do_predict", "do_train"),
    "it would do nothing: this project pushes by itself (--push_to_hub)": ("hub_always_push", "hub_revision"),
    "one process saves for all; for several devices see configs/": ("deepspeed", "save_on_each_node"),
}
REFUSED_VALUES = {
    "lr_scheduler_type": (("greedy", "reduce_lr_on_plateau"), "how often is evaluated would change what is learned"),
    "optim": (("adalomo", "lomo"), "its state is not in a checkpoint"),
}
CHOICES = {
    "eval_strategy": ("no", "steps", "epoch"),
    "train_sampling_strategy": ("group_by_length", "random", "sequential"),
    "save_strategy": ("no", "steps", "epoch"),  # the best one is kept with each
    "hub_strategy": ("end", "checkpoint"),
    "log_level_replica": tuple(trainer_log_levels),
}
NOT_NEGATIVE = (
    "adam_epsilon",
    "dataloader_num_workers",
    "eval_delay",
    "max_grad_norm",
    "neftune_noise_alpha",
    "warmup_steps",
    "weight_decay",
)
AT_LEAST_ONE = ("dataloader_prefetch_factor", "ddp_timeout", "eval_accumulation_steps", "torch_empty_cache_steps")
SHARES = ("adam_beta1", "adam_beta2", "label_smoothing_factor")
SEEDS = ("seed", "data_seed")
LARGEST_SEED = 2**32 - 1  # of NumPy
COURSE = (  # what is learned changes with them: settings of a run, besides those with a constant
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "warmup_steps",
    "optim",
    "optim_args",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "weight_decay",
    "max_grad_norm",
    "label_smoothing_factor",
    "neftune_noise_alpha",
    "data_seed",
    "train_sampling_strategy",
    "torch_compile",
)


def check_flags(arguments: TrainingArguments) -> None:
    """Raise `ValueError` for a flag that cannot be honoured; to be called before the Trainer's own checks."""
    if arguments.fsdp_config and not arguments.fsdp:
        raise ValueError("--fsdp_config goes with --fsdp")
    defaults = {field.name: field.default for field in fields(arguments)}
    for reason, names in REFUSED.items():
        for name in (name for name in names if name in defaults):  # a version of transformers may lack some
            value = getattr(arguments, name)
            if value != defaults[name] and value != []:
                raise ValueError(f"--{name} {describe(value)} cannot be used here: {reason}")
    for name, (values, reason) in REFUSED_VALUES.items():
        if (value := getattr(arguments, name)) in values:
            raise ValueError(f"--{name} {describe(value)} cannot be used here: {reason}")
    for name, choices in CHOICES.items():
        if (value := getattr(arguments, name)) not in (*choices, None):
            raise ValueError(f"--{name} must be {', '.join(choices[:-1])} or {choices[-1]}, got {describe(value)}")
    for names, what, accepts in (
        (NOT_NEGATIVE, "0 or more, and finite", lambda value: 0 <= value < float("inf")),
        (AT_LEAST_ONE, "at least 1", lambda value: value >= 1),
        (SHARES, "at least 0 and less than 1", lambda value: 0 <= value < 1),
        (SEEDS, f"from 0 to {LARGEST_SEED}", lambda value: 0 <= value <= LARGEST_SEED),
    ):
        for name in names:
            value = getattr(arguments, name)
            if value is not None and not accepts(value):
                raise ValueError(f"--{name} must be {what}, got {value}")


def describe(value: Any) -> str:
    """The value of a flag as one would type it."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(getattr(value, "value", value))


def check_optimizer(arguments: TrainingArguments) -> None:
    """Make optimizer, schedule and compiled layer, of a single weight, so that a refusal comes to light at once.

    Raises `ValueError`.
    """
    layer, flags = torch.nn.Linear(1, 1), "--optim, --optim_args"
    try:
        optimizer_class, settings = Trainer.get_optimizer_cls_and_kwargs(arguments, layer)
        optimizer = optimizer_class(layer.parameters(), **settings)
        flags = "--lr_scheduler_type, --lr_scheduler_kwargs"
        get_scheduler(
            arguments.lr_scheduler_type,
            optimizer,
            num_warmup_steps=arguments.get_warmup_steps(10),
            num_training_steps=10,
            scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
        )
        if arguments.torch_compile:  # nothing is compiled before the first step
            flags = "--torch_compile_backend, --torch_compile_mode"
            torch.compile(layer, backend=arguments.torch_compile_backend, mode=arguments.torch_compile_mode)
    except Exception as error:  # of many packages, each in its own way
        raise ValueError(f"cannot train with {flags} as given: {' '.join(str(error).split())}") from error
