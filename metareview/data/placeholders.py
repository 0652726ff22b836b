"""Texts with {columns} in them: filled in with what is known of a paper, as a chat template, and read back."""

import json
import re
from collections.abc import Iterator, Mapping

PLACEHOLDER = re.compile(r"\{(\w+)\}")
_MARKS = "\ue002\ue003"  # begin and end a line that may be left out; no text has them
ESSENTIAL = ("review", "summary")  # a line with one of these always stays


def find_columns(template: str) -> list[str]:
    """The columns that a text names, each once, in their order: review for "### Review: {review}"."""
    return list(dict.fromkeys(PLACEHOLDER.findall(template)))


def mark_lines(template: str) -> str:
    """`template` with marks around the lines that are left out of a paper without their columns.

    Marked, it can be put into another text: what comes to stand on those lines stays.
    """
    lines = [(line, find_columns(line)) for line in template.splitlines(keepends=True)]
    return "".join(
        line if not columns or set(columns) & set(ESSENTIAL) else f"{_MARKS[0]}{line}{_MARKS[1]}"
        for line, columns in lines
    )


def _split_lines(template: str) -> Iterator[tuple[list[str], list[str]]]:
    """Of each part its pieces (literals at even places, columns at odd ones), and the columns that decide if it stays.

    A part without any that decide always stays.
    """
    marked = template if _MARKS[0] in template else mark_lines(template)
    for place, part in enumerate(re.split(f"[{_MARKS}]", marked)):
        pieces = PLACEHOLDER.split(part)
        yield pieces, pieces[1::2] if place % 2 else []


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with values in the place of its columns; a line whose columns are all empty is left out."""
    return "".join(
        piece if place % 2 == 0 else values.get(piece) or ""
        for pieces, columns in _split_lines(template)
        if not columns or any(values.get(column) for column in columns)
        for place, piece in enumerate(pieces)
    )


def as_jinja(template: str, names: Mapping[str, str]) -> str:
    """What `fill` does, as Jinja; `names` are the keys of `message` with the columns, if they differ from these."""
    # Literals stand in expressions because Jinja drops a line break at the end of a template.
    blocks = ""
    for pieces, columns in _split_lines(template):
        places = {column: f"message['{names.get(column, column)}']" for column in pieces[1::2]}
        values = {column: place if column in ESSENTIAL else f"({place} or '')" for column, place in places.items()}
        terms = [
            values[piece] if place % 2 else json.dumps(piece, ensure_ascii=False)
            for place, piece in enumerate(pieces)
            if piece
        ]
        condition = " or ".join(places[column] for column in columns)
        block = f"{{{{ {' + '.join(terms)} }}}}" if terms else ""
        blocks += f"{{% if {condition} %}}{block}{{% endif %}}" if columns else block
    return blocks


def read_back(template: str, text: str) -> dict[str, str]:
    """The values of the columns in a text that a model wrote in the manner of `template`, empty where one is missing.

    `template` has one of ESSENTIAL, which gets all that is not in its place; other columns end with their line.
    """
    pattern = ""
    for pieces, columns in _split_lines(template):
        value = "(.*)" if columns else "(.*?)"
        values = {name: "((?s:.*?))" if name in ESSENTIAL else value for name in pieces[1::2]}
        terms = [values[piece] if place % 2 else re.escape(piece) for place, piece in enumerate(pieces)]
        line = re.sub(r"\\\n$", r"\n?", "".join(terms))  # a text may end early
        pattern += f"(?:{line})?" if columns else line
    found = re.fullmatch(pattern, text)
    if found is None:
        return {name: text if name in ESSENTIAL else "" for name in find_columns(template)}
    parts = dict.fromkeys(find_columns(template), "")
    for name, part in zip(PLACEHOLDER.findall(template), found.groups(), strict=True):  # a column may come twice
        parts[name] = parts[name] or (part or "").strip()
    return parts
