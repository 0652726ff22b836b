"""What is known of a paper besides its texts: title, ratings, decision, and columns that a user names."""

import re
from collections.abc import Mapping

from metareview.common.cli import InputError
from metareview.data.cleaning import clean_text

DETAILS = ("title", "ratings", "decision")  # are looked for in every source
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}/\d{1,2}/(\d{4}|0\d|1[1-9]|[2-9]\d)$")  # 6/8/10 are ratings
_RATING = re.compile(  # perhaps after the name of its reviewer; perhaps of a scale
    r"(?:(?:anon)?r(?:eviewer)?[ _]?#?\w{0,4} ?[:=-] ?)?(?P<value>-?\d+(?:[.,]\d+)?)(?: ?/ ?(?P<scale>\d+))?",
    re.IGNORECASE,
)


def read_ratings(text: str) -> list[float]:
    """The reviewers' ratings, of 10, as people write them: "6, 8, 3", "R1: 8; R2: 6", "6,5; 7,5", "8: clear accept".

    Of each rating the number at its beginning counts; "4/5" is 8. Raises `InputError` for a date, which is what a
    spreadsheet makes of 6/8/3.
    """
    if _DATE.match(text.strip()):
        advice = "format the column `ratings` as text, and write 6, 8, 3"
        raise InputError(f"the ratings {text!r} are a date, as spreadsheets make one of 6/8/3: {advice}")
    text = text.strip().strip("[]()")
    if re.search(r"[;|\n]", text):
        parts = re.split(r"[;|\n]", text)
    elif re.fullmatch(r"[\d.\s-]+|\d+(/\d+){2,}", text):
        parts = re.split(r"[\s/]+", text)
    else:
        parts = text.split(",")
    numbers = []
    for part in parts:
        found = _RATING.match(part.strip().strip("'\""))
        if found:
            value, scale = float(found["value"].replace(",", ".")), float(found["scale"] or 10)
            numbers.append(10 * value / scale if scale else value)
    return numbers


def clean_details(details: Mapping[str, str], keep: str) -> dict[str, str]:
    """Other columns of a paper as a model reads them: cleaned like its texts, in one line; ratings as 6, 8, 3.

    Numbers keep the commas and points that `keep` may drop, but in titles: 6.5 is not 65.
    """
    cleaned, has_digits = {}, clean_text("1", keep)
    for name, value in details.items():
        is_text = name == "title" or not has_digits
        parts = [value] if is_text else re.split(r"(?<=\d)([.,])(?=\d)", value or "")
        cleaned[name] = "".join(
            part if part in (".", ",") else " ".join(clean_text(part, keep).split()) for part in parts
        )
    if numbers := read_ratings(details.get("ratings") or ""):
        cleaned["ratings"] = ", ".join(f"{number:g}" for number in numbers)
    return cleaned
