"""Batches: each text is as if its prompt were alone, in every kind of model; when a text ends; how many rows fit."""

from itertools import pairwise

import pytest
import torch
from conftest import make_model
from transformers import GenerationConfig

from metareview.generation import batches
from metareview.generation.batches import generate
from metareview.generation.cache import CACHE_OPTION
from metareview.generation.decoding import Decoding
from metareview.generation.outputs import Output

PROMPTS = [
    torch.randint(1, 398, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    for length in (5, 60, 23, 11, 42, 8, 30)
]
NEVER = 400  # an end token that no model writes


class Ids:
    """A tokenizer that shows the token ids; any of them can be its end token."""

    def __init__(self, end: int = NEVER) -> None:
        self.eos_token_id = end

    def decode(self, ids: list[int], **_: bool) -> str:
        return " ".join(map(str, ids))


@pytest.fixture(autouse=True)
def _many_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "LEAST", 3)


# The caches of the last five hold something besides keys and values of all tokens, or nothing.
@pytest.mark.parametrize("architecture", ["gpt_neox", "gemma2", "lfm2", "mamba", "openai-gpt", "rwkv"])
def test_each_text_of_a_batch_is_as_if_alone(architecture: str, capsys: pytest.CaptureFixture) -> None:
    """Whatever token ends the texts: rows leave the batch at all kinds of steps."""
    model, alone = make_model(architecture, scale=3).eval(), []
    for prompt in PROMPTS:
        options = {"do_sample": False, "max_new_tokens": 16, "pad_token_id": 0, "eos_token_id": None}
        ids = torch.tensor([prompt])
        alone.append(model.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, len(prompt) :].tolist())
    tokens = sorted({token for ids in alone for token in ids}, key=lambda token: -sum(token in ids for ids in alone))
    for end in (NEVER, *tokens[:2]):
        written = dict(generate(model, Ids(end), PROMPTS, 16, batch_size=7))
        assert sorted(written) == list(range(7))
        for index, ids in enumerate(alone):
            length = ids.index(end) if end in ids else 16
            assert written[index] == Output(Ids().decode(ids[:length]), end in ids, min(length + 1, 16))
    one_at_a_time = "gets one prompt at a time" in capsys.readouterr().out
    assert one_at_a_time == (architecture == "rwkv")  # its state has no mask


@pytest.mark.parametrize("decoding", [Decoding(2), Decoding(2, temperature=1.0), Decoding(2, num_beams=3)], ids=str)
def test_so_it_is_with_every_decoding(decoding: Decoding) -> None:
    model = make_model("gpt_neox").eval()
    free = dict(generate(model, Ids(), PROMPTS, 20, 7, decoding))
    for output in free.values():
        pairs = list(pairwise(output.text.split()))
        assert len(set(pairs)) == len(pairs)  # none is repeated
    for end in (NEVER, int(free[0].text.split()[9])):
        written = dict(generate(model, Ids(end), PROMPTS, 20, 7, decoding))
        for index, prompt in enumerate(PROMPTS):
            assert dict(generate(model, Ids(end), [prompt], 20, 1, decoding))[0] == written[index]


def test_a_prompt_may_be_a_single_token() -> None:
    model = make_model("llama").eval()
    written = dict(generate(model, Ids(), [[1, 2, 3], [9]], 10, 2))
    assert written[1] == dict(generate(model, Ids(), [[9]], 10, 1))[0]


def test_samples_follow_from_the_seed_and_the_prompt() -> None:
    model = make_model("gpt_neox").eval()
    texts = [dict(generate(model, Ids(), PROMPTS, 9, 7, Decoding(temperature=1.0, seed=seed))) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] and all(texts[0][index] != texts[2][index] for index in range(7))


@pytest.mark.parametrize(("architecture", "layers"), [("gpt_neox", 2), ("lfm2", 1)])
def test_a_batch_is_smaller_if_memory_is_small(architecture: str, layers: int, monkeypatch) -> None:
    """And prompts are read alone if the cache holds their keys and values and nothing else."""
    model, calls = make_model(architecture, scale=3).eval(), []
    row = layers * 2 * 32 * (60 + 3) * 4  # keys and values of all tokens in fp32
    write = model.generate

    def generate_and_note(ids: torch.Tensor, **options: object) -> object:
        calls.append((len(ids), CACHE_OPTION in options))
        return write(ids, **options)

    monkeypatch.setattr(model, "generate", generate_and_note)
    for free, fitting in ((100 * row, 7), (10.5 * row, 5), (0, 1)):
        monkeypatch.setattr(batches, "free_memory", lambda free=free: free)
        calls.clear()
        assert len(list(generate(model, Ids(), PROMPTS, 3, 7))) == 7
        assert calls[2] == (fitting, architecture == "gpt_neox")  # after the two with which a batch is tried


def test_a_text_ends_at_any_of_the_given_ends_whatever_the_settings_of_the_model_say() -> None:
    model = make_model("gpt_neox").eval()
    plain = dict(generate(model, Ids(), PROMPTS[:1], 5, batch_size=1))[0]
    assert not plain.stopped and plain.tokens == 5
    model.generation_config = GenerationConfig(repetition_penalty=5.0, no_repeat_ngram_size=2, eos_token_id=[3, 4, 5])
    written = plain.text.split()
    length = written.index(written[2])
    ended = dict(generate(model, Ids(), PROMPTS[:1], 5, 1, ends=[NEVER, int(written[2]), int(written[4])]))[0]
    assert ended == Output(" ".join(written[:length]), True, length + 1)
