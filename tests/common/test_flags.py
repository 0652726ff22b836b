"""Flags: constants that are flags, help, wrong flags and values, several values."""

import re
import sys
from dataclasses import astuple, dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from conftest import EVALUATE, PROCESS, ROOT, SCRIPTS, TUNE, run_process

from evaluation import EvaluationFlags
from fine_tune import FineTuningFlags
from metareview.common import flags
from metareview.common.cli import InputError
from metareview.common.flags import Passed, flag, parse_flags, parse_runs
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
def parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "bake.py").write_text(EXAMPLE)

    def parse(*arguments: str, kind: type = Baking, passed: Passed | None = None) -> Any:
        monkeypatch.setattr(sys, "argv", ["bake.py", *arguments])
        return parse_flags(kind, str(tmp_path / "bake.py"), passed)

    return parse


def test_a_flag_is_a_constant_in_the_type_of_its_field(parse: Any) -> None:
    flags = parse("--grams", "300", "--sugar=1e-1", "--nuts", "hazel", "pecan", "--vegan", "--oven", '{"fan": false}')
    assert (flags.flour, flags.sugar, flags.nuts, flags.vegan) == (300, 0.1, ["hazel", "pecan"], True)
    assert flags.oven == {"fan": False} and parse().oven == {"fan": True} and parse().nuts is None
    assert parse("--vegan", "False").vegan is False and parse("--nuts", "None").nuts is None


@pytest.mark.parametrize(
    ("name", "edited", "parsed"),
    [
        ("flour", np.int64(300), 300),
        ("flour", True, "FLOUR (--flour) must be a whole number, got True"),
        ("sugar", "1e-5", 1e-5),
        ("sugar", np.nan, "SUGAR (--sugar) must be a number, got nan"),
        ("nuts", ("hazel", Path("pecan")), ["hazel", "pecan"]),
        ("nuts", [], None),
        ("nuts", ["hazel", None], "NUTS (--nuts) must be a text, got None"),
        ("icing", "", None),
        ("oven", {"fan": {1}}, "OVEN (--oven) must be a JSON dictionary, got {'fan': {1}}"),
        ("vegan", np.True_, True),
    ],
)
def test_a_constant_is_understood_or_told_in_its_own_words(name: str, edited: Any, parsed: Any, parse: Any) -> None:
    edited_class = make_dataclass("Edited", [(name, get_type_hints(Baking)[name], flag(edited))], bases=(Baking,))
    if isinstance(parsed, str):
        with pytest.raises(InputError) as error:
            parse(kind=edited_class)
        assert str(error.value) == parsed
    else:
        value = getattr(parse(kind=edited_class), name)
        assert repr(value) == repr(parsed)  # in type, too


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--flour", "0"], "FLOUR (--flour) must be at least 1, got 0"),
        (["--sugar", "nan"], "SUGAR (--sugar) must be greater than 0, got nan"),
        (["--icing", "mud"], "--icing must be one of lemon, chocolate, got 'mud'"),
        (["--vegan", "perhaps"], "--vegan must be True or False, got 'perhaps'"),
        (["--flor", "3"], "unknown argument: --flor (did you mean --flour? all flags: bake.py --help)"),
        (["3"], "unknown argument: 3 (all flags: bake.py --help)"),
        (["--icing", "\udcff"], "not UTF-8, and so cannot be written to any file: '\\udcff'"),
    ],
)
def test_a_wrong_value_is_told_in_the_words_of_the_constant(arguments: list[str], told: str, parse: Any) -> None:
    with pytest.raises(InputError) as error:
        parse(*arguments)
    assert str(error.value) == told


def test_help_has_the_constants_by_topic_with_their_comments(parse: Any, capsys: pytest.CaptureFixture) -> None:
    """One whose comment was deleted, too."""
    with pytest.raises(SystemExit) as stopped:
        parse("--help")
    told = capsys.readouterr().out
    assert stopped.value.code is None and told.startswith("Bake a cake.\n\nThe dough:\n")
    assert re.search(r"\n  --flour  +grams \[500\]\n  --sugar +\[0.5\]\n  --nuts  +kinds of nuts\n", told)
    assert re.search(r"\nDecoration:\n  --icing  +on top\n", told) and "--grams" not in told
    with pytest.raises(SystemExit):
        parse("--help_all", passed=Passed(bool, lambda: "the oven's own flags"))
    told = capsys.readouterr().out
    assert "--flour --grams" in told and told.endswith("the oven's own flags\n")


def test_several_values_are_a_run_for_each_combination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Sweep:
        rate: float = flag([1e-3, 1e-4], above=0)
        seed: int = flag(1)
        fast: bool = flag(False)
        names: list[str] = flag(["a", "b"])

    (tmp_path / "bake.py").write_text('"""Bake."""\nRATE = [1e-3, 1e-4]\n')

    def find(*arguments: str) -> list[tuple[dict, tuple]]:
        monkeypatch.setattr("sys.argv", ["bake.py", *arguments])
        return [(swept, astuple(run)) for swept, run in parse_runs(Sweep, str(tmp_path / "bake.py"), several=True)]

    both = ["a", "b"]
    assert find("--seed", "1", "2", "1", "--rate", "0.5") == [
        ({"seed": 1}, (0.5, 1, False, both)), ({"seed": 2}, (0.5, 2, False, both))]  # fmt: skip
    assert [swept for swept, _ in find("--fast", "True", "False")] == [
        {"rate": rate, "fast": fast} for rate in (1e-3, 1e-4) for fast in (True, False)]  # fmt: skip
    assert find("--fast", "--rate", "1")[0] == ({}, (1.0, 1, True, both))
    with pytest.raises(InputError, match=r"RATE \(--rate\) must be greater than 0, got 0.0"):
        find("--rate", "1", "0")


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_constant_is_a_flag_with_a_topic_and_a_comment(script: str) -> None:
    constants, options = flags._read_constants(ROOT / script), {option.name for option in fields(FLAGS[script])}
    text = (ROOT / script).read_text().partition("@dataclass")[0]
    assert re.findall(r"^([A-Z0-9_]+) =", text, re.MULTILINE) == list(constants)
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
