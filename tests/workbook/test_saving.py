"""Opening and saving: nothing in a workbook is lost, whatever happens."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from zipfile import ZipFile

import pytest
from conftest import ROOT
from openpyxl import load_workbook
from openpyxl.chart import BarChart, Reference
from openpyxl.comments import Comment
from workbooks import make_workbook, three_cases

from metareview.common.cli import InputError
from metareview.workbook.saving import check_target, open_workbook, save_workbook


def test_a_failed_save_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_workbook(tmp_path / "a.xlsx", ["review"], ["old"])
    before = path.read_bytes()
    workbook = load_workbook(path)

    def breaks(target: Path) -> None:
        Path(target).write_bytes(b"half a workbook")
        raise OSError("No space left on device")

    monkeypatch.setattr(workbook, "save", breaks)
    with pytest.raises(OSError, match="No space"):
        save_workbook(workbook, path)
    assert path.read_bytes() == before


def test_a_killed_save_leaves_a_whole_file(tmp_path: Path) -> None:
    path = make_workbook(tmp_path / "a.xlsx", ["review"], *[[f"text {row} " * 20] for row in range(500)])
    saving = "import sys; from pathlib import Path; from metareview.workbook.saving import *\n"
    saving += "book = open_workbook(sys.argv[1]); print('begins', flush=True)\n"
    saving += "while True: book.active['B1'] = 'new'; save_workbook(book, Path(sys.argv[1]))"
    for wait in (0.02, 0.05, 0.11, 0.17):
        command = [sys.executable, "-c", saving, str(path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "begins\n"
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(list(load_workbook(path).active.iter_rows())) == 501


def test_a_sheet_of_the_users_with_our_name_is_left_alone(tmp_path: Path) -> None:
    for title, cell in (("summary", "A1"), ("Runs", "B2")):
        workbook = three_cases().parent
        workbook.create_sheet(title)[cell] = "my own"
        workbook.save(tmp_path / "a.xlsx")
        with pytest.raises(InputError, match=f"sheet '{title}' of its own"):
            open_workbook(str(tmp_path / "a.xlsx"))


def inject(path: Path, part: str, content: bytes) -> None:
    """Put a part into a workbook, or `content` at the end of one that is there."""
    with ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    before, end, after = parts.get(part, b"").rpartition(b"</worksheet>")
    parts[part] = before + content + end + after
    with ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def test_what_would_be_lost_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    sheet = three_cases()
    sheet["B2"].comment = Comment("mine", "me")
    chart = BarChart()
    chart.add_data(Reference(sheet, 1, 2, 1, 4))
    sheet.add_chart(chart)
    sheet.parent.create_sheet("further")["A1"] = "=1+1"
    sheet.parent.save(path)
    kept = open_workbook(str(path))  # what openpyxl keeps is no reason to refuse
    save_workbook(kept, path)
    again = load_workbook(path)
    assert again.active["B2"].comment.text == "mine" and len(again.active._charts) == 1
    assert again["further"]["A1"].value == "=1+1"
    space = b'xmlns:x14="http://schemas.microsoft.com/office/spreadsheetml/2009/9/main"'
    sparkline = b"<extLst><ext " + space + b' uri="{05C60535-1F16-4fd2-B633-F4F36F0B64E0}">'
    sparkline += b"<x14:sparklineGroups><x14:sparklineGroup><x14:sparklines><x14:sparkline/></x14:sparklines>"
    inject(path, "xl/worksheets/sheet1.xml", sparkline + b"</x14:sparklineGroup></x14:sparklineGroups></ext></extLst>")
    inject(path, "xl/vbaProject.bin", b"macro")
    with pytest.raises(InputError, match="has macros, sparklines that would be lost"):
        open_workbook(str(path))


def test_a_file_that_cannot_be_saved_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_workbook(tmp_path / "a.xlsx", ["review"], ["a"])
    check_target(path)
    for lock in (".~lock.a.xlsx#", "~$a.xlsx"):  # of LibreOffice, of Excel
        (tmp_path / lock).touch()
        with pytest.raises(InputError, match="open in another program") as error:
            check_target(path)
        assert lock in str(error.value)
        (tmp_path / lock).unlink()
    monkeypatch.setattr(os, "access", lambda *_: False)  # as root every file is writable
    with pytest.raises(InputError, match="read-only"):
        check_target(path)


def test_a_full_disk_is_noticed(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, most))  # a file cannot grow, as on a full disk
    try:
        with pytest.raises(OSError, match=r"a\.xlsx|File too large"):
            check_target(tmp_path / "a.xlsx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert not list(tmp_path.iterdir())
