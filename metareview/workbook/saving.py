"""Opening and saving workbooks so that nothing in them is lost."""

import os
import re
import shutil
import stat
import time
from collections import Counter
from pathlib import Path
from zipfile import ZipFile

from openpyxl import Workbook, load_workbook

from metareview.common.cli import InputError
from metareview.common.files import replacing
from metareview.sources.table_files import check_unpacked, filled_rows

FAR = 1_000  # rows below the last text
FIRST_CELLS = {  # by which we know our own sheets
    "summary": "Summary of the last run (this sheet is written anew by every run)",
    "runs": "model",
    "judgments": "kind",
}
CHART_TITLES = ("Mean ROUGE (F1)", "Validation loss (nats per token) by epoch")  # by which we know our own charts
# What openpyxl may drop: files inside a workbook, and marks in those of its sheets.
PARTS = r"xl/(media|charts(?=/chart)|chartsheets|pivotTables|slicers|timelines|embeddings|ctrlProps|activeX|"
PARTS += "externalLinks|tables|queryTables|threadedComments|vbaProject)"
MARKS = {
    "shapes": rb"<\w+:(?:sp|cxnSp|grpSp)[ />]",
    "sparklines": rb"<\w+:sparkline[ />]",
    "rules of newer Excels": rb"<x14:(?:conditionalFormatting|dataValidation)[ >]",
}


def open_workbook(path: str) -> Workbook:
    """Raises `InputError` for a file that is missing or not a workbook, or has a sheet where ours would go."""
    if not Path(path).is_file():
        raise InputError(f"there is no workbook {path!r}; name one with --test_cases, or use --num_examples")
    check_unpacked(path)
    try:
        workbook = load_workbook(path, rich_text=True)
    except Exception as error:  # openpyxl raises whatever zip, XML and its own parts raise
        raise InputError(f"{path!r} is no .xlsx workbook that can be read: {error}") from error
    for sheet in workbook.worksheets:
        if sheet["A1"].value != FIRST_CELLS.get(sheet.title.lower(), sheet["A1"].value):
            raise InputError(f"{path!r} has a sheet {sheet.title!r} of its own, where ours would go; rename it")
        last = max(filled_rows(sheet), default=1) + FAR
        for place in [place for place in sheet._cells if place[0] > last]:
            del sheet._cells[place]  # such as a color in Excel's last row: each row up to it takes time
    return workbook


def find_lock(target: Path) -> Path | None:
    """The file by which LibreOffice or Excel show that they have a workbook open."""
    locks = [target.with_name(f".~lock.{target.name}#"), target.with_name(f"~${target.name}")]
    return next(filter(Path.exists, locks), None)


def check_lock(target: Path) -> None:
    """Raise `InputError` if another program has the workbook open."""
    if lock := find_lock(target):
        raise InputError(f"{str(target)!r} is open in another program; close it (or remove a stale {lock.name!r})")


def check_target(target: Path) -> None:
    """Raise `InputError` if a workbook could not be saved: no folder, open elsewhere, read-only."""
    if target.suffix.lower() != ".xlsx" or not target.absolute().parent.is_dir():
        raise InputError(f"results cannot go to {str(target)!r}: it must be an .xlsx file in a folder that exists")
    check_lock(target)
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(f"{str(target)!r} is read-only; make it writable or name another file with --output")


def modified(path: Path) -> int | None:
    """When a file was last written, in nanoseconds; None if there is none."""
    return path.stat().st_mtime_ns if path.exists() else None


def _read_rights(path: Path) -> int:
    """Who can read and write a file; its user always can. 0o666 if there is no file: the umask decides then."""
    return stat.S_IMODE(path.stat().st_mode) | stat.S_IWUSR if path.exists() else 0o666


def create_log(log: Path, like: Path) -> None:
    """Create a file, if it is not there, that nobody can read who cannot read `like`: both hold the reviews' texts."""
    log.touch(mode=_read_rights(like))
    log.chmod(_read_rights(log) & _read_rights(like))


def save_workbook(workbook: Workbook, target: Path, like: Path | None = None) -> None:
    """Write the workbook beside its place and put it there when it is complete, with the rights of the old file.

    A new one can be read by those who can read the file `like`. If the new file lacks parts of the old one, which
    openpyxl cannot keep, the old one stays under another name.
    """
    with replacing(target) as new:
        new.touch(mode=_read_rights(target if target.exists() else like or target))
        workbook.save(new)
        if target.exists():
            new.chmod(_read_rights(target))
            if losses := _count_parts(target) - _count_parts(new):
                kept, lost = _add_time(target), ", ".join(sorted(losses))
                shutil.copy2(target, kept)
                print(f"{target} had parts that get lost on saving ({lost}); it is kept as {kept}.")


def save_unless_changed(workbook: Workbook, target: Path, seen: int | None, like: Path) -> Path:
    """Save the workbook and return where: beside `target` if that was changed since `seen` or is open elsewhere."""
    if modified(target) != seen or find_lock(target):
        print(f"{target} was changed or opened in the meantime and stays as it is.")
        like, target = target, _add_time(target)
    save_workbook(workbook, target, like)
    return target


def _add_time(path: Path) -> Path:
    """A name beside a file, with the time of day."""
    return path.with_stem(f"{path.stem}_{time.strftime('%H%M%S')}")


def _count_parts(path: Path) -> Counter[str]:
    """How many PARTS and MARKS of each kind a workbook holds, without our own charts."""
    counts: Counter[str] = Counter()
    with ZipFile(path) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            part = re.match(PARTS, name)
            if part and not any(title.encode() in content for title in CHART_TITLES):
                counts[part[1]] += 1
            if re.match(r"xl/(worksheets|drawings)/[^/]*\.xml$", name):
                counts.update({mark: len(re.findall(pattern, content)) for mark, pattern in MARKS.items()})
    return counts
