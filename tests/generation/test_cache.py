"""Keys and values: those of prompts read alone are those of a padded batch; layers have room and keep what they had."""

import pytest
import torch
from conftest import make_model
from hypothesis import given
from hypothesis import strategies as st
from transformers import MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.cache_utils import DynamicLayer

from metareview.generation.cache import ROOM, RoomyLayer, read_prompts


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama", "gpt2"])
def test_prompts_read_alone_leave_what_a_padded_batch_leaves(architecture: str) -> None:
    model = make_model(architecture).eval()
    prompts = [list(range(1, length + 1)) for length in (30, 2, 17)]
    with torch.no_grad():
        cache = read_prompts(model, prompts, 30)
        ids = torch.tensor([[0] * (30 - len(prompt)) + prompt for prompt in prompts])[:, :-1]
        mask = torch.tensor([[0] * (30 - len(prompt)) + [1] * len(prompt) for prompt in prompts])[:, :-1]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        padded = model(ids, attention_mask=mask, position_ids=positions, use_cache=True).past_key_values
    assert cache.get_seq_length() == 29 and len(cache.layers) == len(padded.layers)
    for one, other in zip(cache.layers, padded.layers, strict=True):
        for name in ("keys", "values"):
            ours, theirs = getattr(one, name), getattr(other, name) * mask[:, None, :, None]
            assert torch.allclose(ours, theirs, atol=1e-5)


def test_models_that_keep_something_else_are_left_to_the_library() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 400}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 64}
    for model in (
        MambaForCausalLM(MambaConfig(state_size=8, **sizes)),
        MistralForCausalLM(MistralConfig(sliding_window=16, **heads, **sizes)),
    ):
        assert read_prompts(model.eval(), [[1, 2, 3]], 3) is None
    assert read_prompts(make_model("llama"), [[1, 2, 3], [4]], 3) is None


@given(
    steps=st.lists(st.tuples(st.integers(1, ROOM + 3), st.booleans()), min_size=1, max_size=6),
    batch=st.integers(1, 3),
)
def test_a_layer_with_room_holds_what_the_librarys_holds(steps: list[tuple[int, bool]], batch: int) -> None:
    """Tokens come, and rows go."""
    roomy, stock = RoomyLayer(), DynamicLayer()
    for tokens, selects in steps:
        keys, values = torch.rand(2, batch, 2, tokens, 4).unbind()
        for one, other in zip(roomy.update(keys, values), stock.update(keys, values), strict=True):
            assert torch.equal(one, other)
        if selects:
            batch = max(1, batch - 1)
            for layer in (roomy, stock):
                layer.batch_select_indices(torch.arange(batch).flip(0))
        assert torch.equal(roomy.keys, stock.keys) and torch.equal(roomy.values, stock.values)
        assert roomy.get_seq_length() == stock.get_seq_length()
