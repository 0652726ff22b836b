"""From texts to token ids: the tokenizer of a model, examples with labels, and a record of how they were made."""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PretrainedConfig
from transformers import PreTrainedTokenizerBase as Tokenizer

from metareview.common.cli import InputError
from metareview.common.hub import reading
from metareview.common.model import TRAINING_RECORD, find_adapter_base, read_training_record
from metareview.data import prompts
from metareview.data.context import fit_prompts
from metareview.data.placeholders import ESSENTIAL, fill, find_columns
from metareview.data.prompts import PLAIN_COMPLETION, Frame

IGNORE_INDEX = -100  # label of a token that is read but not learned
DEFAULT_SUMMARY_TOKENS = 512  # of a model that does not record it
COVERED = 0.95  # share of the training summaries that fit into the reserve


@dataclass
class TokenizationArguments:
    """What decides the token ids, besides the texts. None: as `follow_record` says."""

    model_name_or_path: str | None = None  # Hub id or folder
    prompt: str | None = None  # a name in PROMPTS or a text with {review} in it
    max_length: int | None = None  # tokens of prompt and summary together; None: the model's context
    max_summary_tokens: int | None = None  # part of max_length that is kept free for the summary and its end token
    frame: Frame | None = None  # the prompt as the model reads it; None: built by `load_tokenizer`
    completion: str | None = PLAIN_COMPLETION  # what is learned: a text with {summary} in it

    @property
    def prompt_template(self) -> str:
        """The text that `prompt` names, or is."""
        return prompts.find_template(self.prompt)

    @property
    def other_columns(self) -> list[str]:
        """The columns that prompt and completion name besides review and summary."""
        return [name for name in find_columns(self.prompt_template + self.completion) if name not in ESSENTIAL]

    @property
    def prompt_limit(self) -> int:
        """Tokens that a prompt may have: the context without the reserve for the summary."""
        return self.max_length - self.max_summary_tokens


def follow_record(arguments: TokenizationArguments, record: dict[str, Any]) -> None:
    """Take from the record of processed data what the arguments leave open."""
    arguments.model_name_or_path = arguments.model_name_or_path or record.get("model")
    arguments.prompt = arguments.prompt or record.get("prompt_template", "plain")
    arguments.completion = arguments.completion or record.get("completion", PLAIN_COMPLETION)
    arguments.max_length = arguments.max_length or record.get("asked_max_length")
    reserve = record.get("asked_max_summary_tokens", record.get("max_summary_tokens"))
    arguments.max_summary_tokens = arguments.max_summary_tokens or reserve
    made_for = [record.get("model"), record.get("prompt_template")]
    if "frame" in record and made_for == [arguments.model_name_or_path, arguments.prompt_template]:
        arguments.frame = Frame(*record["frame"])


def _read_config(name: str) -> PretrainedConfig:
    """The configuration of a model's text part; of an adapter, that of its base."""
    base = find_adapter_base(name) or name
    with reading("model", base):  # an adapter may be there while its base is not
        return AutoConfig.from_pretrained(base, trust_remote_code=False).get_text_config()


def load_tokenizer(arguments: TokenizationArguments) -> Tokenizer:
    """The model's tokenizer; its chat template is the frame.

    `arguments.max_length` and `arguments.frame` are set if they are None. Raises `InputError` for a tokenizer that is
    not a fast one, for an end token that it or the model lacks, and for a context too small for any review.
    """
    name = arguments.model_name_or_path
    with reading("model", name):
        config = _read_config(name)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    if tokenizer.eos_token_id is None or not tokenizer.is_fast:
        raise InputError(f"the tokenizer of {name!r} has no end-of-text token or is not a fast one; choose another")
    tokenizer.backend_tokenizer.no_truncation()  # which it was saved with, perhaps
    tokenizer.backend_tokenizer.no_padding()
    arguments.frame = arguments.frame or _choose_frame(tokenizer, name, arguments.prompt_template)
    tokenizer.chat_template = prompts.frame_as_chat_template(arguments.frame)
    end = tokenizer.convert_tokens_to_ids(arguments.frame.end)
    vocabulary = getattr(config, "vocab_size", None) or len(tokenizer)
    if end is None or end >= vocabulary:
        told = f"has no token {arguments.frame.end!r}, which ends an answer, among its {vocabulary:,}"
        raise InputError(f"the model {name!r} {told}; choose another")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= vocabulary:
        tokenizer.pad_token = arguments.frame.end  # only fills; whether a token is learned is up to the labels
    tokenizer.padding_side = "left"
    _check_context(arguments, getattr(config, "max_position_embeddings", None), tokenizer)
    return tokenizer


def _choose_frame(tokenizer: Tokenizer, name: str, prompt: str) -> Frame:
    """The frame in which a model that these scripts fine-tuned was trained, with this prompt; of others, a new one.

    Raises `InputError` where such a model has no record, as a copied checkpoint, and its template is not that frame.
    """
    frame, template = prompts.build_frame(tokenizer, name, prompt), tokenizer.chat_template
    if not prompts.is_frame(template) or template == prompts.frame_as_chat_template(frame):
        return frame
    record = read_training_record(name)
    if not record:
        told = f"{name!r} was fine-tuned with these scripts, but has no {TRAINING_RECORD} that says how"
        raise InputError(f"{told}; name the folder of its run, or copy that file too")
    if "frame" not in record:  # an earlier version's
        return frame
    return prompts.change_prompt(Frame(*record["frame"]), record["prompt_template"], prompt)


def _check_context(arguments: TokenizationArguments, context: int | None, tokenizer: Tokenizer) -> None:
    """Set `max_length` to the model's context if it is None. Raises `InputError` if no review would fit."""
    name, reserve = arguments.model_name_or_path, arguments.max_summary_tokens or 1
    arguments.max_length = length = arguments.max_length or context
    if length is None:
        raise InputError(f"{name!r} does not say how large its context is; set MAX_LENGTH (--max_length 2048)")
    if context and length > context:
        raise InputError(f"MAX_LENGTH (--max_length) is {length}, but {name!r} has a context of {context} tokens")
    frame = len(prompts.encode_prompts([{"review": ""}], tokenizer)[0])
    if length - reserve <= frame:
        taken = f"{reserve} are kept for the summary (MAX_SUMMARY_TOKENS), {frame} go to the prompt"
        raise InputError(f"a context of {length} tokens is too small for any review: {taken}")


def find_ends(name: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens at which a model's answer ends: that of the frame, of the tokenizer, and all that the model names."""
    named = [prompts.find_end(tokenizer), tokenizer.eos_token_id]
    with reading("model", name):
        named.append(getattr(_read_config(name), "eos_token_id", None))
        with suppress(OSError):  # it has no generation settings
            named.append(GenerationConfig.from_pretrained(name).eos_token_id)
    ends = [end for ids in named for end in (ids if isinstance(ids, list) else [ids])]
    return [end for end in dict.fromkeys(ends) if end is not None]


def encode_completions(rows: Iterable[Mapping[str, str]], tokenizer: Tokenizer, completion: str) -> list[list[int]]:
    """Token ids of what is learned of each paper, with the end token of the frame: so the model learns to stop."""
    end = prompts.find_end(tokenizer)
    return [[*ids, end] for ids in prompts.encode_texts([fill(completion, row).strip() for row in rows], tokenizer)]


def check_columns(split: Dataset, arguments: TokenizationArguments) -> None:
    """Raise `InputError` where no row of a split has a column that prompt or completion name."""
    missing = [name for name in arguments.other_columns if name not in split.column_names or not any(split[name])]
    if missing:
        told = f"names {', '.join(missing)}, but the cleaned data have only {', '.join(split.column_names)}"
        raise InputError(f"PROMPT or COMPLETION {told}")


def choose_reserve(arguments: TokenizationArguments, split: Dataset, tokenizer: Tokenizer) -> None:
    """Set MAX_SUMMARY_TOKENS where it is None: as many tokens as COVERED of the completions of a split need."""
    if arguments.max_summary_tokens is None:
        lengths = list(map(len, encode_completions(split, tokenizer, arguments.completion)))
        arguments.max_summary_tokens = int(np.ceil(np.quantile(lengths, COVERED)))
        _check_context(arguments, None, tokenizer)


def tokenize_splits(
    splits: DatasetDict, tokenizer: Tokenizer, arguments: TokenizationArguments
) -> tuple[DatasetDict, list[list[Any]]]:
    """Splits with `input_ids`, `labels` (-100 on the prompt) and `length`; a table of lengths and what was cut to fit.

    The reviews of a paper are cut to what the reserve leaves or, of a summary longer than that, to what the summary
    leaves. A row is dropped if its summary leaves no room for them: cut in the middle it would teach to break off.
    """
    fewest = arguments.prompt_limit // 2  # a summary that leaves the reviews less than that is hardly one of them

    def encode(batch: Mapping[str, list[str]]) -> dict[str, list]:
        rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        summaries = encode_completions(rows, tokenizer, arguments.completion)
        left = [arguments.max_length - len(summary) for summary in summaries]
        limits = [max(fewest, min(room, arguments.prompt_limit)) for room in left]
        fitted, cut = fit_prompts(rows, tokenizer, limits, arguments.prompt_template)
        pairs = list(zip(fitted, summaries, strict=True))
        return {
            # As arrays: of lists, `datasets` would look at every single number.
            "input_ids": [np.array(prompt + summary) for prompt, summary in pairs],
            "labels": [np.array([IGNORE_INDEX] * len(prompt) + summary) for prompt, summary in pairs],
            "length": [len(prompt) + len(summary) for prompt, summary in pairs],
            "cut": cut,
            "has_room": [room >= fewest for room in left],
        }

    tokenized = DatasetDict()
    table = [["split", "tokens: median", "95th %", "maximum", "cut to fit", "by", "summary too long"]]
    for name, split in splits.items():
        encoded = split.map(encode, batched=True, remove_columns=split.column_names, desc=f"Tokenize {name}")
        cut = np.array(encoded["cut"])
        uncut = np.array(encoded["length"]) + cut
        kept = np.flatnonzero(encoded["has_room"])
        if len(kept) == 0:
            raise InputError(f"no summary of {name!r} leaves room for its reviews; see MAX_LENGTH (--max_length)")
        quantiles = np.percentile(uncut, [50, 95, 100]).astype(int).tolist()
        share = f"{cut.sum() / max(1, uncut[cut > 0].sum()):.0%}"
        table.append([name, *quantiles, int((cut > 0).sum()), share, len(split) - len(kept)])
        tokenized[name] = encoded.select(kept).select_columns(["input_ids", "labels", "length"])
    return tokenized, table


def tokenization_record(splits: DatasetDict, tokenizer: Tokenizer, arguments: TokenizationArguments) -> dict[str, Any]:
    """All that decides the token ids: a later run compares it with what it needs."""
    texts = hashlib.sha256()
    used = [*ESSENTIAL, *arguments.other_columns]
    for name, split in splits.items():
        texts.update(f"\0{name}\0".encode())  # a row moved to another split makes other data
        for row in split:
            texts.update("".join(f"{row.get(column) or ''}\0" for column in used).encode())
    vocabulary = tokenizer.backend_tokenizer.to_str() + tokenizer.eos_token
    return {
        "prompt_template": arguments.prompt_template,
        "completion": arguments.completion,
        "frame": list(astuple(arguments.frame)),
        "max_length": arguments.max_length,
        "max_summary_tokens": arguments.max_summary_tokens,
        "texts": texts.hexdigest(),
        "tokenizer": hashlib.sha256(vocabulary.encode()).hexdigest(),
    }
