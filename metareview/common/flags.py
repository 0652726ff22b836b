"""Flags: the constants of a script, which are flags too; read from the command line, checked, and explained.

Nothing here loads PyTorch or transformers, which takes seconds: help and wrong values are answered at once.
"""

import argparse
import copy
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from importlib import import_module
from io import TextIOWrapper
from itertools import product
from operator import methodcaller
from pathlib import Path
from textwrap import shorten
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin

from metareview.common.cli import InputError, report_failures

OTHER_TOPIC = "Other"
NOTHING = ("None", "", "[]", "()", "['None']", "['']")  # how a value that means None is written
EXPECTED = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", dict: "a JSON dictionary"}
T = TypeVar("T")


def flag(default: Any, *aliases: str, help: str = "", topic: str = OTHER_TOPIC, **rules: Any) -> Any:
    """A field of a dataclass that is a flag; `rules` are `least`, `above` and `below` for numbers, and `choices`.

    If a constant of the script has the name of the field in capitals, the comment beside it is the help of the flag.
    """
    metadata = {"default": default, "aliases": aliases, "help": help, "topic": topic, **rules}
    return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)


@dataclass
class PublishingFlags:
    """What is pushed and to whom; the same in all three scripts."""

    push_to_hub: bool = flag(False, help="push the result to the Hub; needs HF_TOKEN", topic="Publishing")
    hub_user: str | None = flag(None, help="owner on the Hub; default: the user of the token", topic="Publishing")
    hub_private_repo: bool = flag(True, help="reviews are other people's texts; False: public", topic="Publishing")


@dataclass
class Passed:
    """Flags that a script passes on to a library: which names it accepts, and its help."""

    accepts: Callable[[str], bool]
    describe: Callable[[], str]


Run = tuple[dict[str, Any], T]  # one of several runs: what tells it from the others, and all its flags
Kind = tuple[type, bool]  # of the values of a flag: their type, and whether None is one


def start(
    flags_class: type[T],
    script: str,
    passed: Passed | None = None,
    sweep: Callable[[str, list[Run]], int] | None = None,
) -> T:
    """What a script does first: read the command line, and prepare for the libraries that it loads next.

    Where a flag or constant has several values, `sweep` runs the script for each combination, and its status ends the
    process; without `sweep` that is wrong. Wrong flags end the process with status 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # in a log file it may be ASCII or cp1252, which lack many characters
            stream.reconfigure(errors="backslashreplace")
    with report_failures():
        runs = parse_runs(flags_class, script, passed)
        if len(runs) > 1 and sweep is None:
            raise InputError(f"only one value is possible here: {', '.join(f'--{name}' for name in runs[0][0])}")
        if len(runs) > 1:
            sys.exit(sweep(script, runs))
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `run`: inside a library it would end in a traceback
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # on a CPU, PyTorch then asks for huge pages: faster training
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # if installed, it warns users who never asked for it
    for package in ("torchvision", "torchaudio"):  # no text needs them; those of another torch break transformers
        try:
            import_module(package)
        except Exception:  # whatever its libraries raise
            sys.modules[package] = None  # which means: not installed
    return runs[0][1]


def parse_runs(flags_class: type[T], script: str, passed: Passed | None = None) -> list[Run]:
    """The flags of a script, those of the command line before its constants; prints the help and exits for --help.

    A flag or constant may have several values: then there is a run for each combination. Flags that are passed on are
    kept in the field `passed_flags`. Raises `InputError` for a wrong flag or value, be it a constant's.
    """
    arguments, constants = sys.argv[1:], _read_constants(script)
    options = [option for option in fields(flags_class) if option.metadata]
    if {"-h", "--help", "--help_all"} & set(arguments):
        print(_format_help(script, options, constants, "--help_all" in arguments, passed), flush=True)
        sys.exit()
    for argument in arguments:
        if argument != argument.encode(errors="ignore").decode():
            raise InputError(f"not UTF-8, and so cannot be written to any file: {argument!r}")
    kinds = {option.name: _read_kind(option.type) for option in options}
    parser = _Parser(add_help=False, allow_abbrev=False)
    for option in options:
        how_many = "*" if kinds[option.name][0] is bool else "+"
        parser.add_argument(*_list_names(option), dest=option.name, nargs=how_many, default=option.metadata["default"])
    given, unknown = parser.parse_known_args(arguments)
    if unknown:
        _check_unknown(unknown, options, passed, Path(script).name)
    values: dict[str, list[Any]] = {"passed_flags": [unknown]} if passed else {}
    for option in options:
        value, kind = getattr(given, option.name), kinds[option.name]
        is_constant = option.name.upper() in constants
        name = f"{option.name.upper()} (--{option.name})" if is_constant else f"--{option.name}"
        if kind[0] is bool and isinstance(value, list) and not value:  # --bf16
            value = True
        are_several = isinstance(value, list | tuple) and value and kind[0] is not list
        several = value if are_several else [value]
        found = [_read_value(each, kind, option.metadata, name) for each in several]
        values[option.name] = [each for place, each in enumerate(found) if each not in found[:place]]
    swept = [name for name, found in values.items() if len(found) > 1]
    combinations = [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]
    return [({name: chosen[name] for name in swept}, flags_class(**chosen)) for chosen in combinations]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise InputError(message.removeprefix("argument "))


def _list_names(option: Field) -> list[str]:
    """The name of a flag and its aliases."""
    return [f"--{name}" for name in (option.name, *option.metadata["aliases"])]


def _read_kind(hint: Any) -> Kind:
    """What the type of a field says, such as `list[str] | None`: `list`, and that None is possible."""
    parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    [target] = [get_origin(part) or part for part in parts if part is not NoneType]
    return target, NoneType in parts


def _check_unknown(unknown: list[str], options: list[Field], passed: Passed | None, script: str) -> None:
    """Raise `InputError` for a flag that is neither the script's nor passed on."""
    wrong = unknown
    if passed and unknown[0].startswith("-"):  # else it is a value without a flag
        names = [argument for argument in unknown if re.match("-+[^-0-9.]", argument)]
        wrong = [name for name in names if not passed.accepts(name.partition("=")[0].lstrip("-"))]
    if not wrong:
        return
    known = [name for option in options for name in _list_names(option)]
    nearest = get_close_matches(wrong[0].partition("=")[0], known, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise InputError(f"unknown argument: {' '.join(wrong)} ({hint}all flags: {script} --help)")


def _read_value(value: Any, kind: Kind, rules: Mapping[str, Any], name: str) -> Any:
    """The value of a constant, or of a flag as text, in the type of its field. Raises `InputError`."""
    target, may_be_none = kind
    if may_be_none and str(value) in NOTHING:
        return None
    if target is list:
        values = value if isinstance(value, list | tuple) else [value]
        return [_read_value(each, (str, False), rules, name) for each in values]
    result = _convert(value, target)
    if result is None:
        broken_rule = f"{EXPECTED[target]} or None" if may_be_none else EXPECTED[target]
    else:
        broken_rule = _find_broken_rule(result, rules)
    if broken_rule:
        raise InputError(f"{name} must be {broken_rule}, got {shorten(repr(value), 200)}")
    return result


def _convert(value: Any, target: type) -> Any:
    """A value as a type that a flag can have; None if it is not of that type."""
    if target is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        return words.get(str(value).lower())
    try:
        if target in (int, float):
            number = target(value) + 0  # which makes 0.0 of -0.0
            is_same = isinstance(value, str) or (number == value and not isinstance(value, bool))
            return number if is_same else None
        if target is dict:  # as JSON keeps it in the record of a run; a number of numpy becomes one of Python
            value = json.loads(value if isinstance(value, str) else json.dumps(value, default=methodcaller("item")))
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None
    if target is str and isinstance(value, Path):
        value = str(value)
    return value if isinstance(value, target) and value != "" else None


def _find_broken_rule(value: Any, rules: Mapping[str, Any]) -> str:
    """What a value must be by the rules of its flag, if it is not that."""
    if "least" in rules and not rules["least"] <= value < float("inf"):
        return f"at least {rules['least']}"
    if "above" in rules and not rules["above"] < value < float("inf"):
        return f"greater than {rules['above']}"
    if "below" in rules and value >= rules["below"]:
        return f"less than {rules['below']:,}"
    if "choices" in rules and value not in rules["choices"]:
        return "one of " + ", ".join(rules["choices"])
    return ""


def _read_constants(script: str | Path) -> dict[str, tuple[str, str]]:
    """Topic and comment of each constant at the top of a script; a line of comment begins a topic."""
    constants: dict[str, tuple[str, str]] = {}
    topic = OTHER_TOPIC
    for line in Path(script).read_text(encoding="utf-8").splitlines():
        if re.match(r"@|class |def ", line):
            break
        title, constant = re.match(r"# (.+)", line), re.match(r"([A-Z][A-Z0-9_]+) = (.*)", line)
        if title:
            topic = title[1]
        elif constant:
            constants[constant[1]] = topic, constant[2].partition("  # ")[2]
    return constants


def _format_help(
    script: str, options: list[Field], constants: dict[str, tuple[str, str]], all_names: bool, passed: Passed | None
) -> str:
    """The docstring of a script, which has its commands, and its flags by topic, those of constants first."""
    topics: dict[str, list[tuple[str, str]]] = {}
    for option in sorted(options, key=lambda option: option.name.upper() not in constants):
        about = option.metadata
        topic, text = constants.get(option.name.upper(), (about["topic"], about["help"]))
        names = _list_names(option) if all_names else [f"--{option.name}"]
        if about["default"] is not None and about["default"] is not False:
            text += f" [{shorten(str(about['default']), 40)}]"
        topics.setdefault(topic, []).append((" ".join(names), text))
    width = max(len(names) for lines in topics.values() for names, _ in lines)
    parts = [Path(script).read_text(encoding="utf-8").split('"""')[1].strip()]
    for topic, lines in topics.items():
        parts.append("\n".join([f"{topic}:", *(f"  {names:{width}}  {text}" for names, text in lines)]))
    if not all_names:
        parts.append(f"Other names of these flags, and a library's that are passed on: {Path(script).name} --help_all")
    elif passed:
        parts.append(passed.describe())
    return "\n\n".join(parts)
