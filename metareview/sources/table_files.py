"""Files with a table of texts: CSV, Excel, JSON and JSON Lines, as rows."""

import codecs
import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, TextIO
from zipfile import BadZipFile, ZipFile

from openpyxl import load_workbook

from metareview.common.cli import InputError, format_bytes

FORMATS = (".csv", ".tsv", ".xlsx", ".json", ".jsonl", ".parquet")  # Parquet is read by `datasets`
DELIMITERS = ",;\t"
LONGEST_FIELD = 2**31 - 1  # characters of a text in a CSV file; the csv module stops at 131,072
LARGEST_SHEETS = 200_000_000  # bytes of a workbook when it is unpacked
MOST_CELLS = 500_000  # in a workbook: each takes some hundred bytes of memory, even one of ten bytes in the file
Row = dict[str, Any]


def read_table(path: Path, encoding: str = "utf-8") -> tuple[list[Row], list[str]]:
    """The rows of a file in one of FORMATS but Parquet, each with all columns; the sheets of a workbook left unread.

    Raises `InputError` where the file cannot be read, naming the line if there is one.
    """
    suffix = path.suffix.lower()
    if suffix == ".xlsx":
        return read_sheet(path)
    with explain_text(path, encoding), path.open(encoding=name_encoding(encoding), newline="") as file:
        if suffix == ".json":
            rows = read_json(file, path)
        elif suffix == ".jsonl":
            rows = list(read_json_lines(file, path))
        else:
            rows = list(read_csv(file, path, "\t" if suffix == ".tsv" else None))
    return fill_rows(rows), []


def check_encoding(encoding: str) -> None:
    """Raise `InputError` for an encoding that Python does not know."""
    try:
        codecs.lookup(encoding)
    except (LookupError, ValueError) as error:
        raise InputError(f"--encoding {encoding!r} is unknown; utf-8, utf-16 and cp1252 are common") from error


def name_encoding(encoding: str) -> str:
    """The encoding that a file is opened with: a mark at the beginning, as Windows writes it, is no text."""
    return "utf-8-sig" if re.sub(r"[\W_]", "", encoding.lower()) == "utf8" else encoding


@contextmanager
def explain_text(path: Path, encoding: str) -> Iterator[None]:
    """Turn what reading a text raises into an `InputError`: bytes of another encoding, a folder, no rights."""
    try:
        yield
    except UnicodeError as error:
        begin = path.read_bytes()[:4]
        wide = begin.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in begin
        other = "utf-16" if wide else "cp1252 (Western Windows)" if encoding != "cp1252" else "gb18030"
        where = f" (byte {error.start:,})" if isinstance(error, UnicodeDecodeError) and len(error.object) > 8 else ""
        advice = f"try --encoding {other}, or save the file as UTF-8"
        raise InputError(f"{str(path)!r} is not a text in {encoding.upper()}{where}; {advice}") from error
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}") from error


def find_delimiter(header: str) -> str:
    """What separates the columns: a comma, a semicolon or a tab; a comma where there is only one column."""
    # Not by csv.Sniffer, which takes the comma in "paper;review, in full;summary".
    columns = {delimiter: len(next(csv.reader([header], delimiter=delimiter), [])) for delimiter in DELIMITERS}
    return max(DELIMITERS, key=columns.__getitem__)


def read_csv(file: TextIO, path: Path, delimiter: str | None) -> Iterator[Row]:
    """The rows of a CSV file by its header; a text with a delimiter, a quote or a line break in it stands in quotes."""
    header = file.readline()
    if "\0" in header:
        raise UnicodeError
    file.seek(0)
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(file, delimiter=delimiter or find_delimiter(header), strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        check_names(names, path)
        for fields in reader:
            if len(fields) != len(names) and fields:
                count = f"{len(fields)} columns, and the header has {len(names)}"
                advice = "a text with a delimiter, a quote or a line break in it must stand in quotes"
                raise InputError(
                    f"the row that ends in line {reader.line_num:,} of {str(path)!r} has {count}; {advice}"
                )
            if any(fields):
                yield {name: text for name, text in zip(names, fields, strict=True) if name}
    except csv.Error as error:
        raise InputError(f"line {reader.line_num:,} of {str(path)!r} is no CSV: {error}; check its quotes") from error


def check_names(names: list[str], path: Path) -> None:
    """Raise `InputError` where two columns have one name."""
    if twice := [name for name in dict.fromkeys(names) if name and names.count(name) > 1]:
        raise InputError(f"{str(path)!r} has several columns {', '.join(map(repr, twice))}; rename all but one")


def read_json(file: TextIO, path: Path) -> list[Row]:
    """The rows of JSON: a list of objects, or an object with a list for each column."""
    text = file.read()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if "Extra data" in str(error):  # a second object: JSON Lines under another name
            return list(read_json_lines(StringIO(text), path))
        raise InputError(f"{str(path)!r} is no JSON: {error}") from error
    if isinstance(found, dict):
        lengths = {len(column) if isinstance(column, list) else -1 for column in found.values()}
        if len(lengths) == 1 and lengths != {-1}:
            found = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
        else:
            found = [found]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise InputError(f"{str(path)!r} must be a list of objects with the columns as keys, or an object on each line")
    return found


def read_json_lines(file: TextIO, path: Path) -> Iterator[Row]:
    """The rows of JSON Lines: an object on each line."""
    for number, line in enumerate(file, start=1):
        try:
            row = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            raise InputError(f"line {number:,} of {str(path)!r} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"line {number:,} of {str(path)!r} is no object with the columns as keys")
        if row:
            yield row


def fill_rows(rows: list[Row]) -> list[Row]:
    """The rows with the columns of all of them, None where one lacks a column."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def read_sheet(path: Path) -> tuple[list[Row], list[str]]:
    """The rows of the sheet that opens first, by its first row, and the names of the other sheets with something."""
    check_unpacked(str(path))
    try:
        workbook = load_workbook(path, read_only=True, data_only=True)
        sheets = {sheet.title: sheet for sheet in workbook.worksheets}
        opens_first = getattr(workbook.active, "title", None)
        sheet = sheets.pop(opens_first if opens_first in sheets else next(iter(sheets)))
        sheet.reset_dimensions()
        cells = [[as_value(value) for value in row] for row in sheet.iter_rows(values_only=True)]
        others = [f"sheet {title!r}" for title, other in sheets.items() if next(other.iter_rows(), None)]
        workbook.close()
    except Exception as error:  # openpyxl raises whatever zip, XML and its own parts raise
        raise InputError(f"{str(path)!r} is no .xlsx workbook that can be read: {error}") from error
    header = [str(value or "").strip() for value in cells[0]] if cells else []
    check_names(header, path)
    rows = [
        {name: value for name, value in zip(header, [*row, *[None] * len(header)], strict=False) if name}
        for row in cells[1:]
        if any(value is not None for value in row)
    ]
    return rows, others


def as_value(value: Any) -> Any:
    """The value of a cell; of a date, a duration and the like the text."""
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def check_unpacked(path: str) -> None:
    """Raise `InputError` for a workbook that would take gigabytes of memory: a small one can unpack to that."""
    try:
        with ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
            if size > LARGEST_SHEETS:
                most = format_bytes(LARGEST_SHEETS)
                raise InputError(f"{path!r} unpacks to {format_bytes(size)}, more than {most}; give it as CSV")
            sheets = [part for part in archive.namelist() if re.match(r"xl/worksheets/[^/]*\.xml$", part)]
            cells = sum(archive.read(name).count(b"<c ") for name in sheets)
    except (BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{path!r} is no .xlsx workbook that can be read: {error}") from error
    if cells > MOST_CELLS:
        raise InputError(f"{path!r} has {cells:,} cells, more than {MOST_CELLS:,}; give it as CSV")
