"""Before anything heavy is loaded: a missing file is named at once, and nothing else is taken for one."""

from pathlib import Path

import pytest
from conftest import EVALUATE, PROCESS, ROOT, TUNE, run_process

from metareview.common.early import FILES, find_missing
from metareview.common.help import parse, read_flags

MISSING = [
    (PROCESS, ["--dataset", "gone.csv"]),
    (PROCESS, ["--encoding", "cp1252", "--dataset_name=gone.XLSX"]),
    (EVALUATE, ["--test_cases", "gone.xlsx", "--blind"]),
    (EVALUATE, ["--models", "a", "b", "--reviews", "here.txt", "gone.txt"]),
]


@pytest.mark.parametrize(("script", "arguments"), MISSING)
def test_a_missing_file_is_named_without_loading_a_library(script: str, arguments: list[str], tmp_path: Path) -> None:
    for name in ("torch", "transformers", "datasets", "peft"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('loaded')")
    (tmp_path / "here.txt").write_text("a review")
    result = run_process(script, *arguments, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("error: there is no file 'gone.") and result.stderr.count("\n") == 1
    for name in ("gone.csv", "gone.XLSX", "gone.xlsx", "gone.txt"):
        (tmp_path / name).touch()
    assert run_process(script, *arguments, cwd=tmp_path, PYTHONPATH=str(tmp_path)).stderr == "loaded\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--dataset", "owner/name"],
        ["--dataset", "folder"],
        ["--dataset", "https://example.org/gone.csv"],
        ["--processed_dir", "gone.csv"],
        ["--review_column", "gone.csv"],
        ["gone.csv"],
        ["--dataset"],
    ],
)
def test_what_may_be_something_else_is_left_to_the_script(arguments: list[str]) -> None:
    assert find_missing(ROOT / PROCESS, arguments) is None


def test_the_flags_are_there() -> None:
    flags = read_flags("ProcessingArguments", parse(ROOT / PROCESS)).keys()
    assert FILES[0] in flags and FILES[0] in read_flags("FineTuningArguments", parse(ROOT / TUNE))
    assert {*FILES} <= read_flags("EvaluationArguments", parse(ROOT / EVALUATE)).keys()
