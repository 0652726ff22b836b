"""The KV cache of a batch: each prompt is read alone, without padding, and there is memory for the tokens to come."""

import inspect
from collections.abc import Callable

import torch
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.cache_utils import DynamicLayer

# The option of generate() that takes a KV cache was renamed in transformers 5.24.
_options = inspect.signature(GenerationMixin.prepare_inputs_for_generation).parameters
CACHE_OPTION = "cache" if "cache" in _options else "past_key_values"


class RoomyLayer(DynamicLayer):
    """Keys and values of a layer, in buffers for all tokens to come: its base copies everything for each new token.

    The buffers are zero at first and filled row by row; what stays zero is the padding on the left.
    """

    def __init__(self, single: DynamicLayer, rows: int, capacity: int) -> None:
        """Buffers of this many rows, each of `capacity` tokens and so far as long as the row that `single` has."""
        super().__init__()
        self.lazy_initialization(single.keys, single.values)
        shapes = [(rows, states.shape[1], capacity, states.shape[3]) for states in (single.keys, single.values)]
        self._set_buffers([single.keys.new_zeros(shape) for shape in shapes], single.get_seq_length())

    def _set_buffers(self, buffers: list[torch.Tensor], length: int) -> None:
        self.buffers = buffers
        self.keys, self.values = (buffer[:, :, :length] for buffer in buffers)

    def fill_row(self, row: int, single: DynamicLayer) -> None:
        """Copy the row that `single` has, aligned on the right."""
        self.keys[row, :, -single.get_seq_length() :] = single.keys[0]
        self.values[row, :, -single.get_seq_length() :] = single.values[0]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_, **__) -> tuple[torch.Tensor, ...]:
        """Add keys and values of new tokens, both (rows, heads, tokens, size); returns those of all tokens."""
        start = self.get_seq_length()
        self._set_buffers(self.buffers, start + key_states.shape[2])
        self.keys[:, :, start:] = key_states
        self.values[:, :, start:] = value_states
        return self.keys, self.values

    def reorder_cache(self, rows: torch.Tensor) -> None:
        """Keep these rows."""
        self._set_buffers([buffer[rows] for buffer in self.buffers], self.get_seq_length())


def read_prompts(
    model: PreTrainedModel, prompts: list[list[int]], capacity: int, report: Callable[[str], None] = lambda _: None
) -> DynamicCache | None:
    """The KV cache of prompts, the longest first, each without its last token; with room for `capacity` tokens.

    No time goes into padding, and attention without a mask is faster. None for prompts of one token and for models
    that keep anything but keys and values of all tokens. `report` is told which prompt is read.
    """
    if min(map(len, prompts)) < 2:
        return None
    cache = DynamicCache()
    for row, prompt in enumerate(prompts):
        report(f"reading prompt {row + 1} of {len(prompts)}")
        output = model.base_model(torch.tensor([prompt[:-1]], device=model.device), use_cache=True)
        single = output.get("past_key_values")
        if type(single) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in single.layers):
            return None
        if single.get_seq_length() != len(prompt) - 1:  # CPM-Ant adds tokens of its own
            return None
        cache.layers = cache.layers or [RoomyLayer(layer, len(prompts), capacity) for layer in single.layers]
        for layer, read in zip(cache.layers, single.layers, strict=True):
            layer.fill_row(row, read)
    return cache
