"""Writing: the meta-reviews that one model writes for the test cases, taken from the log if they are in it."""

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from metareview.common.device import choose_device, overflows_in_fp16
from metareview.common.model import load_model
from metareview.data.context import fit_prompts
from metareview.data.tokenization import find_ends, load_tokenizer
from metareview.generation.batches import generate
from metareview.generation.outputs import Output, identify, open_log, read_outputs
from metareview.generation.variants import Variant


def write_summaries(variant: Variant, rows: list[dict[str, str]], batch_size: int, log: Path | None) -> list[Output]:
    """Let a model write a meta-review for the cleaned `review` and details of each case, prompted as for training.

    Each output is appended to the file `log`, unless it is None, as soon as it is written. Outputs in the log are not
    written again, and the model is only loaded if one is missing. What was cut, and what was in the log, is in the
    model's `remarks`, for `print_remarks`.
    """
    tokenizer, limit = load_tokenizer(variant.settings), variant.settings.prompt_limit
    prompts, cut = fit_prompts(rows, tokenizer, [limit] * len(rows), variant.settings.prompt_template)
    if cut_cases := sum(map(bool, cut)):
        variant.remarks.append(f"the reviews of {cut_cases} of {len(rows)} cases are cut to fit {limit:,} tokens")
    device, dtype = choose_device()
    ends = find_ends(variant.model, tokenizer)
    settings = [identify(variant.model), variant.max_new_tokens, str(dtype), variant.decoding.identify()]
    settings += ["4 bits"] if variant.load_in_4bit else []
    settings += [sorted(ends)] if len(ends) > 1 else []
    keys = [hashlib.sha256(json.dumps([settings, prompt]).encode()).hexdigest() for prompt in prompts]
    log = log or Path(os.devnull)
    outputs = read_outputs(log)
    missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in outputs}
    written = sum(key in outputs for key in keys)
    if written:
        variant.remarks.append(f"{written} of {len(keys)} texts were in {log} already")
    if missing:
        model = _load_writer(variant, device, dtype, next(iter(missing.values())))
        precision = str(model.dtype).removeprefix("torch.")
        arguments = variant.max_new_tokens, batch_size, variant.decoding, ends
        bar = tqdm(desc=variant.name, initial=written, total=written + len(missing), unit=" cases")
        with open_log(log) as file, bar:
            for index, output in generate(model, tokenizer, [*missing.values()], *arguments, bar.set_postfix_str):
                key = list(missing)[index]
                outputs[key] = replace(output, precision=precision)
                row = {"case": keys.index(key), "model": variant.model, **asdict(outputs[key]), "key": key}
                print(json.dumps(row), file=file, flush=True)
                bar.update()
            bar.set_postfix_str("", refresh=False)
    variant.precision = " and ".join(sorted({outputs[key].precision for key in keys}))
    return [outputs[key] for key in keys]


def print_remarks(variants: list[Variant]) -> None:
    """Print what is worth knowing about the texts of models: a line for each remark, whichever models it is about."""
    models: dict[str, list[str]] = {}
    for variant in variants:
        for remark in variant.remarks:
            models.setdefault(remark, []).append(variant.name)
    for remark, names in models.items():
        alike = len(names) == len(variants) > 1
        print(f"{'All models' if alike else ', '.join(names)}: {remark}.")


def _load_writer(variant: Variant, device: str, dtype: torch.dtype, prompt: list[int]) -> PreTrainedModel:
    """A model ready to write, in `dtype`; in fp32, which is printed, if fp16 gives the prompt another loss."""
    model = load_model(variant.model, dtype, variant.load_in_4bit).to(device).eval()
    if dtype == torch.float16 and overflows_in_fp16(model, {"input_ids": torch.tensor([prompt])}):
        print(f"{variant.name} overflows in fp16. It writes in fp32, which is slower.")
        model = load_model(variant.model, torch.float32, variant.load_in_4bit).to(device).eval()
    return model
