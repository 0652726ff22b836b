"""Fitting the reviews of a paper into the context: the reviews are cut, never the prompt and never the summary."""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from textwrap import shorten

from transformers import PreTrainedTokenizerBase as Tokenizer

from metareview.common.cli import InputError
from metareview.data.cleaning import REVIEW_JOINER
from metareview.data.placeholders import find_columns
from metareview.data.prompts import PROMPTS, drop_headings, encode_prompts, special_texts

FEWEST = 6  # tokens for each review at least, the break before it included; of too many, the last are left out


def share_budget(lengths: list[int], budget: int) -> list[int]:
    """Share `budget` tokens among reviews of these lengths: short ones stay whole, long ones get one equal allowance.

    Water-filling: the allowance is the largest number for which the sum of min(length, allowance) is in the `budget`.
    """

    def add_up(allowance: int) -> int:
        return sum(min(length, allowance) for length in lengths)

    allowance = bisect_right(range(budget + 1), budget, key=add_up) - 1
    return [min(length, allowance) for length in lengths]


def fit_prompts(
    rows: Sequence[Mapping[str, str]], tokenizer: Tokenizer, limits: Sequence[int], prompt: str = PROMPTS["plain"]
) -> tuple[list[list[int]], list[int]]:
    """Token ids of the prompt for each paper (its columns by name), and how many tokens it cost to fit it.

    `limits` are the most tokens of each. Only the reviews are cut, never the prompt around them. The same rule serves
    training and generation. Raises `InputError` where not even the beginning of one review would fit.
    """
    special, columns = special_texts(tokenizer), find_columns(prompt)
    rows = [{name: _break_tokens(row.get(name) or "", special) for name in columns} for row in rows]
    rows = [row | {"review": drop_headings(row["review"], prompt)} for row in rows]
    complete = encode_prompts(rows, tokenizer)
    fitted = [
        input_ids if len(input_ids) <= limit else _cut_reviews(row, tokenizer, limit)
        for row, input_ids, limit in zip(rows, complete, limits, strict=True)
    ]
    return fitted, [len(before) - len(after) for before, after in zip(complete, fitted, strict=True)]


def _break_tokens(text: str, special: list[str]) -> str:
    """A text in which what looks like a special token is none, for a blank is in it: < |endoftext|>."""
    for token in special:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _cut_reviews(row: Mapping[str, str], tokenizer: Tokenizer, limit: int) -> list[int]:
    """Token ids of the prompt for one paper, with its reviews cut so that at most `limit` tokens stay."""

    def encode(reviews: Sequence[str]) -> list[int]:
        return encode_prompts([row | {"review": REVIEW_JOINER.join(filter(None, reviews))}], tokenizer)[0]

    most = max(1, (limit - len(encode([]))) // FEWEST)
    reviews = row["review"].split(REVIEW_JOINER)[:most]
    encoded = tokenizer.backend_tokenizer.encode_batch(reviews, add_special_tokens=False)
    lengths = list(map(len, encoded))
    input_ids = encode(reviews)
    budget = limit - (len(input_ids) - sum(lengths))
    while len(input_ids) > limit:  # once, as a rule: after a cut the tokens at a seam may merge in another way
        if budget < 1:
            begins = f"the reviews that begin {shorten(row['review'], 40, placeholder=' ...')!r}"
            raise InputError(f"{begins} and the prompt do not fit into {limit} tokens; see --max_length")
        parts = zip(reviews, encoded, share_budget(lengths, budget), strict=True)
        input_ids = encode([_cut_at_word(review, tokens.offsets, allowance) for review, tokens, allowance in parts])
        budget -= max(1, len(input_ids) - limit)
    return input_ids


def _cut_at_word(text: str, offsets: list[tuple[int, int]], allowance: int) -> str:
    """The first words of `text` that take at most `allowance` tokens; `offsets` are its tokens' (start, end).

    A first word that alone takes more is cut inside: a review without a blank should not vanish.
    """
    if len(offsets) <= allowance:
        return text
    end = offsets[allowance - 1][1] if allowance else 0
    words = re.match(r"(?s).+(?=\s)", text[: end + 1])
    return words[0].rstrip() if words else text[:end]
