"""Variants: which models are compared, their names, and the settings, those of its training, that each writes with."""

import glob
import hashlib
import json
import string
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

from transformers.utils import find_adapter_config_file

from metareview.common.cli import InputError
from metareview.common.hub import reading
from metareview.common.model import MODELS_DIR, hash_weights, is_model, read_training_record
from metareview.data.cleaning import DEFAULT_KEEP, clean_text
from metareview.data.prompts import PLAIN_COMPLETION, PROMPTS, Frame, change_prompt, find_template
from metareview.data.tokenization import DEFAULT_SUMMARY_TOKENS, TokenizationArguments
from metareview.generation.decoding import Decoding

DEFAULT_NEW_TOKENS = 256  # for a model that does not record what it was saved with
RESERVED = ("lead", "other paper", "reference", "ratings", "tie", "neither")  # mean something else in a workbook
READING = ("prompt_template", "frame", "completion", "keep")  # what a record says of how a model reads and writes
SETTINGS = ("PROMPT", "KEEP", "MAX_NEW_TOKENS", "LOAD_IN_4BIT")  # in which the models of a base may differ


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


def choose_models(names: list[str] | str | None) -> list[str]:
    """The folders and Hub ids of the models to compare, each once; a pattern stands for its finished models.

    None: the model in MODELS_DIR that was finished last. Raises `InputError` if there is no finished model.
    """
    if names is None:
        models = _expand_pattern(f"{MODELS_DIR}/*")
        finished = {model: read_training_record(model).get("finished") or "" for model in models}
        return [max(models, key=lambda model: (finished[model], Path(model).stat().st_mtime))]
    models = [model for name in ([names] if isinstance(names, str) else names) for model in _expand_pattern(name)]
    spellings = _unify_spellings(models)
    return list(dict.fromkeys(spellings[model] for model in models))


def _unify_spellings(names: list[str]) -> dict[str, str]:
    """For each name of a model the first one of the same folder or Hub id: models/a, ./models/a."""
    first: dict[Path, str] = {}
    return {name: first.setdefault(Path(name).resolve(), name) for name in names}


def _expand_pattern(name: str) -> list[str]:
    """The finished models among the folders that match a pattern, or the one folder or Hub id of that name."""
    path = Path(name)
    if glob.has_magic(name) and not path.exists():
        folders = [folder for folder in sorted(glob.glob(name)) if Path(folder).is_dir()]  # noqa: PTH207 (absolute too)
        models = [folder for folder in folders if is_model(Path(folder))]
        if models and len(models) < len(folders):
            print(f"Skipped, no finished model: {', '.join(folder for folder in folders if folder not in models)}")
    else:
        is_path = path.is_dir() or name.startswith((".", "/")) or (path.parent != Path() and path.parent.is_dir())
        models = [name] if is_model(path) or not is_path else []
    if not models:
        raise InputError(f"there is no finished model in {name!r}. First: python fine_tune.py, or set MODELS")
    return models


def find_base(name: str, record: dict[str, Any]) -> str | None:
    """The base that a model was made from, by its record or, of an adapter, by its configuration."""
    if base := record.get("base_model"):
        return base
    with reading("model", name):
        adapter = find_adapter_config_file(name)
    return json.loads(Path(adapter).read_text())["base_model_name_or_path"] if adapter else None


def _find_unchanged_base(name: str, record: dict[str, Any]) -> str | None:
    """The base of a model, None where its folder is gone or has other weights by now.

    Raises `InputError` for an adapter, which is of no use without its base.
    """
    base, before = find_base(name, record), (record.get("settings") or {}).get("base_weights")
    if not base or before in (None, base) or hash_weights(Path(base)) == before:  # not known, or of the Hub
        return base
    if find_adapter_config_file(name):
        told = f"{name!r} is an adapter for weights that are not in {base!r} now"
        raise InputError(f"{told}: bring them back, or name the other models alone")
    return None


def _read_base_record(base: str) -> dict[str, Any]:
    """The record of a base that is itself a fine-tuned model."""
    with suppress(InputError, OSError):  # without a network, it may not be in the cache
        return read_training_record(base)
    return {}


def name_models(records: dict[str, dict[str, Any]]) -> dict[str, str]:
    """A name for each folder or Hub id, from the records of their trainings: short, and different from all others.

    It is the last part, and as many before it as tell equal ones apart; weights that are not those of the last step of
    their training have their step in it, as in `lr1e-3_epochs2 (step 6 of 48)`.
    """
    paths = {model: (Path(model).resolve() if Path(model).exists() else Path(model)).parts for model in records}
    names = {}
    for model, path in paths.items():
        shortest = 2 if path[-1].startswith("checkpoint-") else 1  # its own name says little
        for length in range(shortest, len(path) + 1):
            name = "/".join(path[-length:]).lstrip("/")
            equal = [rival for rival in paths.values() if rival[-length:] == path[-length:]]
            if len(equal) == 1 and name.lower() not in RESERVED:
                break
        results = records[model].get("results") or {}
        step, steps = results.get("saved_step"), results.get("steps")
        names[model] = name if step == steps else f"{name} (step {step} of {steps})"
    return names


def _build_variant(
    name: str, model: str, base: str | None, record: dict[str, Any], prompt: str | None, max_new_tokens: int | None
) -> Variant:
    """A model with the settings in the `record` of a training; `prompt` and `max_new_tokens` replace those.

    Raises `InputError` for more tokens than are reserved for the summary.
    """
    template = record.get("prompt_template", PROMPTS["plain"])
    frame = Frame(*record["frame"]) if "frame" in record else None
    reserve = record.get("max_summary_tokens", DEFAULT_SUMMARY_TOKENS)
    if max_new_tokens and max_new_tokens > reserve:
        told = f"at most what was reserved for the summary in training (MAX_SUMMARY_TOKENS), {reserve}"
        raise InputError(f"MAX_NEW_TOKENS (--max_new_tokens) must be {told}; got {max_new_tokens}")
    return Variant(
        name=name,
        model=model,
        record=record,
        base=base,
        fine_tuned=True,
        settings=TokenizationArguments(
            model_name_or_path=model,
            prompt=prompt or template,
            max_length=record.get("max_length"),
            max_summary_tokens=reserve,
            completion=record.get("completion", PLAIN_COMPLETION),
            frame=frame and change_prompt(frame, template, find_template(prompt or template)),
        ),
        keep=record.get("keep", DEFAULT_KEEP),
        max_new_tokens=max_new_tokens or min(record.get("max_new_tokens", DEFAULT_NEW_TOKENS), reserve),
        load_in_4bit=bool((record.get("settings") or {}).get("load_in_4bit")),
    )


def find_variants(
    names: list[str] | str | None,
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
    unchanged = {model: _find_unchanged_base(model, records[model]) for model in models}
    recorded = {model: base_model or base for model, base in unchanged.items()}
    spellings = _unify_spellings([*models, *filter(None, recorded.values())])
    base_of = {model: spellings[base] for model, base in recorded.items() if base and spellings[base] != model}
    fine_tuned = [model for model in models if model in base_of or model not in base_of.values()]
    first_of: dict[str, str] = {}  # of each base, the first model that was made from it
    for model, base in base_of.items():
        if base not in fine_tuned:
            first_of.setdefault(base, model)
    of_bases = {base: _read_base_record(base) for base in first_of}
    short = name_models(of_bases | {model: records[model] for model in fine_tuned})
    variants = []
    for base, model in first_of.items():
        lent = {name: value for name, value in records[model].items() if name != "frame" or not base_model}
        own = {name: value for name, value in of_bases[base].items() if name in READING}
        variant = _build_variant(short[base], base, None, lent | own, prompt, max_new_tokens)
        variants.append(replace(variant, record={}, fine_tuned=False))
    for model in fine_tuned:
        base = short.get(base_of.get(model))
        if base is None:
            known = None if base_model else find_base(model, records[model])
            told = f"was trained from weights that are not in {known} now" if known else "does not record its base"
            print(f"{short[model]} {told}; BASE_MODEL names one to compare it with.")
        variants.append(_build_variant(short[model], model, base, records[model], prompt, max_new_tokens))
    _report_bases(variants)
    return [replace(variant, decoding=decoding) for variant in variants]


def _report_bases(variants: list[Variant]) -> None:
    """Print whose settings a base has if the models that were made from it differ in theirs, and in which."""
    for base in variants:
        settings = {variant.name: _list_settings(variant) for variant in variants if variant.base == base.name}
        differing = [name for name in SETTINGS if len({own[name] for own in settings.values()}) > 1]
        models: dict[str, list[str]] = {}  # those with the same values
        for model, own in settings.items():
            values = ", ".join(f"{name} {shorten(str(own[name]), 60)}" for name in differing)
            models.setdefault(values, []).append(model)
        if differing and _list_settings(base) == next(iter(settings.values())):
            (values, [first, *_]), *others = models.items()
            told = "".join(f"; {', '.join(names)}: {different}" for different, names in others)
            print(f"{base.name} has the settings of {first} ({values}){told}.")


def _list_settings(variant: Variant) -> dict[str, str | int]:
    """How a model reads and writes, by SETTINGS."""
    values = (variant.prompt_name, variant.keep, variant.max_new_tokens, variant.load_in_4bit)
    return dict(zip(SETTINGS, values, strict=True))


def group_seeds(models: list[Variant]) -> dict[str, list[str]]:
    """The models that differ in their seed alone, by the name of their group; a model alone keeps its name.

    All other settings are the same, texts and base weights included; a hash of them distinguishes groups of one name.
    A model of a seed that is in its group already, such as a copy, is no other seed: it stays alone.
    """
    members: dict[str, list[Variant]] = {}
    for model in models:
        settings = {"base_weights": model.record.get("base_model")}  # of the Hub, which older records do not have there
        settings |= model.record.get("settings") or {"name": model.model}
        seed = settings.pop("seed", None)
        key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:6]
        if seed is not None and any(one.record["settings"].get("seed") == seed for one in members.get(key, ())):
            key = f"{key} {model.name}"
        members.setdefault(key, []).append(model)
    names = {}
    for key, each in members.items():
        group = each[0].record.get("group") or each[0].name
        names[key] = f"{group} ({len(each)} seeds)" if len(each) > 1 else each[0].name
    alike = {name for name in names.values() if list(names.values()).count(name) > 1}
    shown = {key: f"{name} [{key}]" if name in alike else name for key, name in names.items()}
    return {shown[key]: [model.name for model in each] for key, each in members.items()}


def check_cleaning(models: list[Variant], data: str, keep: str) -> None:
    """Raise `InputError` where processed data lack characters that a model has read in training."""
    for model in models:
        lost = [one for one in string.printable if clean_text(one, model.keep) and not clean_text(one, keep)]
        if lost:
            told = f"{data!r} is cleaned to {keep!r}, but {model.name} was trained on texts with {model.keep!r}"
            raise InputError(f"{told}. Run processing_meta_review.py with that KEEP, or name other data: PROCESSED_DIR")


def share(values: list[str], default: str) -> str:
    """The value that all have, or else the default: what texts are compared by must be the same for all."""
    return values[0] if len(set(values)) == 1 else default
