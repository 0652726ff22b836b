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

REPORTS = "METAREVIEW_REPORTS"  # environment variable: the file with the records of the runs so far, by folder
LOSSES = {"eval_loss_before": "validation loss before", "eval_loss": "after", "train_loss": "training loss"}


def run_sweep(script: str, runs: list[tuple[dict[str, Any], Any]]) -> int:
    """Run `script` once for each combination of values, one after another; the exit status.

    `runs` has what is swept of each, by the names of flags, and all its flags. A run that fails does not stop the
    others, Ctrl-C stops all. Finished runs end at once, so the same command resumes an interrupted sweep. Raises
    `InputError` for several processes, and for one folder or Hub name for all runs.
    """
    if "RANK" in os.environ:
        raise InputError("several values make several runs, which torchrun cannot start: give one value each")
    combinations = [combination for combination, _ in runs]
    flags = runs[0][1]
    shared = [name.upper() for name in ("output_dir", "hub_model_id", "resume_from_checkpoint") if getattr(flags, name)]
    if shared:
        raise InputError(f"{' and '.join(shared)} must be None for several runs: each has its own")
    if flags.merge:  # which has nothing to do with what is swept
        return _run(script, combinations[0])
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "reports.json")
        write_json(path, {})
        os.environ[REPORTS] = str(path)
        for number, combination in enumerate(combinations, start=1):
            label = ", ".join(f"{name.upper()} = {value!r}" for name, value in combination.items())
            print(f"\nRun {number} of {len(runs)}: {label}", flush=True)
            if _run(script, combination):
                failed.append(label)
        reports = read_json(path)
    if reports:
        _print_reports(reports)
    for label in failed:
        print(f"Failed: {label}")
    return 1 if failed else 0


def _run(script: str, combination: dict[str, Any]) -> int:
    """The status of the script, run with these values. A signal stops it with a checkpoint, and then this process."""
    texts = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in combination.items()}
    values = [f"--{name}={text}" for name, text in texts.items()]
    process = subprocess.Popen([sys.executable, script, *sys.argv[1:], *values])
    signals: list[int] = []

    def forward(number: int, _frame: Any) -> None:
        signals.append(number)
        if number != signal.SIGINT:  # which a terminal sends to both
            process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    status = process.wait()
    for number, handler in before.items():
        signal.signal(number, handler)
    if signals:
        raise KeyboardInterrupt("stopped; run the same command again to resume")
    return status


def report_run(folder: Path, record: dict[str, Any]) -> None:
    """Tell the folder and the record of a finished run to the sweep that it is part of, if there is one."""
    if path := os.environ.get(REPORTS):
        write_json(Path(path), read_json(Path(path)) | {str(folder): record})


def _print_reports(reports: dict[str, dict[str, Any]]) -> None:
    """A line for each finished run with its losses, their curves, and the command that compares their models."""
    from metareview.training.curves import plot_sweep  # here: matplotlib takes most of a second to load

    table = [["run", *LOSSES.values()]]
    for folder, record in reports.items():
        losses = (record["results"].get(name) for name in LOSSES)
        table.append([Path(folder).name, *("" if loss is None else f"{loss:.4f}" for loss in losses)])
    print(f"\n{format_table(table)}")
    curves = {Path(folder).name: record.get("validation_losses", []) for folder, record in reports.items()}
    if any(curves.values()):
        path = Path(next(iter(reports))).with_name("losses.png")
        try:
            plot_sweep(curves, path)
            print(f"Their curves: {path}")
        except OSError as error:  # what follows is worth more
            print(f"Their curves were not saved: {error}")
    print("Next: python evaluation.py --models", *map(quote, reports))
