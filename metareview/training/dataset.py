"""The examples to train on: the tokenized data where they fit the model, the same texts tokenized again where not."""

from pathlib import Path
from shlex import quote
from typing import Any

from datasets import DatasetDict
from transformers import PreTrainedTokenizerBase as Tokenizer

from metareview.common.cli import InputError, format_table
from metareview.data.splits import load_source, read_record, save_splits
from metareview.data.tokenization import follow_record, tokenization_record, tokenize_splits
from metareview.training.arguments import SummaryTrainingArguments


def follow_data(arguments: SummaryTrainingArguments) -> None:
    """Take model, prompt and lengths from the record of the data, where no flag gives them.

    Raises `InputError` where no model is known, or where it would write more than it was trained to.
    """
    follow_record(arguments, read_record(arguments.tokenized_dir) or read_record(arguments.dataset_name))
    if not arguments.model_name_or_path:
        raise InputError(
            f"there is no {arguments.tokenized_dir!r} that says for which model it was made. "
            "First: python processing_meta_review.py; or name the model with --model"
        )
    if arguments.max_new_tokens > arguments.max_summary_tokens:
        raise InputError(f"--max_new_tokens must be at most --max_summary_tokens ({arguments.max_summary_tokens})")


def shared_folder(arguments: SummaryTrainingArguments) -> Path:
    """Where the first of several processes leaves what it has tokenized, for the others to read."""
    tokenized_dir = Path(arguments.tokenized_dir)
    return tokenized_dir.with_name(f".{tokenized_dir.name}.shared")


def load_texts(name: str) -> DatasetDict:
    """The cleaned texts in a folder or on the Hub, empty where a folder is not there. Raises `InputError`."""
    if not Path(name).exists() and "/" not in name:
        return DatasetDict()
    texts = load_source(name)
    for split in ("train", "validation"):
        if not {"review", "summary"} <= set(texts.column_names.get(split, [])) or not len(texts[split]):
            raise InputError(
                f"{name!r} has no split {split!r} with rows and the columns review and summary. "
                f"First: python processing_meta_review.py --dataset_name {quote(name)}"
            )
    return texts


def load_examples(
    arguments: SummaryTrainingArguments, tokenizer: Tokenizer, limit: int
) -> tuple[DatasetDict, dict[str, Any]]:
    """Tokenized splits that fit the model, and the record of what they were made with.

    The tokenized folder is used when its record says that it was made from these texts with this tokenizer, prompt and
    context; otherwise the texts are tokenized again. Raises `InputError` where there is neither.
    """
    name, saved = arguments.dataset_name, read_record(arguments.tokenized_dir)
    texts = load_texts(name)
    record = tokenization_record(texts, tokenizer, arguments)
    if not texts:
        record["texts"] = saved.get("texts")
    differences = ", ".join(key for key, value in record.items() if saved.get(key) != value)
    if saved and not differences:
        return load_source(arguments.tokenized_dir), saved
    if not texts:
        unfit = f", and {arguments.tokenized_dir!r} does not fit: it differs in {differences}" if saved else ""
        raise InputError(f"there is no {name!r} here{unfit}. First: python processing_meta_review.py")

    shared = str(shared_folder(arguments))
    if arguments.process_index > 0:
        return load_source(shared), read_record(shared)
    why = f"{arguments.tokenized_dir} differs in {differences}" if saved else f"there is no {arguments.tokenized_dir}"
    print(f"Tokenizing {name} again: {why}.")
    tokenized, lengths = tokenize_splits(texts, tokenizer, limit, arguments)
    print(format_table(lengths))
    record = {"dataset_name": name} | read_record(name) | record
    if arguments.world_size > 1:
        save_splits(tokenized, record, shared)
    return tokenized, record
