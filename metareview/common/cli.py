"""The command line: constants that are flags too, exit statuses, and text that is easy to read in a terminal.

Nothing here loads PyTorch or transformers, which takes seconds: help, wrong values and missing files are answered at
once, in the words of the constant that the user edits.
"""

import argparse
import codecs
import copy
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from importlib import import_module
from io import StringIO
from pathlib import Path
from textwrap import shorten
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

SILENCE = 60  # seconds that a process waits for the first one of its machine to report a failure of both
OTHER_TOPIC = "Other"
FILE_SUFFIXES = (".csv", ".tsv", ".xlsx", ".json", ".jsonl", ".parquet", ".txt")  # unlike a folder or a Hub id
EXPECTED = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", dict: "a dictionary"}
T = TypeVar("T")


class InputError(Exception):
    """A wrong argument or input: shown as it is, without a traceback, with exit status 2."""


def flag(default: Any, *aliases: str, help: str = "", topic: str = "", **rules: Any) -> Any:
    """A field of a dataclass that is a flag.

    Where a constant of the script has the name of the field in capitals, the comment beside the constant is its help;
    all others are described here, and shown by --help if they have a topic. `rules` are `least`, `above` and `below`
    for numbers, and `choices`.
    """
    metadata = {"is_flag": True, "aliases": aliases, "help": help, "topic": topic, **rules}
    if isinstance(default, list | dict):
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
    """Flags that a script passes on to a library: which names those are, and what the library says of them."""

    accepts: Callable[[str], bool]
    describe: Callable[[], str]


@dataclass
class _Constant:
    """A constant at the top of a script: the topic it stands under and the comment beside it, if there is one."""

    topic: str
    comment: str


def start(flags_class: type[T], script: str, passed: Passed | None = None) -> T:
    """What a script does first: read the command line, and prepare for the libraries that it loads next.

    A torchvision of another torch, as on Colab after a new torch, does not load, and then transformers doesn't either.
    No text needs it. Wrong flags end the process with status 2.
    """
    with _report_failures():
        flags = parse_flags(flags_class, script, passed)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `run`: inside a library it would end in a traceback
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # on a CPU, PyTorch then asks for huge pages: faster training
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # if installed, it warns users who never asked for it
    for package in ("torchvision", "torchaudio"):
        try:
            import_module(package)
        except Exception:  # whatever its libraries raise
            sys.modules[package] = None  # which means: not installed
    return flags


def parse_flags(flags_class: type[T], script: str, passed: Passed | None = None) -> T:
    """An instance of a dataclass of flags from the command line; --help and --help_all print and exit.

    Flags that are passed on are kept, as they are, in the field `passed_flags`. Raises `InputError` for a wrong flag, a
    wrong value, be it a constant's, or a missing file.
    """
    arguments, constants = sys.argv[1:], _read_constants(script)
    options = [option for option in fields(flags_class) if option.metadata.get("is_flag")]
    if {"-h", "--help", "--help_all"} & set(arguments):
        print(_format_help(script, options, constants, all_names="--help_all" in arguments))
        if passed and "--help_all" in arguments:
            print(f"\n{passed.describe()}")
        sys.exit()
    for argument in arguments:
        if not argument.isascii() and argument != argument.encode(errors="ignore").decode():
            raise InputError(f"not UTF-8, and so cannot be written to any file: {argument!r}")
    types = get_type_hints(flags_class)
    given, unknown = _build_parser(options, types).parse_known_args(arguments)
    if unknown:
        _check_unknown(unknown, options, passed, Path(script).name)
    values = {"passed_flags": unknown} if passed else {}
    for option in options:
        default = option.default_factory() if callable(option.default_factory) else option.default
        name = f"--{option.name}"
        if option.name.upper() in constants:
            name = f"{option.name.upper()} ({name})"
        values[option.name] = _read_value(getattr(given, option.name, default), types[option.name], option, name)
    return flags_class(**values)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise InputError(message.removeprefix("argument "))


def _build_parser(options: list[Field], types: dict[str, Any]) -> argparse.ArgumentParser:
    """A parser that takes texts only: they are read as the values of constants are."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    for option in options:
        how: dict[str, Any] = {}
        if bool in (types[option.name], *get_args(types[option.name])):
            how = {"nargs": "?", "const": "True"}
        elif _find_item_type(types[option.name]):
            how = {"nargs": "+"}
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
    wrong = [argument for argument in unknown if argument.startswith("-") and not re.match(r"-[\d.]", argument)]
    wrong = wrong if unknown[0].startswith("-") else unknown  # a value without a flag
    if passed:
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
    if NoneType in parts and value in (None, "None", ["None"]):
        return None
    item = _find_item_type(kind)
    if item:
        values = value if isinstance(value, list | tuple) else [value]
        return [_read_value(one, item, option, name) for one in values]
    [target] = [part for part in parts if part is not NoneType]
    converted = _convert(value, get_origin(target) or target)
    if converted is None:
        several = ", and only one" if isinstance(value, list | tuple) else ""
        expected = EXPECTED[get_origin(target) or target] + (" or None" if NoneType in parts else "")
        raise InputError(f"{name} must be {expected}{several}, got {value!r}")
    _check_rules(converted, option.metadata, name)
    return converted


def _convert(value: Any, target: type) -> Any:
    """A value as a type that a flag can have; None where it is not of that type."""
    if target is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        return value if isinstance(value, bool) else words.get(str(value).lower())
    if target in (int, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value) if target is float else int(value)
        except (ValueError, OverflowError):
            return None
        return number if isinstance(value, str) or number == value else None
    if target is dict and isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, target) and not isinstance(value, bool) else None


def _check_rules(value: Any, rules: Any, name: str) -> None:
    """Raise `InputError` where a value is not within the rules of its flag."""
    expected = ""
    if "least" in rules and not rules["least"] <= value < float("inf"):
        expected = f"at least {rules['least']}"
    elif "above" in rules and not rules["above"] < value < float("inf"):
        expected = f"greater than {rules['above']}"
    elif "below" in rules and value >= rules["below"]:
        expected = f"less than {rules['below']:,}"
    elif "choices" in rules and value not in rules["choices"]:
        expected = "one of " + ", ".join(map(str, rules["choices"]))
    if expected:
        raise InputError(f"{name} must be {expected}, got {value!r}")


def _read_constants(script: str | Path) -> dict[str, _Constant]:
    """The constants at the top of a script, by name. A line of comment begins a topic; the first class ends them."""
    constants: dict[str, _Constant] = {}
    topic = OTHER_TOPIC
    for line in Path(script).read_text(encoding="utf-8").splitlines():
        if re.match(r"@|class |def ", line):
            break
        title, constant = re.match(r"# (.+)", line), re.match(r"([A-Z][A-Z0-9_]+) = (.*)", line)
        if title:
            topic = title[1]
        elif constant:
            constants[constant[1]] = _Constant(topic, constant[2].partition("  # ")[2])
    return constants


def _format_help(script: str, options: list[Field], constants: dict[str, _Constant], all_names: bool) -> str:
    """The docstring of a script, which has its commands, and its flags by topic, those of constants first."""
    by_name = {option.name: option for option in options}
    described = [
        (constant.topic, by_name[name.lower()], constant.comment)
        for name, constant in constants.items()
        if name.lower() in by_name
    ]
    others = [option for option in options if option.name.upper() not in constants]
    described += [(option.metadata["topic"] or OTHER_TOPIC, option, option.metadata["help"]) for option in others]
    topics: dict[str, list[tuple[str, str]]] = {}
    for topic, option, text in described:
        default = "" if option.default in (None, False) or callable(option.default_factory) else option.default
        names = " ".join(_list_names(option)) if all_names else f"--{option.name}"
        text += f" [{shorten(str(default), 40)}]" if default != "" else ""
        topics.setdefault(topic, []).append((names, text))
    width = max(len(names) for lines in topics.values() for names, _ in lines)
    source = Path(script).read_text(encoding="utf-8")
    parts = [source.split('"""')[1].strip()]
    for topic, lines in topics.items():
        parts.append("\n".join([f"{topic}:", *(f"  {names:{width}}  {text}" for names, text in lines)]))
    if not all_names:
        parts.append(f"Other names of these flags, and a library's that are passed on: {Path(script).name} --help_all")
    return "\n\n".join(parts)


def run(main: Callable[..., None], *given: Any) -> None:
    """Run a script with its flags. Wrong input ends it with status 2, a failure at run time with 1, in plain words.

    Of several processes (torchrun, accelerate launch) the first one speaks.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see `start`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    is_first = os.environ.get("RANK", "0") == "0"
    with _report_failures(), redirect_stdout(sys.stdout if is_first else StringIO()):
        main(*given)


@contextmanager
def _report_failures() -> Iterator[None]:
    """End the process with one line and a status where something fails that a user can do something about.

    Of several processes on a machine, another than the first waits before it reports: where the first one fails too,
    the launcher ends it meanwhile.
    """
    try:
        yield
    except (InputError, OSError, FloatingPointError, KeyboardInterrupt) as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            if isinstance(error, KeyboardInterrupt):
                sys.exit(1)
            time.sleep(SILENCE)
        is_wrong_input = isinstance(error, InputError)
        message = re.sub(r"hf_[\w.-]+", "hf_...", str(error) or "interrupted")  # a token on the command line
        print(f"{'error' if is_wrong_input else 'failed'}: {message}", file=sys.stderr)
        sys.exit(2 if is_wrong_input else 1)


def check_file(value: str, name: str) -> None:
    """Raise `InputError` where a value that is the name of a file, by its ending, names none; `name` is the flag's."""
    is_file = Path(value).suffix.lower() in FILE_SUFFIXES and "://" not in value
    if is_file and not Path(value).exists():
        raise InputError(f"there is no file {value!r}: {name}")


def check_encoding(encoding: str) -> None:
    """Raise `InputError` for an encoding of text files that Python does not know."""
    try:
        codecs.lookup(encoding)
    except (LookupError, ValueError) as error:
        raise InputError(
            f"ENCODING (--encoding) {encoding!r} is unknown; utf-8, utf-16 and cp1252 are common"
        ) from error


def format_table(table: list[list[Any]]) -> str:
    """Rows, the first of which is the header, as a Markdown table that is also easy to read as it is."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    texts.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    lines = [[first.ljust(widths[0]), *map(str.rjust, others, widths[1:])] for first, *others in texts]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_count(number: float, noun: str) -> str:
    """A number of things: 1 step, 1,200 steps, 0.5 epochs."""
    return f"{f'{number:,}' if isinstance(number, int) else f'{number:g}'} {noun}{'' if number == 1 else 's'}"


def format_bytes(number: float) -> str:
    """A size in GB (1e9 bytes), in MB below one."""
    return f"{number / 1e9:.1f} GB" if number > 1e9 else f"{number / 1e6:.0f} MB"


def format_seconds(seconds: float) -> str:
    """A duration in seconds, minutes or hours."""
    if round(seconds) < 90:
        return f"{seconds:.0f} s"
    if round(seconds) < 600:
        return "{} min {:02} s".format(*divmod(round(seconds), 60))
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
