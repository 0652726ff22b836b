"""Scoring: what is measured of a text, means over cases with their intervals, and verdicts in words."""

from difflib import SequenceMatcher
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from metareview.cleaning import REVIEW_JOINER, clean_text
from metareview.context import share_budget
from metareview.generation import Output

MODELS = ("base", "fine_tuned")
SYSTEMS = (*MODELS, "lead")  # lead: the opening words of each review, what a summary must beat to be worth anything
ROUGE = ("rouge1", "rouge2", "rougeL")
METRICS = {  # of a text: title and format
    "rouge1": ("ROUGE-1", ".3f"),
    "rouge2": ("ROUGE-2", ".3f"),
    "rougeL": ("ROUGE-L", ".3f"),
    "words": ("words", ".0f"),
    "length_ratio": ("words / words of the reference", ".2f"),
    "stopped": ("stopped by itself", ".0%"),
    "repetition": ("4-grams that repeat an earlier one", ".0%"),
    "copied": ("words copied from the reviews, 4 or more in a row", ".0%"),
    "longest_copy": ("longest copy, words", ".1f"),
}
Estimate = tuple[float, float | None, float | None]  # mean, and from where to where
Results = dict[str, list[dict[str, Any]]]  # of each system: text and METRICS of each case


def lead(review: str, words: int) -> str:
    """The baseline: the opening words of each of the cleaned reviews in equal parts, `words` words in all."""
    reviews = [text.split() for text in review.split(REVIEW_JOINER)]
    shares = share_budget([len(text) for text in reviews], words)
    return "\n".join(" ".join(text[:share]) for text, share in zip(reviews, shares, strict=True) if share)


NGRAM = 4  # words: of a repetition, and the shortest fragment that counts as copied


def repetition(words: list[str]) -> float:
    """Share of the 4-grams that repeat an earlier one of the same text (seq-rep-4, Welleck et al. 2020)."""
    ngrams = [tuple(words[start : start + NGRAM]) for start in range(len(words) - NGRAM + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def copied_fragments(words: list[str], reviews: list[list[str]]) -> tuple[float, int]:
    """Share of the words that are in fragments of 4 or more words from one of the reviews, and the longest fragment.

    The coverage by extractive fragments of Grusky et al. 2018 without the shorter ones, which any two texts share.
    Every fragment counts, where their greedy search would step over one that begins inside a shorter match.
    """
    there = {tuple(review[i : i + NGRAM]) for review in reviews for i in range(len(review) - NGRAM + 1)}
    starts = [i for i in range(len(words) - NGRAM + 1) if tuple(words[i : i + NGRAM]) in there]
    share = len({start + offset for start in starts for offset in range(NGRAM)}) / max(1, len(words))
    matchers = (SequenceMatcher(None, words, review, autojunk=False) for review in reviews)
    longest = max((matcher.find_longest_match().size for matcher in matchers), default=0)
    return share, longest if starts else 0


def score(text: str, stopped: bool | None, review: str, reference: str) -> dict[str, float | bool | None]:
    """All METRICS of a text, None for those that cannot be computed; all three texts are cleaned.

    ROUGE-1/2/L is F1 with stemming (Lin 2004, the rouge-score package), the variant that papers report.
    """
    words, reviews = text.lower().split(), [one.lower().split() for one in review.split(REVIEW_JOINER)]
    share, longest = copied_fragments(words, reviews)
    scores: dict[str, float | bool | None] = dict.fromkeys(METRICS)
    scores |= {"words": len(words), "stopped": stopped, "repetition": repetition(words)}
    scores |= {"copied": share, "longest_copy": longest}
    if reference:
        rouge = RougeScorer(ROUGE, use_stemmer=True).score(reference, text)
        scores |= {metric: rouge[metric].fmeasure for metric in ROUGE}
        scores["length_ratio"] = len(words) / len(reference.split())
    return scores


def score_systems(outputs: dict[str, list[Output]], reviews: list[str], references: list[str], keep: str) -> Results:
    """For base, fine_tuned and lead: text and scores of each case; lead only writes where there is a reference.

    `reviews` and `references` are cleaned; what the models wrote is cleaned in the same way, for its scores only.
    """
    results: Results = {system: [] for system in SYSTEMS}
    for index, (review, reference) in enumerate(zip(reviews, references, strict=True)):
        for model in MODELS:
            output = outputs[model][index]
            scores = score(clean_text(output.text, keep), output.stopped, review, reference)
            results[model].append({"text": output.text} | scores)
        text = lead(review, len(reference.split()))
        scores = score(text, None, review, reference) if reference else dict.fromkeys(METRICS)
        results["lead"].append({"text": text} | scores)
    return results


RESAMPLES = 2_000  # of the bootstrap
RESAMPLING_SEED = 42  # always the same draws: the same scores give the same interval
FEWEST_CASES = 10  # with fewer, an interval means nothing


def estimate(values: list[float]) -> Estimate:
    """Mean and its 95 % interval: the percentile bootstrap (Efron 1979) over the values.

    The interval is None, None for fewer than FEWEST_CASES values.
    """
    array = np.asarray(values, dtype=float)
    if len(array) < FEWEST_CASES:
        return float(array.mean()), None, None
    draws = np.random.default_rng(RESAMPLING_SEED).integers(len(array), size=(RESAMPLES, len(array)))
    return float(array.mean()), *np.percentile(array[draws].mean(axis=1), [2.5, 97.5]).tolist()


def compare(results: Results, other: str) -> str:
    """In a sentence, whether fine_tuned is better than `other`: the differences in ROUGE-L, case by case."""
    pairs = zip(results["fine_tuned"], results[other], strict=True)
    differences = [mine["rougeL"] - theirs["rougeL"] for mine, theirs in pairs if mine["rougeL"] is not None]
    if len(differences) < FEWEST_CASES:
        number = f"{len(differences)} cases with a reference are too few ({FEWEST_CASES} or more are needed)"
        return f"Whether fine_tuned is better than {other} cannot be told: {number}."
    mean, low, high = estimate(differences)
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not better than"
    interval = f"ROUGE-L {mean:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}, {len(differences)} cases"
    return f"fine_tuned is {verdict} {other}: {interval}."


def find_weakest(results: Results, rows: list[int]) -> str:
    """In a sentence, those of the `rows` of the sheet, one for each case, where fine_tuned has the lowest ROUGE-L."""
    scores = [(result["rougeL"], row) for result, row in zip(results["fine_tuned"], rows, strict=True)]
    weakest = [row for rouge, row in sorted(pair for pair in scores if pair[0] is not None)[:5]]
    return f"fine_tuned is weakest in the rows {', '.join(map(str, weakest))} (lowest ROUGE-L)." if weakest else ""


def average_scores(results: Results) -> dict[str, dict[str, Estimate]]:
    """Mean and interval of each of METRICS for each system, where there are cases that have it."""
    averages: dict[str, dict[str, Estimate]] = {}
    for system, cases in results.items():
        values = {name: [case[name] for case in cases if case[name] is not None] for name in METRICS}
        averages[system] = {name: estimate(numbers) for name, numbers in values.items() if numbers}
    return averages


def tabulate(averages: dict[str, dict[str, Estimate]]) -> list[list[str]]:
    """The means and intervals as text: a row for each metric, a column for each system."""
    table = [["", *averages]]
    for name, (title, form) in METRICS.items():
        row = [title]
        for estimates in averages.values():
            figures = estimates.get(name, (None, None, None))
            mean, low, high = ("-" if figure is None else format(figure, form) for figure in figures)
            row.append(mean if low == "-" else f"{mean} ({low} to {high})")
        table.append(row)
    return table
