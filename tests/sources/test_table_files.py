"""Files with a table: every format and encoding gives the same rows; what is damaged is named, with what to do."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook
from openpyxl.styles import PatternFill
from openpyxl.worksheet.table import Table
from workbooks import make_sheet

from metareview.common.cli import InputError
from metareview.sources.table_files import Formula, filled_rows, read_table

ROWS = [
    {"Input": 'A "good" naïve paper; tested,\nwith\ttwo lines', "Output": "It is fine."},
    {"Input": "second", "Output": ""},
    {"Input": "第三", "Output": "好"},
]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(',;\t|"\n'), max_size=20)
MARKED = ["utf-8-sig", "utf-16"]  # at the beginning of the file: they are read whatever the flag says


@given(
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-16-le", "gb18030", *MARKED]),
)
def test_any_texts_come_back_from_csv(pairs: list[tuple[str, str]], delimiter: str, encoding: str) -> None:
    rows = [{"review": first, "meta_review": second} for first, second in pairs]
    text = pandas.DataFrame(rows).to_csv(index=False, sep=delimiter)
    with TemporaryDirectory() as folder:
        path = write(Path(folder, "a.csv"), text, encoding)
        read, _ = read_table(path, "utf-8" if encoding in MARKED else encoding)
    assert read == [row for row in rows if "".join(row.values()).replace("-", "").strip()]


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\r\nreview;summary\r\na;b, c\r\n",
        "Reviews of 2024\n\nreview;summary\na;b, c\n",
        "Reviews, of 2024\nreview\tsummary\na\tb, c\n",
        "Reviews; of 2024\n;the review;summary\n;a;b, c\n",
        'review,summary,,\na,"b, c",,,\n\n,,\n',
        '"the\nreview";summary;"a, ""b"", c"\na;b, c;\n',
        ',review,summary\n0,a,"b, c"\n',
        'review,summary\n------,-------\na,"b, c"\n\n(1 rows affected)\n',
        '"review","summary"\r"a","b, c"\r',
    ],
)
def test_csv_as_programs_write_it(text: str, tmp_path: Path) -> None:
    [row], _ = read_table(write(tmp_path / "a.csv", text))
    kept = {name.removeprefix("the "): value for name, value in row.items() if value}
    assert kept == {"review": "a", "summary": "b, c"}


def test_missing_fields_and_quotes_as_databases_write_them(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'review,summary\n"a, b"\nc,d\n')
    assert read_table(path)[0] == [{"review": "a, b", "summary": ""}, {"review": "c", "summary": "d"}]
    path = write(tmp_path / "a.csv", 'review,summary\n"A \\"good\\", new\nidea","b"\n')
    assert read_table(path)[0] == [{"review": 'A "good", new\nidea', "summary": "b"}]


def test_json_in_all_its_shapes(tmp_path: Path) -> None:
    table, lines = pandas.DataFrame(ROWS), "".join(json.dumps(row) + "\n" for row in ROWS)
    shapes = [table.to_dict("list"), {"papers": ROWS, "version": 1}]
    texts = [table.to_json(orient=orient) for orient in ("records", "columns", "index")] + [lines]
    for text in [*texts, table.set_index("Input").to_json(orient="table"), *map(json.dumps, shapes)]:
        assert read_table(write(tmp_path / "a.json", text)) == (ROWS, []), text
    for text in (lines + "\n", json.dumps(ROWS)):
        assert read_table(write(tmp_path / "a.jsonl", text)) == (ROWS, [])
    rows, _ = read_table(write(tmp_path / "a.jsonl", '{"a": 1}\n{"b": ["x"], "a": NaN}\n'))
    assert rows == [{"a": 1, "b": None}, {"a": None, "b": ["x"]}]


def test_of_a_workbook_a_sheet_is_read_with_hidden_rows_but_without_totals(tmp_path: Path, capsys) -> None:
    rows = [["Of 2024"], [None, *ROWS[0]], *([1, *row.values()] for row in ROWS), [None, "Total", 3]]
    workbook = make_sheet(*rows).parent
    workbook.active["D4"] = "merged cells above this one, perhaps"
    workbook.active.add_table(Table(displayName="T", ref="B2:C6", totalsRowCount=1))
    workbook.active.row_dimensions[3].hidden = True  # as by a filter
    workbook.create_sheet("notes").append(["mine"])
    workbook.create_sheet("empty")
    workbook.save(tmp_path / "a.xlsx")
    assert read_table(tmp_path / "a.xlsx") == (ROWS, ["sheet 'notes'", "column D (it has no header)"])
    assert "1 hidden or filtered rows of 'Sheet' are read like the others." in capsys.readouterr().out


def test_merged_cells_and_formulas_of_a_workbook(tmp_path: Path) -> None:
    rows = [["id", "review", "f", "g"], ["p", "a", '="x"&1', "=A9"], [None, "b", None, '=""'], [None, "c"], ["q", "d"]]
    workbook = make_sheet(*rows).parent
    workbook.active.merge_cells("A2:A4")
    workbook.active.cell(1_048_576, 2).fill = PatternFill("solid", "FFFF00")  # Ctrl+Down, fill
    workbook.save(tmp_path / "a.xlsx")
    with ZipFile(tmp_path / "a.xlsx") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    path = tmp_path / "calculated.xlsx"
    with ZipFile(path, "w") as archive:
        for name, part in parts.items():  # openpyxl writes no values of formulas
            part = part.replace(b"<f>A9</f><v />", b"<f>A9</f><v>7</v>")
            archive.writestr(name, part.replace(b'<c r="D3">', b'<c r="D3" t="str">'))
    found, _ = read_table(path)
    assert [list(row.values())[:2] for row in found] == [["p", "a"], ["p", "b"], ["p", "c"], ["q", "d"]]
    assert [row["f"] for row in found] == ['="x"&1', "", "", ""] and isinstance(found[0]["f"], Formula)
    assert [row["g"] for row in found[:2]] == [7, ""]  # a calculated text may be empty
    assert filled_rows(load_workbook(path).active) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "Input,Output\nnaïve,b\n".encode("latin-1"), ["UTF-8", "position 15", "--encoding cp1252"]),
        ("a.csv", "Input,Output\né,b\n".encode("utf-16-le"), ["UTF-8", "utf-16-le"]),
        ("a.csv", b"PK\x03\x04", ["an Office document"]),
        ("a.csv", b"Input,Output\na,b,c\n", ["line 2", "3 columns, and the header has 2", "quotes"]),
        ("a.csv", b"id,Input,Output\n1,a\nstill a\n", ["line 3", "1 columns, and the header has 3", "quotes"]),
        ("a.csv", b'Input,Output\n"a,b\n', ["line 2", "unexpected end of data", "quotes"]),
        ("a.csv", b"review,review\na,b\n", ["several columns 'review'"]),
        ("a.json", b"{ this is not JSON", ["a.json' is not valid JSON", "line 1 column 3"]),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', ["a.jsonl' is not valid JSON", "line 2"]),
        ("a.json", b'[["a", "b"]]', ["a list of objects", 'orient="records", lines=True']),
        ("a.xlsx", b"PK no workbook", ["a.xlsx' is no .xlsx workbook"]),
        ("a.xlsx", b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le"), ["protected by a password"]),
        ("a.xlsx", b"\xd0\xcf\x11\xe0 old", ["Excel 97 to 2003; save it as"]),
    ],
)
def test_what_cannot_be_read_is_named(name: str, content: bytes, words: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_table(tmp_path / name)
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value), caught.value
