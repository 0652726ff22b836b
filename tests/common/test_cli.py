"""The command line: constants that are flags, help, aliases, wrong flags; failures, tables, durations."""

import re
import runpy
import signal
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from conftest import EVALUATE, PROCESS, ROOT, SCRIPTS, TUNE, run_process, run_script

from evaluation import EvaluationArguments
from fine_tune import FineTuningArguments
from metareview.common import cli
from metareview.common.cli import flag_names, format_bytes, format_count, format_seconds, format_table, parse_flags, run
from metareview.common.help import read_constants
from processing_meta_review import ProcessingArguments

DATACLASSES = {PROCESS: ProcessingArguments, TUNE: FineTuningArguments, EVALUATE: EvaluationArguments}


def read_help(script: str, flag: str, folder: Path) -> str:
    result = run_script(script, flag, cwd=folder)
    assert result.returncode == 0 and result.stderr == ""
    return result.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_constant_is_a_flag_of_its_name_with_its_value(script: str) -> None:
    constants = read_constants(ROOT / script)
    values = {name: value for name, value in runpy.run_path(str(ROOT / script)).items() if name in constants}
    text = (ROOT / script).read_text().partition("@dataclass")[0]
    assert re.findall(r"^([A-Z0-9_]+) =", text, re.MULTILINE) == list(constants)  # each one has its comment
    options = {name: option for option in fields(DATACLASSES[script]) for name in flag_names(option)}
    for name, constant in constants.items():
        assert constant.topic != "Other" and len(constant.comment) > 5, name
        option = options[f"--{name.lower()}"]
        assert option.default == (values[name] or option.default), name


@pytest.mark.parametrize(
    ("script", "constant", "value", "parsed"),
    [
        (PROCESS, "REVIEW_COLUMN", "one", ["one"]),
        (PROCESS, "REVIEW_COLUMN", ["one", "two"], ["one", "two"]),
        (PROCESS, "VENUE", "one", ["one"]),
        (PROCESS, "VENUE", ("one", "two"), ["one", "two"]),
        (PROCESS, "SUMMARY_COLUMN", "one", "one"),
        (PROCESS, "MAX_LENGTH", 512, 512),
        (TUNE, "MODEL", "one", "one"),
        (TUNE, "EPOCHS", 0.5, 0.5),
        (TUNE, "USE_LORA", True, True),
        (TUNE, "GRADIENT_CHECKPOINTING", True, True),
        (EVALUATE, "MODELS", "models/*", ["models/*"]),
        (EVALUATE, "MODELS", ["models/*"], ["models/*"]),
        (EVALUATE, "NUM_EXAMPLES", 100, 100),
        (EVALUATE, "MAX_NEW_TOKENS", 99, 99),
    ],
)
def test_an_edited_constant_takes_effect(
    script: str, constant: str, value: Any, parsed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, edits = re.subn(f"^{constant} = \\w+", f"{constant} = {value!r}", (ROOT / script).read_text(), flags=re.M)
    assert edits == 1
    edited = tmp_path / script
    edited.write_text(text)
    dataclass_type = runpy.run_path(str(edited))[DATACLASSES[script].__name__]
    (option,) = [option for option in fields(dataclass_type) if f"--{constant.lower()}" in flag_names(option)]
    monkeypatch.setattr(sys, "argv", [script])
    assert getattr(parse_flags(dataclass_type, edited), option.name) == parsed


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_has_a_line_for_each_flag_of_ours(script: str, tmp_path: Path) -> None:
    told = read_help(script, "--help", tmp_path)
    assert f"python {script} --help_all" in told
    constants = read_constants(ROOT / script)
    for name, constant in constants.items():
        (line,) = re.findall(rf"^  --{name.lower()} +(.*)$", told, re.MULTILINE)
        assert line.startswith(constant.comment)
    topics = re.findall(r"^(\w[\w ,]*):$", told, re.MULTILINE)
    ours = [topic for topic in topics if any(constant.topic == topic for constant in constants.values())]
    assert len(topics) == len(set(topics)) and ours == list(dict.fromkeys(c.topic for c in constants.values()))
    described = re.findall(r"^  (--\w+) +\S", told, re.MULTILINE)
    assert len(described) == len(re.findall(r"^  --", told, re.MULTILINE)) == len(set(described))
    assert len(told.splitlines()) < 80  # on one screen or two
    assert "--push_to_hub" in described and not {"--adam_beta1", "--weight_decay", "--eval_delay"} & set(described)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_all_has_every_flag(script: str, tmp_path: Path) -> None:
    told = read_help(script, "--help_all", tmp_path)
    assert told.startswith(read_help(script, "--help", tmp_path).rstrip())
    for option in fields(DATACLASSES[script]):
        for name in flag_names(option) if option.init else ():
            assert re.search(rf"{name}\b", told), name
    assert (script == TUNE) == ("--weight_decay" in told)
    private = " ".join(told[told.index("--no_hub_private_repo, ") :].split())
    assert private.startswith("--no_hub_private_repo, --no-hub-private-repo the same as --hub_private_repo False ")
    assert "(default" not in private.partition("False ")[2].partition("--")[0]


def test_what_is_no_text_is_refused(refused) -> None:
    """Bytes that are not UTF-8 come as surrogates, which no file takes."""
    assert "not UTF-8" in refused(PROCESS, "--keep", "a-z\udcff")


@pytest.mark.parametrize(
    ("script", "wrong", "nearest"),
    [
        (PROCESS, "--max_lenght", "--max_length"),
        (TUNE, "--learning_rat=1e-5", "--learning_rate"),
        (TUNE, "--evaluation_per_epoch", "--evaluations_per_epoch"),
        (TUNE, "--epoch", "--epochs"),
        (EVALUATE, "--num_example", "--num_examples"),
    ],
)
def test_an_unknown_flag_names_the_nearest(script: str, wrong: str, nearest: str, refused) -> None:
    message = refused(script, wrong, "3")
    assert message.startswith(f"error: unknown argument: {wrong} ")
    assert f"(did you mean {nearest}? all flags: {script} --help)" in message
    assert "did you mean" not in refused(script, "--xyzzy")


@pytest.mark.parametrize(
    ("script", "flags", "names"),
    [
        (PROCESS, ["--model", "a", "--dataset", "b"], ["model_name_or_path", "dataset_name"]),
        (PROCESS, ["--processed_dir", "a"], ["output_dir"]),
        (TUNE, ["--model", "a", "--dataset", "b"], ["model_name_or_path", "dataset_name"]),
        (TUNE, ["--processed_dir", "a"], ["dataset_name"]),
        (TUNE, ["--epochs", 3, "--lr", 0.1], ["num_train_epochs", "learning_rate"]),
        (
            TUNE,
            ["--batch_size", 2, "--accumulation_steps", 3],
            ["per_device_train_batch_size", "gradient_accumulation_steps"],
        ),
        (
            TUNE,
            ["--evaluation_batch_size", 5, "--checkpoints_kept", 7],
            ["per_device_eval_batch_size", "checkpoints_kept"],
        ),
        (EVALUATE, ["--model", "a", "--dataset", "b"], ["models", "dataset_name"]),
        (EVALUATE, ["--models", "a", "--processed_dir", "b"], ["models", "dataset_name"]),
        (EVALUATE, ["--batch_size", 2, "--sample_seed", 3], ["batch_size", "seed"]),
    ],
)
def test_aliases(script: str, flags: list, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = ["--use_cpu"] if script == TUNE else []
    monkeypatch.setattr(sys, "argv", [script, *map(str, flags), *cpu])
    arguments = parse_flags(DATACLASSES[script], ROOT / script)
    values = [getattr(arguments, name) for name in names]
    assert [value[0] if isinstance(value, list) else value for value in values] == flags[1::2]


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


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_interruption_while_libraries_load_ends_without_a_traceback(script: str, tmp_path: Path) -> None:
    """Libraries that take so long that Ctrl-C comes first."""
    for library in ("datasets", "huggingface_hub", "numpy", "torch", "transformers"):
        code = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n"
        (tmp_path / f"{library}.py").write_text(code)
    result = run_process(script, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "", "")  # 130 in a shell


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_torchvision_that_does_not_load_is_not_in_the_way(script: str, tmp_path: Path) -> None:
    """That of another torch: transformers would end with "Could not import module 'PreTrainedModel'"."""
    for package in ("torchvision", "torchaudio"):
        about = tmp_path / f"{package}-0.26.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.26.0\n")
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('operator nms does not exist')\n")
    result = run_process(script, "--prompt", "x", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert result.returncode == 2 and "a text with {review} in it" in result.stderr, result.stderr


def test_when_a_script_has_begun_an_interruption_is_told() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    seen = []
    try:
        run(lambda: seen.append(signal.getsignal(signal.SIGINT)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.default_int_handler]


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
