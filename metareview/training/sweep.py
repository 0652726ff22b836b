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

from metareview.common.cli import InputError, format_table
from metareview.common.files import read_json, write_json

REPORT = "METAREVIEW_REPORT"  # environment variable: the file in which a run tells its sweep its folder and losses
LOSSES = {"eval_loss_before": "validation loss before", "eval_loss": "after", "train_loss": "training loss"}


def run_sweep(script: str, runs: list[tuple[dict[str, Any], Any]]) -> int:
    """Run `script` once for each combination of values, one after another; the exit status.

    `runs` has what is swept of each, by the names of flags, and all its flags. A run that fails does not stop the
    others, Ctrl-C stops all. Finished runs end at once, so the same command resumes an interrupted sweep. Raises
    `InputError` for several processes, and for one folder or Hub name for all runs.
    """
    if "RANK" in os.environ:
        raise InputError("several values make several runs, which torchrun cannot start: give one value each")
    shared = [name for name in ("output_dir", "hub_model_id", "resume_from_checkpoint") if getattr(runs[0][1], name)]
    if shared:
        raise InputError(f"{' and '.join(map(str.upper, shared))} must be None for several runs: each has its own")
    if runs[0][1].merge:  # which has nothing to do with what is swept
        return _run(script, [f"--{name}={_format(value)}" for name, value in runs[0][0].items()])[0]
    reports, failed = [], []
    for number, (combination, _) in enumerate(runs, start=1):
        label = ", ".join(f"{name.upper()} = {value!r}" for name, value in combination.items())
        print(f"\nRun {number} of {len(runs)}: {label}", flush=True)
        status, report, is_stopped = _run(script, [f"--{name}={_format(value)}" for name, value in combination.items()])
        known = [known["folder"] for known in reports]  # what changes no weights has the same folder
        reports += [report] if report and report["folder"] not in known else []
        failed += [label] if status else []
        if is_stopped:
            print("Stopped. Run the same command again to resume.")
            return 1
    print(_describe_runs(reports), *(f"Failed: {label}" for label in failed), sep="\n")
    return 1 if failed else 0


def _format(value: Any) -> str:
    """A value as it is given on the command line."""
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _run(script: str, values: list[str]) -> tuple[int, dict[str, Any], bool]:
    """Run the script with the same command line and `values`: its status, its report, and whether a signal came."""
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
        return status, read_json(report) if report.exists() else {}, bool(signals)


def report_run(folder: Path, record: dict[str, Any]) -> None:
    """Tell the folder and the record of a finished run to the sweep that it is part of, if there is one."""
    if report := os.environ.get(REPORT):
        write_json(Path(report), {"folder": str(folder)} | record)


def _describe_runs(reports: list[dict[str, Any]]) -> str:
    """A line for each finished run with its losses, their curves, and the command that compares their models."""
    if not reports:
        return ""
    table = [["run", *LOSSES.values()]]
    for report in reports:
        losses = (report["results"].get(name) for name in LOSSES)
        table.append([Path(report["folder"]).name, *("" if loss is None else f"{loss:.4f}" for loss in losses)])
    folders = " ".join(quote(report["folder"]) for report in reports)
    next_step = f"Next: python evaluation.py --models {folders}"
    return "\n".join(["", format_table(table), *_plot_runs(reports), next_step])


def _plot_runs(reports: list[dict[str, Any]]) -> list[str]:
    """Plot the validation losses of runs beside their folders; a line that says where, if there are losses."""
    from metareview.training.curves import plot_sweep  # here: matplotlib takes most of a second to load

    losses = {Path(report["folder"]).name: report.get("validation_losses") for report in reports}
    losses = {name: points for name, points in losses.items() if points}
    path = Path(reports[0]["folder"]).with_name("losses.png")
    try:
        if losses:
            plot_sweep(losses, path)
    except OSError as error:  # the table is worth more
        return [f"Their curves were not saved: {error}"]
    return [f"Their curves: {path}"] if losses else []
