"""The command line: constants that are flags, help, wrong flags and values; failures, tables, durations."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import astuple, dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from conftest import EVALUATE, PROCESS, ROOT, SCRIPTS, TUNE, run_process

from evaluation import EvaluationFlags
from fine_tune import FineTuningFlags
from metareview.common import cli
from metareview.common.cli import (
    InputError,
    Passed,
    flag,
    format_bytes,
    format_count,
    format_seconds,
    format_table,
    parse_flags,
    parse_runs,
    run,
)
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
    salt: float = flag(1.0)
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
        ("flour", 300.0, 300),
        ("flour", np.int64(300), 300),
        ("flour", "3e2", "FLOUR (--flour) must be a whole number, got '3e2'"),
        ("flour", True, "FLOUR (--flour) must be a whole number, got True"),
        ("flour", np.inf, "FLOUR (--flour) must be a whole number, got inf"),
        ("flour", None, "FLOUR (--flour) must be a whole number, got None"),
        ("sugar", 1, 1.0),
        ("sugar", "1e-5", 1e-5),
        ("sugar", np.float32(0.5), 0.5),
        ("sugar", np.nan, "SUGAR (--sugar) must be a number, got nan"),
        ("sugar", np.zeros((2, 2)), "SUGAR (--sugar) must be a number, got array([[0., 0.], [0., 0.]])"),
        ("salt", -0.0, 0.0),
        ("nuts", "hazel", ["hazel"]),
        ("nuts", ("hazel", Path("pecan")), ["hazel", "pecan"]),
        ("nuts", [], None),
        ("nuts", ["hazel", None], "NUTS (--nuts) must be a text, got None"),
        ("nuts", {"hazel"}, "NUTS (--nuts) must be a text, got {'hazel'}"),
        ("icing", "", None),
        ("oven", None, "OVEN (--oven) must be a JSON dictionary, got None"),
        ("oven", {"fan": {1}}, "OVEN (--oven) must be a JSON dictionary, got {'fan': {1}}"),
        ("oven", {1: np.int64(180)}, {"1": 180}),
        ("vegan", np.True_, True),
        ("vegan", "", "--vegan must be True or False, got ''"),
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
        assert repr(value) == repr(parsed)  # in type and sign, too


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--flour", "0"], "FLOUR (--flour) must be at least 1, got 0"),
        (["--flour", "2.5"], "FLOUR (--flour) must be a whole number, got '2.5'"),
        (["--sugar", "nan"], "SUGAR (--sugar) must be greater than 0, got nan"),
        (["--icing", "mud"], "--icing must be one of lemon, chocolate, got 'mud'"),
        (["--oven", "hot"], "OVEN (--oven) must be a JSON dictionary, got 'hot'"),
        (["--vegan", "perhaps"], "--vegan must be True or False, got 'perhaps'"),
        (["--flour"], "--flour/--grams: expected one argument"),
        (["--flor", "3"], "unknown argument: --flor (did you mean --flour? all flags: bake.py --help)"),
        (["3"], "unknown argument: 3 (all flags: bake.py --help)"),
        (["--icing", "\udcff"], "not UTF-8, and so cannot be written to any file: '\\udcff'"),
    ],
)
def test_a_wrong_value_is_told_in_the_words_of_the_constant(arguments: list[str], told: str, parse: Any) -> None:
    with pytest.raises(InputError) as error:
        parse(*arguments)
    assert str(error.value) == told


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("value", [None, True, -7, np.nan, 1j, "x y", "", Path("x"), [None], {}, {"x"}], ids=str)
def test_a_constant_of_a_wrong_type_is_named_or_understood(
    script: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [script])
    for name in cli._read_constants(ROOT / script):
        kind = get_type_hints(FLAGS[script])[name.lower()]
        [rules] = [option.metadata for option in fields(FLAGS[script]) if option.name == name.lower()]
        option = field(default_factory=lambda: value, metadata=rules)
        edited_class = make_dataclass("Edited", [(name.lower(), kind, option)], bases=(FLAGS[script],))
        try:
            parse_flags(edited_class, str(ROOT / script))
        except InputError as error:
            assert name in str(error) and len(str(error).splitlines()) == 1


def test_flags_that_are_passed_on_are_kept_as_they_are(parse: Any) -> None:
    passed = Passed(lambda name: name == "wattage", lambda: "the oven's own flags")
    assert parse("--wattage", "900", "--vegan", passed=passed).passed_flags == ["--wattage", "900"]
    with pytest.raises(InputError, match="unknown argument: --volume "):
        parse("--wattage", "900", "--volume", "3", passed=passed)


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


def test_several_values_of_a_flag_or_a_constant_are_a_run_for_each_combination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    constants, options = cli._read_constants(ROOT / script), {option.name for option in fields(FLAGS[script])}
    text = (ROOT / script).read_text().partition("@dataclass")[0]
    assert re.findall(r"^([A-Z0-9_]+) =", text, re.MULTILINE) == list(constants)
    for name, (topic, comment) in constants.items():
        assert name.lower() in options and topic != cli.OTHER_TOPIC and len(comment) > 5


def test_the_names_that_the_ecosystem_uses_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        PROCESS: "--dataset_name a --model_name_or_path b --output_dir c --tokenized_dir d --processed_dir e",
        TUNE: "--dataset_name a --model_name_or_path b --output_dir c --tokenized_dir d --num_train_epochs 2 "
        "--learning_rate 1 --lr 1 --max_steps 9 --save_total_limit 2 --eval_strategy epoch --save_strategy epoch "
        "--eval_steps 2 --save_steps 2 --restart --plan --push_to_hub --hub_user me --per_device_train_batch_size 2 "
        "--gradient_accumulation_steps 3 --per_device_eval_batch_size 5 --processed_dir a --dataset a",
        EVALUATE: "--base_model a --output c --num_examples 3 --max_new_tokens 3 --models a b --push_to_hub "
        "--hub_user me --dataset_name a --processed_dir a --model_name_or_path b --model b --seed 3 --sample_seed 3",
    }
    for script, line in names.items():
        monkeypatch.setattr(sys, "argv", [script, *line.split()])
        parse_flags(FLAGS[script], str(ROOT / script))


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_wrong_values_need_no_library(script: str, tmp_path: Path) -> None:
    for library in ("datasets", "huggingface_hub", "numpy", "torch", "transformers", "openpyxl", "jinja2"):
        (tmp_path / f"{library}.py").write_text("raise SystemExit('loaded')\n")
    told = run_process(script, "--help", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert told.returncode == 0 and len(told.stdout.splitlines()) < 80, told.stderr
    wrong = {PROCESS: ["--dataset", "no.csv"], TUNE: ["--epochs", "0"], EVALUATE: ["--test_cases", "no.xlsx"]}[script]
    refused = run_process(script, *wrong, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1 and wrong[1] in refused.stderr


def test_an_import_of_the_package_does_nothing() -> None:
    """No signals, no patched modules, no reading of the command line: a script of one's own may use a part of it."""
    code = "import signal, sys; before = signal.getsignal(signal.SIGINT); import metareview.workbook.cases; "
    code += "assert signal.getsignal(signal.SIGINT) is before and sys.modules.get('torchvision', 1) is not None"
    done = subprocess.run([sys.executable, "-c", code, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (InputError("--a is wrong"), 2, "error: --a is wrong\n"),
        (OSError("token hf_abc.DEF-1 is wrong"), 1, "failed: token hf_... is wrong\n"),
        (FloatingPointError("the loss is nan"), 1, "failed: the loss is nan\n"),
        (KeyboardInterrupt(), 1, "failed: interrupted\n"),
        (ZeroDivisionError(), None, ""),  # an error of the program keeps its traceback
    ],
)
def test_failures_are_one_line_and_a_status(
    error: BaseException, status: int | None, told: str, capsys: pytest.CaptureFixture
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises((SystemExit, ZeroDivisionError)) as stopped:
        run(fail)
    assert getattr(stopped.value, "code", None) == status and capsys.readouterr().err == told


PRINTING = """from metareview.common.cli import PublishingFlags, run, start
run(lambda flags: print("na\u00efve \u2192 naive"), start(PublishingFlags, __file__))
"""


@pytest.mark.parametrize(
    ("redirection", "status", "out", "err"),
    [
        ("", 0, "na\\xefve \\u2192 naive\n", ""),  # a log file may be in ASCII or cp1252
        ("| true", cli.BROKEN_PIPE, "", ""),  # as with `| head`: the reader has ended
        ("<&- >&-", 0, "", ""),
        ("> /dev/full", 1, "", "failed: [Errno 28] No space left on device"),
    ],
)
def test_the_output_may_go_anywhere(redirection: str, status: int, out: str, err: str, tmp_path: Path) -> None:
    (tmp_path / "printing.py").write_text(PRINTING, encoding="utf-8")
    command = f"set -o pipefail; {sys.executable} printing.py {redirection}"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.splitlines()[:1]) == (status, out, [err] if err else [])


def test_an_interruption_while_libraries_load_ends_without_a_traceback(tmp_path: Path) -> None:
    """A library that takes so long that Ctrl-C comes first."""
    code = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n"
    (tmp_path / "datasets.py").write_text(code)
    for script in SCRIPTS:
        flags = ["--num_examples", "1"] if script == EVALUATE else []
        result = run_process(script, *flags, cwd=tmp_path, PYTHONPATH=str(tmp_path))
        assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "", "")  # 130 in a shell


def test_a_torchvision_that_does_not_load_is_not_in_the_way(tmp_path: Path) -> None:
    """That of another torch: transformers would end with "Could not import module 'PreTrainedModel'"."""
    about = tmp_path / "torchvision-0.26.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.26.0\n")
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator nms does not exist')\n")
    result = run_process(TUNE, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.returncode == 2 and "First: python processing_meta_review.py" in result.stderr, result.stderr


def test_a_process_that_fails_alone_tells_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def fail() -> None:
        print("not for the screen")
        raise OSError("the disk of this one is full")

    monkeypatch.setattr(cli, "SILENCE", 0)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(SystemExit) as stopped:
        run(fail)
    assert stopped.value.code == 1
    assert capsys.readouterr() == ("", "failed: the disk of this one is full\n")


def test_durations_and_sizes_are_said_as_people_do() -> None:
    seconds = (5, 89.7, 535, 599.7, 6_420)
    assert [*map(format_seconds, seconds)] == ["5 s", "1 min 30 s", "8 min 55 s", "10 min", "1 h 47 min"]
    assert [format_count(number, "step") for number in (1_200, 0.5, 1.0)] == ["1,200 steps", "0.5 steps", "1 step"]
    assert [*map(format_bytes, (850e6, 3.39e9))] == ["850 MB", "3.4 GB"]


def test_a_table_is_markdown_and_stands_in_columns() -> None:
    assert format_table([["split", "rows"], ["train", 12_345], ["test", 7]]).splitlines() == [
        "| split |   rows |", "| ----- | -----: |", "| train | 12,345 |", "| test  |      7 |"
    ]  # fmt: skip
