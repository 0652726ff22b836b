"""Keys and values of what a model has read: computed for each prompt alone, then put together for a batch."""

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

ROOM = 64  # tokens


class RoomyLayer(DynamicLayer):
    """The keys and values of a layer, with room for those to come: its base copies all of them for each new token."""

    buffers: tuple[torch.Tensor, torch.Tensor] | None = None  # what `keys` and `values` are the beginning of

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Add the keys and values of further tokens, both (batch, heads, tokens, size); all that there are now."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        length = before + key_states.shape[2]
        if self.buffers is None or length > self.buffers[0].shape[2]:
            self.buffers = make_room(self.keys, key_states, length), make_room(self.values, value_states, length)
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, before:length] = states
        self.keys, self.values = (buffer[:, :, :length] for buffer in self.buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows."""
        super().batch_select_indices(indices)
        self.buffers = None


def make_room(there: torch.Tensor, states: torch.Tensor, length: int) -> torch.Tensor:
    """A tensor like `states` for so many tokens and ROOM more, which begins with what is there."""
    batch, heads, _, size = states.shape
    buffer = states.new_empty(batch, heads, length + ROOM, size)
    if there.numel():
        buffer[:, :, : there.shape[2]] = there
    return buffer


def read_prompts(model: PreTrainedModel, prompts: list[list[int]], length: int) -> DynamicCache | None:
    """What a model keeps of prompts, each without its last token, as if they were padded to `length` on the left.

    Each is read alone, and those that are the same once: no time goes into padding, and attention without a mask is
    faster. None for prompts of a single token and for models that keep something else than keys and values of all
    tokens: they are to be read in a batch.
    """
    if min(map(len, prompts)) < 2:
        return None
    different = list(dict.fromkeys(map(tuple, prompts)))
    places, caches = [different.index(tuple(prompt)) for prompt in prompts], []
    for prompt in different:
        output = model.base_model(torch.tensor([prompt[:-1]], device=model.device), use_cache=True)
        cache = getattr(output, "past_key_values", None)
        if not isinstance(cache, DynamicCache) or any(type(layer) is not DynamicLayer for layer in cache.layers):
            return None
        caches.append(cache)
    together = DynamicCache()
    while caches[0].layers:
        layers, whole = [cache.layers.pop(0) for cache in caches], RoomyLayer()
        rows = [layers[place] for place in places]
        whole.update(*(pad_left([getattr(row, name) for row in rows], length - 1) for name in ("keys", "values")))
        together.layers.append(whole)
    return together


def pad_left(states: list[torch.Tensor], length: int) -> torch.Tensor:
    """Keys or values, each (1, heads, tokens, size), as (batch, heads, length, size); zero is where nothing was."""
    _, heads, _, size = states[0].shape
    padded = states[0].new_zeros(len(states), heads, length, size)
    for row, state in zip(padded, states, strict=True):
        row[:, length - state.shape[2] :] = state[0]
    return padded
