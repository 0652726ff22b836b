"""The command line: exit statuses, failures in a line, and text that is easy to read in a terminal."""

import codecs
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

SILENCE = 60  # seconds that a process waits for the first one of its machine to report a failure of both
BROKEN_PIPE = 141  # the exit status of a process that the signal SIGPIPE ends
FILE_SUFFIXES = (".csv", ".tsv", ".xlsx", ".json", ".jsonl", ".parquet", ".txt")  # unlike a folder or a Hub id


class InputError(Exception):
    """A wrong argument or input: shown as it is, without a traceback, with exit status 2."""


def run(main: Callable[..., None], *given: Any) -> None:
    """Run a script with its flags; of several processes (torchrun, accelerate launch) the first one speaks."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see `start`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    is_first = os.environ.get("RANK", "0") == "0"
    with report_failures(), redirect_stdout(sys.stdout if is_first else StringIO()):
        main(*given)


@contextmanager
def report_failures() -> Iterator[None]:
    """End the process with one line and a status: 2 for wrong input, 1 for what else a user can do something about.

    Of several processes on a machine, the others wait: if the first one fails too, the launcher ends them meanwhile.
    """
    try:
        yield
        print(end="", flush=True)
    except BrokenPipeError:  # whoever read the output has ended, as `head` does: so does a script, and says nothing
        for descriptor in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        sys.exit(BROKEN_PIPE)
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
    """Raise `InputError` if a value ends like the name of a file and there is no such file; `name` is the flag's."""
    is_file = Path(value).suffix.lower() in FILE_SUFFIXES and "://" not in value
    if is_file and not Path(value).exists():
        raise InputError(f"there is no file {value!r}: {name}")


def check_encoding(encoding: str) -> None:
    """Raise `InputError` for an encoding of text files that Python does not know."""
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        common = "utf-8, utf-16 and cp1252 are common"
        raise InputError(f"ENCODING (--encoding) {encoding!r} is unknown; {common}") from error


def format_table(table: list[list[Any]]) -> str:
    """Rows, the first of which is the header, as a Markdown table that is also easy to read as it is."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    texts.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    lines = [[first.ljust(widths[0]), *map(str.rjust, others, widths[1:])] for first, *others in texts]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_count(number: float, noun: str) -> str:
    """A number of things: 1 step, 1,200 steps, 0.5 epochs."""
    text = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{text} {noun}" if number == 1 else f"{text} {noun}s"


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
