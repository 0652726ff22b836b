"""Generation: how a model is prompted, as in its training, and the texts that it writes, logged one by one."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from metareview.cli import InputError
from metareview.context import fit_prompts
from metareview.data import read_record
from metareview.hub import explain_hub
from metareview.model import TRAINING_RECORD, choose_device, find_model_revision, is_model, load_model
from metareview.prompts import PROMPTS
from metareview.tokenization import DEFAULT_SUMMARY_TOKENS, TokenizationArguments, load_tokenizer

DEFAULT_NEW_TOKENS = 256  # for a model that does not record what it was saved with


@dataclass
class Output:
    """What a model wrote for a case, whether it stopped by itself, and how many tokens it wrote."""

    text: str
    stopped: bool
    tokens: int


def read_training_record(name: str, default: str) -> dict[str, Any]:
    """The record that fine_tune.py saved with a model, in a folder or on the Hub; empty for a model of another origin.

    Raises `InputError` where there is no finished model; `default`, where fine_tune.py puts it, is never a Hub id.
    """
    path = Path(name)
    if path.is_dir() and not is_model(path):
        raise InputError(f"the folder {name!r} holds no finished model. First: python fine_tune.py")
    if name == default and not path.is_dir():
        raise InputError(f"there is no model {name!r} here. First: python fine_tune.py")
    if path.is_dir():
        return read_record(name, TRAINING_RECORD)
    with explain_hub(f"cannot read the model {name!r}"):
        try:
            return json.loads(Path(hf_hub_download(name, TRAINING_RECORD)).read_text())
        except RemoteEntryNotFoundError:
            return {}


def choose_settings(name: str, prompt: str | None, record: dict[str, Any]) -> TokenizationArguments:
    """How a model is prompted: as the record of the training says, unless `prompt` says otherwise."""
    return TokenizationArguments(
        model_name_or_path=name,
        prompt=prompt or record.get("prompt_template", PROMPTS["plain"]),
        max_length=record.get("max_length"),
        max_summary_tokens=record.get("max_summary_tokens", DEFAULT_SUMMARY_TOKENS),
    )


def choose_max_new_tokens(given: int | None, record: dict[str, Any]) -> int:
    """How many tokens a model may write: as many as given, or else as the record of the training says.

    Raises `InputError` where more are given than the model's context has room for.
    """
    reserve = record.get("max_summary_tokens", DEFAULT_SUMMARY_TOKENS)
    if given is None:
        return min(record.get("max_new_tokens", DEFAULT_NEW_TOKENS), reserve)
    if given > reserve:
        raise InputError(f"--max_new_tokens must be at most {reserve}, the room for the summary in the model's context")
    return given


def describe_decoding(max_new_tokens: int) -> str:
    """How texts are generated on this machine, in words for the log of runs."""
    _, dtype = choose_device()
    return f"greedy, {max_new_tokens} tokens, {str(dtype).removeprefix('torch.')}"


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_new_tokens: int,
    batch_size: int,
) -> Iterator[tuple[int, Output]]:
    """Continue the prompts (token ids) by greedy decoding; yields each prompt's index and output as it is written.

    Prompts of about the same length share a batch, padded on the left, the longest first: if memory is too small it
    shows at once. In fp32 the texts are those of one prompt at a time.
    """
    end = tokenizer.eos_token_id
    padding = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    # Replaces what the model brings, so that base and fine-tuned model decode alike.
    settings = {"eos_token_id": end, "pad_token_id": padding, "max_new_tokens": max_new_tokens}
    model.generation_config = GenerationConfig(do_sample=False, **settings)
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        length = len(prompts[batch[0]])
        input_ids = torch.tensor([[padding] * (length - len(prompts[i])) + prompts[i] for i in batch])
        mask = torch.tensor([[0] * (length - len(prompts[i])) + [1] * len(prompts[i]) for i in batch])
        with torch.inference_mode():
            whole = model.generate(input_ids.to(model.device), attention_mask=mask.to(model.device))
        for index, tokens in zip(batch, whole[:, length:].tolist(), strict=True):
            stop = tokens.index(end) if end in tokens else None
            text = tokenizer.decode(tokens[:stop], skip_special_tokens=True).strip()
            yield index, Output(text, stop is not None, len(tokens) if stop is None else stop + 1)


def identify(name: str) -> dict[str, Any]:
    """What tells the weights of a model from others: its commit on the Hub, or the files in a folder."""
    files = sorted(Path(name).glob("*.safetensors")) if Path(name).exists() else []
    weights = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return {"model": name, "revision": find_model_revision(name), "weights": weights}


def read_outputs(log: Path) -> dict[str, Output]:
    """The outputs that earlier runs put into the log, by their keys; a line that was cut off is skipped."""
    outputs = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else ():
        with suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            outputs[row["key"]] = Output(row["text"], row["stopped"], row["tokens"])
    return outputs


def write_summaries(
    label: str, settings: TokenizationArguments, reviews: list[str], max_new_tokens: int, batch_size: int, log: Path
) -> list[Output]:
    """Let a model write a meta-review for the cleaned reviews of each case, cut and prompted as for training.

    Each output goes into the file `log` as it is written; one that is there already is not written again.
    """
    name = settings.model_name_or_path
    tokenizer, limit = load_tokenizer(settings)
    prompts, cut = fit_prompts(reviews, tokenizer, limit, settings.prompt_template)
    if cut_cases := sum(map(bool, cut)):
        print(f"{label}: the reviews of {cut_cases} of {len(reviews)} cases are cut to fit into {limit:,} tokens.")
    device, dtype = choose_device()
    decoding = identify(name) | {"max_new_tokens": max_new_tokens, "dtype": str(dtype)}
    keys = [hashlib.sha256(json.dumps([decoding, prompt]).encode()).hexdigest() for prompt in prompts]
    there = read_outputs(log)
    outputs = {index: there[key] for index, key in enumerate(keys) if key in there}
    if outputs:
        print(f"{label}: {len(outputs)} of {len(keys)} texts stand in {log} already.")
    missing = [index for index in range(len(keys)) if index not in outputs]
    if missing:
        model = load_model(name, dtype).to(device).eval()
        written = generate(model, tokenizer, [prompts[index] for index in missing], max_new_tokens, batch_size)
        with open_log(log) as file:
            for place, output in follow(written, len(missing), label):
                index = missing[place]
                outputs[index] = output
                row = {"case": index, "system": label, "model": name, **asdict(output), "key": keys[index]}
                print(json.dumps(row), file=file, flush=True)
    return [outputs[index] for index in range(len(keys))]


def open_log(log: Path) -> TextIO:
    """The log, open for further lines; one that an interruption has cut off is ended first."""
    cut_off = log.exists() and not log.read_bytes().endswith(b"\n")
    file = log.open("a", encoding="utf-8")
    file.write("\n" if cut_off else "")
    return file


def follow(written: Iterator[tuple[int, Output]], number: int, label: str) -> Iterator[tuple[int, Output]]:
    """The same outputs, `number` of them, with a progress bar that shows tokens per second."""
    started, tokens = time.perf_counter(), 0
    with tqdm(total=number, desc=label, unit=" cases") as progress:
        for index, output in written:
            yield index, output
            tokens += output.tokens
            progress.set_postfix_str(f"{tokens / (time.perf_counter() - started):.0f} tokens/s", refresh=False)
            progress.update()
