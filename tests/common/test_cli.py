"""The command line: constants that are flags, help, wrong flags and values; failures, tables, durations."""

import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

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
        ("sugar", 1, 1.0),
        ("nuts", "hazel", ["hazel"]),
        ("nuts", ("hazel", "pecan"), ["hazel", "pecan"]),
    ],
)
def test_a_constant_may_be_edited_to_any_value_that_is_understood(
    name: str, edited: Any, parsed: Any, parse: Any
) -> None:
    @dataclass
    class Edited(Baking):
        pass

    Edited.__dataclass_fields__[name].default = edited
    value = getattr(parse(kind=Edited), name)
    Edited.__dataclass_fields__[name].default = getattr(Baking(), name)
    assert value == parsed and type(value) is type(parsed)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--flour", "0"], "FLOUR (--flour) must be at least 1, got 0"),
        (["--flour", "much"], "FLOUR (--flour) must be a whole number, got 'much'"),
        (["--flour", "2.5"], "FLOUR (--flour) must be a whole number, got '2.5'"),
        (["--sugar", "nan"], "SUGAR (--sugar) must be greater than 0, got nan"),
        (["--icing", "mud"], "--icing must be one of lemon, chocolate, got 'mud'"),
        (["--oven", "hot"], "OVEN (--oven) must be a dictionary, got 'hot'"),
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
@pytest.mark.parametrize("value", [(), {}, 1j, "x y", -7], ids=str)
def test_a_constant_of_a_wrong_type_is_named_or_understood(
    script: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [script])
    constants = cli._read_constants(ROOT / script)
    for option in fields(FLAGS[script]):
        if option.name.upper() in constants:
            monkeypatch.setattr(option, "default", value)
            try:
                parse_flags(FLAGS[script], str(ROOT / script))
            except InputError as error:
                assert option.name.upper() in str(error) and len(str(error).splitlines()) == 1
            monkeypatch.undo()
            monkeypatch.setattr(sys, "argv", [script])


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


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_constant_is_a_flag_with_a_topic_and_a_comment(script: str) -> None:
    constants, options = cli._read_constants(ROOT / script), {option.name for option in fields(FLAGS[script])}
    text = (ROOT / script).read_text().partition("@dataclass")[0]
    assert re.findall(r"^([A-Z0-9_]+) =", text, re.MULTILINE) == list(constants)
    for name, constant in constants.items():
        assert name.lower() in options and constant.topic != cli.OTHER_TOPIC and len(constant.comment) > 5


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
    for flags in (["--dataset", "no.csv"], ["--reviews", "no.txt"], ["--test_cases", "no.xlsx"]):
        if script != TUNE and (flags[0] == "--dataset") == (script == PROCESS):
            missing = run_process(script, *flags, cwd=tmp_path, PYTHONPATH=str(tmp_path))
            assert missing.returncode == 2 and f"error: there is no file {flags[1]!r}: " in missing.stderr
    wrong = run_process(script, "--max_new_tokens", "0", "--max_length", "0", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert wrong.returncode == 2 and wrong.stdout == "" and len(wrong.stderr.splitlines()) == 1


def test_an_import_of_the_package_does_nothing() -> None:
    """No signals, no patched modules, no reading of the command line: a script of one's own may use a part of it."""
    code = (
        "import signal, sys; before = signal.getsignal(signal.SIGINT); from metareview.data.cleaning import clean_text"
    )
    code += "; import metareview.training.trainer, metareview.workbook.cases; print(clean_text('a-b'))"
    code += "; assert signal.getsignal(signal.SIGINT) is before and sys.modules.get('torchvision', 1) is not None"
    done = subprocess.run([sys.executable, "-c", code, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ab\n"), done.stderr


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (cli.InputError("--a is wrong"), 2, "error: --a is wrong\n"),
        (OSError("no room"), 1, "failed: no room\n"),
        (FloatingPointError("the loss is nan"), 1, "failed: the loss is nan\n"),
        (KeyboardInterrupt(), 1, "failed: interrupted\n"),
        (OSError("token hf_abc.DEF-1 is wrong"), 1, "failed: token hf_... is wrong\n"),
    ],
)
def test_failures_are_one_line_and_a_status(
    error: BaseException, status: int, told: str, capsys: pytest.CaptureFixture
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        run(fail)
    assert stopped.value.code == status and capsys.readouterr().err == told


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


def test_an_error_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)


def test_a_process_that_fails_alone_tells_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def fail() -> None:
        print("not for the screen")
        raise OSError("the disk of this one is full")

    monkeypatch.setattr(cli, "SILENCE", 0)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit) as stopped:
        run(fail)
    assert stopped.value.code == 1
    assert capsys.readouterr() == ("", "failed: the disk of this one is full\n")


def test_durations_and_sizes_are_said_as_people_do() -> None:
    assert [format_seconds(seconds) for seconds in (5, 89, 89.7, 535, 599.7, 6_420)] == [
        "5 s", "89 s", "1 min 30 s", "8 min 55 s", "10 min", "1 h 47 min"
    ]  # fmt: skip
    counts = [format_count(*one) for one in ((1, "step"), (1_200, "step"), (0.5, "epoch"), (1.0, "epoch"), (0, "row"))]
    assert counts == ["1 step", "1,200 steps", "0.5 epochs", "1 epoch", "0 rows"]
    assert [format_bytes(number) for number in (850e6, 3.39e9, 41e6)] == ["850 MB", "3.4 GB", "41 MB"]


def test_a_table_is_markdown_and_stands_in_columns() -> None:
    assert format_table([["split", "rows"], ["train", 12_345], ["test", 7]]).splitlines() == [
        "| split |   rows |", "| ----- | -----: |", "| train | 12,345 |", "| test  |      7 |"
    ]  # fmt: skip
