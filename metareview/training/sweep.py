"""A sweep: one run for each combination of values, LEARNING_RATE = [1e-3, 1e-4], each in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from shlex import quote
from typing import Any

from metareview.common.cli import InputError, format_count, format_table

REPORT = "METAREVIEW_RUN_FOLDER"  # environment variable: the file in which a run of a sweep leaves its folder


def run_sweep(script: str, combinations: list[dict[str, Any]], taken: list[str]) -> int:
    """Run `script` once for each combination of flags, one after another; the exit status.

    A run that fails does not stop the others; Ctrl-C stops the sweep. Finished runs end at once, so that the same
    command resumes an interrupted sweep. `taken` are the flags that must not be set, for all runs would share them.
    Raises `InputError` for those, and if several processes train one model.
    """
    if taken:
        raise InputError(f"{' and '.join(taken)} must be None for several runs: each has a folder of its own")
    if "RANK" in os.environ:
        raise InputError("several values start several runs, which torchrun cannot: give one value each")
    folders: dict[str, str] = {}
    failed = []
    for number, combination in enumerate(combinations, start=1):
        label = ", ".join(f"{name.upper()} = {value}" for name, value in combination.items())
        print(f"\nRun {number} of {len(combinations)}: {label}", flush=True)
        values = [f"--{name}={_format_value(value)}" for name, value in combination.items()]
        status, folder, is_stopped = _run(script, values)
        if folder:
            folders[folder] = label
        if is_stopped:
            print("Stopped. Run the same command again to resume.")
            return 1
        if status:
            failed.append(label)
    _print_losses(folders)
    for label in failed:
        print(f"Failed: {label}")
    return 1 if failed else 0


def _format_value(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _run(script: str, values: list[str]) -> tuple[int, str, bool]:
    """Run the script with the same command line and `values`: its status, its folder, and whether a signal came."""
    signals: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report")
        command = [sys.executable, script, *sys.argv[1:], *values]
        process = subprocess.Popen(command, env=os.environ | {REPORT: str(report)})

        def forward(number: int, _frame: Any) -> None:
            signals.append(number)
            if number != signal.SIGINT:  # which a terminal sends to both
                process.send_signal(number)

        before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            status = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return status, report.read_text(encoding="utf-8") if report.exists() else "", bool(signals)


def report_folder(folder: Path) -> None:
    """Leave the folder of a finished run for the sweep that it is part of, if there is one."""
    if report := os.environ.get(REPORT):
        Path(report).write_text(str(folder), encoding="utf-8")


def _print_losses(folders: dict[str, str]) -> None:
    """A line for each finished run with its losses, and the command that compares their models."""
    if not folders:
        return
    table = [["run", "initial validation loss", "final", "training loss"]]
    for folder in folders:
        record = json.loads(Path(folder, "training_record.json").read_text(encoding="utf-8"))["results"]
        losses = (record.get(name) for name in ("initial_eval_loss", "eval_loss", "train_loss"))
        table.append([Path(folder).name, *("" if loss is None else f"{loss:.3f}" for loss in losses)])
    print(f"\n{format_count(len(folders), 'run')}:\n{format_table(table)}")
    print(f"Next: python evaluation.py --models {' '.join(map(quote, folders))}")
