"""Texts with {columns} in them: filled in with what is known of a paper, as a chat template, and read back."""

import json
import re
from collections.abc import Iterator, Mapping

PLACEHOLDER = re.compile(r"\{(\w+)\}")
ESSENTIAL = ("review", "summary")  # a line with one of these always stays
_OPTIONAL_LINE = re.compile(r"(?m)^(?!.*\{(?:review|summary)\}).*\{\w+\}.*\n?")  # with columns, none of them ESSENTIAL
_MARKS = "\ue002\ue003"  # begin and end a line that may be left out; no text has them


def find_columns(template: str) -> list[str]:
    """The columns that a text names, each once, in their order: review for "### Review: {review}"."""
    return list(dict.fromkeys(PLACEHOLDER.findall(template)))


def mark_lines(template: str) -> str:
    """`template` with marks around the lines that are left out of a paper without their columns.

    Marked, it can be put into another text: what comes to stand on those lines stays.
    """
    return _OPTIONAL_LINE.sub(rf"{_MARKS[0]}\g<0>{_MARKS[1]}", template)


def _split_lines(template: str) -> Iterator[tuple[str, list[str]]]:
    """The parts of a text, each with the columns that decide if it stays; a part without any always stays."""
    marked = template if _MARKS[0] in template else mark_lines(template)
    for place, part in enumerate(re.split(f"[{_MARKS}]", marked)):
        yield part, PLACEHOLDER.findall(part) if place % 2 else []


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with values in the place of its columns; a line whose columns are all empty is left out."""
    return "".join(
        PLACEHOLDER.sub(lambda column: values.get(column[1]) or "", part)
        for part, columns in _split_lines(template)
        if not columns or any(map(values.get, columns))
    )


def as_jinja(template: str) -> str:
    """What `fill` does, as Jinja: the review is the content of `message`, other columns are its keys."""
    # Literals stand in expressions because Jinja drops a line break at the end of a template.
    blocks = ""
    for part, columns in _split_lines(template):
        terms = [json.dumps(piece, ensure_ascii=False) for piece in PLACEHOLDER.split(part)]
        terms[1::2] = [
            "message['content']" if column == "review" else f"(message['{column}'] or '')"
            for column in PLACEHOLDER.findall(part)
        ]
        terms = [term for term in terms if term != '""']
        block = f"{{{{ {' + '.join(terms)} }}}}" if terms else ""
        condition = " or ".join(f"message['{column}']" for column in columns)
        blocks += f"{{% if {condition} %}}{block}{{% endif %}}" if columns else block
    return blocks


def read_back(template: str, text: str) -> dict[str, str]:
    """The values of the columns in a text that a model wrote in the manner of `template`, empty where one is missing.

    `template` has one of ESSENTIAL, which gets all that is not in its place; other columns end with their line.
    """
    # A text may end early; where a line may be left out, so may the line break before it.
    pattern = re.sub(rf"\\\n(?=[{_MARKS}]|\Z)", r"(?:\\n|\\Z)", re.escape(mark_lines(template)))
    pattern = pattern.replace(_MARKS[0], "(?:").replace(_MARKS[1], ")?")
    for name in find_columns(template):
        group = "((?s:.*?))" if name in ESSENTIAL else "(.*?)"
        pattern = pattern.replace(rf"\{{{name}\}}", group)
    found = re.fullmatch(pattern, text)
    names = PLACEHOLDER.findall(template)  # a column may come twice
    if found is None:
        return {name: text if name in ESSENTIAL else "" for name in names}
    parts = dict.fromkeys(names, "")
    for name, value in zip(names, found.groups(), strict=True):
        parts[name] = parts[name] or (value or "").strip()
    return parts
