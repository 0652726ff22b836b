"""Who imports what: scripts from metareview, its modules from those below them, nobody what requirements.txt lacks."""

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from conftest import ROOT, SCRIPTS
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FLOORS = {"common": 0, "data": 1, "sources": 2, "training": 2, "generation": 2, "scoring": 3, "workbook": 4}
FLOORS["scripts"] = 5


def find_room(name: str) -> str:
    """The folder that a module is in; `scripts` for a script."""
    return name.split(".")[1] if name.startswith("metareview.") else "scripts"


PATHS = [*map(ROOT.joinpath, SCRIPTS), *(ROOT / "metareview").glob("*/*.py")]
FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in PATHS}  # by the names of modules


def find_imports(path: Path, everywhere: bool = True) -> set[str]:
    """The full names of all that a file imports, inside functions too unless `everywhere` is False."""
    tree, names = ast.parse(path.read_text(encoding="utf-8")), set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules = {f"{node.module}.{alias.name}" for alias in node.names} & FILES.keys()
            names |= modules or {node.module}
    return names


def test_a_file_imports_from_its_own_floor_and_those_below() -> None:
    """Training knows no raw data, nothing knows the scripts; the rooms of one floor do not know each other."""
    for name, path in FILES.items():
        rooms = {find_room(module) for module in find_imports(path) & FILES.keys()} - {find_room(name)}
        assert all(FLOORS[room] < FLOORS[find_room(name)] for room in rooms), name


def read_lines(name: str) -> list[str]:
    """The lines of a list of requirements that name one."""
    return [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]


def test_what_is_imported_is_in_the_requirements_and_locked_within_them() -> None:
    """At the top of a file: what is imported inside a function is asked for if it is missing."""
    requirements = {canonicalize_name(line.name): line for line in map(Requirement, read_lines("requirements.txt"))}
    distributions = packages_distributions()
    top = {name.partition(".")[0] for path in FILES.values() for name in find_imports(path, everywhere=False)}
    for name in top - sys.stdlib_module_names - {"metareview"}:
        assert requirements.keys() & set(map(canonicalize_name, distributions[name])), name
    locked = dict(line.split("==") for line in read_lines("constraints.txt"))
    for name, version in locked.items():
        requirement = requirements.pop(canonicalize_name(name), None)
        assert requirement is None or version in requirement.specifier
    assert not requirements
