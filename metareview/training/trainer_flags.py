"""What the Trainer takes beyond our own constants: `TRAINER`, and the Trainer's own flags on the command line.

Nothing here loads transformers, which takes seconds, before a flag of the Trainer's is really used.
"""

import re
from argparse import ArgumentError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from metareview.common.cli import InputError
from metareview.common.flags import Passed

REFUSED = {  # names, or names with values, that would break a promise
    "an interrupted run could not resume exactly": "auto_find_batch_size dataloader_in_order enable_jit_checkpoint "
    "ignore_data_skip save_only_model optim_target_modules optim=lomo optim=adalomo",
    "evaluations would change what is learned": "lr_scheduler_type=reduce_lr_on_plateau lr_scheduler_type=greedy",
    "each example is learned once an epoch, each token alike": "accelerator_config average_tokens_across_devices "
    "dataloader_drop_last parallelism_config",
    "the loss is that of the summaries, and evaluation is its mean over tokens": "batch_eval_metrics bf16_full_eval "
    "eval_do_concat_batches eval_use_gather_object fp16_full_eval include_for_metrics label_names liger_kernel_config "
    "prediction_loss_only use_liger_kernel",
    "it is up to constants and flags of our own (--help)": "greater_is_better load_best_model_at_end push_to_hub "
    "save_total_limit",
    "one process saves complete checkpoints, in one way": "deepspeed save_on_each_node hub_always_push hub_revision",
    "a token must not be stored in a checkpoint; set HF_TOKEN": "hub_token",
}


def accepts(name: str) -> bool:
    """Whether the Trainer has a flag of this name, told by the source of its arguments."""
    [folder] = find_spec("transformers").submodule_search_locations
    source = Path(folder, "training_args.py").read_text(encoding="utf-8")
    return re.search(rf"^    {re.escape(name.replace('-', '_'))}: ", source, re.MULTILINE) is not None


def _build_parser() -> Any:
    from transformers import HfArgumentParser, TrainingArguments

    return HfArgumentParser(TrainingArguments, add_help=False, allow_abbrev=False, exit_on_error=False)


PASSED = Passed(accepts, describe=lambda: _build_parser().format_help())


def read_trainer_settings(constant: dict[str, Any], flags: list[str]) -> dict[str, Any]:
    """`TRAINER` and the Trainer's flags as one dictionary by the names of `TrainingArguments`; a flag wins.

    Raises `InputError` for what the Trainer does not have, and for what would break a promise.
    """
    try:
        parsed, rest = _build_parser().parse_known_args(flags)
    except (ArgumentError, ValueError) as error:
        raise InputError(f"{error} (a flag of the Trainer's)") from error
    if rest:
        raise InputError(f"unknown argument: {' '.join(rest)}")
    names = [word.partition("=")[0].lstrip("-").replace("-", "_") for word in flags if word.startswith("--")]
    settings = constant | {name: getattr(parsed, name) for name in names}
    for name, value in settings.items():
        for promise, refused in REFUSED.items():
            for word in {name, f"{name}={value}"} & set(refused.split()):
                raise InputError(f"TRAINER (--{name}) cannot set {word!r}: {promise}")
    return settings
