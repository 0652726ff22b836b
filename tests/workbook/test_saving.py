"""Opening and saving: nothing in a workbook is lost, whatever happens."""

import os
import re
from pathlib import Path
from zipfile import ZipFile

import pytest
from openpyxl import load_workbook
from openpyxl.styles import PatternFill
from workbooks import CASES, make_sheet, make_workbook

from metareview.common.cli import InputError
from metareview.workbook import saving


def test_a_sheet_of_the_users_with_our_name_is_left_alone(tmp_path: Path) -> None:
    for title, cell in (("summary", "A1"), ("Runs", "B2")):
        workbook = make_sheet(*CASES).parent
        workbook.create_sheet(title)[cell] = "my own"
        workbook.save(tmp_path / "a.xlsx")
        with pytest.raises(InputError, match=f"sheet '{title}' of its own"):
            saving.open_workbook(str(tmp_path / "a.xlsx"))


def test_a_file_with_parts_that_would_be_lost_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = make_workbook(tmp_path / "a.xlsx", *CASES)
    with ZipFile(path, "a") as archive:  # what Excel adds, and openpyxl drops
        archive.writestr("xl/charts/chart1.xml", f"<c:t>{saving.CHART_TITLES[0]}</c:t>")  # one of ours is no loss
        archive.writestr("xl/slicers/slicer1.xml", "")
        archive.writestr("xl/drawings/drawing9.xml", "<xdr:sp macro=''/>")
    before = path.read_bytes()
    saving.save_workbook(make_sheet(*CASES).parent, path)
    [kept] = set(tmp_path.iterdir()) - {path}
    assert kept.read_bytes() == before
    assert f"get lost on saving (shapes, slicers); it is kept as {kept}" in capsys.readouterr().out


def test_what_was_changed_or_opened_meanwhile_stays(tmp_path: Path) -> None:
    path, workbook = make_workbook(tmp_path / "a.xlsx", ["review"], ["old"]), make_sheet(["review"], ["new"]).parent
    before, seen = path.read_bytes(), saving.modified(path)
    for lock in (None, ".~lock.a.xlsx#", "~$a.xlsx"):  # of LibreOffice, of Excel
        if lock:
            (tmp_path / lock).touch()
            with pytest.raises(InputError, match="open in another program.*" + re.escape(repr(lock))):
                saving.check_target(path)
        saved = saving.save_unless_changed(workbook, path, seen if lock else 0, path)
        assert saved != path and load_workbook(saved).active["A2"].value == "new" and path.read_bytes() == before
        (tmp_path / (lock or "none")).unlink(missing_ok=True)
    assert saving.save_unless_changed(workbook, path, seen, path) == path


def test_where_results_cannot_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("a.csv", "nowhere/a.xlsx"):
        with pytest.raises(InputError, match=r"an \.xlsx file in a folder that exists"):
            saving.check_target(tmp_path / wrong)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as root every file is writable
    with pytest.raises(InputError, match="read-only"):
        saving.check_target(make_workbook(tmp_path / "a.xlsx", ["review"]))


def test_a_color_in_the_last_row_costs_no_time(tmp_path: Path) -> None:
    sheet = make_sheet(*CASES)
    for place in ("A30", "A1048576"):
        sheet[place].fill = PatternFill("solid", fgColor="FF0000")
    sheet.parent.save(tmp_path / "a.xlsx")
    assert saving.open_workbook(str(tmp_path / "a.xlsx")).active.max_row == 30


@pytest.mark.parametrize("mode", [0o600, 0o444])
def test_nobody_else_can_read_the_results(mode: int, tmp_path: Path) -> None:
    """A new file is as private as the one that it is made from, an old one stays as the user had it."""
    cases = make_workbook(tmp_path / "a.xlsx", ["review"], ["confidential"])
    cases.chmod(mode)
    results, log = tmp_path / "results.xlsx", tmp_path / "log.jsonl"
    for expected in ([mode | 0o200] * 2, [0o664, mode | 0o200]):
        saving.save_workbook(make_sheet(["review"]).parent, results, cases)
        saving.create_log(log, cases)
        assert [path.stat().st_mode & 0o777 for path in (results, log)] == expected
        results.chmod(0o664)
