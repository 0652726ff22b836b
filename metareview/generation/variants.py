"""Variants: which models are compared, their names, and the settings, those of its training, that each writes with."""

import glob
import json
import string
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metareview.common.cli import InputError
from metareview.common.model import MODELS_DIR, find_adapter_base, hash_weights, is_model, read_training_record
from metareview.data.cleaning import DEFAULT_KEEP, clean_text
from metareview.data.prompts import PLAIN_COMPLETION, PROMPTS, Frame, change_prompt, find_template
from metareview.data.tokenization import DEFAULT_SUMMARY_TOKENS, TokenizationArguments
from metareview.generation.decoding import Decoding

DEFAULT_NEW_TOKENS = 256  # for a model that does not record it
RESERVED = ("lead", "other paper", "reference", "ratings", "tie", "neither")  # mean something else in a workbook
READING = ("prompt_template", "frame", "completion", "keep")  # what a record says of how a model reads and writes


@dataclass
class Variant:
    """A model to compare: a fine-tuned one, or the base of some."""

    name: str  # short, and no other variant has it
    model: str  # folder or Hub id
    record: dict[str, Any]  # of its training; empty for a base and for a model of another origin
    base: str | None  # the name of its base; None for a base, and if it is unknown
    fine_tuned: bool
    settings: TokenizationArguments
    keep: str  # the characters that cleaning keeps
    max_new_tokens: int
    load_in_4bit: bool = False  # as it was trained
    decoding: Decoding = field(default_factory=Decoding)
    precision: str = ""  # that its texts were computed in, once they are written
    remarks: list[str] = field(default_factory=list)  # about its texts, once they are written

    @property
    def prompt_name(self) -> str:
        """The name of its prompt in PROMPTS, or else the prompt."""
        template = self.settings.prompt_template
        return next((name for name, text in PROMPTS.items() if text == template), template)


def choose_models(names: list[str] | None) -> list[str]:
    """The folders and Hub ids of the models to compare, each once; a pattern stands for its finished models.

    None: the model in MODELS_DIR that was finished last. Raises `InputError` if there is no finished model.
    """
    if names is None:
        models = _expand_pattern(f"{MODELS_DIR}/*")
        finished = {model: read_training_record(model).get("finished", "") for model in models}
        return [max(models, key=lambda model: (finished[model], Path(model).stat().st_mtime))]
    models = [model for name in names for model in _expand_pattern(name)]
    return list(dict.fromkeys(_unify_spellings(models).values()))


def _unify_spellings(names: list[str]) -> dict[str, str]:
    """For each name of a model the first one of the same folder or Hub id: models/a, ./models/a."""
    first: dict[Path, str] = {}
    return {name: first.setdefault(Path(name).resolve(), name) for name in names}


def _expand_pattern(name: str) -> list[str]:
    """The finished models among the folders that match a pattern, or the one folder or Hub id of that name."""
    path = Path(name)
    if glob.has_magic(name) and not path.exists():
        folders = [folder for folder in sorted(glob.glob(name)) if Path(folder).is_dir()]  # noqa: PTH207 (absolute too)
    elif path.is_dir() or name.startswith((".", "/")) or (path.parent != Path() and path.parent.is_dir()):
        folders = [name]
    else:
        return [name]  # a Hub id
    models = [folder for folder in folders if is_model(Path(folder))]
    if not models:
        raise InputError(f"there is no finished model in {name!r}. First: python fine_tune.py, or set MODELS")
    if len(models) < len(folders):
        print(f"Skipped, no finished model: {', '.join(folder for folder in folders if folder not in models)}")
    return models


def _find_base(name: str, record: dict[str, Any]) -> str | None:
    """The base of a model; None if it is unknown, and if its folder is gone or has other weights by now.

    Raises `InputError` for an adapter, which is of no use without its base.
    """
    adapted = find_adapter_base(name)
    base, weights = record.get("base_model") or adapted, (record.get("settings") or {}).get("base_weights")
    is_known = base and weights not in (None, base)  # older records have none, those of a base on the Hub its id
    is_changed = is_known and hash_weights(Path(base)) != weights
    if is_changed and adapted:
        raise InputError(
            f"{name!r} is an adapter for weights that are not in {base!r} now: bring them back or leave it out"
        )
    return None if is_changed else base


def name_models(records: dict[str, dict[str, Any]]) -> dict[str, str]:
    """A name for each folder or Hub id, from the records of their trainings: short, and different from all others.

    It is the last part, and as many before it as tell equal ones apart; weights that are not those of the last step of
    their training have their step in it, as in `lr1e-3_epochs2 (step 6 of 48)`.
    """
    paths = {model: (Path(model).resolve() if Path(model).exists() else Path(model)).parts for model in records}
    ends = {model: ["/".join(path[-length:]) for length in range(1, len(path) + 1)] for model, path in paths.items()}
    used = Counter(end for each in ends.values() for end in each)
    names = {}
    for model, each in ends.items():
        telling = each[1:] if each[0].startswith("checkpoint-") else each
        name = next((end for end in telling if used[end] == 1 and end.lower() not in RESERVED), model)
        results = records[model].get("results") or {}
        step, steps = results.get("saved_step"), results.get("steps")
        names[model] = name if step == steps else f"{name} (step {step} of {steps})"
    return names


def _read_settings(
    model: str, record: dict[str, Any], prompt: str | None, max_new_tokens: int | None
) -> dict[str, Any]:
    """How a model reads and writes by the `record` of a training; `prompt` and `max_new_tokens` replace what it says.

    Raises `InputError` for more tokens than are reserved for the summary.
    """
    trained = record.get("prompt_template", PROMPTS["plain"])
    prompt, frame = prompt or trained, None
    if "frame" in record:
        frame = change_prompt(Frame(*record["frame"]), trained, find_template(prompt))
    reserve = record.get("max_summary_tokens", DEFAULT_SUMMARY_TOKENS)
    if max_new_tokens and max_new_tokens > reserve:
        limit = f"what was reserved for the summary in training (MAX_SUMMARY_TOKENS), {reserve}"
        raise InputError(f"MAX_NEW_TOKENS (--max_new_tokens) must be at most {limit}; got {max_new_tokens}")
    length, completion = record.get("max_length"), record.get("completion", PLAIN_COMPLETION)
    return {
        "settings": TokenizationArguments(model, prompt, length, reserve, frame, completion),
        "keep": record.get("keep", DEFAULT_KEEP),
        "max_new_tokens": max_new_tokens or min(record.get("max_new_tokens", DEFAULT_NEW_TOKENS), reserve),
        "load_in_4bit": bool((record.get("settings") or {}).get("load_in_4bit")),
    }


def find_variants(
    names: list[str] | None,
    base_model: str | None,
    prompt: str | None,
    max_new_tokens: int | None,
    decoding: Decoding = Decoding(),
) -> list[Variant]:
    """The models to compare: each base once, then the fine-tuned models in the order of `names`.

    A base reads as in its own training or, if it has none, as the first model that was made from it, whose lengths it
    has; but a `base_model`, which may be of another family, has a chat template of its own. `base_model`, `prompt` and
    `max_new_tokens`, unless they are None, replace what the models record. All have the same decoding.
    """
    models = choose_models(names)
    records = {model: read_training_record(model) for model in models}
    recorded = {model: _find_base(model, records[model]) for model in models}
    bases = {model: base_model or base for model, base in recorded.items()}
    spellings = _unify_spellings([*models, *filter(None, bases.values())])
    base_of = {model: spellings[base] for model, base in bases.items() if base and spellings[base] != model}
    fine_tuned = [model for model in models if model in base_of or model not in base_of.values()]
    first_of: dict[str, str] = {}  # of each base, the first model that was made from it
    for model, base in base_of.items():
        if base not in fine_tuned:
            first_of.setdefault(base, model)
    for base in first_of:
        records[base] = {}
        with suppress(InputError, OSError):  # without a network, it may not be in the cache
            records[base] = read_training_record(base)
    short = name_models(records)
    variants = []
    for base, model in first_of.items():
        lent = {name: value for name, value in records[model].items() if name != "frame" or not base_model}
        own = {name: value for name, value in records[base].items() if name in READING}
        settings = _read_settings(base, lent | own, prompt, max_new_tokens)
        variants.append(Variant(short[base], base, {}, None, False, **settings, decoding=decoding))
    for model in fine_tuned:
        base = short.get(base_of.get(model))
        if base is None:
            told = "does not record its base, or other weights are in its place now"
            print(f"{short[model]} {told}; BASE_MODEL names one to compare it with.")
        settings = _read_settings(model, records[model], prompt, max_new_tokens)
        variants.append(Variant(short[model], model, records[model], base, True, **settings, decoding=decoding))
    _report_bases(variants)
    return variants


def _report_bases(variants: list[Variant]) -> None:
    """Print which models do not read and write as their base does: the models of one base may differ."""
    own = {one.name: (one.prompt_name, one.keep, one.max_new_tokens, one.load_in_4bit) for one in variants}
    for base in variants:
        others = [model.name for model in variants if model.base == base.name and own[model.name] != own[base.name]]
        if others:
            told = "another PROMPT, KEEP, MAX_NEW_TOKENS or LOAD_IN_4BIT than their base"
            print(f"{', '.join(others)}: {told}, {base.name}.")


def group_seeds(models: list[Variant]) -> dict[str, list[str]]:
    """The models that differ in their seed alone, by the name of their group; a model alone keeps its name.

    All other settings are the same, texts and base weights included. A model of a seed that is in its group already,
    such as a copy, is no other seed: it stays alone.
    """
    members: dict[str, dict[int, Variant]] = {}  # of each setting, by seed
    for model in models:
        settings = {"base_weights": model.record.get("base_model")}  # of the Hub, which older records do not have there
        settings |= model.record.get("settings") or {"name": model.model}
        seed = settings.pop("seed", None)
        key = json.dumps(settings, sort_keys=True)
        if seed in members.get(key, ()):
            key += model.name
        members.setdefault(key, {})[seed] = model
    groups: dict[str, list[str]] = {}
    for seeds in members.values():
        names = [model.name for model in seeds.values()]
        [first, *others] = seeds.values()
        name = f"{first.record.get('group') or first.name} ({len(seeds)} seeds)" if others else first.name
        groups[f"{', '.join(names)} ({len(seeds)} seeds)" if name in groups else name] = names
    return groups


def check_cleaning(models: list[Variant], data: str, keep: str) -> None:
    """Raise `InputError` where processed data lack characters that a model has read in training."""
    for model in models:
        if any(clean_text(one, model.keep) and not clean_text(one, keep) for one in string.printable):
            told = f"{data!r} is cleaned to {keep!r}, but {model.name} was trained on texts with {model.keep!r}"
            raise InputError(f"{told}. Run processing_meta_review.py with that KEEP, or name other data: PROCESSED_DIR")


def share(values: list[str], default: str) -> str:
    """The value that all have, or else the default: what texts are compared by must be the same for all."""
    return values[0] if len(set(values)) == 1 else default
