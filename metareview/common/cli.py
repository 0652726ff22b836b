"""The command line: constants that are flags too, exit statuses, and text that is easy to read in a terminal."""

import os
import re
import signal
import sys
import time
from argparse import SUPPRESS, Action, ArgumentError
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import Field, field, fields
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser
from transformers.utils import logging as transformers_logging

from metareview.common.help import format_help

SILENCE = 60  # seconds that a process waits for the first one of its machine to report a failure of both


class InputError(Exception):
    """A wrong argument or input: shown as it is, without a traceback, with exit status 2."""


def flag(default: Any, *aliases: str, help: str = "", topic: str = "", several: bool = False, **more: Any) -> Any:
    """A field of a dataclass that is a flag; `more` goes to `add_argument`.

    A flag is described once. Where a constant of the script has the name of the flag or of one of its aliases, the
    comment beside the constant is its help; all others are described here. A flag without a constant and without a
    topic is only shown by --help_all. `metareview/help.py` reads these calls in the source.

    With `several` it takes one value or more, and is a list of them; the constant may be edited to one or to a list.
    """
    metadata = {"help": help, "aliases": [f"--{alias}" for alias in aliases], **more}
    if several and default is not None:  # by a factory: of any other default of a list the parser knows nothing
        values = [default] if isinstance(default, str) else list(default)
        return field(default_factory=values.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def flag_names(option: Field) -> list[str]:
    """The name of a flag and its aliases."""
    return [f"--{option.name}", *option.metadata.get("aliases", [])]


class Parser(HfArgumentParser):
    """Fields of a dataclass as flags. A switch that is on by default also has --no_NAME, which says what it does."""

    def add_argument(self, *names: str, **settings: Any) -> Action:
        if settings.get("action") == "store_false":
            settings |= {"help": f"the same as --{settings['dest']} False", "default": SUPPRESS}
            settings = {name: value for name, value in settings.items() if name not in ("nargs", "const")}
        return super().add_argument(*names, **settings)


def parse_flags(dataclass_type: type, script: str | Path) -> Any:
    """An instance of the dataclass from the command line; --help and --help_all print and exit.

    Raises `InputError` for a wrong flag or value.
    """
    parser = Parser(dataclass_type, add_help=False, allow_abbrev=False, exit_on_error=False)
    if {"-h", "--help", "--help_all"} & set(sys.argv[1:]):
        print(format_help(script))
        if "--help_all" in sys.argv:
            print(f"\n{parser.format_help()}")
        sys.exit()
    for argument in sys.argv[1:]:
        if not argument.isascii() and argument != argument.encode(errors="ignore").decode():
            raise InputError(f"not UTF-8, and so not to be written to any file: {argument!r}")
    try:
        arguments, unknown = parser.parse_args_into_dataclasses(return_remaining_strings=True, look_for_args_file=False)
    except (ValueError, ArgumentError) as error:
        raise InputError(str(error)) from error
    if unknown:
        known = [name for option in fields(dataclass_type) for name in flag_names(option)]
        nearest = get_close_matches(unknown[0].partition("=")[0], known, n=1)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise InputError(f"unknown argument: {' '.join(unknown)} ({hint}all flags: {Path(script).name} --help)")
    return arguments


def run(main: Callable[[], None]) -> None:
    """Run a script. Wrong input ends it with status 2, a failure at run time with 1, each told in plain words.

    Of several processes (torchrun, accelerate launch) the first one speaks. Another one waits before it reports a
    failure: where the first one fails too, the launcher ends it meanwhile.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see __init__.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    first, first_here = (os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK"))
    transformers_logging.disable_progress_bar()  # those for loading and saving, which take a moment
    try:
        with redirect_stdout(sys.stdout if first else StringIO()):
            main()
    except (InputError, OSError, FloatingPointError, KeyboardInterrupt) as error:
        if not first_here:
            if isinstance(error, KeyboardInterrupt):
                sys.exit(1)
            time.sleep(SILENCE)
        wrong_input = isinstance(error, InputError)
        message = re.sub(r"hf_[\w.-]+", "hf_...", str(error) or "interrupted")  # a token on the command line
        print(f"{'error' if wrong_input else 'failed'}: {message}", file=sys.stderr)
        sys.exit(2 if wrong_input else 1)


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
    """A duration as a person says it."""
    if round(seconds) < 90:
        return f"{seconds:.0f} s"
    if round(seconds) < 600:
        return "{} min {:02} s".format(*divmod(round(seconds), 60))
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
