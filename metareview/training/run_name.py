"""What a run is called: after its base model and whatever differs from the default constants.

So each setting has a folder of its own, and the same settings find the same folder again.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from metareview.data.cleaning import DEFAULT_KEEP
from metareview.data.prompts import PLAIN_COMPLETION, PROMPTS

# The settings that a name spells out, in their order: what stands before the value, and the default, which is left out.
NAMED: dict[str, tuple[str, Any]] = {
    "dataset_name": ("", "zqz979/meta-review"),
    "keep": ("keep-", DEFAULT_KEEP),
    "prompt_template": ("prompt-", PROMPTS["plain"]),
    "completion": ("completion-", PLAIN_COMPLETION),
    "max_length": ("context", None),  # the model's context
    "max_summary_tokens": ("summary", None),  # what the training summaries need
    "use_lora": ("lora", False),
    "lora_r": ("r", 16),
    "load_in_4bit": ("4bit", False),
    "learning_rate": ("lr", 1e-5),
    "num_train_epochs": ("epochs", 1),
    "max_steps": ("steps", -1),
    "examples_per_step": ("batch", 4),
    "save": ("", "last"),
    "patience": ("patience", None),
    "seed": ("seed", 42),
}
# All others that a user can choose; where one differs, the name ends in a hash of them.
HASHED: dict[str, Any] = {
    "lora_alpha": 32,
    "lora_targets": "all-linear",
    "validation_examples": 300,
    "precision": None,  # what the hardware is fast with
    "drop_sentences": None,
    "trainer": {},
    "continued_from": None,  # the step of a shorter run
    "evaluations": None,  # what decides the best weights, where they are saved
}
LONGEST_NAME = 89  # characters: the Hub takes 96, and a hash may follow


def hash_settings(settings: Any) -> str:
    """A short hash of settings, the same on every machine."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:6]


def hash_run(settings: dict[str, Any]) -> str:
    """A short hash of a run's settings; without the base's Hub id, which runs of earlier versions do not have."""
    is_hashed = re.fullmatch("[0-9a-f]{16}", str(settings.get("base_weights")))
    return hash_settings({name: value for name, value in settings.items() if name != "base_weights" or is_hashed})


def format_value(name: str, value: Any) -> str:
    """The value of a setting as a part of a name: 1e-4 for 0.0001, the name of a prompt, a hash of other texts."""
    if name in ("prompt_template", "keep", "completion"):
        names = {template: prompt for prompt, template in PROMPTS.items()}
        return names.get(value) or hash_settings(value)
    if value is True:
        return ""
    if isinstance(value, int | float):
        mantissa, _, exponent = f"{value:e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}" if 0 < abs(value) < 0.01 else f"{value:g}"
    return re.sub(r"\.(csv|tsv|jsonl?|parquet|xlsx)$", "", Path(str(value)).name)


def name_run(base: str, settings: dict[str, Any]) -> str:
    """The name of a run of a base model, a Hub id or a folder: `pythia-70m_finetuned_lr1e-4_epochs2`."""
    parts = [f"{Path(base).resolve().name}_finetuned"]
    for name, (label, default) in NAMED.items():
        if settings.get(name, default) != default:
            parts.append(label + format_value(name, settings[name]))
    others = {name: settings[name] for name in HASHED if settings.get(name, HASHED[name]) != HASHED[name]}
    if others:
        parts.append(hash_settings(others))
    name = re.sub(r"[^\w.+-]+", "-", "_".join(parts)).strip("-.")
    if len(name) <= LONGEST_NAME:
        return name
    cut = name[: LONGEST_NAME - 7]
    return f"{cut.rpartition('_')[0] or cut}_{hash_run(settings)}"  # no part of a value
