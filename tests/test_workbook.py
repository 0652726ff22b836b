"""The workbook: test cases, results, judgements that are never lost, summary, runs, the blind copy."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from zipfile import ZipFile

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook
from openpyxl.chart import BarChart, Reference
from openpyxl.comments import Comment
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from processing_meta_review import InputError
from workbook import (
    CELL_LIMIT,
    CHANGED,
    JUDGED,
    JUDGEMENTS,
    MODELS,
    append_run,
    case_sheet,
    check_target,
    find_columns,
    make_blind,
    open_workbook,
    place_results,
    read_cases,
    save_workbook,
    take_judgements,
    write_results,
    write_summary,
    write_text,
)

SOFFICE = shutil.which("soffice")
METRICS = {"rouge1": ("ROUGE-1", ".3f"), "rouge2": ("ROUGE-2", ".3f"), "rougeL": ("ROUGE-L", ".3f")}
SUMMARY = {system: dict.fromkeys(METRICS, (0.2, 0.1, 0.3)) for system in (*MODELS, "lead")}


def make_workbook(path: Path, *rows: list) -> Path:
    workbook = Workbook()
    for row in rows:
        workbook.active.append(row)
    workbook.save(path)
    return path


def three_cases() -> Worksheet:
    sheet = Workbook().active
    for row in (["review", "reference"], ["first", "r"], ["second", "r"], ["third", "r"]):
        sheet.append(row)
    return sheet


def put(sheet: Worksheet, *texts: tuple[str, str]) -> dict[str, int]:
    """Write results: for each case what base and fine_tuned wrote. Returns the columns."""
    scores = {"rougeL": 0.5, "words": 1, "repetition": 0.0, "stopped": True}
    pairs = zip(*texts, strict=True)
    results = {model: [{"text": text} | scores for text in each] for model, each in zip(MODELS, pairs, strict=True)}
    columns = place_results(sheet, "a.xlsx")
    write_results(sheet, columns, read_cases(sheet, "a.xlsx"), results)
    return columns


def judge(sheet: Worksheet, row: int, **values: object) -> None:
    for name, value in values.items():
        sheet.cell(row, find_columns(sheet)[name]).value = value


def changed(sheet: Worksheet, row: int) -> bool:
    return sheet.cell(row, find_columns(sheet)[CHANGED]).value is not None


def test_texts_never_become_formulas_and_stay_within_a_cell(tmp_path: Path) -> None:
    workbook = Workbook()
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "plain", "bad\x00character", "x" * 40_000]
    replaced = [write_text(workbook.active.cell(row, 1), text) for row, text in enumerate(texts, start=1)]
    save_workbook(workbook, tmp_path / "texts.xlsx")
    loaded = [row[0] for row in load_workbook(tmp_path / "texts.xlsx").active.iter_rows()]
    assert all(cell.data_type in ("s", "inlineStr") for cell in loaded)
    assert [cell.value for cell in loaded[:7]] == [text.replace("\r", "\n") for text in texts[:7]]
    assert loaded[7].value == "bad\ufffdcharacter" and replaced == [0] * 7 + [1, 0]
    assert len(loaded[8].value) == CELL_LIMIT and loaded[8].value.endswith("[cut]")


def test_cases_are_the_rows_with_a_review(tmp_path: Path) -> None:
    path = make_workbook(
        tmp_path / "a.xlsx", ["No", " Review ", "reference"], [1, "a", "r"], [2, None, "r"], [3, "b", None]
    )
    sheet = load_workbook(path).active
    assert find_columns(sheet) == {"no": 1, "review": 2, "reference": 3}
    assert [(case.row, case.review, case.reference) for case in read_cases(sheet, "a")] == [(2, "a", "r"), (4, "b", "")]


def test_the_cases_are_found_when_another_sheet_was_left_open(tmp_path: Path) -> None:
    sheet = three_cases()
    workbook = sheet.parent
    columns = put(sheet, *[("x", "y")] * 3)
    write_summary(sheet, ["a sentence"], METRICS, SUMMARY, columns)
    workbook.active = workbook["summary"]
    assert case_sheet(workbook, "a.xlsx") is sheet
    workbook.remove(sheet)
    with pytest.raises(InputError, match="has a column 'review' in row 1"):
        case_sheet(workbook, "a.xlsx")


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
    saving = "import sys; from pathlib import Path; from workbook import *\n"
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


def test_rows_are_as_high_as_the_longest_text_needs() -> None:
    sheet = Workbook().active
    sheet.append(["review"])
    sheet.append(["a"])
    put(sheet, ("word " * 10, "word " * 60))
    assert sheet.row_dimensions[2].height == 15 * 6  # 300 characters in a column 60 wide, and one line to spare


def test_texts_of_a_case_that_is_gone_go_too() -> None:
    sheet = three_cases()
    columns = put(sheet, *[("x", "y")] * 3)
    sheet["A4"] = None
    put(sheet, *[("x", "y")] * 2)
    assert sheet.cell(2, columns["base"]).value == "x" and sheet.cell(4, columns["base"]).value is None


def test_a_judgement_stays_and_says_when_its_texts_have_changed() -> None:
    sheet = three_cases()
    put(sheet, ("a", "b"), ("a", "b"), ("a", "b"))
    for row in (2, 3):
        judge(sheet, row, preferred="tie", rating_base=2, rating_fine_tuned=3, comment="short")
    columns = put(sheet, ("a", "b"), ("a", "new"), ("a", "new"))
    assert [changed(sheet, row) for row in (2, 3, 4)] == [False, True, False]
    values = [[sheet.cell(row, columns[name]).value for name in JUDGEMENTS] for row in (2, 3, 4)]
    assert values == [["tie", 2, 3, "short"]] * 2 + [[None] * 4]
    put(sheet, ("a", "b"), ("a", "b"), ("a", "b"))
    assert not changed(sheet, 3)  # the texts that were judged are back


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.sampled_from(["x", "y", "z"])),
        st.tuples(st.just("judge"), st.sampled_from([1, 2, 3])),
        st.tuples(st.just("empty the note"), st.none()),
    ),
    max_size=12,
)


@given(events=EVENTS)
def test_the_note_tells_whether_the_judged_texts_stand_there(events: list[tuple[str, object]]) -> None:
    sheet = three_cases()
    shown, about, rating = "x", None, None
    put(sheet, *[("base", shown)] * 3)
    for event, value in events:
        if event == "judge":
            judge(sheet, 3, rating_fine_tuned=value)
            about = shown if value != rating else about  # the same rating once more is no event that one could see
            rating = value
        elif event == "empty the note" and changed(sheet, 3):
            judge(sheet, 3, **{CHANGED: None})
            about = shown
        elif event == "run":
            shown = value
            put(sheet, *[("base", shown)] * 3)
            assert changed(sheet, 3) == (about is not None and about != shown)
    assert sheet.cell(3, find_columns(sheet)["rating_fine_tuned"]).value == rating
    assert not changed(sheet, 2) and not changed(sheet, 4)


def test_rules_are_added_once_and_survive(tmp_path: Path) -> None:
    path, sheet = tmp_path / "a.xlsx", three_cases()
    for _ in range(3):
        columns = put(sheet, *[("x", "y")] * 3)
        save_workbook(sheet.parent, path)
        sheet = open_workbook(str(path)).active
    assert len(sheet.conditional_formatting) == 2
    rules = {str(rule.sqref): rule.formula1 for rule in sheet.data_validations.dataValidation}
    assert sorted(rules.values()) == ['"1,2,3,4,5"', '"1,2,3,4,5"', '"base,fine_tuned,tie,neither"']
    assert sheet.auto_filter.ref == f"A1:{sheet.cell(4, sheet.max_column).coordinate}"
    assert sheet.freeze_panes == "A2" and sheet.max_column == max(columns.values())


def test_a_sheet_of_the_users_with_our_name_is_left_alone(tmp_path: Path) -> None:
    for title, cell in (("summary", "A1"), ("Runs", "B2")):
        workbook = three_cases().parent
        workbook.create_sheet(title)[cell] = "my own"
        workbook.save(tmp_path / "a.xlsx")
        with pytest.raises(InputError, match=f"sheet '{title}' of its own"):
            open_workbook(str(tmp_path / "a.xlsx"))


def test_columns_of_the_users_are_never_taken_for_results(tmp_path: Path) -> None:
    sheet = three_cases()
    for name in ("base", "Comment", "preferred"):
        sheet["C1"] = name
        with pytest.raises(InputError, match=f"'{name.lower()}' of its own"):
            place_results(sheet, "a.xlsx")
    sheet["C1"] = None
    put(sheet, *[("x", "y")] * 3)
    sheet.merge_cells("B4:D4")
    with pytest.raises(InputError, match="B4:D4"):
        place_results(sheet, "a.xlsx")


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


def test_runs_are_never_overwritten() -> None:
    workbook = Workbook()
    append_run(workbook, {"date": "1", "prompt": "=plain", "base rougeL": 0.25})
    append_run(workbook, {"date": "2", "new": 3})
    rows = list(workbook["runs"].iter_rows(values_only=True))
    workbook["runs"].insert_cols(2)
    append_run(workbook, {"prompt": "word_limit"})
    assert workbook["runs"]["C4"].value == "word_limit" and workbook["runs"]["B4"].value is None
    workbook["runs"].delete_cols(2)
    assert rows == [("date", "prompt", "base rougeL", "new"), ("1", "=plain", 0.25, None), ("2", None, None, 3)]
    assert workbook["runs"]["B2"].data_type == "s"


def test_judging_blind_gives_the_judgements_to_those_who_wrote_the_texts(tmp_path: Path) -> None:
    workbook = Workbook()
    sheet = workbook.active
    sheet.append(["review", "reference"])
    for number in range(40):
        sheet.append([f"review {number}", "r"])
    columns = put(sheet, *[(f"base {number}", f"tuned {number}") for number in range(40)])
    cases = read_cases(sheet, "a.xlsx")
    blind, key = make_blind(sheet, columns, cases)
    save_workbook(blind, tmp_path / "blind.xlsx")
    blind = open_workbook(str(tmp_path / "blind.xlsx")).active
    there = find_columns(blind)
    assert not {*MODELS, "base_rougel", "fine_tuned_rougel"} & set(there)
    first = [blind.cell(row, there["a"]).value.split()[0] for row in range(2, 42)]
    assert 5 < first.count("base") < 35  # swapped at random: outside once in two million times
    for row, writer in enumerate(first, start=2):  # the judge likes what fine_tuned wrote: 5 against 1
        a, b = (1, 5) if writer == "base" else (5, 1)
        values = {"preferred": "AB"[b > a], "rating_a": a, "rating_b": b, "comment": writer}
        for name, value in values.items():
            blind.cell(row, there[name]).value = value
    for name in ("preferred", "rating_a", "rating_b", "comment"):
        blind.cell(41, there[name]).value = None
    judge(sheet, 2, preferred="tie")
    sheet.cell(3, columns["base"]).value = "other"
    blind.cell(5, there["preferred"]).value = blind.cell(5, there["preferred"]).value.lower() + " "
    assert take_judgements(sheet, columns, cases, blind, key) == 1
    assert [cell.value for cell in sheet[get_column_letter(columns["preferred"])]].count("fine_tuned") == 38
    assert take_judgements(sheet, columns, cases, blind, key) == 1  # once more: nothing changes
    ratings = [(row[columns["rating_base"] - 1], row[columns["rating_fine_tuned"] - 1]) for row in sheet.values][1:]
    assert ratings == [(None, None), *[(1, 5)] * 38, (None, None)]
    assert sheet.cell(2, columns["preferred"]).value == "tie"  # judged openly before: stays
    assert [row for row in range(2, 42) if changed(sheet, row)] == [3]


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed")
def test_formulas_calculate_in_libreoffice_and_nothing_is_lost_there(tmp_path: Path) -> None:
    save_workbook(three_cases().parent, tmp_path / "a.xlsx")
    convert = [SOFFICE, f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", "--convert-to", "xlsx"]
    convert += ["--outdir", tmp_path / "out", tmp_path / "a.xlsx"]
    subprocess.run(convert, check=True, capture_output=True)
    sheet = open_workbook(str(tmp_path / "out" / "a.xlsx")).active
    columns = put(sheet, *[("a", "b")] * 3)
    widths = sheet.column_dimensions
    assert widths[get_column_letter(columns["base"])].width == 60 and widths[get_column_letter(columns[JUDGED])].hidden
    judge(sheet, 2, preferred="fine_tuned", rating_base=2, rating_fine_tuned=5)
    judge(sheet, 3, preferred="tie", rating_base=3, rating_fine_tuned="none")
    judge(sheet, 4, preferred="base", rating_base=5, rating_fine_tuned=1)
    columns = put(sheet, ("a", "b"), ("a", "b"), ("a", "new"))
    write_summary(sheet, ["a sentence"], METRICS, SUMMARY, columns)
    append_run(sheet.parent, {"date": "today"})
    save_workbook(sheet.parent, tmp_path / "a.xlsx")
    subprocess.run(convert, check=True, capture_output=True)
    rows = list(load_workbook(tmp_path / "out" / "a.xlsx", data_only=True)["summary"].values)
    found = {row[0]: row[1:5] for row in rows if row[0]}
    assert found["preferred"] == (0, 1, 1, 0)  # the row whose text changed does not count
    assert found["mean rating, 1 to 5"][:2] == (2.5, 5) and found["cases rated"][:2] == (2, 1)
    assert next(row[1] for row in rows if re.match("judged, but", str(row[0]))) == 1
    saved = open_workbook(str(tmp_path / "out" / "a.xlsx"))  # as a person saves it there: we go on with it
    assert saved.sheetnames == ["Sheet", "summary", "runs"]
    assert len(saved["summary"]._charts) == 1 and len(saved.active.conditional_formatting) == 2
    columns = put(saved.active, ("a", "b"), ("a", "b"), ("a", "b"))
    assert not changed(saved.active, 4) and columns["base"] == 3
