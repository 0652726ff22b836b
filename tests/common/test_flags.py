"""Flags: constants that are flags, help, wrong flags and values, several values."""

import re
import sys
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from conftest import EVALUATE, PROCESS, ROOT, SCRIPTS, TUNE, run_process

from evaluation import EvaluationFlags
from fine_tune import FineTuningFlags
from metareview.common import flags
from metareview.common.cli import InputError
from metareview.common.flags import Passed, flag, parse_runs
from processing_meta_review import ProcessingFlags

FLAGS = {PROCESS: ProcessingFlags, TUNE: FineTuningFlags, EVALUATE: EvaluationFlags}
EXAMPLE = '''"""Bake a cake."""

# The dough
FLOUR = 500  # grams
SUGAR = 0.5
NUTS = None  # kinds of nuts
OVEN = {"fan": True}  # settings of the oven
'''


@dataclass
class Baking:
    """The constants of EXAMPLE as flags, and one more."""

    flour: int = flag(500, "grams", least=1)
    sugar: float = flag(0.5, above=0)
    nuts: list[str] | None = flag(None)
    oven: dict[str, Any] = flag({"fan": True})
    icing: str | None = flag(None, choices=("lemon", "chocolate"), help="on top", topic="Decoration")
    vegan: bool = flag(False)

    passed_flags: list[str] = field(default_factory=list)


@pytest.fixture
def find_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "bake.py").write_text(EXAMPLE)

    def find_runs(*arguments: str, kind: type = Baking, passed: Passed | None = None) -> list[tuple[dict, Any]]:
        monkeypatch.setattr(sys, "argv", ["bake.py", *arguments])
        return parse_runs(kind, str(tmp_path / "bake.py"), passed)

    return find_runs


def edit(name: str, value: object) -> type:
    """The flags where a constant was edited."""
    return make_dataclass("Edited", [(name, get_type_hints(Baking)[name], flag(value))], bases=(Baking,))


def test_a_flag_is_a_constant_in_the_type_of_its_field(find_runs: Any) -> None:
    arguments = ["--grams", "300", "--sugar=1e-1", "--nuts", "hazel", "pecan", "--vegan", "--oven", '{"fan": false}']
    [(_, flags)], [(_, unchanged)] = find_runs(*arguments), find_runs()
    assert (flags.flour, flags.sugar, flags.nuts, flags.vegan) == (300, 0.1, ["hazel", "pecan"], True)
    assert flags.oven == {"fan": False} and unchanged.oven == {"fan": True} and unchanged.nuts is None


@pytest.mark.parametrize(
    ("name", "edited", "parsed"),
    [
        ("flour", np.int64(300), 300),
        ("sugar", "1e-5", 1e-5),
        ("nuts", ("hazel", Path("pecan")), ["hazel", "pecan"]),
        ("nuts", [], None),
        ("icing", "", None),
        ("vegan", np.True_, True),
    ],
)
def test_a_constant_is_read_in_the_type_of_its_field(name: str, edited: Any, parsed: Any, find_runs: Any) -> None:
    [(_, flags)] = find_runs(kind=edit(name, edited))
    assert repr(getattr(flags, name)) == repr(parsed)  # in type, too


@pytest.mark.parametrize(
    ("arguments", "edited", "told"),
    [
        ([], ("nuts", ["hazel", None]), "NUTS (--nuts) must be a text, got None"),
        ([], ("flour", True), "FLOUR (--flour) must be a whole number, got True"),
        ([], ("oven", {"fan": {1}}), "OVEN (--oven) must be a JSON dictionary, got {'fan': {1}}"),
        (["--flour", "0"], None, "FLOUR (--flour) must be at least 1, got '0'"),
        (["--sugar", "nan"], None, "SUGAR (--sugar) must be greater than 0, got 'nan'"),
        (["--icing", "mud"], None, "--icing must be one of lemon, chocolate, got 'mud'"),
        (["--vegan", "perhaps"], None, "--vegan must be True or False, got 'perhaps'"),
        (["--flor", "3"], None, "unknown argument: --flor 3 (did you mean --flour? all flags: bake.py --help)"),
        (["3"], None, "unknown argument: 3 (all flags: bake.py --help)"),
        (["--icing", "\udcff"], None, "not UTF-8, and so cannot be written to any file: '\\udcff'"),
    ],
)
def test_a_wrong_value_is_told_in_the_words_of_the_constant(
    arguments: list[str], edited: tuple | None, told: str, find_runs: Any
) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(told)}$"):
        find_runs(*arguments, kind=edit(*edited) if edited else Baking)


def test_help_has_the_constants_by_topic_with_their_comments(find_runs: Any, capsys: pytest.CaptureFixture) -> None:
    """One whose comment was deleted, too."""
    with pytest.raises(SystemExit) as stopped:
        find_runs("--help")
    told = capsys.readouterr().out
    assert stopped.value.code is None and told.startswith("Bake a cake.\n\nThe dough:\n")
    assert re.search(r"\n  --flour  +grams \[500\]\n  --sugar +\[0.5\]\n  --nuts  +kinds of nuts\n", told)
    assert re.search(r"\nDecoration:\n  --icing  +on top\n", told) and "--grams" not in told
    with pytest.raises(SystemExit):
        find_runs("--help_all", passed=Passed(bool, lambda: "the oven's own flags"))
    told = capsys.readouterr().out
    assert "--flour --grams" in told and told.endswith("the oven's own flags\n")


def test_several_values_are_a_run_for_each_combination(find_runs: Any) -> None:
    sweep, nuts = edit("sugar", [1e-3, 1e-4]), ["--nuts", "hazel", "pecan"]
    runs = find_runs(*nuts, "--flour", "1", "2", "--sugar", "0.5", "--vegan", kind=sweep)
    assert [swept for swept, _ in runs] == [{"flour": 1}, {"flour": 2}]
    assert [(flags.flour, flags.sugar, flags.nuts, flags.vegan) for _, flags in runs] == [
        (flour, 0.5, nuts[1:], True) for flour in (1, 2)
    ]
    swept = [swept for swept, _ in find_runs("--vegan", "True", "False", kind=sweep)]
    assert swept == [{"sugar": sugar, "vegan": vegan} for sugar in (1e-3, 1e-4) for vegan in (True, False)]
    with pytest.raises(InputError, match=r"SUGAR \(--sugar\) must be greater than 0, got '0'"):
        find_runs("--sugar", "1", "0")


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_constant_is_a_flag_with_a_topic_and_a_comment(script: str) -> None:
    constants, options = flags._read_constants(ROOT / script), {option.name for option in fields(FLAGS[script])}
    assert len(constants) > 10
    for name, (topic, comment) in constants.items():
        assert name.lower() in options and topic != flags.OTHER_TOPIC and len(comment) > 5


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_wrong_values_need_no_library(script: str, tmp_path: Path) -> None:
    for library in ("datasets", "huggingface_hub", "numpy", "torch", "transformers", "openpyxl", "jinja2"):
        (tmp_path / f"{library}.py").write_text("raise SystemExit('loaded')\n")
    told = run_process(script, "--help", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert told.returncode == 0 and len(told.stdout.splitlines()) < 80, told.stderr
    wrong = {PROCESS: ["--dataset", "no.csv"], TUNE: ["--epochs", "0"], EVALUATE: ["--test_cases", "no.xlsx"]}[script]
    refused = run_process(script, *wrong, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1 and wrong[1] in refused.stderr
