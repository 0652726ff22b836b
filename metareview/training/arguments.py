"""What the Trainer is told: its arguments, built from the flags of fine_tune.py."""

import math
from typing import Any
from warnings import catch_warnings, filterwarnings

import torch
from peft import LoraConfig
from transformers import Trainer, TrainingArguments, get_scheduler

from metareview.common.cli import InputError
from metareview.common.device import choose_device
from metareview.common.model import MODELS_DIR, Adapter
from metareview.training.trainer_flags import read_trainer_settings

Flags = Any  # the FineTuningArguments of fine_tune.py: the script imports this room, not the other way round


def build_training_arguments(flags: Flags) -> TrainingArguments:
    """The Trainer's arguments; `flags.trainer` then has the Trainer's own flags too.

    Raises `InputError` for what the Trainer cannot work with, and for what would break a promise of the script.
    """
    evaluations = max(1, round(flags.evaluations_per_epoch * (1 if flags.max_steps > 0 else flags.epochs)))
    # Below 1 an interval is a share of the run. 1 would mean every step; the largest number below it is the last one.
    eval_steps = flags.eval_steps or min(1 / evaluations, math.nextafter(1, 0))
    logging_steps = eval_steps / 5 if eval_steps < 1 else max(1, int(eval_steps) // 5)
    save_strategy = flags.save_strategy or ("steps" if flags.eval_strategy == "no" else flags.eval_strategy)
    ours = {  # by the Trainer's name: the constant or flag that a user edits, and the value
        "output_dir": ("OUTPUT_DIR", flags.output_dir or MODELS_DIR),
        "num_train_epochs": ("EPOCHS", flags.epochs),
        "max_steps": ("--max_steps", flags.max_steps),
        "learning_rate": ("LEARNING_RATE", flags.learning_rate),
        "per_device_train_batch_size": ("BATCH_SIZE", flags.batch_size),
        "gradient_accumulation_steps": ("ACCUMULATION_STEPS", flags.accumulation_steps),
        "per_device_eval_batch_size": ("EVALUATION_BATCH_SIZE", flags.evaluation_batch_size),
        "seed": ("SEED", flags.seed),
        "gradient_checkpointing": ("GRADIENT_CHECKPOINTING", flags.gradient_checkpointing),
        "bf16": ("--bf16", flags.bf16),
        "fp16": ("--fp16", flags.fp16),
        "eval_strategy": ("--eval_strategy", flags.eval_strategy),
        "eval_steps": ("EVALUATIONS_PER_EPOCH", eval_steps),
        "eval_on_start": ("EVALUATIONS_PER_EPOCH", flags.eval_strategy != "no"),  # the curve begins there
        "save_strategy": ("--save_strategy", save_strategy),
        "save_steps": ("EVALUATIONS_PER_EPOCH", flags.save_steps or eval_steps),
        "save_total_limit": ("CHECKPOINTS_KEPT", None),  # CheckpointKeeper deletes: only what is not needed to resume
        "logging_steps": ("--logging_steps", flags.logging_steps or logging_steps),
        "logging_nan_inf_filter": ("the check for NaN losses", False),
        "report_to": ("--report_to", flags.report_to),
        "train_sampling_strategy": ("the sampler", "group_by_length"),
        "metric_for_best_model": ("the validation loss", "eval_loss"),
        "greater_is_better": ("the validation loss", False),
        "load_best_model_at_end": ("the checkpoint that is saved", False),
        "push_to_hub": ("--push_to_hub", False),  # CheckpointPusher and push_model do
        "ddp_find_unused_parameters": ("the setting for several processes", False),  # slower, and there are none
        "log_level_replica": ("the setting for several processes", "error"),
        "restore_callback_states_from_checkpoint": ("PATIENCE", bool(flags.patience)),
    }
    constants = {name: constant for name, (constant, _) in ours.items()}
    flags.trainer, flags.passed_flags = read_trainer_settings(flags.trainer, flags.passed_flags, constants), []
    device, dtype = choose_device(bool(flags.trainer.get("use_cpu")))
    told = {name: value for name, (_, value) in ours.items()} | {"use_cpu": device == "cpu"} | flags.trainer
    if flags.bf16 is None and flags.fp16 is None:  # what the hardware is fast with
        told |= {"bf16": dtype == torch.bfloat16, "fp16": dtype == torch.float16}
    try:
        with catch_warnings():  # its new name is not known to the oldest transformers that we support
            filterwarnings("ignore", "`gradient_checkpointing` is deprecated", FutureWarning)
            args = TrainingArguments(**told | {"bf16": bool(told["bf16"]), "fp16": bool(told["fp16"])})
        _check_optimizer(args)
    except (ImportError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the Trainer cannot work with these flags and TRAINER: {' '.join(str(error).split())}"
        ) from error
    # One process would use DataParallel on several GPUs, which is slow. There is no public way to turn it off.
    args._n_gpu = min(args.n_gpu, 1)
    return args


def _check_optimizer(args: TrainingArguments) -> None:
    """Build optimizer and schedule, of a single weight, so that a refusal comes to light before the data are read."""
    layer = torch.nn.Linear(1, 1)
    optimizer_class, settings = Trainer.get_optimizer_cls_and_kwargs(args, layer)
    get_scheduler(
        args.lr_scheduler_type,
        optimizer_class(layer.parameters(), **settings),
        num_warmup_steps=args.get_warmup_steps(10),
        num_training_steps=10,
        scheduler_specific_kwargs=args.lr_scheduler_kwargs,
    )


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
    return Adapter(lora, AUTOCAST[name_precision(args)], flags.load_in_4bit, flags.seed)


AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


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


def advise_memory(args: TrainingArguments, use_lora: bool) -> str:
    """What to edit for less memory, the mildest first; a smaller batch only where it can help."""
    batch, steps = args.per_device_train_batch_size, args.gradient_accumulation_steps
    ways = [] if args.gradient_checkpointing else ["GRADIENT_CHECKPOINTING = True"]
    ways += [] if use_lora else ["USE_LORA = True"]
    others = ", or ".join([*ways, "several GPUs (configs/fsdp2.yaml)", "a smaller --max_length", "a smaller MODEL"])
    if batch == 1:
        return f"set {others}"
    factor = next(number for number in range(2, batch + 1) if batch % number == 0)
    same = f"BATCH_SIZE = {batch // factor} with ACCUMULATION_STEPS = {steps * factor}"
    return f"set {same}, which trains the same; if that is not enough, {others}"
