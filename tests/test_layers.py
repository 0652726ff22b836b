"""Who imports what: scripts from metareview, its modules from those below them, nobody what requirements.txt lacks."""

import ast
import re
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from conftest import ROOT, SCRIPTS
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MODULES = sorted((ROOT / "metareview").glob("*/*.py"))
SOURCES = [ROOT / script for script in SCRIPTS] + MODULES
FLOORS = {
    "common": 0,
    "data": 1,
    "sources": 2,
    "training": 2,
    "generation": 2,
    "scoring": 3,
    "workbook": 4,
    "scripts": 5,
}


def name_module(path: Path) -> str:
    """The name by which a file is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def find_room(name: str) -> str:
    """The folder that a module is in; `scripts` for a script."""
    return name.split(".")[1] if name.startswith("metareview.") else "scripts"


NAMES = {name_module(path) for path in SOURCES}


def find_imports(path: Path, everywhere: bool = True) -> set[str]:
    """The full names of all that a file imports, inside functions too unless `everywhere` is False."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports by a relative name in line {node.lineno}"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & NAMES or {node.module}
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name_module)
def test_a_file_imports_from_its_own_floor_and_those_below(path: Path) -> None:
    """Training knows no raw data, nothing knows the scripts; the rooms of one floor do not know each other."""
    room = find_room(name_module(path))
    rooms = {find_room(name) for name in find_imports(path) & NAMES} - {room}
    assert all(FLOORS[other] < FLOORS[room] for other in rooms)


def test_imports_run_one_way() -> None:
    """Raises `CycleError` where two modules need one another."""
    needs = {name_module(path): find_imports(path) & NAMES - {name_module(path)} for path in MODULES}
    assert set(TopologicalSorter(needs).static_order()) == {name_module(path) for path in MODULES}


def test_there_are_three_scripts() -> None:
    assert sorted(path.name for path in ROOT.glob("*.py")) == sorted(SCRIPTS)


def test_what_is_imported_is_in_the_requirements() -> None:
    """At the top of a file: what is imported inside a function is asked for where it is missing."""
    named = re.findall(r"^[\w.-]+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    required = {name.replace("_", "-").lower() for name in named}
    distributions, missing = packages_distributions(), []
    top = {name.partition(".")[0] for path in SOURCES for name in find_imports(path, everywhere=False)}
    for name in sorted(top - sys.stdlib_module_names - {"metareview"}):
        known = {distribution.replace("_", "-").lower() for distribution in distributions.get(name, ())}
        if not known & required:
            missing.append(name)
    assert not missing, f"imported, and not in requirements.txt: {', '.join(missing)}"


def test_requirements_stand_in_one_place_and_the_locked_versions_are_within_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}
    locked = dict(line.split("==") for line in read_lines("constraints.txt"))
    locked = {canonicalize_name(name): version for name, version in locked.items()}
    for requirement in map(Requirement, read_lines("requirements.txt")):
        assert locked[canonicalize_name(requirement.name)] in requirement.specifier


def read_lines(name: str) -> list[str]:
    """The lines of a list of requirements that name one."""
    return [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
