"""What is known of a paper besides its texts: title, ratings, decision, and columns that a user names."""

import re
from collections.abc import Mapping

from metareview.common.cli import InputError
from metareview.data.cleaning import clean_text

DETAILS = ("title", "ratings", "decision")  # are looked for in every source
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}/\d{1,2}/(\d{4}|0\d|1[1-9]|[2-9]\d)$")  # 6/8/10 are ratings
_RATING = re.compile(  # perhaps after the name of its reviewer; perhaps of a scale
    r"(?:(?:anon)?r(?:eviewer)?[ _]?#?\w{0,4} ?[:=-] ?)?(?P<value>-?\d+(?:[.,]\d+)?)(?: ?/ ?(?P<scale>[1-9]\d*))?",
    re.IGNORECASE,
)


def read_ratings(text: str) -> list[float]:
    """The reviewers' ratings, of 10, as people write them: "6, 8, 3", "R1: 8; R2: 6", "6,5; 7,5", "8: clear accept".

    Of each rating the number at its beginning counts; "4/5" is 8. Raises `InputError` for a date, which is what a
    spreadsheet makes of 6/8/3.
    """
    text = text.strip()
    if _DATE.match(text):
        advice = "format the column `ratings` as text, and write 6, 8, 3"
        raise InputError(f"the ratings {text!r} are a date, as spreadsheets make one of 6/8/3: {advice}")
    text = text.strip("[]()")
    if re.fullmatch(r"[\d.\s-]+|\d+(/\d+){2,}", text):  # nothing but numbers
        separator = r"[\s/]"
    else:
        separator = r"[;|\n]" if re.search(r"[;|\n]", text) else ","
    numbers = []
    for part in re.split(separator, text):
        if rating := _RATING.match(part.strip().strip("'\"")):
            numbers.append(10 * float(rating["value"].replace(",", ".")) / float(rating["scale"] or 10))
    return numbers


def clean_details(details: Mapping[str, str], keep: str) -> dict[str, str]:
    """Other columns of a paper as a model reads them: cleaned like its texts, in one line; ratings as 6, 8, 3.

    Numbers keep the commas and points that `keep` may drop, but in titles: 6.5 is not 65.
    """
    cleaned = {}
    for name, value in details.items():
        has_numbers = name != "title" and clean_text("1", keep)
        parts = re.split(r"(?<=\d)([.,])(?=\d)", value or "") if has_numbers else [value]
        parts[::2] = [" ".join(clean_text(part, keep).split()) for part in parts[::2]]
        cleaned[name] = "".join(parts)
    if numbers := read_ratings(details.get("ratings") or ""):
        cleaned["ratings"] = ", ".join(f"{number:g}" for number in numbers)
    return cleaned
