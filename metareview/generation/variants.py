"""Variants: which models are compared, what each is called, and how each reads and writes, as in its training."""

import glob
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from transformers.utils import find_adapter_config_file

from metareview.common.cli import InputError
from metareview.common.files import read_json
from metareview.common.hub import reading
from metareview.common.model import MODELS_DIR, TRAINING_RECORD, is_model
from metareview.data.cleaning import DEFAULT_KEEP
from metareview.data.prompts import PROMPTS
from metareview.data.splits import read_record
from metareview.data.tokenization import DEFAULT_SUMMARY_TOKENS, TokenizationArguments
from metareview.generation.decoding import Decoding

DEFAULT_NEW_TOKENS = 256  # for a model that does not record what it was saved with
RESERVED = ("lead", "other paper", "reference", "ratings", "tie", "neither")  # mean something else in a workbook
FIRST = "First: python fine_tune.py"


@dataclass
class Variant:
    """A model to compare: a fine-tuned one, or the base of some."""

    name: str  # short, and no other variant has it
    model: str  # folder or Hub id
    record: dict[str, Any]  # of its training; empty for a base and for a model of another origin
    base: str | None  # the name of its base; None where it is one, or where none is known
    fine_tuned: bool
    settings: TokenizationArguments
    keep: str  # the characters that cleaning keeps
    max_new_tokens: int
    load_in_4bit: bool = False  # as it was trained
    decoding: Decoding = field(default_factory=Decoding)
    precision: str = ""  # what its texts are computed in, once they are there

    @property
    def group(self) -> str:
        """The same for models that differ in their seed alone."""
        return self.record.get("group") or self.name


def choose_models(given: list[str] | str | None) -> list[str]:
    """The folders and Hub ids that are meant; a pattern gives the finished models among its folders, in their order.

    None: the newest one in MODELS_DIR. Raises `InputError` where there is no finished model.
    """
    if given is None:
        return [find_newest(Path(MODELS_DIR))]
    found = []
    for name in [given] if isinstance(given, str) else given:
        if not glob.has_magic(name) or Path(name).exists():
            check_model(name)
            found.append(name)
            continue
        matches = [folder for folder in sorted(glob.glob(name)) if Path(folder).is_dir()]  # noqa: PTH207 (absolute too)
        unfinished = [folder for folder in matches if not is_model(Path(folder))]
        if len(unfinished) == len(matches):
            raise InputError(f"no folder {name!r} holds a finished model. {FIRST}")
        if unfinished:
            print(f"Passed over, without a finished model: {', '.join(unfinished)}")
        found += [folder for folder in matches if folder not in unfinished]
    places: dict[Path | str, str] = {}
    for name in found:
        places.setdefault(Path(name).resolve() if Path(name).exists() else name, name)
    return list(places.values())


def find_newest(folder: Path) -> str:
    """The model in a folder that was finished last, by its record. Raises `InputError` where there is none."""
    models = [path for path in folder.glob("*") if is_model(path)]
    if not models:
        raise InputError(f"there is no finished model in {str(folder)!r}. {FIRST}; or name one with --models")
    finished = {path: read_record(str(path), TRAINING_RECORD).get("finished") or "" for path in models}
    return str(max(models, key=lambda path: (finished[path], path.stat().st_mtime)))


def check_model(name: str) -> None:
    """Raise `InputError` for a folder without a finished model, and for a path where there is no folder."""
    path = Path(name)
    if path.is_dir() and not is_model(path):
        raise InputError(f"the folder {name!r} holds no finished model. {FIRST}")
    a_path = name.startswith((".", "/")) or (path.parent != Path() and path.parent.is_dir())
    if a_path and not path.is_dir():
        raise InputError(f"there is no model {name!r} here. {FIRST}; or see what is there: ls {path.parent}")


def read_training_record(name: str) -> dict[str, Any]:
    """The record that fine_tune.py saved with a model, in a folder or on the Hub; empty for one of another origin."""
    if Path(name).is_dir():
        return read_record(name, TRAINING_RECORD)
    with reading("model", name):
        try:
            return read_json(Path(hf_hub_download(name, TRAINING_RECORD)))
        except RemoteEntryNotFoundError:
            return {}


def find_base(name: str, record: dict[str, Any]) -> str | None:
    """The base that a model was made from, by its record or, of an adapter, by its configuration."""
    if base := record.get("base_model"):
        return base
    with reading("model", name):
        adapter = find_adapter_config_file(name)
    return json.loads(Path(adapter).read_text())["base_model_name_or_path"] if adapter else None


def name_models(models: list[str]) -> list[str]:
    """The last part of each folder or Hub id, and as many of those before it as tell equal ones apart."""
    parts = [Path(model).resolve().parts if Path(model).exists() else Path(model).parts for model in models]
    names = []
    for own in parts:
        length = 1
        others = [other for other in parts if other != own]
        while length < len(own) and (
            any(other[-length:] == own[-length:] for other in others) or "/".join(own[-length:]).lower() in RESERVED
        ):
            length += 1
        names.append("/".join(own[-length:]).lstrip("/"))
    return names


def choose_settings(name: str, prompt: str | None, record: dict[str, Any]) -> TokenizationArguments:
    """How a model is prompted: as the record of the training says, unless `prompt` says otherwise."""
    return TokenizationArguments(
        model_name_or_path=name,
        prompt=prompt or record.get("prompt_template", PROMPTS["plain"]),
        max_length=record.get("max_length"),
        max_summary_tokens=record.get("max_summary_tokens", DEFAULT_SUMMARY_TOKENS),
    )


def choose_max_new_tokens(given: int | None, record: dict[str, Any]) -> int:
    """How many tokens a model may write: as many as given, or else as the record of the training says.

    Raises `InputError` where more are given than the model's context has room for.
    """
    reserve = record.get("max_summary_tokens", DEFAULT_SUMMARY_TOKENS)
    if given is None:
        return min(record.get("max_new_tokens", DEFAULT_NEW_TOKENS), reserve)
    if given > reserve:
        raise InputError(f"--max_new_tokens must be at most {reserve}, the room for the summary in the model's context")
    return given


def describe_variant(
    name: str, model: str, base: str | None, record: dict[str, Any], prompt: str | None, max_new_tokens: int | None
) -> Variant:
    """A model as `record` says that it was trained; `prompt` and `max_new_tokens` replace what the record says."""
    return Variant(
        name=name,
        model=model,
        record=record,
        base=base,
        fine_tuned=True,
        settings=choose_settings(model, prompt, record),
        keep=record.get("keep", DEFAULT_KEEP),
        max_new_tokens=choose_max_new_tokens(max_new_tokens, record),
        load_in_4bit=bool((record.get("settings") or {}).get("load_in_4bit")),
    )


def find_variants(
    given: list[str] | str | None,
    base: str | None,
    prompt: str | None,
    max_new_tokens: int | None,
    decoding: Decoding = Decoding(),
) -> list[Variant]:
    """What is compared: each base once, then the fine-tuned models in the order in which they are given.

    A base reads and writes like the first of the models that were made from it. `base`, `prompt` and `max_new_tokens`
    are in the place of what the models record, unless they are None. All decode in the same way.
    """
    models = choose_models(given)
    records = {model: read_training_record(model) for model in models}
    base_of = {model: base or find_base(model, records[model]) for model in models}
    fine_tuned = [model for model in models if base_of[model] or model not in base_of.values()]
    bases = [name for name in dict.fromkeys(base_of[model] for model in fine_tuned) if name not in (None, *fine_tuned)]
    names = dict(zip([*bases, *fine_tuned], name_models([*bases, *fine_tuned]), strict=True))
    variants = []
    for name in bases:
        first = next(model for model in fine_tuned if base_of[model] == name)
        variant = describe_variant(names[name], name, None, records[first], prompt, max_new_tokens)
        variants.append(replace(variant, record={}, fine_tuned=False))
    for model in fine_tuned:
        own = base_of[model] if base_of[model] != model else None
        if own is None:
            print(f"{names[model]} does not record its base; --base_model names one to compare it with.")
        record = records[model]
        variants.append(describe_variant(names[model], model, names.get(own), record, prompt, max_new_tokens))
    explain_bases(variants)
    return [replace(variant, decoding=decoding) for variant in variants]


def explain_bases(variants: list[Variant]) -> None:
    """Say so where models of one base read in other ways: it can read in one of them only."""
    for base in variants:
        models = [variant for variant in variants if variant.base == base.name]
        ways = [(one.settings.prompt_template, one.keep, one.max_new_tokens, one.load_in_4bit) for one in models]
        if others := [model.name for model, way in zip(models, ways, strict=True) if way != ways[0]]:
            like = f"{base.name} has the prompt, the cleaning, the length and the precision of {models[0].name}"
            print(f"{like}; those of {', '.join(others)} are others.")


def share(values: list[str], default: str) -> str:
    """The value that all have, or else the default: what texts are compared by must be the same for all."""
    return values[0] if len(set(values)) == 1 else default
