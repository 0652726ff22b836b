"""Opening and saving workbooks so that nothing in them is lost."""

import os
import re
import time
from collections import Counter
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

from openpyxl import Workbook, load_workbook

from metareview.common.cli import InputError
from metareview.common.files import replacing
from metareview.sources.table_files import check_unpacked
from metareview.workbook.cells import find_sheet

FIRST_CELLS = {  # by which we know our own sheets
    "summary": "Summary of the last run (this sheet is written anew by every run)",
    "runs": "model",
    "judgements": "kind",
}
PARTS = {  # what openpyxl may drop: files inside the workbook, by their names
    "pictures": r"xl/media/",
    "charts": r"xl/charts/chart[^/]*$|xl/charts/.*cx.*$|xl/chartsheets/[^/]*$",
    "comments": r"xl/(threadedC|c)omments?\d*[./]",
    "pivot tables": r"xl/pivotTables/[^/]*$",
    "slicers": r"xl/(slicers|timelines)/",
    "embedded objects": r"xl/(embeddings|ctrlProps|activeX)/[^/]*$",
    "links to other files": r"xl/externalLinks/[^/]*$",
    "tables": r"xl/(tables|queryTables)/[^/]*$",
    "macros": r"xl/vbaProject",
}
MARKS = {  # the same: marks inside its sheets and drawings
    "shapes": rb"<\w+:(?:sp|cxnSp|grpSp)[ />]",
    "sparklines": rb"<\w+:sparkline[ />]",
    "rules of newer Excels": rb"<x14:(?:conditionalFormatting|dataValidation)[ >]",
}


def open_workbook(path: str) -> Workbook:
    """Raises `InputError` for a file that is missing or not a workbook, or that would lose something on saving."""
    workbook, losses = read_workbook(path)
    if losses:
        what_to_do = "take them out, or copy the test cases into a new workbook"
        raise InputError(f"{path!r} has {', '.join(losses)} that would be lost on saving; {what_to_do}")
    return workbook


def open_copy(path: str, quiet: bool = False) -> Workbook:
    """A workbook that is to be saved elsewhere: what the copy will lack is said, and no reason to refuse."""
    workbook, losses = read_workbook(path)
    if losses and not quiet:
        print(f"{path} has {', '.join(losses)} that the workbook with the results will lack; {path} stays as it is.")
    return workbook


def read_workbook(path: str) -> tuple[Workbook, list[str]]:
    """A workbook, and what in it would not survive being saved. Raises `InputError` where it cannot be used."""
    if not Path(path).is_file():
        raise InputError(f"there is no workbook {path!r}; name one with --test_cases, or use --num_examples")
    check_unpacked(path)
    try:
        workbook = load_workbook(path, rich_text=True)
        losses = find_losses(path)
    except Exception as error:  # openpyxl raises whatever zip, XML and its own parts raise
        raise InputError(f"{path!r} is no .xlsx workbook that can be read: {error}") from error
    for title, first in FIRST_CELLS.items():
        sheet = find_sheet(workbook, title)
        if sheet and sheet["A1"].value != first:
            raise InputError(f"{path!r} has a sheet {sheet.title!r} of its own, where ours would go; rename it")
    return workbook, losses


def find_losses(path: str) -> list[str]:
    """What in a workbook would not survive being read and saved by openpyxl, in words for a person."""
    saved = BytesIO()
    load_workbook(path, rich_text=True).save(saved)
    before, after = count_parts(path), count_parts(saved)
    return sorted(name for name in before if after[name] < before[name])


def count_parts(file: str | BytesIO) -> Counter[str]:
    """How many of each of PARTS and MARKS a workbook holds."""
    counts: Counter[str] = Counter()
    with ZipFile(file) as archive:
        for name in archive.namelist():
            counts.update(label for label, pattern in PARTS.items() if re.match(pattern, name))
            if re.match(r"xl/(worksheets|drawings)/[^/]*\.xml$", name):
                content = archive.read(name)
                counts.update({label: len(re.findall(pattern, content)) for label, pattern in MARKS.items()})
    return counts


def find_lock(target: Path) -> Path | None:
    """The file by which LibreOffice or Excel show that they have a workbook open."""
    locks = (target.with_name(f".~lock.{target.name}#"), target.with_name(f"~${target.name}"))
    return next((lock for lock in locks if lock.exists()), None)


def check_lock(target: Path) -> None:
    """Raise `InputError` where another program has the workbook open."""
    if lock := find_lock(target):
        raise InputError(f"{str(target)!r} is open in another program; close it (or remove a stale {lock.name!r})")


def check_target(target: Path) -> None:
    """Raise `InputError` where a workbook could not be saved: no folder, open elsewhere, read-only.

    A full disk raises an `OSError` now rather than after the generation: as much as the workbook may need is tried.
    """
    if target.suffix.lower() != ".xlsx" or not target.absolute().parent.is_dir():
        raise InputError(f"results cannot go to {str(target)!r}: it must be an .xlsx file in a folder that exists")
    check_lock(target)
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(f"{str(target)!r} is read-only; make it writable or name another file with --output")
    trial = target.with_name(f".{target.name}.try")
    try:
        trial.write_bytes(bytes(2**20 + 2 * (target.stat().st_size if target.exists() else 0)))
    finally:
        trial.unlink(missing_ok=True)


def modified(path: Path) -> int | None:
    """When a file was last written, in nanoseconds; None where there is none."""
    return path.stat().st_mtime_ns if path.exists() else None


def save_workbook(workbook: Workbook, target: Path) -> None:
    """Write the workbook beside its place and put it there when it is whole."""
    with replacing(target) as new:
        workbook.save(new)


def save_unless_changed(workbook: Workbook, target: Path, seen: int | None) -> Path:
    """Save the workbook and return where: beside `target` if that was changed since `seen` or is open elsewhere."""
    if modified(target) != seen or find_lock(target):
        print(f"{target} was changed or opened in the meantime and stays as it is.")
        target = target.with_stem(f"{target.stem}_{time.strftime('%H%M%S')}")
    save_workbook(workbook, target)
    return target
