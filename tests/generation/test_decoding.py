"""Decoding: what may not be said twice, on random scores, on whole models, and in words."""

import math

import pytest
import torch
from conftest import make_model
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import NoRepeatNGramLogitsProcessor

from metareview.generation.batches import continue_batch, generate
from metareview.generation.consensus import choose_typical
from metareview.generation.decoding import Decoding, Drawing, NoRepeatedNgram

token_ids = st.lists(st.integers(0, 4), max_size=12)


def find_repeated(ids: list[int], size: int) -> list[tuple[int, ...]]:
    """The n-grams that a text has more than once."""
    ngrams = [tuple(ids[start : start + size]) for start in range(len(ids) - size + 1)]
    return [ngram for ngram in set(ngrams) if ngrams.count(ngram) > 1]


def forbid(rows: list[list[int]], prompt_length: int, size: int) -> list[set[int]]:
    """The tokens that are forbidden next, of a vocabulary of five, in each row of a batch."""
    ids, scores = torch.tensor(rows, dtype=torch.long).reshape(len(rows), -1), torch.zeros(len(rows), 5)
    changed = NoRepeatedNgram(size, prompt_length)(ids, scores)
    assert not scores.any()  # those that were given stay as they are
    return [set(row.isinf().nonzero().flatten().tolist()) for row in changed]


@given(prompt=token_ids, written=token_ids, size=st.integers(1, 5))
def test_a_token_is_forbidden_where_it_would_end_an_ngram_twice(
    prompt: list[int], written: list[int], size: int
) -> None:
    [forbidden] = forbid([prompt + written], len(prompt), size)
    ngrams = [written[start : start + size] for start in range(len(written) - size + 1)]
    begun = written[len(written) - size + 1 :] if len(written) >= size - 1 else None
    assert forbidden == {token for token in range(5) if begun is not None and [*begun, token] in ngrams}
    if written:  # the library's own rule, of what is written alone
        [of_library] = NoRepeatNGramLogitsProcessor(size)(torch.tensor([written]), torch.zeros(1, 5))
        assert forbidden == set(of_library.isinf().nonzero().flatten().tolist())


@given(columns=st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12), prompt=st.integers(0, 9))
def test_rows_of_a_batch_do_not_touch_one_another(columns: list[tuple[int, ...]], prompt: int) -> None:
    rows = [list(row) for row in zip(*columns, strict=True)]
    assert forbid(rows, prompt, 2) == [forbid([row], prompt, 2)[0] for row in rows]


@given(seed=st.integers(0, 2**31), size=st.integers(1, 4), prompt=token_ids)
def test_no_ngram_is_written_twice(seed: int, size: int, prompt: list[int]) -> None:
    """Greedy decoding of random scores that hardly change, so that without the rule it would say one thing only."""
    generator = torch.Generator().manual_seed(seed)
    base, ids = torch.rand(60, generator=generator), torch.tensor([prompt], dtype=torch.long).reshape(1, -1)
    rule = NoRepeatedNgram(size, len(prompt))
    for _ in range(40):
        scores = rule(ids, (base + 0.01 * torch.rand(60, generator=generator))[None])
        ids = torch.cat([ids, scores.argmax(-1, keepdim=True)], dim=1)
    assert find_repeated(ids[0, len(prompt) :].tolist(), size) == []


class Ids:
    """A tokenizer that shows the token ids, and has no end token that the models know."""

    eos_token_id = pad_token_id = 399

    def decode(self, ids: list[int], **_: bool) -> str:
        return " ".join(map(str, ids))


@pytest.mark.parametrize("beams", [1, 3])
def test_models_say_nothing_twice_in_batches_as_alone(beams: int) -> None:
    model = make_model("gpt_neox").eval()
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(1, 399, (length,), generator=generator).tolist() for length in (5, 40, 23)]
    decoding = Decoding(no_repeat_ngram=2, num_beams=beams)
    written = dict(generate(model, Ids(), prompts, 30, 3, decoding))
    plain = dict(generate(model, Ids(), prompts, 30, 3))
    assert any(find_repeated(output.text.split(), 2) for output in plain.values())
    for index, prompt in enumerate(prompts):
        assert not find_repeated(written[index].text.split(), 2)
        assert dict(generate(model, Ids(), [prompt], 30, 1, decoding))[0] == written[index]


def test_what_the_prompt_says_may_be_said_once() -> None:
    assert forbid([[1, 2, 3, 4, 1, 2]], 4, 3) == [set()]
    assert forbid([[1, 2, 3, 4, 1, 2, 3, 0, 1, 2]], 4, 3) == [{3}]
    of_library = NoRepeatNGramLogitsProcessor(3)(torch.tensor([[1, 2, 3, 4, 1, 2]]), torch.zeros(1, 5))
    assert of_library[0].isinf().nonzero().flatten().tolist() == [3]  # forbids it the first time


def test_the_penalty_does_not_look_at_the_prompt() -> None:
    scores, ids = torch.ones(1, 5), torch.tensor([[1, 2, 3, 2]])
    assert Decoding(repetition_penalty=2.0).make_processors(3)(ids, scores).tolist() == [[1, 1, 0.5, 1, 1]]


def test_decoding_in_words_and_wrong() -> None:
    assert Decoding().describe() == ["greedy"] and not Decoding().make_processors(3)
    assert Decoding(4, 1.2, 3).describe() == ["3 beams", "no 4-gram twice", "penalty 1.2"]
    assert Decoding(4, temperature=0.7, seed=1).describe() == [
        "drawn at temperature 0.7 with seed 1",
        "no 4-gram twice",
    ]
    for wrong in (
        {"no_repeat_ngram": -1},
        {"repetition_penalty": 0.9},
        {"num_beams": 0},
        {"temperature": math.nan},
        {"candidates": 0},
    ):
        with pytest.raises(ValueError, match=f"--{next(iter(wrong))} must be at least"):
            Decoding(**wrong)
    assert Decoding(0, 1.0, 1, 0.5, 7, 8).describe() == ["the most typical of 8 drawn at temperature 0.5 with seed 7"]
    with pytest.raises(ValueError, match="--candidates 8 would be the same text: give a --temperature"):
        Decoding(candidates=8)
    with pytest.raises(ValueError, match="give one of them"):
        Decoding(num_beams=2, temperature=1.0)


def test_the_seed_tells_texts_apart_only_where_something_is_drawn() -> None:
    assert Decoding(4, seed=1).identify() == Decoding(4, seed=2).identify()
    assert Decoding(4, temperature=1.0, seed=1).identify() != Decoding(4, temperature=1.0, seed=2).identify()
    assert Decoding(4, temperature=1.0).identify() != Decoding(4, temperature=1.0, candidates=2).identify()


@given(
    scores=st.lists(st.floats(-3, 3), min_size=2, max_size=6),
    temperature=st.floats(0.3, 3),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=20)
def test_tokens_are_drawn_with_the_probabilities_of_the_softmax(
    scores: list[float], temperature: float, seed: int
) -> None:
    number = 4000
    given_scores, draw = torch.tensor([scores]), Drawing(temperature, 2, [str(seed)])
    drawn = torch.tensor([draw(torch.zeros(1, 2 + step), given_scores).argmax().item() for step in range(number)])
    expected = (given_scores[0] / temperature).softmax(0)
    # Hoeffding: a share is further away than that in one of 10^9 cases.
    assert (drawn.bincount(minlength=len(scores)) / number - expected).abs().max() < math.sqrt(
        math.log(2e9) / 2 / number
    )


def test_what_is_drawn_follows_from_the_seed_and_the_prompt_alone() -> None:
    model = make_model("gpt_neox").eval()
    prompts = [[1, 2, 3], [4, 5, 6, 7, 8], [9]]
    texts = {}
    for seed in (1, 2):
        decoding = Decoding(no_repeat_ngram=2, temperature=1.0, seed=seed)
        texts[seed] = dict(generate(model, Ids(), prompts, 20, 3, decoding))
        assert all(not find_repeated(output.text.split(), 2) for output in texts[seed].values())
        for index, prompt in enumerate(prompts):
            assert dict(generate(model, Ids(), [prompt], 20, 1, decoding))[0] == texts[seed][index]
    assert all(texts[1][index] != texts[2][index] for index in range(3))


def test_the_most_typical_of_several_drawn_texts_is_written() -> None:
    """Whatever batches they are written in, and the one that a single drawing gives is among them."""
    model = make_model("gpt_neox").eval()
    prompts = [[1, 2, 3], [4, 5, 6, 7, 8], [9], [4, 5, 6, 7, 8]]
    decoding = Decoding(temperature=1.0, seed=1, candidates=5)
    written = dict(generate(model, Ids(), prompts, 20, 3, decoding))
    assert sorted(written) == [0, 1, 2, 3] and written[1] == written[3]
    for index, prompt in enumerate(prompts):
        draws = decoding.name_draws(prompt)
        assert len(set(draws)) == 5 and draws[:1] == Decoding(temperature=1.0, seed=1).name_draws(prompt)
        each = [draw_alone(model, prompt, draw) for draw in draws]
        assert len(set(each)) > 1 and written[index].text == each[choose_typical(each)]
        assert dict(generate(model, Ids(), [prompt], 20, 32, decoding))[0] == written[index]


def draw_alone(model: torch.nn.Module, prompt: list[int], draw: str) -> str:
    """The text of one draw of the test above."""
    decoding = Decoding(temperature=1.0)
    [(_, tokens)] = continue_batch(model, [prompt], [draw], 399, 399, 20, decoding)
    return Ids().decode(tokens[: tokens.index(399)] if 399 in tokens else tokens)
