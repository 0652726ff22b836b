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
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from itertools import product
from operator import methodcaller
from pathlib import Path
from textwrap import shorten
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from metareview.common.cli import InputError, report_failures

OTHER_TOPIC = "Other"
NOTHING = ("None", "", "[]", "()", "['None']", "['']")  # how a value that means None is written
EXPECTED = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", dict: "a JSON dictionary"}
T = TypeVar("T")


def flag(default: Any, *aliases: str, help: str = "", topic: str = "", **rules: Any) -> Any:
    """A field of a dataclass that is a flag; `rules` are `least`, `above` and `below` for numbers, and `choices`.

    If a constant of the script has the name of the field in capitals, the comment beside it is the help of the flag.
    """
    metadata = {"is_flag": True, "aliases": aliases, "help": help, "topic": topic, **rules}
    if type(default).__hash__ is None:  # it can be changed, as a list can
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


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
        runs = parse_runs(flags_class, script, passed, several=sweep is not None)
        if len(runs) > 1:
            sys.exit(sweep(script, runs))
    [(_, flags)] = runs
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `run`: inside a library it would end in a traceback
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # on a CPU, PyTorch then asks for huge pages: faster training
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # if installed, it warns users who never asked for it
    for package in ("torchvision", "torchaudio"):  # no text needs them; those of another torch break transformers
        try:
            import_module(package)
        except Exception:  # whatever its libraries raise
            sys.modules[package] = None  # which means: not installed
    return flags


def parse_flags(flags_class: type[T], script: str, passed: Passed | None = None) -> T:
    """The flags of a script that has one value for each; see `parse_runs`."""
    [(_, flags)] = parse_runs(flags_class, script, passed)
    return flags


def parse_runs(flags_class: type[T], script: str, passed: Passed | None = None, several: bool = False) -> list[Run]:
    """An instance of a dataclass of flags from the command line; --help and --help_all print and exit.

    With `several`, a flag or constant may have a list of values: then there is one for each combination. Flags that are
    passed on are kept in the field `passed_flags`. Raises `InputError` for a wrong flag or value, be it a constant's.
    """
    arguments, constants = sys.argv[1:], _read_constants(script)
    options = [option for option in fields(flags_class) if option.metadata.get("is_flag")]
    if {"-h", "--help", "--help_all"} & set(arguments):
        all_names = "--help_all" in arguments
        print(_format_help(script, options, constants, all_names), flush=True)
        if passed and all_names:
            print(f"\n{passed.describe()}", flush=True)
        sys.exit()
    for argument in arguments:
        if not argument.isascii() and argument != argument.encode(errors="ignore").decode():
            raise InputError(f"not UTF-8, and so cannot be written to any file: {argument!r}")
    types = get_type_hints(flags_class)
    given, unknown = _build_parser(options, types, several).parse_known_args(arguments)
    if unknown:
        _check_unknown(unknown, options, passed, Path(script).name)
    values: dict[str, list[Any]] = {"passed_flags": [unknown]} if passed else {}
    for option in options:
        default = option.default_factory() if callable(option.default_factory) else option.default
        name = f"--{option.name}"
        if option.name.upper() in constants:
            name = f"{option.name.upper()} ({name})"
        read = partial(_read_value, kind=types[option.name], option=option, name=name)
        value = getattr(given, option.name, default)
        value = True if several and value == [] and option.name in given else value  # --bf16
        is_list = several and isinstance(value, list | tuple) and value and not _find_item_type(types[option.name])
        found = [read(each) for each in (value if is_list else [value])]
        values[option.name] = [each for place, each in enumerate(found) if each not in found[:place]]
    swept = [name for name, found in values.items() if len(found) > 1]
    combinations = [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]
    return [({name: chosen[name] for name in swept}, flags_class(**chosen)) for chosen in combinations]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise InputError(message.removeprefix("argument "))


def _build_parser(options: list[Field], types: dict[str, Any], several: bool) -> argparse.ArgumentParser:
    """A parser that takes texts only, of each flag one or `several`: they are read as the values of constants are."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    for option in options:
        how: dict[str, Any] = {"nargs": "+"} if several or _find_item_type(types[option.name]) else {}
        if bool in (types[option.name], *get_args(types[option.name])):
            how = {"nargs": "*"} if several else {"nargs": "?", "const": "True"}
        parser.add_argument(*_list_names(option), dest=option.name, default=argparse.SUPPRESS, **how)
    return parser


def _list_names(option: Field) -> list[str]:
    """The name of a flag and its aliases."""
    return [f"--{name}" for name in (option.name, *option.metadata["aliases"])]


def _find_item_type(kind: Any) -> Any:
    """The type of the items where a flag takes several, such as `str` for `list[str] | None`; else None."""
    lists = [part for part in (kind, *get_args(kind)) if get_origin(part) is list]
    return get_args(lists[0])[0] if lists else None


def _check_unknown(unknown: list[str], options: list[Field], passed: Passed | None, script: str) -> None:
    """Raise `InputError` for a flag that is neither the script's nor passed on."""
    wrong = [argument for argument in unknown if re.match("-+[^-0-9.]", argument)]
    if not unknown[0].startswith("-"):
        wrong = unknown  # a value without a flag
    elif passed:
        wrong = [argument for argument in wrong if not passed.accepts(argument.partition("=")[0].lstrip("-"))]
    if not wrong:
        return
    known = [name for option in options for name in _list_names(option)]
    nearest = get_close_matches(wrong[0].partition("=")[0], known, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    raise InputError(f"unknown argument: {' '.join(wrong)} ({hint}all flags: {script} --help)")


def _read_value(value: Any, kind: Any, option: Field, name: str) -> Any:
    """The value of a constant, or of a flag as text, in the type of its field. Raises `InputError`."""
    parts = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if NoneType in parts and str(value) in NOTHING:
        return None
    if item := _find_item_type(kind):
        values = value if isinstance(value, list | tuple) else [value]
        return [_read_value(one, item, option, name) for one in values]
    [target] = [get_origin(part) or part for part in parts if part is not NoneType]
    converted = _convert(value, target)
    if converted is None:
        expected = EXPECTED[target] + (" or None" if NoneType in parts else "")
    else:
        value, expected = converted, _find_broken_rule(converted, option.metadata)
    if expected:
        raise InputError(f"{name} must be {expected}, got {shorten(repr(value), 200)}")
    return value


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


def _find_broken_rule(value: Any, rules: Any) -> str:
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


def _format_help(script: str, options: list[Field], constants: dict[str, tuple[str, str]], all_names: bool) -> str:
    """The docstring of a script, which has its commands, and its flags by topic, those of constants first."""
    topics: dict[str, list[tuple[str, str]]] = {}
    for option in sorted(options, key=lambda option: option.name.upper() not in constants):
        without = option.metadata["topic"] or OTHER_TOPIC, option.metadata["help"]
        topic, text = constants.get(option.name.upper(), without)
        names = _list_names(option) if all_names else [f"--{option.name}"]
        if not any(option.default is nothing for nothing in (None, False, MISSING)):
            text += f" [{shorten(str(option.default), 40)}]"
        topics.setdefault(topic, []).append((" ".join(names), text))
    width = max(len(names) for lines in topics.values() for names, _ in lines)
    parts = [Path(script).read_text(encoding="utf-8").split('"""')[1].strip()]
    for topic, lines in topics.items():
        parts.append("\n".join([f"{topic}:", *(f"  {names:{width}}  {text}" for names, text in lines)]))
    if not all_names:
        parts.append(f"Other names of these flags, and a library's that are passed on: {Path(script).name} --help_all")
    return "\n\n".join(parts)
