"""The verdict that a text names, by a rule: accept, reject or none. A figure of a rule, not a judgment.

Of a text's own words only the last verdict counts; "not", "below the bar for" and the like turn it round; what some of
the reviewers vote is passed over, what all of them agree on is not. Where no verdict is named, phrases such as
"resubmit" and "not ready" count. Punctuation is not looked at, since cleaning removes it.

The rule was made on 359 human meta-reviews of ICLR 2018 to 2021 (of the validation split of MReD, Shen et al. 2022) and
measured on all 416 of ICLR 2017 that were accepted or rejected (46 invited to the workshop are left out): it finds a
verdict in 43% (95% interval 38 to 48%), and 89% of those are right (85 to 94%; 88% of accepted papers, 90% of rejected
ones). The mean of the ratings alone is right for 89% (86 to 92%). The last word that begins with accept or reject: 34%,
61% right. On 306 others of the years that the rule was made on, it finds a verdict in 57%; 93% of those are right.
"""

import re

from metareview.data.cleaning import clean_text
from metareview.data.details import read_ratings

ACCEPT, REJECT = "accept", "reject"
RELIABILITY = "The rule finds a verdict in 43% of human meta-reviews; 89% of those are right."  # see above
ACCEPTED_FROM = 6  # mean rating, of 10: what ICLR calls marginally above the threshold
_REACH = 9  # words before a verdict in which "not" turns it round
_FURTHER = 12  # words before a verdict in which it is said whose it is
_LONGEST_DECISION = 12  # words
_DECLINED = {"reject", "rejected", "decline", "declined", "no", "not", "workshop", "withdrawn", "withdraw", "false"}
_ACCEPTED = {"oral", "poster", "spotlight", "notable", "talk", "highlight", "yes", "true"}
_ACCEPTING = re.compile(r"accept(ed|ing|ance|able)?|publication")
_REJECTING = re.compile(r"reject(ed|ing|ion)?")
_VAGUE = ("acceptable", "publication")  # an acceptance only where something of _RECOMMENDING stands before it
_RECOMMENDING = re.compile(r"recommend\w*|worth\w*|merits?|ready|suitable")
_NOT = re.compile(r"not|no|never|cannot|unable|insufficient|(ca|wo|do|does|did|is|are|was|were|would|could|should)nt")
_NOT_YET = re.compile(  # before an acceptance, but not before a rejection, these say as much as "not"
    r"none|without|lacks?|difficult|hesitate|hesitant|fail(s|ed)?|below|bellow|short|before|until|unless|against|far"
    r"|low|more|precludes?|workshop"
)
_TURN = re.compile(r"but|however|although|though|while|thus|therefore|hence|overall|recommend\w*")  # to another thought
_GRADE = re.compile(r"weak(ly)?|boa?rderline|\d+")  # right before a reviewer's vote: "weak accept", "1 reject"
_REVIEWER = re.compile(r"(anon)?reviewer(s|\d)?|referees?|reviews?|r\d|ratings?|scores?|two|one")
_TOGETHER = re.compile(  # where these stand too, what reviewers vote is the verdict of the text
    r"all|both|unanimous(ly)?|consensus|agree(d|ment)?|everyone|majority|sid(e|es|ing)|concur"
)
_OWN = re.compile(r"my|our|i|im|id|ill|ive|we|acs?|metareviewer|chairs?|pcs?|decision|thus|therefore|hence|so")
_CUES = {  # what tells a verdict without its name
    ACCEPT: re.compile(r"\b(camera ?ready|congratulations)\b"),
    REJECT: re.compile(
        r"\b(re ?submi\w+|not (yet )?(quite )?(ready|suitable|appropriate|fit)|premature"
        r"|(another|different|other|next|future|upcoming|subsequent)"
        r" (venues?|conferences?|submissions?|versions?|revisions?|iterations?)"
        r"|(below|under|not (meet|pass|reach|make)) the (bar|threshold)|falls? short|another round"
        r"|in (its|the|this|their) (current|present) (form|state))\b"
    ),
}


def judge_ratings(ratings: str) -> str | None:
    """The verdict that the mean of some reviewers' ratings would give, None where there are none."""
    numbers = read_ratings(ratings)
    if not numbers:
        return None
    return ACCEPT if sum(numbers) >= ACCEPTED_FROM * len(numbers) else REJECT


def read_decision(text: str) -> str | None:
    """The decision on a paper, as venues write them: "Accept (Poster)", "ICLR 2024 oral", "Invite to Workshop Track".

    None if the text is empty or neither; in a text of more than some words the verdict counts that it names.
    """
    words = set(re.findall(r"[a-z]+", text.lower()))
    if len(words) > _LONGEST_DECISION:
        return find_verdict(text)
    if words & _DECLINED:
        return REJECT
    return ACCEPT if words & _ACCEPTED or any(_ACCEPTING.fullmatch(word) for word in words) else None


def find_verdict(text: str) -> str | None:
    """ACCEPT, REJECT, or None where a text names neither; cleaning the text does not change it.

    The last verdict that is the text's own counts, and where there is none, the last of _CUES.
    """
    words = clean_text(text).lower().split()
    for place in reversed(range(len(words))):
        if verdict := _read_verdict(words, place):
            return verdict
    clean = " ".join(words)
    cues = [(cue.start(), verdict) for verdict, pattern in _CUES.items() for cue in pattern.finditer(clean)]
    return max(cues)[1] if cues else None


def _find_last(words: list[str], pattern: re.Pattern[str]) -> int:
    """The place of the last word that a pattern describes, -1 where there is none."""
    return max((place for place, word in enumerate(words) if pattern.fullmatch(word)), default=-1)


def _read_verdict(words: list[str], place: int) -> str | None:
    """What the word at a place says of the paper: None where it is no verdict, or that of some of the reviewers."""
    word, before, whose = words[place], words[max(0, place - _REACH) : place], words[max(0, place - _FURTHER) : place]
    accepting = _ACCEPTING.fullmatch(word)
    if not (accepting or _REJECTING.fullmatch(word)) or words[place + 1 : place + 2] == ["rate"]:
        return None
    if before and _GRADE.fullmatch(before[-1]):
        return None
    if not accepting:
        verdict = ACCEPT if _find_last(before, _NOT) > _find_last(before, _TURN) else REJECT
    elif max(_find_last(before, _NOT), _find_last(before, _NOT_YET)) > _find_last(before, _OWN):
        return REJECT  # whoever says it: of one reviewer it is hardly ever said so
    elif word in _VAGUE and _find_last(before, _RECOMMENDING) < 0:
        return None
    else:
        verdict = ACCEPT
    of_reviewers = _find_last(whose, _REVIEWER) > _find_last(whose, _OWN) and _find_last(whose, _TOGETHER) < 0
    return None if of_reviewers else verdict
