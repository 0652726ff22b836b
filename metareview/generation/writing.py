"""Writing: the meta-reviews that one model writes for the test cases, with those that are in the log already."""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from metareview.common.device import choose_device, overflows_in_fp16
from metareview.common.model import load_model
from metareview.data.context import fit_prompts
from metareview.data.tokenization import load_tokenizer
from metareview.generation.batches import generate
from metareview.generation.outputs import Output, identify, name_precision, open_log, read_outputs
from metareview.generation.variants import Variant


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
    if dtype == torch.float16 and overflows_in_fp16(model, {"input_ids": torch.tensor([prompt])}):
        print(f"{variant.name} overflows in fp16. It writes in fp32, which is slower.")
        model = load_model(variant.model, torch.float32, variant.load_in_4bit).to(device).eval()
    return model


def follow(written: Iterator[tuple[int, Output]], number: int, label: str) -> Iterator[tuple[int, Output]]:
    """The same outputs, `number` of them, with a progress bar that shows tokens per second."""
    started, tokens = time.perf_counter(), 0
    with tqdm(total=number, desc=label, unit=" cases") as progress:
        for index, output in written:
            yield index, output
            tokens += output.tokens
            progress.set_postfix_str(f"{tokens / (time.perf_counter() - started):.0f} tokens/s", refresh=False)
            progress.update()
