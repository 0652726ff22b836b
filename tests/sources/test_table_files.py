"""Files with a table: every format and encoding gives the same rows; what is damaged is named."""

import csv
import json
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from metareview.common.cli import InputError
from metareview.sources.table_files import find_delimiter, read_table
from metareview.workbook.saving import open_workbook

ROWS = [
    {"Input": 'A "good" naïve paper; tested,\nwith\ttwo lines', "Output": "It is fine."},
    {"Input": "second", "Output": ""},
    {"Input": "第三", "Output": "好"},
]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def to_csv(rows: list[dict[str, str]], delimiter: str = ",", end: str = "\r\n") -> str:
    text = StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_csv_with_each_delimiter_and_encoding(delimiter: str, encoding: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", to_csv(ROWS, delimiter), encoding)
    assert read_table(path, "utf-8" if encoding == "utf-8-sig" else encoding) == (ROWS, [])


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(',;\t"\n'), max_size=20)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), st.sampled_from(",;\t"))
def test_any_texts_come_back_from_csv(pairs: list[tuple[str, str]], delimiter: str) -> None:
    rows = [{"review": first, "meta_review": second} for first, second in pairs]
    with TemporaryDirectory() as folder:
        path = write(Path(folder, "a.csv"), to_csv(rows, delimiter))
        assert read_table(path)[0] == [row for row in rows if any(row.values())]


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        ("Input,Output\n", ","),
        ("review_1;review_2;meta review\n", ";"),
        ('"review, in full"\t"meta_review"\n', "\t"),
        ("review\n", ","),
        ("paper id;review, all of them;summary\n", ";"),
    ],
)
def test_delimiters_are_told_apart_by_the_header(header: str, delimiter: str) -> None:
    assert find_delimiter(header) == delimiter


def test_json_in_all_its_shapes_tsv_and_excel(tmp_path: Path) -> None:
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    workbook = Workbook()
    for row in (list(ROWS[0]), *(list(row.values()) for row in ROWS), [None, None]):
        workbook.active.append(row)
    workbook.create_sheet("notes").append(["mine"])
    workbook.create_sheet("empty")
    workbook.save(tmp_path / "a.xlsx")
    for path in (
        write(tmp_path / "a.json", json.dumps(ROWS)),
        write(tmp_path / "columns.json", json.dumps(columns)),
        write(tmp_path / "a.jsonl", f"{lines}\n"),
        write(tmp_path / "lines.json", lines),
        write(tmp_path / "a.tsv", to_csv(ROWS, "\t", "\n")),
    ):
        assert read_table(path) == (ROWS, []), path
    rows, unread = read_table(tmp_path / "a.xlsx")
    assert [{name: text or "" for name, text in row.items()} for row in rows] == ROWS
    assert unread == ["sheet 'notes'"]


def test_rows_of_json_have_all_columns(tmp_path: Path) -> None:
    rows, _ = read_table(write(tmp_path / "a.jsonl", '{"a": 1}\n{"b": ["x"]}\n'))
    assert rows == [{"a": 1, "b": None}, {"a": None, "b": ["x"]}]


def test_columns_without_a_name_and_empty_rows_do_not_count(tmp_path: Path) -> None:
    rows, _ = read_table(write(tmp_path / "a.csv", ",review, Output \n0,a,b\n\n,,\n1,c,d\n"))
    assert rows == [{"review": "a", "Output": "b"}, {"review": "c", "Output": "d"}]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "Input,Output\nnaïve,b\n".encode("latin-1"), ["UTF-8", "byte 15", "--encoding cp1252"]),
        ("a.jsonl", '{"a": "naïve"}'.encode("latin-1"), ["UTF-8", "--encoding cp1252"]),
        ("a.csv", "Input,Output\na,b\n".encode("utf-16"), ["UTF-8", "--encoding utf-16"]),
        ("a.csv", "Input,Output\na,b\n".encode("utf-16-le"), ["UTF-8", "--encoding utf-16"]),
        ("a.csv", b"Input,Output\na,b,c\n", ["line 2", "3 columns, and the header has 2", "quotes"]),
        ("a.csv", b'Input,Output\n"a,b\n', ["line 2", "unexpected end of data", "quotes"]),
        ("a.csv", b"review,review\na,b\n", ["several columns 'review'"]),
        ("a.json", b"{ this is not JSON", ["a.json' is no JSON", "line 1 column 3"]),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', ["line 2 of", "a.jsonl' is no JSON"]),
        ("a.jsonl", b"[" * 100_000, ["a.jsonl' is no JSON"]),
        ("a.json", b'["a", "b"]', ["a list of objects"]),
        ("a.jsonl", b'{"a": 1}\n["a"]', ["line 2 of", "is no object"]),
        ("a.xlsx", b"PK no workbook", ["a.xlsx' is no .xlsx workbook"]),
    ],
)
def test_what_cannot_be_read_is_named(name: str, content: bytes, words: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_table(tmp_path / name)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\0" * 3_000_000, "unpacks to 3 MB, more than 2 MB"), (b'<c r="A1"/>' * 9, "9 cells, more")],
)
def test_a_workbook_that_unpacks_to_gigabytes_is_refused(
    content: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With lower limits here, so that the test itself does not take the memory."""
    monkeypatch.setattr("metareview.sources.table_files.MOST_CELLS", 8)
    monkeypatch.setattr("metareview.sources.table_files.LARGEST_SHEETS", 2_000_000)
    with ZipFile(tmp_path / "a.xlsx", "w", ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", content)
    assert (tmp_path / "a.xlsx").stat().st_size < 10_000
    for read in (read_table, lambda path: open_workbook(str(path))):
        with pytest.raises(InputError, match=f"{words}.*give it as CSV"):
            read(tmp_path / "a.xlsx")
