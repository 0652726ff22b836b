"""Batches: prompts that are continued together, as many as fit into memory, each as if it were alone."""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from metareview.common.device import free_memory
from metareview.generation.cache import CACHE_OPTION, read_prompts
from metareview.generation.decoding import Decoding
from metareview.generation.outputs import Output

CACHE_SHARE = 0.5  # of the free memory, for the cache of a batch
SHORT, LONG = 4, 32  # tokens of the prompts with which a batch is tried
LEAST = 32  # tokens after which it is seen which texts have ended, and whether a deadline is over


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
    texts are broken off when LEAST more tokens are written.
    """
    ends = list(ends) or [tokenizer.eos_token_id]
    settings = {"num_beams": decoding.num_beams, "eos_token_id": ends, "pad_token_id": ends[0]}
    model.generation_config = GenerationConfig(**settings)  # not the model's own: base and fine-tuned decode alike
    waiting = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    most, token_bytes = max(1, batch_size // decoding.num_beams), 0.0
    if min(most, len(prompts)) > 1:
        is_exact, token_bytes = _try_batch(model, prompts[0])
        most = most if is_exact else 1
        if not is_exact and deadline == math.inf:  # else the same is said at each preview
            print(f"{type(model).__name__} gets one prompt at a time: in a batch, padding would change its texts.")
    while waiting:
        row_bytes = decoding.num_beams * token_bytes * (len(prompts[waiting[0]]) + max_new_tokens)
        rows = max(1, min(most, int(CACHE_SHARE * free_memory() / max(1, row_bytes))))
        batch, waiting = {index: prompts[index] for index in waiting[:rows]}, waiting[rows:]
        for index, ids in _continue_batch(model, batch, max_new_tokens, decoding, report, deadline):
            length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
            text = tokenizer.decode(ids[:length], skip_special_tokens=True).strip()
            yield index, Output(text, length < len(ids), min(length + 1, len(ids)))


@torch.inference_mode()
def _try_batch(model: PreTrainedModel, prompt: list[int]) -> tuple[bool, float]:
    """Whether padding changes no text of a model, and the bytes of a token's keys and values.

    The logits of a short prompt are compared with those in a batch, where it is mostly padding: some models ignore the
    mask in a part of their layers, which cannot be seen otherwise.
    """
    short, long = ((prompt * tokens)[:tokens] for tokens in (SHORT, LONG))
    logits = []
    for prompts in ([short], [long, short]):
        ids, mask = _pad(prompts, model.device)
        read = read_prompts(model, prompts, len(prompts[0]))
        options = {"num_beams": 1, "max_new_tokens": 1, "output_logits": True, "return_dict_in_generate": True}
        output = model.generate(ids, attention_mask=mask, **options, **({CACHE_OPTION: read} if read else {}))
        logits.append(output.logits[0][-1].float())
    # In fp32 about 1e-6 standard deviations of the logits, in bf16 up to 0.02, and about 1 if padding leaks.
    difference = (logits[1] - logits[0]).std() / logits[0].std()
    layers = getattr(output.past_key_values, "layers", [])
    grown = [layer for layer in layers if isinstance(layer, DynamicLayer) and layer.is_initialized]
    size = sum(states.nbytes for layer in grown for states in (layer.keys, layer.values))
    return bool(difference <= max(1e-3, 32 * torch.finfo(model.dtype).eps)), size / (2 * LONG)


@torch.inference_mode()
def _continue_batch(
    model: PreTrainedModel,
    prompts: dict[int, list[int]],
    max_new_tokens: int,
    decoding: Decoding,
    report: Callable[[str], None],
    deadline: float,
) -> Iterator[tuple[int, list[int]]]:
    """Continue prompts, the first of which is the longest; yields the key and the new token ids of each that has ended.

    Rows that have ended still cost time. So generation is interrupted after every LEAST tokens, and resumes with the
    others, from their cache if that is possible. With beams, all rows stay to the end.
    """
    ids, mask = _pad(list(prompts.values()), model.device)
    rows, length, step, cache = list(prompts), ids.shape[1], max_new_tokens, None
    ends = torch.tensor(model.generation_config.eos_token_id, device=model.device)
    if decoding.num_beams == 1:
        cache, step = read_prompts(model, list(prompts.values()), length + max_new_tokens, report), LEAST
    while rows:
        report(f"{'writing' if cache else 'reading and writing'} {len(rows)}")
        output = model.generate(
            ids,
            attention_mask=mask,
            max_length=min(ids.shape[1] + step, length + max_new_tokens),
            logits_processor=decoding.make_processors(length, [prompts[row] for row in rows]),
            return_dict_in_generate=True,
            **({CACHE_OPTION: cache} if cache else {}),
        )
        written, cache = output.sequences[:, length:], output.past_key_values
        ended = torch.isin(written, ends).any(1)
        if written.shape[1] == max_new_tokens or time.perf_counter() > deadline:
            ended[:] = True
        for row, tokens, has_ended in zip(rows, written.tolist(), ended.tolist(), strict=True):
            if has_ended:
                yield row, tokens
        rest = (~ended).nonzero().flatten()
        rows, ids = [rows[place] for place in rest.tolist()], output.sequences[rest]
        mask = torch.nn.functional.pad(mask[rest], (0, ids.shape[1] - mask.shape[1]), value=1)
        layers = cache.layers if type(cache) is DynamicCache else []
        if not any(isinstance(layer, DynamicLayer) and layer.get_seq_length() for layer in layers):
            cache, step = None, max_new_tokens  # it does not know its length: what is there is read again, but once
        elif 0 < len(rows) < len(ended):
            cache.reorder_cache(rest)


def _pad(prompts: list[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask of prompts, the first of which is the longest, padded on the left.

    Not with a padding token: its embedding may be zero, which would hide that a model ignores the mask.
    """
    length, padding = len(prompts[0]), prompts[0][:1]
    ids = [padding * (length - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
