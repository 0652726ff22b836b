"""Decoding: the rules, on scores of a vocabulary of five tokens, and the settings in words."""

from math import log, sqrt

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metareview.generation.decoding import Decoding

token_ids = st.lists(st.integers(0, 4), max_size=12)


@given(prompt=token_ids, written=token_ids, size=st.integers(1, 5))
def test_a_token_is_blocked_if_it_would_complete_an_ngram_twice(
    prompt: list[int], written: list[int], size: int
) -> None:
    """Looking at what is written alone: what the prompt says may be said once."""
    ngrams = [written[start : start + size] for start in range(len(written) - size + 1)]
    begun = written[len(written) - size + 1 :] if len(written) >= size - 1 else None
    expected = {token for token in range(5) if begun is not None and [*begun, token] in ngrams}
    rows = torch.tensor([prompt + written], dtype=torch.long)
    changed = Decoding(size).make_processors(len(prompt))(rows, torch.zeros(1, 5))
    assert set(changed[0].isinf().nonzero().flatten().tolist()) == expected


def test_the_penalty_does_not_look_at_the_prompt() -> None:
    scores, ids = torch.ones(1, 5), torch.tensor([[1, 2, 3, 2]])
    assert Decoding(repetition_penalty=2.0).make_processors(3)(ids, scores).tolist() == [[1, 1, 0.5, 1, 1]]


@given(scores=st.lists(st.floats(-3, 3), min_size=2, max_size=6), temperature=st.floats(0.3, 3), seed=st.integers(0))
@settings(max_examples=10)
def test_tokens_are_sampled_with_the_probabilities_of_the_softmax(
    scores: list[float], temperature: float, seed: int
) -> None:
    number, rows = 2000, torch.tensor([scores])
    rule = Decoding(temperature=temperature, seed=seed).make_processors(2, [[1, 2]])
    sampled = torch.tensor([rule(torch.zeros(1, 2 + step), rows).argmax().item() for step in range(number)])
    difference = sampled.bincount(minlength=len(scores)) / number - (rows[0] / temperature).softmax(0)
    assert difference.abs().max() < sqrt(log(2e9) / 2 / number)  # Hoeffding: true but in one of 10^9 cases


def test_settings_in_words() -> None:
    assert Decoding().describe() == ["greedy"] and not Decoding().make_processors(3)
    assert Decoding(4, 1.2, 3).describe() == ["3 beams", "no repeated 4-gram", "repetition penalty 1.2"]
    sampled = Decoding(4, temperature=0.7, seed=1).describe()
    assert sampled == ["sampled at temperature 0.7 with seed 1", "no repeated 4-gram"]
    assert Decoding(4, seed=1).identify() == Decoding(4, seed=2).identify()  # greedy texts have no seed
    assert Decoding(4, temperature=1.0, seed=1).identify() != Decoding(4, temperature=1.0, seed=2).identify()
