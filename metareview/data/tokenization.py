"""From texts to token ids: the tokenizer of a model, examples with labels, and a record of how they were made."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict
from transformers import AutoConfig, AutoTokenizer
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.utils import find_adapter_config_file

from metareview.common.cli import InputError
from metareview.common.hub import reading
from metareview.data.context import fit_prompts
from metareview.data.prompts import PROMPT_MARK, encode_prompts, encode_texts, find_template, set_chat_template

IGNORE_INDEX = -100  # label of a token that is read but not learned
DEFAULT_SUMMARY_TOKENS = 512


@dataclass
class TokenizationArguments:
    """What decides the token ids, besides the texts. None: as a record says, or what `follow_record` falls back on."""

    model_name_or_path: str | None = None  # Hub id or folder
    prompt: str | None = None  # a name in PROMPTS or a text with {review} in it
    max_length: int | None = None  # tokens of prompt and summary together; None: the model's context
    max_summary_tokens: int | None = None  # part of max_length that is kept free for the summary and its end token

    @property
    def prompt_template(self) -> str:
        """The text that `prompt` names, or is."""
        return find_template(self.prompt)


def follow_record(arguments: TokenizationArguments, record: dict[str, Any]) -> None:
    """Take from the record of processed data what the arguments leave open."""
    arguments.model_name_or_path = arguments.model_name_or_path or record.get("model")
    arguments.prompt = arguments.prompt or record.get("prompt_template", "plain")
    arguments.max_length = arguments.max_length or record.get("asked_max_length")
    reserve = record.get("max_summary_tokens", DEFAULT_SUMMARY_TOKENS)
    arguments.max_summary_tokens = arguments.max_summary_tokens or reserve


def load_tokenizer(arguments: TokenizationArguments) -> tuple[Tokenizer, int]:
    """The model's tokenizer, and how many tokens a prompt may have: the context without the reserve for the summary.

    A tokenizer without a chat template gets the prompt as one. `arguments.max_length` is set where it is None. Raises
    `InputError` for a tokenizer without end-of-text token or offsets, and for a context too small for any review.
    """
    name, reserve = arguments.model_name_or_path, arguments.max_summary_tokens
    with reading("model", name):
        adapter = find_adapter_config_file(name)
        base = json.loads(Path(adapter).read_text())["base_model_name_or_path"] if adapter else name
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    context = getattr(config, "max_position_embeddings", None)
    if tokenizer.eos_token_id is None or not tokenizer.is_fast:
        raise InputError(f"the tokenizer of {name!r} has no end-of-text token or is not a fast one; choose another")
    set_chat_template(tokenizer, name, arguments.prompt_template)
    arguments.max_length = arguments.max_length or context
    if arguments.max_length is None or arguments.max_length > (context or arguments.max_length):
        raise InputError(f"--max_length is {arguments.max_length}, but {name!r} names a context of {context} tokens")
    frame = len(encode_prompts([""], tokenizer, arguments.prompt_template)[0])
    if arguments.max_length - reserve <= frame:
        taken = f"{reserve} are kept for the summary (--max_summary_tokens), {frame} go to the prompt"
        raise InputError(f"a context of {arguments.max_length} tokens is too small for any review: {taken}")
    return tokenizer, arguments.max_length - reserve


def tokenize_splits(
    splits: DatasetDict, tokenizer: Tokenizer, limit: int, arguments: TokenizationArguments
) -> tuple[DatasetDict, list[list[Any]]]:
    """Splits with `input_ids`, `labels` (-100 on the prompt) and `length`; a table of lengths and what was cut to fit.

    A prompt has at most `limit` tokens. The summary ends with the end-of-text token, which is learned: so the model
    learns to stop. A longer one than `max_summary_tokens` is left out: cut in the middle it would teach to break off.
    """

    def encode(rows: dict[str, list[str]]) -> dict[str, list]:
        prompts, cut = fit_prompts(rows["review"], tokenizer, limit, arguments.prompt_template)
        summaries = [[*summary, tokenizer.eos_token_id] for summary in encode_texts(rows["summary"], tokenizer)]
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
    if not tokenizer.chat_template.startswith(PROMPT_MARK):  # ours is in the record as prompt_template
        vocabulary += tokenizer.chat_template
    return {
        "prompt_template": arguments.prompt_template,
        "max_length": arguments.max_length,
        "max_summary_tokens": arguments.max_summary_tokens,
        "texts": texts.hexdigest(),
        "tokenizer": hashlib.sha256(vocabulary.encode()).hexdigest(),
    }
