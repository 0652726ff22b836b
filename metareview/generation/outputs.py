"""Outputs: the texts that a model has written, in a log as they are written, and what they were written with."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from metareview.common.model import find_adapter_base, find_model_revision, hash_weights
from metareview.generation.variants import Variant


@dataclass
class Output:
    """What a model wrote for a case."""

    text: str
    stopped: bool  # it ended on its own: with the end token
    tokens: int  # generated, with the end token
    precision: str = ""  # the number format that it was computed in


def describe_decoding(variant: Variant) -> str:
    """How the texts of a model are generated, in words for the log of runs."""
    method, *rules = variant.decoding.describe()
    bits = "4-bit weights" if variant.load_in_4bit else ""
    return ", ".join(filter(None, [method, f"{variant.max_new_tokens} tokens", variant.precision, bits, *rules]))


def identify(name: str) -> list[Any]:
    """What distinguishes the weights of a model: a hash, or a commit on the Hub; and the same of an adapter's base."""
    weights = hash_weights(Path(name)) if Path(name).exists() else f"{name}@{find_model_revision(name)}"
    base = find_adapter_base(name)
    return [weights, *(identify(base) if base else ())]


def read_outputs(log: Path) -> dict[str, Output]:
    """The outputs that earlier runs put into the log, by their keys; a damaged line is skipped."""
    outputs = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else ():
        with suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            outputs[row["key"]] = Output(row["text"], row["stopped"], row["tokens"], row.get("precision", ""))
    return outputs


def open_log(log: Path) -> TextIO:
    """The log, open for further lines; an incomplete last one of an interrupted run is ended."""
    is_incomplete = log.exists() and log.read_bytes()[-1:] not in (b"\n", b"")
    file = log.open("a", encoding="utf-8")
    file.write("\n" if is_incomplete else "")
    return file
