"""The examples to train on: the tokenized data where they fit the model, else the same texts tokenized again."""

from pathlib import Path
from shlex import quote
from typing import Any

from datasets import DatasetDict
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers import TrainingArguments

from metareview.common.cli import InputError, format_table
from metareview.data.prompts import PLAIN_COMPLETION
from metareview.data.splits import load_source, read_record, save_splits
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
    follow_record(how, texts if texts and not _is_of_texts(flags, texts, tokens) else tokens or texts)
    if not how.model_name_or_path:
        raise InputError(
            f"there is no {flags.tokenized_dir!r} that says for which model it was made. "
            "First: python processing_meta_review.py; or name the model: MODEL (--model)"
        )
    return how


def _is_of_texts(flags: Flags, texts: dict[str, Any], tokens: dict[str, Any]) -> bool:
    """Whether TOKENIZED_DIR is of the data in PROCESSED_DIR, as their records say; prints what else differs.

    If it is not, and only it has the name that processing gives, it is left over. Otherwise raises `InputError`.
    """
    names = f"PROCESSED_DIR, {flags.processed_dir!r}, and TOKENIZED_DIR, {flags.tokenized_dir!r}"
    is_usual = [Path(name).name in USUAL for name in (flags.processed_dir, flags.tokenized_dir)]
    for name in ("dataset_name", "keep", "drop_sentences") if tokens else ():
        one, other = texts.get(name), tokens.get(name)
        if one != other and is_usual == [False, True]:
            return False
        if one != other:
            told = f"{names}, are of different data ({name}: {one!r}, {other!r})"
            raise InputError(f"{told}: name both folders, or run python processing_meta_review.py again")
    for name in ("prompt_template", "completion", "model") if tokens else ():
        if texts.get(name) != tokens.get(name) and getattr(flags, name.partition("_")[0]) is None:
            print(f"{names}, differ in {name}; that of TOKENIZED_DIR is used.")
    return True


def choose_new_tokens(given: int | None, reserve: int) -> int:
    """MAX_NEW_TOKENS, or the `reserve` of the data. Raises `InputError` for more than a model is trained to write."""
    if given is not None and given > reserve:
        most = f"at most MAX_SUMMARY_TOKENS of the data ({reserve})"
        raise InputError(f"MAX_NEW_TOKENS (--max_new_tokens) must be {most}, got {given}")
    return given or reserve


def shared_folder(tokenized_dir: str) -> Path:
    """Where the first of several processes leaves what it has tokenized, for the others to read."""
    return Path(tokenized_dir).with_name(f".{Path(tokenized_dir).name}.shared")


def load_texts(name: str) -> DatasetDict:
    """The cleaned texts in a folder or on the Hub, empty where there is no such folder. Raises `InputError`."""
    if not Path(name).exists() and "/" not in name:
        return DatasetDict()
    if Path(name).is_file():
        told = f"PROCESSED_DIR must be a folder or a Hub id, but {name!r} is a file"
        raise InputError(f"{told}. First: python processing_meta_review.py --dataset {quote(name)}")
    texts = load_source(name)
    for split in ("train", "validation"):
        if not {"review", "summary"} <= set(texts.column_names.get(split, [])) or not len(texts[split]):
            raise InputError(
                f"{name!r} has no split {split!r} with rows and the columns review and summary. "
                f"First: python processing_meta_review.py --dataset {quote(name)}"
            )
    return texts


def load_examples(
    flags: Flags, args: TrainingArguments, how: TokenizationArguments, tokenizer: Tokenizer
) -> tuple[DatasetDict, dict[str, Any]]:
    """Tokenized splits that fit the model, and the record of what they were made with.

    The tokenized folder is used when its record says that it was made from these texts with this tokenizer, prompt and
    context; otherwise the texts are tokenized again. Raises `InputError` where there is neither.
    """
    name, saved = flags.processed_dir, read_record(flags.tokenized_dir)
    texts = load_texts(name)
    if texts:
        check_columns(texts["train"], how)
        choose_reserve(how, texts["train"], tokenizer)
    how.max_summary_tokens = how.max_summary_tokens or saved.get("max_summary_tokens", DEFAULT_SUMMARY_TOKENS)
    record = tokenization_record(texts, tokenizer, how)
    if not texts:
        record["texts"] = saved.get("texts")
    before = {"completion": PLAIN_COMPLETION} | saved  # older data do not record it
    differing = [key for key, value in record.items() if before.get(key) != value]
    if {"prompt_template", "tokenizer"} & set(differing):
        differing = [name for name in differing if name != "frame"]  # which follows from these
    differences = ", ".join(differing)
    if saved and not differences:
        if not texts:
            print(f"There is no PROCESSED_DIR {name!r}; the examples are those of {flags.tokenized_dir!r} alone.")
        return load_source(flags.tokenized_dir), saved
    if not texts:
        unfit = f", and {flags.tokenized_dir!r} does not fit: it differs in {differences}" if saved else ""
        raise InputError(f"there is no {name!r} here{unfit}. First: python processing_meta_review.py")

    shared = str(shared_folder(flags.tokenized_dir))
    if args.process_index > 0:
        return load_source(shared), read_record(shared)
    why = f"{flags.tokenized_dir} differs in {differences}" if saved else f"there is no {flags.tokenized_dir}"
    print(f"Tokenizing {name} again: {why}.")
    tokenized, lengths = tokenize_splits(texts, tokenizer, how)
    print(format_table(lengths))
    record = {"dataset_name": name} | read_record(name) | record | {"model": how.model_name_or_path}
    if args.world_size > 1:
        save_splits(tokenized, record, shared)
    return tokenized, record
