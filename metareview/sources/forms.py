"""What was written about a paper: the fields of its reviews' forms, and its reviews and meta-review in a note."""

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from metareview.common.cli import InputError
from metareview.sources.escapes import plain_text

# Names of columns, and of fields of forms: in lower case and with _ for everything else
REVIEW_NAMES = ("Input", "review", "reviews", "review_text")
DETAIL_NAMES = {
    "title": ("title", "paper_title", "paper"),
    "ratings": ("ratings", "rating", "scores", "score"),
    "decision": ("decision", "final_decision"),
}
SUMMARY_NAMES = ("Output", "summary", "meta_review", "metareview")
# Only these fields of a form are read, in this order: it also has some for the chairs alone. Add those of your venue.
# fmt: off
REVIEW_FIELDS = (
    "summary", "summary_of_the_paper", "paper_summary", "summary_of_contributions",
    "paper_topic_and_main_contributions", "review", "main_review", "comments", "comments_to_authors",
    "strengths_and_weaknesses", "strength_and_weaknesses", "strengths", "summary_of_strengths", "reasons_to_accept",
    "weaknesses", "summary_of_weaknesses", "reasons_to_reject", "claims_and_evidence",
    "experimental_designs_or_analyses", "other_strengths_and_weaknesses",
    "clarity_quality_novelty_and_reproducibility", "questions", "questions_for_authors", "questions_for_the_authors",
    "requested_changes", "comments_suggestions_and_typos", "other_comments_or_suggestions", "limitations",
    "limitations_and_societal_impact", "summary_of_the_review",
)
META_REVIEW_FIELDS = (
    "metareview", "meta_review", "metareview_summary_strengths_and_weaknesses", "comment", "comments", "summary",
    "recommendation",
)
RATING_FIELDS = (
    "rating", "recommendation", "overall_recommendation", "overall_assessment", "overall_rating", "overall_score",
    "final_rating", "score",
)
# fmt: on
DECISION_FIELDS = ("decision", "final_decision", "recommendation")
CONFIDENCE_FIELDS = ("confidence", "reviewer_confidence")
VERDICT_WORDS = 10  # a `recommendation` of fewer words is a verdict ("Accept (poster)"), not a meta-review
KINDS = {  # of a reply, by the end of its invitation: Submission12/-/Official_Review, once -/Paper12/Official_Review
    "review": r"(paper_?\d+_)?((official|anon|blind)_)*review",
    "meta-review": r"(paper_?\d+_)?(official_)?meta_?review",
    "decision": r"(paper_?\d+_)?(acceptance_)?(decision|acceptance)",
}


@dataclass
class Paper:
    """What was written about a paper. Ratings and confidences are in the order of the reviews, None where missing."""

    reviews: list[str]
    meta_review: str = ""
    forum: str = ""
    title: str = ""
    venue: str = ""
    year: int | None = None
    ratings: list[float | None] = field(default_factory=list)
    confidences: list[float | None] = field(default_factory=list)
    decision: str = ""  # in words, as the venue has it
    left_out: Counter[str] = field(default_factory=Counter)  # replies that might have been a review: why not, how many
    skipped: str = ""  # why the paper is of no use

    @property
    def details(self) -> dict[str, str]:
        """Title and ratings, as a prompt may name them."""
        ratings = ", ".join(f"{rating:g}" for rating in self.ratings if rating is not None)
        return {"title": self.title, "ratings": ratings}


def read_id(given: str, name: str = "--forum") -> str:
    """The id in an address of openreview.net, or the id itself; `InputError` naming the flag for anything else."""
    found = parse_qs(urlsplit(given).query).get("id", [given])[0].strip().strip("/")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", found):
        raise InputError(f"{name} {given!r} is neither an id of OpenReview nor an address with one (.../forum?id=ID)")
    return found


def unify_name(name: str) -> str:
    """A name in lower case and with _ for everything else: `meta_review` for "Meta-Review"."""
    return re.sub(r"[\W_]+", "_", str(name).lower()).strip("_")


def name_fields(content: Any) -> dict[str, Any]:
    """The fields of a note or form under uniform names, and those of forms in it; version 2 of the API wraps values."""
    fields: dict[str, Any] = {}
    for name, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, dict) and "value" not in value:
            fields |= name_fields(value)
        else:
            fields[unify_name(name)] = value["value"] if isinstance(value, dict) else value
    return fields


def read_form(fields: dict[str, Any], names: tuple[str, ...]) -> str:
    """The texts in the named fields of a form, several under their titles; of a meta-review's form the first."""
    texts = {}
    for name in names:
        text = fields.get(name)
        if isinstance(text, list):
            text = "\n".join(map(str, text))
        is_text = isinstance(text, str) and re.search(r"\w", text)
        if is_text and (name != "recommendation" or len(text.split()) >= VERDICT_WORDS):
            texts[name] = plain_text(text).strip()
    if len(texts) <= 1 or names is META_REVIEW_FIELDS:
        return next(iter(texts.values()), "")
    return "\n".join(f"{name.replace('_', ' ').capitalize()}: {text}" for name, text in texts.items())


def find_score(fields: dict[str, Any], names: tuple[str, ...]) -> str:
    """What the first of the named fields begins with: "8" for 8 and for "8: accept, good paper", "4/5"; or nothing."""
    given = next((fields[name] for name in names if fields.get(name) not in (None, "")), "")
    found = re.match(r"\s*(-?\d+(?:\.\d+)?(?: ?/ ?\d+)?)", str(given))
    return found[1].removesuffix(".0") if found else ""


def _find_number(fields: dict[str, Any], names: tuple[str, ...]) -> float | None:
    """The score in the first of the named fields as a number, without its scale."""
    score = find_score(fields, names).partition("/")[0]
    return float(score) if score else None


def find_decision(fields: dict[str, Any]) -> str:
    """The decision in a form, such as "Accept (poster)"; not a recommendation that is a text."""
    answers = [" ".join(plain_text(fields.get(name) or "").split()) for name in DECISION_FIELDS]
    return next((answer for answer in answers if 0 < len(answer.split()) < VERDICT_WORDS), "")


def name_kind(name: str) -> str | None:
    """Which of KINDS a name such as "Official Review" or "Paper12/Meta_Review" means; None for any other."""
    return next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, unify_name(name))), None)


def _find_kind(reply: dict[str, Any]) -> str | None:
    """One of KINDS; None for anything else, such as comments, and for whatever the authors write."""
    if any(str(signature).endswith("/Authors") for signature in reply.get("signatures") or ()):
        return None
    invitations = reply.get("invitations") or [reply.get("invitation") or ""]
    kinds = [name_kind(invitation.rpartition("/-/")[2]) for invitation in invitations]
    return next(filter(None, kinds), None)


def _find_year(venue: str, created: int | None) -> int | None:
    """The year in the name of a venue; for a journal, which has none there, that of `created` (milliseconds)."""
    if named := re.search(r"(?<!\d)20\d\d(?!\d)", venue):
        return int(named[0])
    return time.gmtime(created / 1000).tm_year if created else None


def read_paper(note: Any) -> Paper:
    """What was written about a paper: `note` is its submission, as the client returns it with all replies."""
    fields = name_fields(note.content)
    invitations = getattr(note, "invitations", None) or [getattr(note, "invitation", None) or ""]
    venue = invitations[0].partition("/-/")[0]
    year = _find_year(venue, note.cdate or note.tcdate)
    paper = Paper([], forum=note.id, title=str(fields.get("title") or ""), venue=venue, year=year)
    first: dict[str, tuple[str, str]] = {}  # by kind: text and decision of the first meta-review, and decision
    replies = (note.details or {}).get("replies") or []
    for reply in sorted(replies, key=lambda reply: reply.get("tcdate") or 0):
        kind, answers = _find_kind(reply), name_fields(reply.get("content"))
        if kind is None:
            continue
        text = read_form(answers, REVIEW_FIELDS if kind == "review" else META_REVIEW_FIELDS)
        if reply.get("ddate"):
            paper.left_out[f"{kind}s deleted"] += 1
        elif kind == "review" and text:
            paper.reviews.append(text)
            paper.ratings.append(_find_number(answers, RATING_FIELDS))
            paper.confidences.append(_find_number(answers, CONFIDENCE_FIELDS))
        elif text or kind == "decision":  # which need not give reasons
            first.setdefault(kind, (text, find_decision(answers)))
        else:
            paper.left_out[f"{kind}s without a text in a known field"] += 1
    meta_review, verdict = first.get("meta-review", ("", ""))
    reasons, decision = first.get("decision", ("", ""))
    paper.meta_review = meta_review or reasons
    paper.decision = decision or _read_venue(f"{fields.get('venue')} {fields.get('venueid')}") or verdict
    marks = f"{invitations} {fields.get('venueid')}"
    if note.ddate:
        paper.skipped = "deleted"
    elif fields.get("withdrawal") or re.search(r"withdrawn|desk_?reject", marks, re.IGNORECASE):
        paper.skipped = "withdrawn or desk-rejected"
    elif not paper.reviews:
        paper.skipped = "without a review"
    return paper


def _read_venue(venue: str) -> str:
    """The decision in a paper's venue and its id: "poster" for "ICLR 2024 poster", "Reject" for "Submitted to ..."."""
    if re.search(r"submitted to|rejected", venue, re.IGNORECASE):
        return "Reject"
    found = re.search(r"oral|poster|spotlight|notable[- ]top[- ]\d+%|accepted", venue, re.IGNORECASE)
    return found[0] if found else ""


def describe_counts(counts: Counter[str]) -> str:
    """What was left out, the most frequent first."""
    return ", ".join(f"{number:,} {what}" for what, number in counts.most_common())


def describe_paper(paper: Paper) -> str:
    """Title, number of reviews, ratings and confidences, in lines for a person."""
    lines = [f"{paper.title or paper.forum} ({paper.venue})", f"Reviews: {len(paper.reviews)}"]
    for title, numbers in (("Ratings", paper.ratings), ("Confidences", paper.confidences)):
        known = [number for number in numbers if number is not None]
        mean = f" (mean {sum(known) / len(known):.1f})" if known else ""
        lines.append(f"{title}: {' '.join('-' if number is None else f'{number:g}' for number in numbers)}{mean}")
    if paper.left_out:
        lines.append(f"Left out: {describe_counts(paper.left_out)}")
    return "\n".join(lines)
