"""Generation: the texts that models write, logged one by one."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

import torch
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria
from transformers.utils.logging import disable_progress_bar

from metareview.cache import read_prompts
from metareview.consensus import choose_typical
from metareview.context import fit_prompts
from metareview.decoding import Decoding
from metareview.model import choose_device, find_model_revision, free_memory, hash_weights, load_model
from metareview.precision import find_fp16_fault
from metareview.tokenization import load_tokenizer
from metareview.variants import Variant, find_base

CACHE_SHARE = 0.5  # of the free memory, for the keys and values of a batch


@dataclass
class Output:
    """What a model wrote for a case, whether it stopped by itself, how many tokens it wrote, and computed in what."""

    text: str
    stopped: bool
    tokens: int
    precision: str = ""


def describe_decoding(variant: Variant) -> str:
    """How the texts of a model are generated, in words for the log of runs."""
    how, *rules = variant.decoding.describe()
    bits = "4-bit weights" if variant.load_in_4bit else ""
    return ", ".join(filter(None, [how, f"{variant.max_new_tokens} tokens", variant.precision, bits, *rules]))


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


def identify(name: str) -> list[Any]:
    """What tells the weights of a model from others: a hash or a commit on the Hub, and that of an adapter's base."""
    weights = hash_weights(Path(name)) if Path(name).exists() else f"{name}@{find_model_revision(name)}"
    base = find_base(name, {})
    return [weights, *(identify(base) if base else ())]


def read_outputs(log: Path) -> dict[str, Output]:
    """The outputs that earlier runs put into the log, by their keys; a line that is damaged is skipped."""
    outputs = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else ():
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            row = json.loads(line)
            output = Output(row["text"], row["stopped"], row["tokens"], row.get("precision", ""))
            if [type(value) for value in asdict(output).values()] == [str, bool, int, str]:
                outputs[row["key"]] = output
    return outputs


def write_summaries(variant: Variant, reviews: list[str], batch_size: int, log: Path | None) -> list[Output]:
    """Let a model write a meta-review for the cleaned reviews of each case, cut and prompted as for training.

    Each output goes into the file `log`, if there is one, as it is written; one that is there is not written again,
    and the model is only loaded for those that are not.
    """
    tokenizer, limit = load_tokenizer(variant.settings)
    prompts, cut = fit_prompts(reviews, tokenizer, limit, variant.settings.prompt_template)
    if cut_cases := sum(map(bool, cut)):
        print(f"{variant.name}: the reviews of {cut_cases} of {len(reviews)} cases are cut to fit {limit:,} tokens.")
    device, dtype = choose_device()
    how = [identify(variant.model), variant.max_new_tokens, str(dtype), variant.decoding.identify()]
    how += ["4 bits"] if variant.load_in_4bit else []
    keys = [hashlib.sha256(json.dumps([how, prompt]).encode()).hexdigest() for prompt in prompts]
    there = read_outputs(log) if log else {}
    outputs = {index: there[key] for index, key in enumerate(keys) if key in there}
    if outputs:
        print(f"{variant.name}: {len(outputs)} of {len(keys)} texts are in {log} already.")
    missing = [index for index in range(len(keys)) if index not in outputs]
    if missing:
        disable_progress_bar()  # one bar is enough, and it is not that of loading
        model = load_writer(variant, device, dtype, prompts[missing[0]])
        precision = name_precision(model.dtype)
        asked = [prompts[index] for index in missing]
        written = generate(model, tokenizer, asked, variant.max_new_tokens, batch_size, variant.decoding)
        with open_log(log) as file:
            for place, output in follow(written, len(missing), variant.name):
                index = missing[place]
                outputs[index] = replace(output, precision=precision)
                row = {"case": index, "model": variant.model, **asdict(outputs[index]), "key": keys[index]}
                print(json.dumps(row), file=file, flush=True)
    # What earlier versions have logged does not say it: there it was what suits the machine.
    variant.precision = " and ".join(sorted({output.precision or name_precision(dtype) for output in outputs.values()}))
    return [outputs[index] for index in range(len(keys))]


def load_writer(variant: Variant, device: str, dtype: torch.dtype, prompt: list[int]) -> PreTrainedModel:
    """A model ready to write, in `dtype`; in fp32, which is said, where fp16 does not give a prompt the same loss."""
    model = load_model(variant.model, dtype, variant.load_in_4bit).to(device).eval()
    if dtype == torch.float16:
        ids = torch.tensor([prompt])
        if fault := find_fp16_fault(model, {"input_ids": ids, "labels": ids}, autocast=False):
            print(f"{variant.name} cannot write in fp16: {fault}. It writes in fp32, which is slower.")
    return model


def name_precision(dtype: torch.dtype) -> str:
    """The name of a number format: float16, bfloat16, float32."""
    return str(dtype).removeprefix("torch.")


@contextmanager
def open_log(log: Path | None) -> Iterator[TextIO]:
    """The log, open for further lines; one that an interruption has cut off is ended first. None: nothing is kept."""
    if log is None:
        yield StringIO()
        return
    cut_off = log.exists() and not log.read_bytes().endswith(b"\n")
    with log.open("a", encoding="utf-8") as file:
        file.write("\n" if cut_off else "")
        yield file


def follow(written: Iterator[tuple[int, Output]], number: int, label: str) -> Iterator[tuple[int, Output]]:
    """The same outputs, `number` of them, with a progress bar that shows tokens per second."""
    started, tokens = time.perf_counter(), 0
    with tqdm(total=number, desc=label, unit=" cases") as progress:
        for index, output in written:
            yield index, output
            tokens += output.tokens
            progress.set_postfix_str(f"{tokens / (time.perf_counter() - started):.0f} tokens/s", refresh=False)
            progress.update()
