"""Files with a table of texts, as rows: CSV, Excel, JSON and JSON Lines.

Not by pandas, which cannot say in which line a row has too many fields, takes the delimiter from one line, and knows
neither what is merged in a workbook nor which formula lacks its value.
"""

import codecs
import csv
import json
import re
from io import StringIO
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from datasets import Dataset

from metareview.common.cli import InputError
from metareview.common.hub import explain_hub
from metareview.sources.forms import REVIEW_NAMES, SUMMARY_NAMES, unify_name

MOST_CELLS = 500_000  # in a workbook: each takes some hundred bytes of memory, even one of ten bytes in the file
FORMATS = (".csv", ".tsv", ".xlsx", ".json", ".jsonl", ".parquet")
DELIMITERS = "\t;|,"  # many texts have a comma: of two that fit equally well, the other one is meant
OLD_OFFICE = b"\xd0\xcf\x11\xe0"  # how files of Word and Excel before 2007 begin, and later ones with a password
DOCUMENTS = {b"PK\x03\x04": "an Office document", OLD_OFFICE: "an Office document", b"%PDF": "a PDF", b"{\\rtf": "RTF"}
_NO_ROW = re.compile(r"[\s-]*|\(\d+ rows?( affected)?\)")  # what databases write below the header and at the end
_BLANKS = re.compile(r"\s*")
_KNOWN_NAMES = tuple({unify_name(name) for name in names} for names in (REVIEW_NAMES, SUMMARY_NAMES))
Row = dict[str, Any]
Line = tuple[int, list[Any]]  # its number in the file, and its values


class Formula(str):
    """A formula in a cell without a value, because no program has calculated it."""


def read_table(path: Path, encoding: str = "utf-8") -> tuple[list[Row], list[str]]:
    """The rows of a file in one of FORMATS, each with all columns; the sheets of a workbook left unread.

    Raises `InputError` if the file cannot be read, naming the line if there is one.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"the file {str(path)!r} must end in one of {', '.join(FORMATS)}")
    if suffix == ".xlsx":
        return _read_workbook(path)
    if suffix == ".parquet":
        with explain_hub(f"cannot read {str(path)!r}"):
            return Dataset.from_parquet(str(path)).to_list(), []
    text = decode_text(path.read_bytes(), repr(str(path)), encoding)
    if suffix in (".json", ".jsonl"):
        return _read_json(text, path), []
    return _read_csv(text, path, "\t" if suffix == ".tsv" else _find_delimiter(text)), []


def decode_text(content: bytes, name: str, encoding: str) -> str:
    """The text in a file's bytes; the mark that Windows puts first says that it is UTF-8 or UTF-16.

    Raises `InputError` for a document that is not plain text, and for another encoding.
    """
    if kind := next((kind for begin, kind in DOCUMENTS.items() if content.startswith(begin)), ""):
        raise InputError(f"{name} is {kind}, not plain text; save it as text in UTF-8 (a table as .csv or .xlsx)")
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
        if "\0" in text[:1000]:
            raise UnicodeError("it has null bytes, as UTF-16 has")
    except UnicodeError as error:
        known_as = encoding.removesuffix("-sig").upper()
        advice = "try --encoding cp1252 (Western Windows) or utf-16-le, or save it as UTF-8"
        raise InputError(f"{name} is not a text in {known_as} ({error}); {advice}") from error
    return text


def _find_header(rows: list[list[str]]) -> int:
    """The index of the row with the names of the columns; above it may be titles, or the sep=; of Excel.

    It has names for reviews and for meta-reviews, or else it is the first row with a name for reviews alone or with
    several texts, not narrower than most rows.
    """
    texts = [{unify_name(text) for text in row if text.strip()} for row in rows[:20]]
    widths = [max([index for index, text in enumerate(row) if text.strip()], default=0) for row in rows[:20]]
    usual = max(widths, key=widths.count, default=0)
    certain = [index for index, names in enumerate(texts) if all(names & known for known in _KNOWN_NAMES)]
    alone = [index for index, names in enumerate(texts) if len(names) == 1 and names & _KNOWN_NAMES[0]]
    several = [index for index, names in enumerate(texts) if len(names) > 1 and widths[index] >= usual]
    return (certain or sorted(alone + several) or [0])[0]


def _split_header(lines: list[Line], path: Path) -> tuple[list[str], list[Line]]:
    """The names in the header, each on one line, and the lines below. `InputError` if two columns have one name."""
    start = _find_header([list(map(str, values)) for _, values in lines[:20]])
    names = [" ".join(str(name).split()) for name in lines[start][1]] if lines else []
    if twice := [name for name in dict.fromkeys(names) if name and names.count(name) > 1]:
        raise InputError(f"{str(path)!r} has several columns {', '.join(map(repr, twice))}; rename all but one")
    return names, lines[start + 1 :]


def _name_values(names: list[str], lines: list[Line]) -> list[Row]:
    """The rows, without the columns that have no name; what a line lacks at its end is empty."""
    return [{name: value for name, value in zip_longest(names, values, fillvalue="") if name} for _, values in lines]


def _fits(fields: list[str], width: int) -> bool:
    """Whether a row is one of so many columns; at its end, empty fields may be too many or missing."""
    return not any(fields[width:]) and (len(fields) > 1 or width < 2)


def _find_delimiter(text: str) -> str:
    """What separates the columns: what the line sep=; says, or else the one with which most rows fit the header.

    Not by csv.Sniffer, which takes the comma in "paper;review, in full;summary".
    """
    if named := re.match('"?sep=(.)', text, re.IGNORECASE):
        return named[1]
    best = (0.0, 1, ",")
    for delimiter in DELIMITERS:
        rows = [row for row in islice(csv.reader(StringIO(text, newline=""), delimiter=delimiter), 200) if any(row)]
        width = len(rows[_find_header(rows)]) if rows else 0
        share = sum(_fits(row, width) for row in rows) / max(1, len(rows))
        if width > 1 and (share, width) > best[:2]:
            best = (share, width, delimiter)
    return best[2]


def _read_csv(text: str, path: Path, delimiter: str) -> list[Row]:
    """The rows of CSV by its header. Raises `InputError` naming the line with too many fields or a stray quote."""
    csv.field_size_limit(2**31 - 1)  # characters; the csv module stops at 131,072
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, fields) for fields in reader if not _NO_ROW.fullmatch("".join(fields))]
    except csv.Error as error:
        if r"\"" in text:  # as some databases write a quote
            return _read_csv(text.replace(r"\"", '""'), path, delimiter)
        raise InputError(f"line {reader.line_num:,} of {str(path)!r} is not CSV: {error}; check its quotes") from error
    names, lines = _split_header(lines, path)
    for line, fields in lines:
        if not _fits(fields, len(names)) and (len(fields) > 1 or '"' not in text):  # with quotes, it is no broken line
            count = f"{len(fields)} columns, and the header has {sum(map(bool, names))}"
            advice = "a text with a delimiter, a quote or a line break in it must be in quotes"
            raise InputError(f"the row that ends in line {line:,} of {str(path)!r} has {count}; {advice}")
    return _name_values(names, lines)


def _read_json(text: str, path: Path) -> list[Row]:
    """The rows of JSON in the shapes that `_find_rows` knows, or of JSON Lines. NaN is None."""
    decoder = json.JSONDecoder(parse_constant=lambda _: None)
    text, end = text.strip(), 0
    found = []
    try:
        while end < len(text):
            value, end = decoder.raw_decode(text, end)
            end = _BLANKS.match(text, end).end()
            found.append(value)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is not valid JSON: {error}") from error
    is_table = len(found) == 1 and (path.suffix.lower() == ".json" or isinstance(found[0], list))
    rows = _find_rows(found[0]) if is_table else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        advice = 'DataFrame.to_json(..., orient="records", lines=True)'
        raise InputError(f"{str(path)!r} must be a list of objects with the columns as keys: {advice}")
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _find_rows(found: Any) -> Any:
    """The rows in JSON: a list of objects, perhaps inside of an object, or DataFrame.to_json in any `orient`."""
    if not isinstance(found, dict):
        return found
    parts = list(found.values())
    named = bool({unify_name(name) for name in found} & _KNOWN_NAMES[0])
    if isinstance(found.get("columns"), list) and isinstance(found.get("data"), list):  # split
        return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
    nested = [found["data"]] if "data" in found else [part for part in parts if isinstance(part, list | dict)]
    if len(nested) == 1 and not named:  # table, {"data": [...]}, {"papers": [...], "version": 1}
        return _find_rows(nested[0])
    if all(isinstance(part, list) and len(part) == len(parts[0]) for part in parts):
        return [dict(zip(found, row, strict=True)) for row in zip(*parts, strict=True)]
    if all(isinstance(part, dict) and part for part in parts):
        alike = all(part.keys() == parts[0].keys() for part in parts)
        if alike and (named or next(iter(parts[0])).isdigit()):  # columns
            return [{name: column[index] for name, column in found.items()} for index in parts[0]]
        if not named:  # index
            return parts
    return [found]


def _read_workbook(path: Path) -> tuple[list[Row], list[str]]:
    """The rows of the sheet that opens first, by its header; the other sheets and the columns that are not read."""
    check_unpacked(str(path))
    from openpyxl import load_workbook  # here: flags are checked before it is loaded
    from openpyxl.utils import get_column_letter

    try:
        calculated, workbook = load_workbook(path, data_only=True), load_workbook(path)
    except Exception as error:  # openpyxl raises whatever zip, XML and its own parts raise
        raise InputError(f"{str(path)!r} is no .xlsx workbook that can be read: {error}") from error
    sheets = workbook.worksheets
    sheet = workbook.active if workbook.active in sheets else sheets[0]
    others = [f"sheet {other.title!r}" for other in sheets if other is not sheet and filled_rows(other)]
    columns, lines = _read_cells(calculated[sheet.title], sheet)
    names, lines = _split_header(lines, path)
    say_hidden(sheet, [number for number, _ in lines], str(path))
    for index, name in enumerate(names):
        if not name and any(isinstance(values[index], str) and values[index] for _, values in lines):
            others.append(f"column {get_column_letter(columns[index])} (it has no header)")
    return _name_values(names, lines), others


def _read_cells(calculated: Any, sheet: Any) -> tuple[list[int], list[Line]]:
    """The numbers of the filled columns of a sheet, and its filled rows, with "" for an empty cell.

    `calculated` is the sheet read with values for formulas. What is merged counts in each of its rows.
    """
    cells: dict[tuple[int, int], Any] = {}
    for place, cell in sheet._cells.items():
        result = calculated.cell(*place)
        value = result.value
        if cell.data_type == "f" and value is None and result.data_type != "str":  # that is an empty text
            value = Formula(getattr(cell.value, "text", cell.value))
        if value is not None:
            cells[place] = value if isinstance(value, str | int | float) else str(value)
    rows = set(filled_rows(sheet))
    for area in sheet.merged_cells.ranges:
        for row in range(area.min_row + 1, area.max_row + 1):
            if row in rows and (area.min_row, area.min_col) in cells:
                cells[row, area.min_col] = cells[area.min_row, area.min_col]
    columns = sorted({column for _, column in cells})
    filled = sorted({row for row, _ in cells} & rows)  # a formula may be calculated to be nothing
    return columns, [(row, [cells.get((row, column), "") for column in columns]) for row in filled]


def filled_rows(sheet: Any) -> list[int]:
    """The numbers of the rows with something in them, but not those with the totals of a table.

    Not range(1, sheet.max_row + 1): a color in Excel's last row makes that a million, and each look at one makes cells.
    """
    from openpyxl.utils import range_boundaries

    totals: set[int] = set()
    for table in sheet.tables.values():
        last = range_boundaries(table.ref)[3]
        totals.update(range(last - (table.totalsRowCount or 0) + 1, last + 1))
    return sorted({row for (row, _), cell in sheet._cells.items() if cell.value is not None} - totals)


def say_hidden(sheet: Any, rows: list[int], path: str) -> None:
    """Print how many of these rows of a sheet are hidden: they are read, too."""
    if hidden := [row for row in rows if row in sheet.row_dimensions and sheet.row_dimensions[row].hidden]:
        print(f"{path}: {len(hidden):,} hidden or filtered rows of {sheet.title!r} are read like the others.")


def check_unpacked(path: str) -> None:
    """Raise `InputError` for what openpyxl cannot read, saying what it is, or would read into gigabytes of memory."""
    try:
        content = Path(path).read_bytes()
        if content.startswith(OLD_OFFICE):
            locked = "EncryptedPackage".encode("utf-16-le") in content
            kind = "protected by a password" if locked else "a workbook of Excel 97 to 2003"
            raise InputError(f"{path!r} is {kind}; save it as an ordinary workbook (.xlsx) without a password")
        with ZipFile(path) as archive:
            names = archive.namelist()
            sheets = [archive.read(name) for name in names if re.match(r"xl/worksheets/.*\.xml$", name)]
            main = archive.read("xl/workbook.xml") if "xl/workbook.xml" in names else b""
    except (BadZipFile, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path!r} is no .xlsx workbook that can be read: {error}") from error
    if (cells := sum(map(_count_cells, sheets))) > MOST_CELLS:
        raise InputError(f"{path!r} has {cells:,} cells, more than {MOST_CELLS:,}; give it as CSV")
    if b"purl.oclc.org/ooxml" in main:
        raise InputError(f"{path!r} is a workbook in Strict Open XML; save it as an ordinary Excel workbook (.xlsx)")


def _count_cells(sheet: bytes) -> int:
    """How many cells openpyxl makes of the XML of a sheet, among them all those of its merged areas."""
    from openpyxl.utils import range_boundaries

    cells = len(re.findall(rb"<(?:\w+:)?c[ />]", sheet))
    for area in re.findall(rb'mergeCell ref="([^"]+)"', sheet):
        left, top, right, bottom = range_boundaries(area.decode())
        cells += (right - left + 1) * (bottom - top + 1)
    return cells
