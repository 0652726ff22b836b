"""The command line: failures, where the output goes, durations."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import EVALUATE, ROOT, SCRIPTS, TUNE, run_process

from metareview.common import cli
from metareview.common.cli import InputError, format_bytes, format_count, format_seconds, run


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
def test_failures_are_one_line_and_a_status(error: BaseException, status: int | None, told: str, capsys) -> None:
    def fail() -> None:
        raise error

    with pytest.raises((SystemExit, ZeroDivisionError)) as stopped:
        run(fail)
    assert getattr(stopped.value, "code", None) == status and capsys.readouterr().err == told


PRINTING = """from metareview.common.cli import run
from metareview.common.flags import PublishingFlags, start
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


def test_an_import_of_the_package_does_nothing() -> None:
    """No signals, no patched modules, no reading of the command line: a script of one's own may use a part of it."""
    code = "import signal, sys; before = signal.getsignal(signal.SIGINT); import metareview.workbook.cases; "
    code += "assert signal.getsignal(signal.SIGINT) is before and sys.modules.get('torchvision', 1) is not None"
    done = subprocess.run([sys.executable, "-c", code, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
