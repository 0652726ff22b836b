"""Help: read from the source, it says what the flags really are, and nothing has to be loaded for it."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest
from conftest import EVALUATE, PROCESS, ROOT, SCRIPTS, TUNE, run_process

from evaluation import EvaluationArguments
from fine_tune import FineTuningArguments
from metareview.common.cli import flag_names
from metareview.common.help import format_help, read_flags
from processing_meta_review import ProcessingArguments

DATACLASSES = {PROCESS: ProcessingArguments, TUNE: FineTuningArguments, EVALUATE: EvaluationArguments}


@pytest.mark.parametrize("script", SCRIPTS)
def test_flags_in_the_source_are_those_of_the_dataclass(script: str) -> None:
    arguments = DATACLASSES[script]
    read = read_flags(arguments.__name__, ast.parse((ROOT / script).read_text()))
    ours = {f"--{option.name}": option for option in fields(arguments) if "aliases" in option.metadata}
    assert read.keys() == ours.keys() and len(read) > 10
    for name, flag in read.items():
        told = (flag.names, flag.default, flag.help)
        assert told == (flag_names(ours[name]), ours[name].default, ours[name].metadata["help"])


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_needs_no_library(script: str, tmp_path: Path) -> None:
    """The heavy ones are replaced by packages that fail when they are loaded."""
    for name in ("torch", "transformers", "datasets", "peft", "matplotlib", "openpyxl"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('loaded')")
    result = run_process(script, "--help", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert result.stdout == format_help(ROOT / script) + "\n"
    assert run_process(script, "--help_all", cwd=tmp_path, PYTHONPATH=str(tmp_path)).returncode != 0


@pytest.mark.parametrize(("given", "shown"), [("1 / 3", "1 / 3"), ("len(sys.path)", "len(sys.path)"), ("SEED", "42")])
def test_constants_that_are_no_literals_are_shown_as_they_stand(given: str, shown: str, tmp_path: Path) -> None:
    script = tmp_path / TUNE
    script.write_text((ROOT / TUNE).read_text().replace("\nEPOCHS = 1 ", f"\nEPOCHS = {given} "))
    (line,) = [line for line in format_help(script).splitlines() if line.startswith("  --epochs ")]
    assert line.endswith(f"passes over the training examples [{shown}]")
