"""What a run is called: by its model and by the settings that differ from those of the scripts as they are shipped.

So each setting has a folder of its own, and the same settings find the same folder again.
"""

import hashlib
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from metareview.data.cleaning import DEFAULT_KEEP
from metareview.data.prompts import PROMPTS
from metareview.data.tokenization import DEFAULT_SUMMARY_TOKENS

# The settings that can be in a name, in their order, each with what stands before its value.
LABELS = {
    "dataset_name": "",
    "keep": "keep-",
    "prompt_template": "prompt-",
    "max_length": "context",
    "max_summary_tokens": "summary",
    "use_lora": "lora",
    "lora_r": "r",
    "lora_alpha": "alpha",
    "lora_targets": "targets",
    "load_in_4bit": "4bit",
    "learning_rate": "lr",
    "lr_scheduler_type": "",
    "lr_scheduler_kwargs": "schedule-",
    "warmup_steps": "warmup",
    "optim": "",
    "optim_args": "optim-",
    "adam_beta1": "beta1-",
    "adam_beta2": "beta2-",
    "adam_epsilon": "epsilon",
    "weight_decay": "decay",
    "max_grad_norm": "clip",
    "label_smoothing_factor": "smoothing",
    "neftune_noise_alpha": "neftune",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "examples_per_step": "batch",
    "train_sampling_strategy": "",
    "validation_examples": "validation",
    "torch_compile": "compiled",
    "data_seed": "dataseed",
    "seed": "seed",
}
DEFAULTS = {field.name: field.default for field in fields(TrainingArguments) if field.name in LABELS} | {
    "dataset_name": "zqz979/meta-review",
    "keep": DEFAULT_KEEP,
    "prompt_template": PROMPTS["plain"],
    "max_length": None,  # the model's context
    "max_summary_tokens": DEFAULT_SUMMARY_TOKENS,
    "use_lora": False,
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_targets": "all-linear",
    "load_in_4bit": False,
    "learning_rate": 1e-5,
    "num_train_epochs": 1,
    "examples_per_step": 4,
    "train_sampling_strategy": "group_by_length",
    "validation_examples": 300,
}
LONGEST_NAME = 120  # characters; file systems take 255 bytes


def hash_settings(settings: Any) -> str:
    """A short hash of settings, the same on every machine."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:6]


def format_value(name: str, value: Any) -> str:
    """The value of a setting as a part of a name: 1e-4 for 0.0001, the name of a prompt, a hash of other texts."""
    if name == "prompt_template":
        names = {template: prompt for prompt, template in PROMPTS.items()}
        return names.get(value) or hash_settings(value)
    if name in ("keep", "lr_scheduler_kwargs", "optim_args"):
        return hash_settings(value)
    if value is True:
        return ""
    if isinstance(value, (int, float)):
        mantissa, _, exponent = f"{value:e}".partition("e")
        small = 0 < abs(value) < 0.01
        return f"{float(mantissa):g}e{int(exponent)}" if small else f"{value:g}"
    last = Path(str(getattr(value, "value", value))).name  # of an option of the Trainer's, its text
    return re.sub(r"\.(csv|tsv|jsonl?|parquet|xlsx)$", "", last)


def name_run(base: str, settings: dict[str, Any]) -> str:
    """The name of a run of a base model, a Hub id or a folder: `pythia-70m_finetuned_lr1e-4_epochs2`.

    Only settings in LABELS that differ from DEFAULTS are named.
    """
    parts = [f"{Path(base).resolve().name}_finetuned"]
    for name, label in LABELS.items():
        if name in settings and settings[name] != DEFAULTS[name]:
            parts.append(label + format_value(name, settings[name]))
    text = re.sub(r"[^\w.+-]+", "-", "_".join(parts)).strip("-.")
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 7]}_{hash_settings(settings)}"


def name_group(base: str, settings: dict[str, Any]) -> str:
    """The name that a run shares with those that differ from it in their seed alone."""
    return name_run(base, settings | {"seed": DEFAULTS["seed"]})
