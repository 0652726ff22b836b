"""Reviews that were pasted into a text: from a page of OpenReview, a letter with several reports, a chair's notes."""

import re
from collections import Counter

from metareview.sources import forms

_SIGNED = re.compile(  # Official Review of Submission12 by Reviewer abcd; on some pages with the date
    r"(?P<kind>(?:(?:official|public|blind|meta|author|ethics|acceptance)[ -]?)*"
    r"(?:review|comment|rebuttal|response|decision)|paper decision)"
    r"(?: of \w+ ?\d+)?(?: ?by (?P<who>[^.:;,]{2,60}?)(?: ?\d{1,2} \w{3,9} \d{4}.*)?"
    r"|(?<=paper decision)|(?<=official review))",
    re.IGNORECASE,
)
_REST = r"(?:'s)?(?: (?:comments?|report|review))?(?: of \d+)?(?: ?[(\[][^()\[\]]*[)\]])?"
_REST += r"(?P<rest>$| ?[:.)|\u2013\u2014-].*)"
_ORDINALS = "first|second|third|fourth|fifth|one|two|three|four|five"
_NUMBERED = re.compile(  # Reviewer 2, Review #1A, Report of Referee 3 (weak accept): text; and what else a letter has
    r"(?:(?:(?:comments|report|review) (?:from|of|by) )?(?:(?:official|blind|anonymous) )*(?:anon)?"
    r"(?:reviewer|review|referee)(?: report)?(?:[ _]?(?:[#:]|n[or]\.|no|n[°º]|number) ?|[ _]|(?=\d))"
    rf"(?P<label>\d+[a-z]?|[a-z]|[ivx]+|{_ORDINALS}|(?-i:(?=\w*[A-Z\d])[A-Za-z\d]{{4}}|[a-z]{{4}}(?=:?$)))"
    rf"|(?P<ordinal>{_ORDINALS}) (?:reviewer|review|referee)"
    rf"|(?P<kind>meta[ -]?review|area chair|(?:author'?s?'? )?(?:rebuttal|response))){_REST}",
    re.IGNORECASE,
)
_SHORT = re.compile(rf"R(?:ev\.?)? ?#?(?P<label>\d+){_REST}")  # R3: text
_BRACKETED = re.compile(r"^[\[(](R\d+)[\])]:?")  # [R1] text
_EASYCHAIR = re.compile(r"^-+ ?TEXT:(.*?)(?=^-{4,}|\Z)", re.DOTALL | re.MULTILINE)  # between scores and names
_TITLE = re.compile(r"[\s#*>_\d.-]*(?P<title>[A-Za-z][\w /,&'()-]{1,80}?)[\s*_]*(?::(?P<answer>.*))?")
_SCORE = r"\d+(?:\.\d+)?(?:[ \t]*[:/=].*|[ \t]+\w+)?|yes|no|n/?a"
_SCORE_BELOW = re.compile(rf":[\s*_]*\n\s*(?=(?:{_SCORE})[ \t]*$)", re.IGNORECASE | re.MULTILINE)
_UNREAD = re.compile(r"title|add|.*(ethic|conduct|acknowledg|formatting|justification|expertise|llm_use).*")
_SCORES = (*forms.RATING_FIELDS, *forms.CONFIDENCE_FIELDS)


def split_pasted(text: str) -> tuple[list[str], Counter[str]]:
    """The reviews below headings such as Reviewer 2, or else all of a text; how many comments and such are left out."""
    lines = text.split("\n")
    headings = _find_headings(lines)
    above = headings and headings[0][1].get("label") not in ("2", "B", "b")
    parts = [(-1, {"kind": "text above the heading"} if above else {}), *headings]
    reviews, left_out = [], Counter[str]()
    for (start, heading), (end, _) in zip(parts, [*parts[1:], (len(lines), {})], strict=True):
        content = "\n".join([(heading.get("rest") or "").lstrip(" :.)-\u2013\u2014"), *lines[start + 1 : end]])
        kind = heading.get("kind") or "review"
        if not re.search(r"\w", content):
            continue
        if forms.name_kind(kind) == "review" and not (heading.get("who") or "").lower().startswith("author"):
            reviews.append(_read_fields(content, signed="who" in heading).strip())
        else:
            left_out[f"{kind.lower()}s"] += 1
    return reviews, left_out


def _find_headings(lines: list[str]) -> list[tuple[int, dict[str, str | None]]]:
    """The indices of the lines that are headings, all of one kind, and what they say.

    A number is only one of a reviewer in the first line, or where several are different.
    """
    marked = [_BRACKETED.sub(r"\1:", line.strip(" \t#*>=_-")) for line in lines]
    first = next((index for index, line in enumerate(marked) if line), 0)
    for pattern in (_SIGNED, _NUMBERED, _SHORT):
        found: dict[str | int, tuple[int, dict[str, str | None]]] = {}
        for index, match in enumerate(map(pattern.fullmatch, marked)):
            if match:
                parts = match.groupdict()
                label = parts.get("label") or parts.get("ordinal")
                found.setdefault(label or index, (index, parts))
        headings = list(found.values())
        labels = sum(isinstance(label, str) for label in found)
        enough = 0 if pattern is _SIGNED else 1 if headings and headings[0][0] == first else 2
        if headings and labels >= enough and (pattern is not _SHORT or enough == 1):
            return headings
    return []


def _read_fields(text: str, signed: bool) -> str:
    """The texts of a pasted form as of one from OpenReview; of anything else the text. A form begins with a title."""
    if texts := _EASYCHAIR.findall(text):
        return "\n".join(map(str.strip, texts))
    fields: dict[str, list[str]] = {}
    content: list[str] | None = None  # of the field that a line belongs to
    others, begun = 0, False
    for line in _SCORE_BELOW.sub(": ", text).split("\n"):
        title = _TITLE.fullmatch(line)
        name = forms.unify_name(title["title"]) if title else ""
        answer = (title["answer"] or "").strip(" *_") if title else ""
        if name in forms.REVIEW_FIELDS:
            content = fields.setdefault(name, [])
            content.append(answer)
        elif name in _SCORES or (title and title["answer"] is not None and _is_unread(title["title"], name, answer)):
            others += 1
            if not answer or _UNREAD.fullmatch(name):
                content = []  # what is below it is not read either
        elif content is not None:
            content.append(line)
        elif re.search(r"\w", line):
            begun = True
    if len(fields) + others > (0 if signed else 1) and (signed or not begun):
        return forms.read_form(fields, forms.REVIEW_FIELDS) or text
    return text


def _is_unread(title: str, name: str, answer: str) -> bool:
    """Whether a line of a form is one that is not read: it is for the chairs, or a title with a number or yes or no."""
    return bool(_UNREAD.fullmatch(name) or (title.istitle() and re.fullmatch(_SCORE, answer, re.IGNORECASE)))
