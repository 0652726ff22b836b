"""Generation: the texts that models write, logged one by one."""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from metareview.common.device import free_memory
from metareview.generation.cache import read_prompts
from metareview.generation.consensus import choose_typical
from metareview.generation.decoding import Decoding
from metareview.generation.outputs import Output

CACHE_SHARE = 0.5  # of the free memory, for the keys and values of a batch


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_new_tokens: int,
    batch_size: int,
    decoding: Decoding = Decoding(),
) -> Iterator[tuple[int, Output]]:
    """Continue the prompts (token ids) as `decoding` says; yields each prompt's index and output when written.

    Prompts of about the same length share a batch, padded on the left, the longest first: if memory is too small it
    shows at once. In fp32 the texts are those of one prompt at a time. Of several candidates for a prompt, the most
    typical one is yielded.
    """
    end = tokenizer.eos_token_id
    padding = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    texts = [(index, draw) for index in order for draw in decoding.name_draws(prompts[index])]
    candidates: dict[int, list[Output]] = {index: [] for index in order}
    while texts:
        rows = fit_batch(model, len(prompts[texts[0][0]]) + max_new_tokens, batch_size // decoding.num_beams)
        batch, texts = texts[:rows], texts[rows:]
        given, draws = [prompts[index] for index, _ in batch], [draw for _, draw in batch]
        for place, tokens in continue_batch(model, given, draws, end, padding, max_new_tokens, decoding):
            stop = tokens.index(end) if end in tokens else None
            text = tokenizer.decode(tokens[:stop], skip_special_tokens=True).strip()
            index = batch[place][0]
            candidates[index].append(Output(text, stop is not None, len(tokens) if stop is None else stop + 1))
            if len(candidates[index]) == decoding.candidates:
                yield index, candidates[index][choose_typical([output.text for output in candidates[index]])]


def fit_batch(model: PreTrainedModel, tokens: int, most: int) -> int:
    """How many rows of so many tokens to write at once: at most `most`, fewer where keys and values would not fit."""
    config = model.config.get_text_config()
    if not hasattr(config, "num_attention_heads"):  # what such a model remembers does not grow with the tokens
        return max(1, most)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    row = 2 * config.num_hidden_layers * width * tokens * model.dtype.itemsize
    return max(1, min(most, int(CACHE_SHARE * free_memory() / row)))


class HalfStopped(StoppingCriteria):
    """Interrupts generation when at least half of the rows have their end token."""

    def __init__(self, end: int) -> None:
        self.end, self.stopped = end, False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        self.stopped = self.stopped | (input_ids[:, -1] == self.end)  # in a row that has stopped, padding follows
        return torch.full_like(self.stopped, bool(self.stopped.float().mean() >= 0.5))


def continue_batch(
    model: PreTrainedModel,
    prompts: list[list[int]],
    draws: list[str],
    end: int,
    padding: int,
    max_new_tokens: int,
    decoding: Decoding,
) -> Iterator[tuple[int, list[int]]]:
    """Continue prompts, the first of which is the longest; yields the place of each and its new tokens, when done.

    Rows that have stopped go on costing time. So whenever half of them have, the others go on without them, from the
    cache of what is computed already. With beams, all go on to the end.
    """
    length, places = len(prompts[0]), list(range(len(prompts)))
    ids = torch.tensor([[padding] * (length - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    # Replaces what the model brings, so that base and fine-tuned model decode alike.
    settings = {"eos_token_id": end, "pad_token_id": padding, "max_length": length + max_new_tokens}
    model.generation_config = GenerationConfig(do_sample=False, num_beams=decoding.num_beams, **settings)
    with torch.inference_mode():
        cache = read_prompts(model, prompts, length) if decoding.num_beams == 1 else None
    while places:
        with torch.inference_mode():
            output = model.generate(
                ids,
                attention_mask=mask,
                past_key_values=cache,
                logits_processor=decoding.make_processors(length, [draws[place] for place in places]),
                stopping_criteria=[HalfStopped(end)] if decoding.num_beams == 1 else [],
                return_dict_in_generate=True,
            )
        ids, cache = output.sequences, output.past_key_values
        is_left = (ids[:, length:] != end).all(1)
        if ids.shape[1] == length + max_new_tokens or decoding.num_beams > 1:
            is_left[:] = False
        for place, tokens, stays in zip(places, ids[:, length:].tolist(), is_left.tolist(), strict=True):
            if not stays:
                yield place, tokens
        left = is_left.nonzero().flatten()
        places = [places[index] for index in left.tolist()]
        if places and cache is not None:
            cache.batch_select_indices(left)
        ids = ids[left]
        mask = torch.nn.functional.pad(mask[left], (0, ids.shape[1] - mask.shape[1]), value=1)
