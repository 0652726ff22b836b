"""Consensus: which of several texts for the same reviews says most of what the others say."""

from collections import Counter
from itertools import pairwise
from math import fsum


def choose_typical(texts: list[str]) -> int:
    """The place of the text that is on average most like the others: minimum Bayes risk decoding.

    What a model says in all its texts is more likely to stand in a reference than what it says in one (Eikema and Aziz
    2020; Suzgun et al. 2022). Where several are equally typical it is the first in the alphabet, whatever the order.
    """
    ngrams = [count_ngrams(text) for text in texts]

    def risk(place: int) -> tuple[float, str]:
        return -fsum(compare_ngrams(ngrams[place], other) for other in ngrams), texts[place]

    return min(range(len(texts)), key=risk)


def count_ngrams(text: str) -> Counter[tuple[str, ...]]:
    """How often each word, and each pair of words, stands in a text; capitals do not count."""
    words = text.lower().split()
    return Counter([*((word,) for word in words), *pairwise(words)])


def compare_ngrams(one: Counter[tuple[str, ...]], other: Counter[tuple[str, ...]]) -> float:
    """F1 of what two texts share, from 0 to 1: of words and pairs, what ROUGE-1 and ROUGE-2 are of each."""
    return 2 * (one & other).total() / max(1, one.total() + other.total())
