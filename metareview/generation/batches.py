"""Batches: prompts that are continued together, as many as fit into memory, each as if it were alone."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria
from transformers.cache_utils import DynamicLayer

from metareview.common.device import free_memory
from metareview.generation.cache import CACHE_OPTION, read_prompts
from metareview.generation.decoding import Decoding
from metareview.generation.outputs import Output

CACHE_SHARE = 0.5  # of the free memory, for the cache of a batch
SHORT, LONG = 4, 32  # tokens of the prompts with which a batch is tried
LEAST = 32  # tokens of a text that has not ended before a deadline


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_new_tokens: int,
    batch_size: int,
    decoding: Decoding = Decoding(),
    ends: Sequence[int] = (),
    report: Callable[[str], None] = lambda _: None,
    deadline: float = math.inf,
) -> Iterator[tuple[int, Output]]:
    """Continue the prompts (token ids) as `decoding` says; yields the index and the output of each when it has ended.

    Prompts of similar length share a batch, padded on the left, the longest first: too little memory shows at once.
    In fp32 the texts are those of one prompt at a time, which a model gets if a batch would change them. A text ends at
    the first of `ends` (token ids), by default the tokenizer's end-of-text token. `report` is told what is going on
    in a batch, none of whose texts has ended for a while. After the `deadline`, in seconds of `time.perf_counter()`,
    texts are broken off at LEAST tokens.
    """
    ends = list(ends) or [tokenizer.eos_token_id]
    padding = ends[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    settings = {"num_beams": decoding.num_beams, "eos_token_id": ends, "pad_token_id": padding}
    model.generation_config = GenerationConfig(**settings)  # not the model's own: base and fine-tuned decode alike
    waiting = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    batching = _Batching()
    if min(len(prompts), batch_size // decoding.num_beams) > 1:
        batching = _try_batch(model, prompts[0], padding)
        if not batching.exact and deadline == math.inf:  # else the same is said at each preview
            print(f"{type(model).__name__} gets one prompt at a time: in a batch, padding would change its texts.")
    while waiting:
        tokens = len(prompts[waiting[0]]) + max_new_tokens
        rows = max(1, batching.fit(tokens, batch_size) // decoding.num_beams)
        batch, waiting = waiting[:rows], waiting[rows:]
        arguments = max_new_tokens, decoding, batching, report, deadline
        for row, ids in _continue_batch(model, [prompts[index] for index in batch], *arguments):
            length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
            text = tokenizer.decode(ids[:length], skip_special_tokens=True).strip()
            yield batch[row], Output(text, length < len(ids), min(length + 1, len(ids)))


@dataclass
class _Batching:
    """How a model takes several prompts at once; by default, not at all."""

    exact: bool = False  # padding changes no text
    reads_alone: bool = False  # its cache can be put together from prompts that are read one by one
    shrinks: bool = False  # generation can resume from its cache with fewer rows
    token_bytes: float = 0.0  # keys and values of a token

    def fit(self, tokens: int, batch_size: int) -> int:
        """Rows of this many tokens for a batch: at most `batch_size`, fewer if the cache would not fit into memory."""
        if not self.exact:
            return 1
        return max(1, min(batch_size, int(CACHE_SHARE * free_memory() / max(1, self.token_bytes * tokens))))


@torch.inference_mode()
def _try_batch(model: PreTrainedModel, prompt: list[int], padding: int) -> _Batching:
    """Compare the logits of a short prompt with those in a batch, where the prompt is mostly padding.

    That padding changes a text cannot be seen otherwise: some models ignore the mask in a part of their layers.
    """
    short, long = ((prompt * tokens)[:tokens] for tokens in (SHORT, LONG))
    logits = []
    for prompts in ([short], [long, short]):
        ids, mask = _pad(prompts, padding, model.device)
        read = read_prompts(model, prompts, len(prompts[0]))
        options = {"num_beams": 1, "max_new_tokens": 1, "output_logits": True, "return_dict_in_generate": True}
        output = model.generate(ids, attention_mask=mask, **options, **({CACHE_OPTION: read} if read else {}))
        logits.append(output.logits[0][-1].float())
    # In fp32 about 1e-6 standard deviations of the logits, in bf16 up to 0.02, and about 1 if padding leaks.
    difference = (logits[1] - logits[0]).std() / logits[0].std()
    exact = bool(difference <= max(1e-3, 32 * torch.finfo(model.dtype).eps))
    cache = output.past_key_values
    layers = [layer for layer in getattr(cache, "layers", []) if isinstance(layer, DynamicLayer)]
    size = sum(states.nbytes for layer in layers if layer.is_initialized for states in (layer.keys, layer.values))
    shrinks = type(cache) is DynamicCache and bool(layers)  # without such a layer, a cache does not know its length
    return _Batching(exact, read is not None, shrinks, size / (2 * LONG))


class _HalfEnded(StoppingCriteria):
    """Interrupts generation when at least half of the rows have an end token."""

    def __init__(self, ends: torch.Tensor, prompt_length: int) -> None:
        self.ends, self.prompt_length = ends, prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        ended = torch.isin(input_ids[:, self.prompt_length :], self.ends).any(1)
        return torch.full_like(ended, bool(ended.float().mean() >= 0.5))


class _OutOfTime(StoppingCriteria):
    """Breaks a batch off after the deadline, once its texts have LEAST tokens."""

    def __init__(self, deadline: float, prompt_length: int) -> None:
        self.deadline, self.prompt_length = deadline, prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor | None = None, **_: Any) -> torch.Tensor:
        is_over = input_ids.shape[1] >= self.prompt_length + LEAST and time.perf_counter() > self.deadline
        return input_ids.new_full((len(input_ids),), is_over, dtype=torch.bool)


@torch.inference_mode()
def _continue_batch(
    model: PreTrainedModel,
    prompts: list[list[int]],
    max_new_tokens: int,
    decoding: Decoding,
    batching: _Batching,
    report: Callable[[str], None],
    deadline: float,
) -> Iterator[tuple[int, list[int]]]:
    """Continue prompts, the first of which is the longest; yields the row and the new token ids of each that has ended.

    Rows that have ended still cost time. So whenever half of them have, generation resumes from the cache of the
    others. With beams, and with a cache that cannot shrink, all rows stay to the end.
    """
    length = len(prompts[0])
    ids, mask = _pad(prompts, model.generation_config.pad_token_id, model.device)
    ends = torch.tensor(model.generation_config.eos_token_id, device=model.device)
    greedy = decoding.num_beams == 1
    shrinks = batching.shrinks and greedy
    out_of_time = _OutOfTime(deadline, length)
    rows, cache = list(range(len(prompts))), None
    if batching.reads_alone and greedy:
        cache = read_prompts(model, prompts, length + max_new_tokens, report)
    while rows:
        report(f"{'writing' if cache else 'reading and writing'} {len(rows)}")
        output = model.generate(
            ids,
            attention_mask=mask,
            max_length=length + max_new_tokens,
            logits_processor=decoding.make_processors(length, [prompts[row] for row in rows]),
            stopping_criteria=[out_of_time, *([_HalfEnded(ends, length)] if shrinks else [])],
            return_dict_in_generate=True,
            **({CACHE_OPTION: cache} if cache else {}),
        )
        ids, cache = output.sequences, output.past_key_values
        ended = torch.isin(ids[:, length:], ends).any(1)
        if ids.shape[1] == length + max_new_tokens or not shrinks or out_of_time(ids).any():
            ended[:] = True
        for row, tokens, has_ended in zip(rows, ids[:, length:].tolist(), ended.tolist(), strict=True):
            if has_ended:
                yield row, tokens
        rest = (~ended).nonzero().flatten()
        rows = [rows[index] for index in rest.tolist()]
        ids = ids[rest]
        if rows:
            cache.reorder_cache(rest)
        mask = torch.nn.functional.pad(mask[rest], (0, ids.shape[1] - mask.shape[1]), value=1)


def _pad(prompts: list[list[int]], padding: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask of prompts, the first of which is the longest, padded on the left."""
    length = len(prompts[0])
    ids = [[padding] * (length - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
