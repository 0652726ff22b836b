"""What can be said before PyTorch and transformers are loaded, which takes seconds: that a file is missing."""

import ast
from pathlib import Path

from metareview.common.help import parse, read_flags

FILES = ("--dataset_name", "--test_cases", "--reviews")  # flags that take files, some of them other things too
SUFFIXES = (".csv", ".tsv", ".xlsx", ".json", ".jsonl", ".parquet", ".txt")  # by which a file is told from these


def find_missing(script: Path, arguments: list[str]) -> str | None:
    """What is wrong with the first file on a script's command line that is not there; None where all are."""
    tree = parse(script)
    own = next(node.name for node in tree.body if isinstance(node, ast.ClassDef))
    names = {name: flag.names[0] for flag in read_flags(own, tree).values() for name in flag.names}
    given = ""
    for argument in arguments:
        value = argument
        if argument.startswith("--"):
            given, _, value = argument.partition("=")
        is_file = names.get(given) in FILES and Path(value).suffix.lower() in SUFFIXES and "://" not in value
        if is_file and not Path(value).exists():
            return f"there is no file {value!r} ({given})"
    return None
