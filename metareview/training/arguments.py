"""What the Trainer is told: its arguments, built from the flags of fine_tune.py."""

import math
from dataclasses import fields
from typing import Any
from warnings import catch_warnings

import torch
from peft import LoraConfig
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.integrations import get_reporting_integration_callbacks

from metareview.common.cli import InputError
from metareview.common.device import choose_device
from metareview.common.model import MODELS_DIR, Adapter
from metareview.training.trainer_flags import read_trainer_settings

Flags = Any  # the FineTuningArguments of fine_tune.py: the script imports this room, not the other way round


def build_training_arguments(flags: Flags) -> TrainingArguments:
    """The Trainer's arguments; `flags.trainer` then has the Trainer's own flags too.

    Raises `InputError` for what the Trainer cannot work with, and for what would break a promise of the script.
    """
    flags.trainer = read_trainer_settings(flags.trainer, flags.passed_flags)
    device, dtype = choose_device(bool(flags.trainer.get("use_cpu")))
    is_dtype_free = flags.bf16 is None and flags.fp16 is None  # then it is the one that the hardware is fast with
    evaluations = max(1, round(flags.evaluations_per_epoch * (1 if flags.max_steps > 0 else flags.epochs)))
    # Below 1 an interval is a share of the run. 1 would mean every step; the largest number below it is the last one.
    eval_steps = flags.eval_steps or min(1 / evaluations, math.nextafter(1, 0))
    logging_steps = eval_steps / 5 if eval_steps < 1 else max(1, int(eval_steps) // 5)
    ours = {
        "output_dir": flags.output_dir or MODELS_DIR,
        "num_train_epochs": flags.epochs,
        "max_steps": flags.max_steps,
        "learning_rate": flags.learning_rate,
        "per_device_train_batch_size": flags.batch_size,
        "gradient_accumulation_steps": flags.accumulation_steps,
        "per_device_eval_batch_size": flags.evaluation_batch_size,
        "seed": flags.seed,
        "gradient_checkpointing": flags.gradient_checkpointing,
        "bf16": dtype == torch.bfloat16 if is_dtype_free else bool(flags.bf16),
        "fp16": dtype == torch.float16 if is_dtype_free else bool(flags.fp16),
        "eval_strategy": flags.eval_strategy,
        "eval_steps": eval_steps,
        "eval_on_start": flags.eval_strategy != "no",  # the curve begins there
        "save_strategy": flags.save_strategy or ("steps" if flags.eval_strategy == "no" else flags.eval_strategy),
        "save_steps": flags.save_steps or eval_steps,
        "logging_steps": flags.logging_steps or logging_steps,
        "logging_nan_inf_filter": False,  # a NaN loss ends the run
        "report_to": flags.report_to,
        "train_sampling_strategy": "sequential",  # SummaryTrainer has a sampler of its own; validation is sorted
        "remove_unused_columns": False,  # SummaryCollator takes those that the model reads
        "metric_for_best_model": "eval_loss",
        "ddp_find_unused_parameters": False,  # slower, and there are none
        "log_level_replica": "error",  # of several processes, one speaks
        "restore_callback_states_from_checkpoint": bool(flags.patience),
    }
    for name in ours.keys() & flags.trainer.keys():
        raise InputError(f"TRAINER cannot set {name!r}: {_find_place(flags, name)}")
    try:
        with catch_warnings(action="ignore", category=FutureWarning):  # gradient_checkpointing has a new name
            args = TrainingArguments(**ours | flags.trainer | {"use_cpu": device == "cpu"})
        _check_optimizer(args)
        for callback in get_reporting_integration_callbacks(args.report_to):
            callback()  # fails where its package is not installed
    except (ImportError, KeyError, RuntimeError, TypeError, ValueError) as error:
        told = " ".join(str(error).split())
        raise InputError(f"the Trainer cannot work with these flags and TRAINER: {told}") from error
    # One process would use DataParallel on several GPUs, which is slow. There is no public way to turn it off.
    args._n_gpu = min(args.n_gpu, 1)
    return args


def _find_place(flags: Flags, name: str) -> str:
    """Where a user sets what the Trainer calls `name`."""
    for option in fields(flags):
        if name in (option.name, *option.metadata.get("aliases", ())):
            return f"give --{option.name}" if option.metadata["help"] else f"edit {option.name.upper()}"
    return "the script sets it itself"


def _check_optimizer(args: TrainingArguments) -> None:
    """Build optimizer and schedule, of a single weight, so that a refusal comes to light before the data are read."""
    layer = torch.nn.Linear(1, 1)
    optimizer_class, settings = Trainer.get_optimizer_cls_and_kwargs(args, layer)
    optimizer = optimizer_class(layer.parameters(), **settings)
    get_scheduler(args.lr_scheduler_type, optimizer, args.get_warmup_steps(10), 10, args.lr_scheduler_kwargs)


def build_adapter(flags: Flags, args: TrainingArguments) -> Adapter | None:
    """The adapter to train; None where the whole model is trained."""
    if not flags.use_lora:
        return None
    lora = LoraConfig(
        r=flags.lora_r,
        lora_alpha=flags.lora_alpha,
        target_modules=flags.lora_targets if flags.lora_targets == "all-linear" else flags.lora_targets.split(","),
        task_type="CAUSAL_LM",
    )
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    return Adapter(lora, dtypes[name_precision(args)], flags.load_in_4bit, flags.seed)


def name_precision(args: TrainingArguments) -> str:
    """The number format of the matrix products: bf16, fp16 or fp32."""
    return "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"


def count_step_examples(args: TrainingArguments) -> int:
    """Examples in a step of the optimizer, over all processes."""
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size


def count_steps(args: TrainingArguments, examples: int) -> int:
    """Steps of the whole run over this many examples, as the Trainer counts them."""
    if args.max_steps > 0:
        return args.max_steps
    return math.ceil(args.num_train_epochs * math.ceil(examples / count_step_examples(args)))
