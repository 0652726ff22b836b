"""Texts as programs write them: HTML, escaped line breaks, and lists that became the text of a cell."""

import ast
import html
import json
import re
import warnings
from typing import Any

from metareview.common.cli import InputError

_ENTITY = re.compile(r"&(?:#\d+|#x[\da-f]+|[a-z][a-z\d]*);", re.IGNORECASE)
# Only these tags: "a <b and c> d", "f: <x, y>" and <REVBREAK> are none.
_ATTRIBUTES = r"""(?:\s+[\w:-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>]+))*\s*/?>"""
_BLOCKS = "p|div|br|hr|[uod]l|li|d[dt]|h[1-6]|table|thead|tbody|t[rdh]|blockquote|pre|center|section|article|html|body"
_INLINE = r"a|b|i|u|s|em|strong|span|code|font|small|big|del|ins|mark|strike|cite|img|sub|sup|\w+:\w+"
_HIDDEN = re.compile(r"<!--.*?-->|<(script|style)\b[^<>]*>.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCKS}){_ATTRIBUTES}", re.IGNORECASE)
_INDEX_TAG = re.compile(rf"</?su[bp]{_ATTRIBUTES}", re.IGNORECASE)
_INLINE_TAGS = rf"(?i:</?(?:{_INLINE}){_ATTRIBUTES})+"
_CODE = re.compile(r"_x([\dA-Fa-f]{4})_|\\\\{0,3}u([\dA-Fa-f]{4})")  # as Office Open XML (ECMA-376, 22.9.2.19) and JSON
# A line break as a backslash and n; commands of LaTeX that begin so are none.
_LATEX = "abla|u|e|exists|eqq?|eg|ot|otin|ew(?:line|command|page)|oindent|onumber|olimits|ormalsize|orm|um|icefrac"
_LATEX += "|atural|sim|leq|geq|gtr|prec|succ|cong|rightarrow|leftarrow|earrow|warrow|subseteq"
_BREAK = re.compile(rf"\\\\{{0,3}}(?:r\\{{1,4}}n|r(?![a-z{{])|n(?!(?:{_LATEX})(?![a-z])))|\r\n?")
_STRING = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_LITERAL = re.compile(  # a text, or the end of a form, before another one without a comma, as NumPy writes; or a word
    rf"(?P<item>{_STRING}|[}}\]])(?P<gap>\s+(?=['\"{{\[]))?|(?P<word>\b(?:nan|NaT|null|NULL|true|false)\b|<NA>)"
    r"|array(?P<bracket>\()|,\s*dtype=\w+",
    re.DOTALL,
)
_BEGUN = re.compile(r"""\s*\[\s*\{?\s*(['"]).*?\1\s*[,:]\s*['"\[{]""", re.DOTALL)


def plain_text(value: Any) -> str:
    """A value from outside as the text that a person meant: without HTML, its escapes being what they stand for."""
    text = _CODE.sub(lambda code: chr(int(code[1] or code[2], 16)), str(value))
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # joins the halves of a character
    for _ in range(3):  # &amp;quot; is common
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    text = _INDEX_TAG.sub("", _BLOCK_TAG.sub("\n", _HIDDEN.sub("", text)))
    text = re.sub(rf"(?<=[^\W_]){_INLINE_TAGS}(?=[^\W_])", " ", text)  # no words are glued
    text = re.sub(_INLINE_TAGS, "", text)
    return re.sub(r"\\\\{0,3}t(?![a-z{])", " ", _BREAK.sub("\n", text))


def parse_list(text: str) -> list[Any] | dict[str, Any] | None:
    """What JSON, Python, NumPy or PostgreSQL write so; None for a text. Raises `InputError` for half a list."""
    text = text.strip()
    if text.startswith(('"[', '"{')) and isinstance(inner := _evaluate(text), str):  # JSON, written as JSON once more
        text = inner.strip()
    if text.startswith(("[", "{", "(", "array(")) and text.endswith(("]", "}", ")")):
        found = _evaluate(text)
        if isinstance(found, dict) and all(isinstance(name, str) for name in found):
            return found
        if isinstance(found, list | tuple) and not all(isinstance(one, int | float) for one in found or [""]):
            return list(found)
    if _BEGUN.match(text):
        begin = f"a cell begins like a list, {text[:20]}..., and is not one"
        raise InputError(f"{begin}; is it cut off? A cell of a spreadsheet holds 32,767 characters")
    return None


def _evaluate(text: str) -> Any:
    """What a literal of JSON, or else of Python, stands for; None for anything else."""
    try:
        return json.loads(text, strict=False, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        source = _LITERAL.sub(_to_python, text)
    try:
        with warnings.catch_warnings(action="ignore"):  # about escapes such as \e
            found = ast.literal_eval(source)
            return ast.literal_eval(f"[{source[1:-1]}]") if isinstance(found, set) else found  # {"a","b"}: PostgreSQL
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _to_python(part: re.Match[str]) -> str:
    """A part of a literal as Python reads it."""
    if part["item"]:
        return part["item"].replace("\n", "\\n") + ("," if part["gap"] else "")
    if part["word"]:
        return {"true": "True", "false": "False"}.get(part["word"], "None")
    return part["bracket"] or ""
