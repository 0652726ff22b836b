"""`--help`, read from the source of a script: nothing needs to be loaded for it, and it appears at once."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Any

PACKAGE = Path(__file__).resolve().parent.parent
OTHER_TOPIC = "Other"


@dataclass
class Constant:
    """A constant at the top of a script: the topic it stands under and the comment beside it."""

    topic: str
    comment: str


@dataclass
class Flag:
    """A flag of ours as `cli.flag` is told about it: all its names, its own first."""

    names: list[str]
    default: Any
    help: str
    topic: str


def read_constants(script: str | Path) -> dict[str, Constant]:
    """The constants at the top of a script, by name. A line of comment begins a topic; the first class ends them."""
    constants: dict[str, Constant] = {}
    topic = OTHER_TOPIC
    for line in Path(script).read_text(encoding="utf-8").splitlines():
        if re.match(r"@|class |def ", line):
            break
        if title := re.match(r"# (.+)", line):
            topic = title[1]
        elif constant := re.match(r"([A-Z][A-Z0-9_]+) = .*  # (.+)", line):
            constants[constant[1]] = Constant(topic, constant[2])
    return constants


@cache
def parse(path: Path) -> ast.Module:
    """A file of Python as a tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def find_import(name: str, tree: ast.Module) -> ast.Module | None:
    """The module of ours that a file imports a name from; None where it does not."""
    for node in tree.body:
        is_ours = isinstance(node, ast.ImportFrom) and (node.module or "").startswith("metareview.")
        if is_ours and name in [alias.name for alias in node.names]:
            return parse(PACKAGE.joinpath(*node.module.split(".")[1:]).with_suffix(".py"))
    return None


def evaluate(node: ast.expr, tree: ast.Module) -> Any:
    """The value of a literal or a constant, which may be imported; of anything else, its text."""
    if isinstance(node, ast.BoolOp):  # CONSTANT or None
        return evaluate(node.values[0], tree) or evaluate(node.values[1], tree)
    if isinstance(node, ast.Name):
        for statement in tree.body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == node.id:
                return evaluate(statement.value, tree)
        if elsewhere := find_import(node.id, tree):
            return evaluate(node, elsewhere)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def read_flags(class_name: str, tree: ast.Module) -> dict[str, Flag]:
    """The flags of ours that a class of a file has, by the names of its fields; those of its bases come first."""
    definition = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name), None)
    if definition is None:
        elsewhere = find_import(class_name, tree)
        return read_flags(class_name, elsewhere) if elsewhere else {}  # TrainingArguments: --help_all has them
    flags = {}
    for base in reversed(definition.bases):
        flags |= read_flags(ast.unparse(base), tree)
    for node in definition.body:
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.value, ast.Call)
            and ast.unparse(node.value.func) == "flag"
        ):
            default, *aliases = (evaluate(argument, tree) for argument in node.value.args)
            told = {word.arg: word.value for word in node.value.keywords if word.arg in ("help", "topic")}
            told = {name: evaluate(value, tree) for name, value in told.items()}
            names = [f"--{name}" for name in (ast.unparse(node.target), *aliases)]
            flags[names[0]] = Flag(names, default, told.get("help", ""), told.get("topic", ""))
    return flags


def describe_flags(flags: list[Flag], constants: dict[str, Constant]) -> dict[str, list[tuple[str, str]]]:
    """Names and texts of the project's own flags by topic: those of constants in their order, then the others."""
    by_name = {name: flag for flag in flags for name in flag.names}
    described: list[tuple[str, str, str, Flag]] = []
    for name, constant in constants.items():
        flag_name = f"--{name.lower()}"
        if flag_name in by_name:
            described.append((constant.topic, flag_name, constant.comment, by_name[flag_name]))
    shown = [flag for *_, flag in described]
    described += [(flag.topic, flag.names[0], flag.help, flag) for flag in flags if flag.topic and flag not in shown]
    topics: dict[str, list[tuple[str, str]]] = {}
    for topic, name, text, flag in described:
        default = "" if flag.default in (None, False) else f" [{shorten(str(flag.default), 40)}]"
        topics.setdefault(topic, []).append((name, text + default))
    return topics


def format_help(script: str | Path) -> str:
    """The docstring of a script, which has its commands, and the project's own flags, a line each."""
    tree = parse(Path(script).resolve())
    arguments = next(node.name for node in tree.body if isinstance(node, ast.ClassDef))
    topics = describe_flags(list(read_flags(arguments, tree).values()), read_constants(script))
    width = max(len(name) for lines in topics.values() for name, _ in lines)
    parts = [ast.get_docstring(tree)]
    for topic, lines in topics.items():
        parts.append("\n".join([f"{topic}:", *(f"  {name:{width}}  {text}" for name, text in lines)]))
    parts.append(f"Other names of these flags, and the Trainer's: python {Path(script).name} --help_all")
    return "\n\n".join(parts)
