"""Cleaning texts: where one review ends and the next begins, and which characters stay."""

import re
import unicodedata

DEFAULT_KEEP = "a-zA-Z0-9"
DEFAULT_SEPARATOR = "<REVBREAK>"  # between the reviews of one paper, in zqz979/meta-review
RULE = r"(?m)^[ \t]*---[ \t]*\r?$"  # a line that separates reviews too, where no other separator does
REVIEW_JOINER = "\n\n"  # between the cleaned reviews of one paper


def split_reviews(text: str, separator: str = DEFAULT_SEPARATOR) -> list[str]:
    """The reviews in a text, as they are: between `separator`, or else <REVBREAK>, or else lines of ---.

    Such a line is also a rule in Markdown, and separates nothing in a text that has one of the others.
    """
    for mark in (separator, DEFAULT_SEPARATOR):
        if mark in text:
            return text.split(mark)
    return re.split(RULE, text)


def join_reviews(reviews: list[str], joint: str = f"\n{DEFAULT_SEPARATOR}\n") -> str:
    """The text that `split_reviews` splits into these reviews; a rule inside one becomes ***, which is a rule too."""
    return joint.join(re.sub(RULE, "***", review) for review in reviews)


def drop_sentences(text: str, pattern: str) -> tuple[str, int]:
    """A text without the sentences in which a regular expression is found, in either case, and how many these are."""
    sentences = re.split(r"(?<=[.!?])(?=\s)|(?<=\n)", text)
    kept = [sentence for sentence in sentences if not re.search(pattern, sentence, re.IGNORECASE)]
    return "".join(kept), len(sentences) - len(kept)


def clean_text(text: str | None, keep: str = DEFAULT_KEEP) -> str:
    """Remove every character but `keep` and whitespace; accents and ligatures become ASCII letters first (NFKD).

    A run of blanks becomes one blank; a run with a line break in it becomes one line break. Lines of --- go.
    """
    folded = unicodedata.normalize("NFKD", str(text or ""))
    escaped = re.sub(r"[\[\]\\]", r"\\\g<0>", keep)
    kept = re.sub(rf"[^\s{escaped}]", "", folded)
    lines = (" ".join(line.split()) for line in kept.split("\n"))
    return "\n".join(line for line in lines if line not in ("", "---"))


def clean_reviews(reviews: str | list[str] | None, keep: str = DEFAULT_KEEP) -> str:
    """Clean all reviews of one paper; one blank line stands between two reviews and none inside a review."""
    reviews = reviews if isinstance(reviews, list) else split_reviews(str(reviews or ""))
    return REVIEW_JOINER.join(filter(None, (clean_text(review, keep) for review in reviews)))
