"""Fitting the reviews of a paper into the context: the reviews are cut, never the prompt and never the summary."""

import re
from collections.abc import Mapping, Sequence
from textwrap import shorten

from transformers import PreTrainedTokenizerBase as Tokenizer

from metareview.common.cli import InputError
from metareview.data.cleaning import REVIEW_JOINER
from metareview.data.placeholders import find_columns
from metareview.data.prompts import PROMPTS, drop_headings, encode_prompts

FEWEST = 6  # tokens for each review at least, the break before it included; of too many, the last are left out


def share_budget(lengths: list[int], budget: int) -> list[int]:
    """Share `budget` tokens among reviews of these lengths: short ones stay whole, long ones get one equal allowance.

    Water-filling: the allowance is the largest number c for which the sum of min(length, c) is at most `budget`.
    """
    remaining = budget
    for served, length in enumerate(sorted(lengths)):
        allowance = remaining // (len(lengths) - served)
        if length > allowance:
            return [min(length, allowance) for length in lengths]
        remaining -= length
    return list(lengths)


def _cut_at_word(text: str, offsets: list[tuple[int, int]], allowance: int) -> str:
    """The first words of `text` that take at most `allowance` tokens; `offsets` are its tokens' (start, end).

    A first word that alone takes more is cut inside: a review without a blank should not vanish.
    """
    if len(offsets) <= allowance:
        return text
    end = offsets[allowance - 1][1] if allowance else 0
    if not text[end : end + 1].isspace():
        end = max((blank.start() for blank in re.finditer(r"\s", text[:end])), default=end)
    return text[:end].rstrip()


def fit_prompts(
    rows: Sequence[Mapping[str, str]], tokenizer: Tokenizer, limits: Sequence[int], prompt: str = PROMPTS["plain"]
) -> tuple[list[list[int]], list[int]]:
    """Token ids of the prompt for each paper (its columns by name), and how many tokens it cost to fit it.

    `limits` are the most tokens of each. Only the reviews are cut, never the prompt around them. The same rule serves
    training and generation. Raises `InputError` where not even the beginning of one review would fit.
    """
    names = find_columns(prompt)
    rows = [{name: row.get(name) or "" for name in names} for row in rows]
    rows = [row | {"review": drop_headings(row["review"], prompt)} for row in rows]
    complete = encode_prompts(rows, tokenizer)
    fitted = [
        _cut_prompt(row, input_ids, tokenizer, limit) if len(input_ids) > limit else input_ids
        for row, input_ids, limit in zip(rows, complete, limits, strict=True)
    ]
    return fitted, [len(before) - len(after) for before, after in zip(complete, fitted, strict=True)]


def _cut_prompt(row: Mapping[str, str], complete: list[int], tokenizer: Tokenizer, limit: int) -> list[int]:
    """`complete`, the prompt for one paper, with its reviews cut so that at most `limit` tokens stay."""

    def encode(reviews: Sequence[str]) -> list[int]:
        return encode_prompts([row | {"review": REVIEW_JOINER.join(filter(None, reviews))}], tokenizer)[0]

    reviews, input_ids = row["review"].split(REVIEW_JOINER), complete
    readable = max(1, (limit - len(encode([]))) // FEWEST)
    if readable < len(reviews):
        reviews = reviews[:readable]
        input_ids = encode(reviews)
    options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    offsets = tokenizer(reviews, return_offsets_mapping=True, **options).offset_mapping
    lengths = list(map(len, offsets))
    budget = limit - (len(input_ids) - sum(lengths))
    while len(input_ids) > limit:  # once, as a rule: after a cut the tokens at a seam may merge in another way
        if budget < 1:
            begins = f"the reviews that begin {shorten(row['review'], 40, placeholder=' ...')!r}"
            raise InputError(f"{begins} and the prompt do not fit into {limit} tokens; see --max_length")
        input_ids = encode([*map(_cut_at_word, reviews, offsets, share_budget(lengths, budget))])
        budget -= max(1, len(input_ids) - limit)
    return input_ids
