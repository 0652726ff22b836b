"""Metrics: what is measured of one text, and of the texts of each system."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from rouge_score.rouge_scorer import RougeScorer

from metareview.data.cleaning import REVIEW_JOINER, clean_text
from metareview.data.context import share_budget
from metareview.data.placeholders import read_back
from metareview.data.prompts import PLAIN_COMPLETION
from metareview.generation.outputs import Output
from metareview.scoring.bertscore import bertscore
from metareview.scoring.verdicts import find_verdict, judge_ratings, read_decision

ROUGE = ("rouge1", "rouge2", "rougeL")
NGRAM = 4  # words: of a repetition, and the shortest fragment that counts as copied
LEAD = "lead"  # the opening words of each review: what a summary must beat to be worth anything
OTHER_PAPER = "other paper"  # the reference of another case: what any meta-review shares with any other
REFERENCE = "reference"  # the meta-review written by a person: for what can be told of one text alone
RATINGS = "ratings"  # the verdict that the mean of the reviewers' ratings alone would give
OTHERS = (LEAD, OTHER_PAPER, REFERENCE, RATINGS)  # the systems that are no models, in the order in which they are shown
Results = dict[str, list[dict[str, Any]]]  # each text of each system (models and OTHERS), scored
_SEED = 42  # of the choice of other papers
_VENUES = "conf iclr icml neurips nips aaai ijcai cvpr iccv eccv acl naacl emnlp aistats uai colt corl tmlr jmlr arxiv"
_COMMON = "ac acs pc pcs sac sacs ae aes ai ml sota tldr"
_ALLOWED = {*_VENUES.split(), *_COMMON.split()}  # terms that may be in any meta-review
_TERM = re.compile(r"[A-Z].*[A-Z]|\d")  # like an acronym, or with a number
_ALLOWED_FORMS = re.compile(r"(anonreviewer|reviewer|r|ac)\d+|(19|20)\d\d|\d|10")  # R1; years; small counts and lists


@dataclass
class Text:
    """A text to be scored, and what it is scored against, all cleaned alike."""

    text: str
    review: str  # of one paper, REVIEW_JOINER between two
    reference: str = ""  # empty if there is none
    decision: str | None = None  # the right verdict; None if it is unknown
    ended: bool | None = None  # whether the model reached its end token; None if no model wrote it
    stated: str = ""  # the decision that a model has written in the place for it
    encoder: str | None = None  # of BERTScore: a folder or Hub id; None: there is no such score

    @property
    def words(self) -> list[str]:
        return self.text.lower().split()

    @property
    def reviews(self) -> list[list[str]]:
        return [one.lower().split() for one in self.review.split(REVIEW_JOINER)]

    @cached_property
    def rouge(self) -> dict[str, float | None]:
        """ROUGE-1/2/L as F1 with stemming (Lin 2004, the rouge-score package); None if the reference is unreadable."""
        if not is_readable(self.reference):
            return dict.fromkeys(ROUGE)
        scores = RougeScorer(ROUGE, use_stemmer=True).score(self.reference, self.text)
        return {metric: scores[metric].fmeasure for metric in ROUGE}

    @cached_property
    def verdict(self) -> str | None:
        return read_decision(self.stated) or find_verdict(self.text)

    @cached_property
    def terms(self) -> list[str]:
        return find_unsupported(self.text, self.review)


@dataclass(frozen=True)
class Metric:
    """One thing that is measured of a text. To add one, add a line to METRICS: it then appears everywhere."""

    title: str
    format: str  # of its mean, in Python's notation
    measure: Callable[[Text], float | bool | None]  # None if it cannot be measured
    table: int  # 0: closeness to the reference; 1: what can be told of the text alone
    interval: bool = False  # whether its interval is shown beside its mean
    in_sheet: bool = False  # whether each text has its value beside it in the workbook


def judge_verdict(text: Text) -> bool | None:
    """Whether the verdict of a text is right; None if one of the two is unknown."""
    return text.verdict == text.decision if text.verdict and text.decision else None


def measure_bertscore(text: Text) -> float | None:
    """F1 of BERTScore; None without an encoder or a reference."""
    return bertscore(text.text, text.reference, text.encoder) if text.encoder and text.reference else None


METRICS = {
    "rouge1": Metric("ROUGE-1", ".3f", lambda text: text.rouge["rouge1"], 0, interval=True),
    "rouge2": Metric("ROUGE-2", ".3f", lambda text: text.rouge["rouge2"], 0, interval=True),
    "rougeL": Metric("ROUGE-L", ".3f", lambda text: text.rouge["rougeL"], 0, interval=True, in_sheet=True),
    "bertscore": Metric("BERTScore", ".3f", measure_bertscore, 0, interval=True, in_sheet=True),
    "words": Metric("words", ".0f", lambda text: len(text.words), 0, in_sheet=True),
    "ended": Metric("ended", ".0%", lambda text: text.ended, 0, in_sheet=True),
    "repetition": Metric("repetition", ".0%", lambda text: repetition(text.words), 1, in_sheet=True),
    "copied": Metric("copied", ".0%", lambda text: copied(text.words, text.reviews), 1),
    "named": Metric("names a verdict", ".0%", lambda text: text.verdict is not None, 1, interval=True),
    "right": Metric("right verdict", ".0%", judge_verdict, 1, interval=True),
    "unsupported": Metric("terms in no review", ".1f", lambda text: len(text.terms), 1, interval=True),
}


def is_readable(reference: str) -> bool:
    """Whether ROUGE finds words in a reference: the tokenizer of rouge-score drops all letters but a to z.

    At least half of the letters and digits must be such, else a few names and numbers would stand for a whole text.
    """
    letters = [character for character in reference if character.isalnum()]
    return 0 < len(letters) <= 2 * sum(map(str.isascii, letters))


def lead(review: str, words: int) -> str:
    """The opening words of each of the cleaned reviews in equal parts, `words` words in all."""
    reviews = [text.split() for text in review.split(REVIEW_JOINER)]
    shares = share_budget([len(text) for text in reviews], words)
    return "\n".join(" ".join(text[:share]) for text, share in zip(reviews, shares, strict=True) if share)


def repetition(words: list[str]) -> float:
    """Share of the 4-grams that repeat an earlier one of the same text (seq-rep-4, Welleck et al. 2020)."""
    ngrams = [tuple(words[start : start + NGRAM]) for start in range(len(words) - NGRAM + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def copied(words: list[str], reviews: list[list[str]]) -> float:
    """Share of the words that are in fragments of 4 or more words from one of the reviews.

    The coverage of Grusky et al. 2018 without shorter fragments, which any two texts share.
    """
    there = {tuple(review[i : i + NGRAM]) for review in reviews for i in range(len(review) - NGRAM + 1)}
    starts = [i for i in range(len(words) - NGRAM + 1) if tuple(words[i : i + NGRAM]) in there]
    return len({start + offset for start in starts for offset in range(NGRAM)}) / max(1, len(words))


def find_unsupported(text: str, review: str) -> list[str]:
    """Numbers and terms like acronyms that a text has and none of its reviews, each once; both are cleaned alike.

    They are for you to check: what is not in the reviews may still be true, for the writer may know the paper, and an
    invention in other words is not seen. People write such terms, too: of 462 human meta-reviews of ICLR 2017, compared
    with all their reviews, 21% have one or more (0.34 per text); with the reviews of the next paper, 43% (0.80).

    Case, punctuation and a plural s do not count, nor does a blank or its lack: CIFAR-10, CIFAR10 and CIFAR 10 are one.
    """
    words = _split_words(review)
    joined = [first + second for first, second in pairwise(words)]
    parts = [part for word in words for part in re.findall(r"[a-zA-Z]+|\d+", word)]
    supported = _ALLOWED | {_normalize(word) for word in (*words, *joined, *parts)}
    terms: dict[str, str] = {}
    for word in _split_words(text):
        key = _normalize(word)
        if _TERM.search(word) and key not in supported and not _ALLOWED_FORMS.fullmatch(key):
            terms.setdefault(key, word)
    return list(terms.values())


def _split_words(text: str) -> list[str]:
    """The words of a text, of which only letters and digits are left."""
    return [re.sub(r"[^a-zA-Z0-9]", "", word) for word in text.split()]


def _normalize(word: str) -> str:
    """A word as it is compared: GANs is GAN."""
    return re.sub(r"(?<=[A-Z0-9])s$", "", word).lower()


def score(text: Text) -> dict[str, Any]:
    """A text with all METRICS of it, None for those that cannot be measured; its verdict and unsupported terms."""
    scores = {name: metric.measure(text) for name, metric in METRICS.items()}
    return {"text": text.text, **scores, "verdict": text.verdict, "terms": ", ".join(text.terms)}


def draw_other_papers(references: Sequence[str]) -> dict[str, str]:
    """For each reference that of another paper, as a derangement; nothing if there are not two different ones.

    The same references give the same pairs, in whatever order.
    """
    texts = sorted(set(filter(None, references)))
    random.Random(_SEED).shuffle(texts)
    return dict(zip(texts, texts[1:] + texts[:1], strict=True)) if len(texts) > 1 else {}


def score_systems(
    outputs: dict[str, list[Output]],
    reviews: Sequence[str],
    references: Sequence[str],
    keep: str,
    decisions: Sequence[str],
    ratings: Sequence[str] = (),
    completions: Mapping[str, str] | None = None,
    encoder: str | None = None,
) -> Results:
    """For each model and, as far as there are references or ratings, each of OTHERS: text and scores of each case.

    `reviews` are cleaned; references and what the models wrote are cleaned in the same way, for the scores only.
    `decisions` are what became of the papers, in words, empty if that is unknown; if none is known, the verdict of the
    reference is held to be the right one. A model that learned one of `completions` has written a decision in its
    place: that is its verdict, and only the summary is compared with the reference. `encoder` is that of BERTScore.
    """
    references = [clean_text(reference, keep) for reference in references]
    judged, read_verdict = (decisions, read_decision) if any(decisions) else (references, find_verdict)
    verdicts = [read_verdict(text) for text in judged]
    known = zip(reviews, references, verdicts, strict=True)
    cases = [Text("", review, reference, verdict, encoder=encoder) for review, reference, verdict in known]
    results: Results = {}
    for name, written in outputs.items():
        results[name] = []
        for output, case in zip(written, cases, strict=True):
            parts = read_back((completions or {}).get(name, PLAIN_COMPLETION), output.text)
            summary, stated = clean_text(parts["summary"], keep), parts.get("decision", "")
            scores = score(replace(case, text=summary, ended=output.stopped, stated=stated))
            results[name].append(scores | {"text": output.text})  # as it is
    if any(references):
        results[LEAD] = _score_texts([lead(case.review, len(case.reference.split())) for case in cases], cases)
        if others := draw_other_papers(references):
            results[OTHER_PAPER] = _score_texts([others.get(reference, "") for reference in references], cases)
        # Without decisions, its own verdict is the right one.
        alone = [replace(case, reference="", decision=case.decision if any(decisions) else None) for case in cases]
        results[REFERENCE] = _score_texts(references, alone)
    rated = [judge_ratings(text) for text in ratings]
    if any(rated):
        results[RATINGS] = [
            _NO_SCORE | {"named": found is not None, "right": found == verdict if found and verdict else None}
            for found, verdict in zip(rated, verdicts, strict=True)
        ]
    return results


def _score_texts(texts: list[str], cases: list[Text]) -> list[dict[str, Any]]:
    """The scores of a text for each case; None where the text is empty."""
    pairs = zip(texts, cases, strict=True)
    return [score(replace(case, text=text)) if text else {**_NO_SCORE} for text, case in pairs]


_NO_SCORE = {"text": "", **dict.fromkeys(METRICS), "verdict": None, "terms": ""}  # what `score` returns without a text
