"""From texts to token ids: the tokenizer of a model, examples with labels, and a record of how they were made."""

import hashlib
import json
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PretrainedConfig
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.utils import find_adapter_config_file

from metareview.common.cli import InputError
from metareview.common.model import reading_model
from metareview.data.context import fit_prompts
from metareview.data.prompts import (
    Frame,
    build_frame,
    encode_prompts,
    encode_texts,
    find_template,
    frame_as_chat_template,
    read_end,
)

IGNORE_INDEX = -100  # label of a token that is read but not learned
DEFAULT_SUMMARY_TOKENS = 512


@dataclass
class TokenizationArguments:
    """What decides the token ids, besides the texts. None: as a record says, or what `follow_record` falls back on."""

    model_name_or_path: str | None = None  # Hub id or folder
    prompt: str | None = None  # a name in PROMPTS or a text with {review} in it
    max_length: int | None = None  # tokens of prompt and summary together; None: the model's context
    max_summary_tokens: int | None = None  # part of max_length that is kept free for the summary and its end token
    frame: Frame | None = None  # the prompt as the model reads it; None: built by `load_tokenizer`

    @property
    def prompt_template(self) -> str:
        """The text that `prompt` names, or is."""
        return find_template(self.prompt)


def follow_record(arguments: TokenizationArguments, record: dict[str, Any]) -> None:
    """Take from the record of processed data what the arguments leave open."""
    template = record.get("prompt_template")
    is_same_prompt = arguments.prompt is None or template in (arguments.prompt, find_template(arguments.prompt))
    if "frame" in record and arguments.model_name_or_path in (None, record.get("model")) and is_same_prompt:
        arguments.frame = Frame(*record["frame"])
    arguments.model_name_or_path = arguments.model_name_or_path or record.get("model")
    arguments.prompt = arguments.prompt or record.get("prompt_template", "plain")
    arguments.max_length = arguments.max_length or record.get("asked_max_length")
    reserve = record.get("max_summary_tokens", DEFAULT_SUMMARY_TOKENS)
    arguments.max_summary_tokens = arguments.max_summary_tokens or reserve


def _read_config(name: str) -> PretrainedConfig:
    """The configuration of a model's text part; of an adapter, that of its base."""
    adapter = find_adapter_config_file(name)
    base = json.loads(Path(adapter).read_text())["base_model_name_or_path"] if adapter else name
    return AutoConfig.from_pretrained(base, trust_remote_code=False).get_text_config()


def load_tokenizer(arguments: TokenizationArguments) -> tuple[Tokenizer, int]:
    """The model's tokenizer, and how many tokens a prompt may have: the context without the reserve for the summary.

    Its chat template is the frame. `arguments.max_length` and `arguments.frame` are set where they are None. Raises
    `InputError` for a tokenizer that is not a fast one, for an end token that is missing or that the model does not
    have, and for a context too small for any review.
    """
    name, reserve = arguments.model_name_or_path, arguments.max_summary_tokens
    with reading_model(name):
        config = _read_config(name)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    if tokenizer.eos_token_id is None or not tokenizer.is_fast:
        raise InputError(f"the tokenizer of {name!r} has no end-of-text token or is not a fast one; choose another")
    arguments.frame = arguments.frame or build_frame(tokenizer, name, arguments.prompt_template)
    tokenizer.chat_template = frame_as_chat_template(arguments.frame)
    end = tokenizer.convert_tokens_to_ids(arguments.frame.end)
    vocabulary = getattr(config, "vocab_size", None) or len(tokenizer)
    if end is None or end >= vocabulary:
        known = f"the model {name!r} has no row for it (its vocabulary has {vocabulary:,})"
        raise InputError(f"the token {arguments.frame.end!r} ends an answer, but {known}; choose another model")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= vocabulary:
        tokenizer.pad_token = arguments.frame.end  # only fills; whether a token is learned is up to the labels
    tokenizer.padding_side = "left"
    _check_context(arguments, getattr(config, "max_position_embeddings", None), tokenizer)
    return tokenizer, arguments.max_length - reserve


def _check_context(arguments: TokenizationArguments, context: int | None, tokenizer: Tokenizer) -> None:
    """Set `max_length` to the model's context if it is None. Raises `InputError` if no review would fit."""
    name, reserve = arguments.model_name_or_path, arguments.max_summary_tokens
    arguments.max_length = arguments.max_length or context
    if arguments.max_length is None:
        told = "does not say how many tokens its context has"
        raise InputError(f"{name!r} {told}; set MAX_LENGTH (--max_length 2048)")
    if context and arguments.max_length > context:
        told = f"{name!r} has a context of {context} tokens"
        raise InputError(f"MAX_LENGTH (--max_length) is {arguments.max_length}, but {told}")
    frame = len(encode_prompts([""], tokenizer)[0])
    if arguments.max_length - reserve <= frame:
        taken = f"{reserve} are kept for the summary (MAX_SUMMARY_TOKENS), {frame} go to the prompt"
        raise InputError(f"a context of {arguments.max_length} tokens is too small for any review: {taken}")


def find_ends(name: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens at which a model's answer ends: that of the frame, then all that the model itself names.

    Many models name another one in their generation settings than their tokenizer does.
    """
    with reading_model(name):
        named = [getattr(_read_config(name), "eos_token_id", None)]
        with suppress(OSError):  # it has no generation settings
            named.append(GenerationConfig.from_pretrained(name).eos_token_id)
    [answered] = encode_texts([read_end(tokenizer)], tokenizer, special=True)
    ends = [answered[-1], tokenizer.eos_token_id]
    for ids in named:
        ends += ids if isinstance(ids, list) else [] if ids is None else [ids]
    return list(dict.fromkeys(ends))


def tokenize_splits(
    splits: DatasetDict, tokenizer: Tokenizer, limit: int, arguments: TokenizationArguments
) -> tuple[DatasetDict, list[list[Any]]]:
    """Splits with `input_ids`, `labels` (-100 on the prompt) and `length`; a table of lengths and what was cut to fit.

    A prompt has at most `limit` tokens. The summary ends with the end token of the frame, which is learned: so the
    model learns to stop. A longer one than `max_summary_tokens` is left out: cut in the middle it would teach to break
    off.
    """

    end = tokenizer.convert_tokens_to_ids(read_end(tokenizer))

    def encode(rows: dict[str, list[str]]) -> dict[str, list]:
        prompts, cut = fit_prompts(rows["review"], tokenizer, limit, arguments.prompt_template)
        summaries = [[*summary, end] for summary in encode_texts(rows["summary"], tokenizer)]
        pairs = list(zip(prompts, summaries, strict=True))
        # As arrays: of lists, `datasets` would look at every single number.
        input_ids = [np.array(prompt + summary) for prompt, summary in pairs]
        labels = [np.array([IGNORE_INDEX] * len(prompt) + summary) for prompt, summary in pairs]
        lengths = {"length": list(map(len, labels)), "end": list(map(len, summaries))}
        return {"input_ids": input_ids, "labels": labels, "cut": cut, **lengths}

    tokenized = DatasetDict()
    table = [["split", "tokens: median", "95th %", "maximum", "cut to fit", "by", "summary too long"]]
    for name, split in splits.items():
        encoded = split.map(encode, batched=True, remove_columns=split.column_names, desc=f"Tokenize {name}")
        cut, summary_lengths = np.array(encoded["cut"]), np.array(encoded["end"])
        uncut = np.array(encoded["length"]) + cut
        kept = np.flatnonzero(summary_lengths <= arguments.max_summary_tokens)
        if len(kept) == 0:
            raise InputError(f"no summary of {name!r} fits into --max_summary_tokens {arguments.max_summary_tokens}")
        quantiles = np.percentile(uncut, [50, 95, 100]).astype(int).tolist()
        share = f"{cut.sum() / max(1, uncut[cut > 0].sum()):.0%}"
        table.append([name, *quantiles, int((cut > 0).sum()), share, len(split) - len(kept)])
        tokenized[name] = encoded.select(kept).select_columns(["input_ids", "labels", "length"])
    return tokenized, table


def tokenization_record(splits: DatasetDict, tokenizer: Tokenizer, arguments: TokenizationArguments) -> dict[str, Any]:
    """All that decides the token ids, so that a later run can tell whether they are the ones it needs."""
    texts = hashlib.sha256()
    for name, split in splits.items():
        texts.update(f"\0{name}\0".encode())  # a row moved to another split makes other data
        for row in split:
            texts.update(f"{row['review']}\0{row['summary']}\0".encode())
    vocabulary = tokenizer.backend_tokenizer.to_str() + tokenizer.eos_token
    return {
        "prompt_template": arguments.prompt_template,
        "frame": list(astuple(arguments.frame)),
        "max_length": arguments.max_length,
        "max_summary_tokens": arguments.max_summary_tokens,
        "texts": texts.hexdigest(),
        "tokenizer": hashlib.sha256(vocabulary.encode()).hexdigest(),
    }
