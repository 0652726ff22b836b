"""The examples to train on: the tokenized data where they fit the model, else the same texts tokenized again."""

from pathlib import Path
from shlex import quote
from typing import Any

from datasets import DatasetDict
from transformers import PreTrainedTokenizerBase as Tokenizer

from metareview.common.cli import InputError, format_table
from metareview.data.prompts import PLAIN_COMPLETION
from metareview.data.splits import load_source, read_record
from metareview.data.tokenization import (
    DEFAULT_SUMMARY_TOKENS,
    TokenizationArguments,
    check_columns,
    choose_reserve,
    follow_record,
    tokenization_record,
    tokenize_splits,
)
from metareview.training.arguments import Flags

USUAL = ("processed_meta_review", "tokenized_meta_review")  # the names of the folders if no constant is edited


def choose_tokenization(flags: Flags) -> TokenizationArguments:
    """Model, prompt and lengths: those of the flags, or else those that the record of the data names.

    Raises `InputError` where no model is known, and where texts and token ids are of different data.
    """
    how = TokenizationArguments(
        flags.model, flags.prompt, flags.max_length, flags.max_summary_tokens, completion=flags.completion
    )
    texts, tokens = read_record(flags.processed_dir), read_record(flags.tokenized_dir)
    differing = [name for name in ("dataset_name", "keep", "drop_sentences") if texts.get(name) != tokens.get(name)]
    if texts and tokens and differing:
        if Path(flags.processed_dir).name in USUAL or Path(flags.tokenized_dir).name not in USUAL:
            raise InputError(
                f"PROCESSED_DIR, {flags.processed_dir!r}, and TOKENIZED_DIR, {flags.tokenized_dir!r}, differ in "
                f"{', '.join(differing)}: name both folders, or run python processing_meta_review.py again"
            )
        tokens = {}  # left over: only the texts were named
    follow_record(how, tokens or texts)
    if not how.model_name_or_path:
        raise InputError(
            f"there is no {flags.tokenized_dir!r} that says for which model it was made. "
            "First: python processing_meta_review.py; or name the model: MODEL (--model)"
        )
    return how


def choose_new_tokens(given: int | None, reserve: int) -> int:
    """MAX_NEW_TOKENS, or the `reserve` of the data. Raises `InputError` for more than a model is trained to write."""
    if given is not None and given > reserve:
        most = f"at most MAX_SUMMARY_TOKENS of the data ({reserve})"
        raise InputError(f"MAX_NEW_TOKENS (--max_new_tokens) must be {most}, got {given}")
    return given or reserve


def load_texts(name: str) -> DatasetDict:
    """The cleaned texts in a folder or on the Hub, empty where there is no such folder. Raises `InputError`."""
    if not Path(name).exists() and "/" not in name:
        return DatasetDict()
    texts = DatasetDict() if Path(name).is_file() else load_source(name)
    for split in ("train", "validation"):
        if not {"review", "summary"} <= set(texts.column_names.get(split, [])) or not len(texts[split]):
            raise InputError(
                f"PROCESSED_DIR {name!r} has no split {split!r} with rows and the columns review and summary. "
                f"First: python processing_meta_review.py --dataset {quote(name)}"
            )
    return texts


def load_examples(
    flags: Flags, texts: DatasetDict, how: TokenizationArguments, tokenizer: Tokenizer
) -> tuple[DatasetDict, dict[str, Any]]:
    """Tokenized splits that fit the model, and the record of what they were made with.

    The tokenized folder is used when its record says that it was made from these texts with this tokenizer, prompt and
    context; otherwise the texts are tokenized again. Raises `InputError` where there is neither.
    """
    name, saved = flags.processed_dir, read_record(flags.tokenized_dir)
    if texts:
        check_columns(texts["train"], how)
        choose_reserve(how, texts["train"], tokenizer)
    how.max_summary_tokens = how.max_summary_tokens or saved.get("max_summary_tokens", DEFAULT_SUMMARY_TOKENS)
    record = tokenization_record(texts, tokenizer, how)
    before = {"completion": PLAIN_COMPLETION} | saved  # older data do not record it
    differing = [key for key in record if before.get(key) != record[key] and (texts or key != "texts")]
    if saved and not differing:
        if not texts:
            print(f"There is no PROCESSED_DIR {name!r}; the examples are those of {flags.tokenized_dir!r} alone.")
        return load_source(flags.tokenized_dir), saved
    why = f"{flags.tokenized_dir} differs in {', '.join(differing)}" if saved else f"there is no {flags.tokenized_dir}"
    if not texts:
        raise InputError(f"there is no {name!r} here, and {why}. First: python processing_meta_review.py")

    print(f"Tokenizing {name} again: {why}.")
    tokenized, lengths = tokenize_splits(texts, tokenizer, how)
    print(format_table(lengths))
    return tokenized, {"dataset_name": name} | read_record(name) | record | {"model": how.model_name_or_path}
