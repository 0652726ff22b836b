"""Clean, prompt and tokenize reviews and meta-reviews: the first of three scripts.

    python processing_meta_review.py                                  # zqz979/meta-review from the Hub
    python processing_meta_review.py --dataset my_reviews.csv         # a file or folder: CSV, Excel, JSON, Parquet
    python processing_meta_review.py --dataset rows.csv --group_column paper_id   # a row for each review
    python processing_meta_review.py --venue ICLR.cc/2024/Conference  # from OpenReview; several are taken together
    python processing_meta_review.py --model EleutherAI/pythia-410m   # another tokenizer and context
    python processing_meta_review.py --prompt ratings                 # title and ratings in the prompt, if known
    HF_TOKEN=... python processing_meta_review.py --push_to_hub       # both data sets to the Hub too, private

It writes `processed_meta_review/` (columns review, summary; title, ratings, decision if known; COLUMNS) and
`tokenized_meta_review/` (input_ids, labels, length).
Next: python fine_tune.py
"""

import re
from dataclasses import dataclass

from metareview.common.cli import InputError, check_encoding, check_file, format_table, run
from metareview.common.flags import PublishingFlags, flag, start
from metareview.data.cleaning import clean_text
from metareview.data.prompts import check_completion, find_template, read_line_breaks
from metareview.sources.forms import read_id

# The reviews
DATASET = "zqz979/meta-review"  # Hub id, folder or file with the reviews and meta-reviews
REVIEW_COLUMN = None  # column with the reviews, or several: ["review_1", "review_2"]; None: Input, review, reviews, ...
SUMMARY_COLUMN = None  # column with the meta-review; None: Output, summary, meta_review or metareview
GROUP_COLUMN = None  # column that names the paper, such as paper_id, where each row has one of its reviews
COLUMNS = None  # other columns to keep, such as ["abstract"]; title, ratings and decision are kept if there are some
REVIEW_SEPARATOR = "<REVBREAK>"  # between the reviews in one cell; a line --- is understood too
ENCODING = "utf-8"  # of text files; cp1252 for many saved by Excel on Windows
SPLIT_SEED = 42  # for dividing a source that has only one split
VENUE = None  # take the papers of these venues of OpenReview instead of DATASET
TEST_YEAR = None  # with VENUE: the papers of this year are the test split; None: a twentieth of all papers

# The texts
KEEP = "a-zA-Z0-9"  # characters kept besides whitespace; "a-zA-Z0-9.,;:!?()'-" keeps punctuation, which reads better
DROP_SENTENCES = None  # leave sentences out of the meta-reviews: a regular expression, such as r"\brebuttal\b"
PROCESSED_DIR = "processed_meta_review"  # folder of the cleaned texts

# The token ids
MODEL = "EleutherAI/pythia-70m"  # the model to fine-tune, a Hub id or a folder: its tokenizer and context are used
PROMPT = "plain"  # what the model reads: a name in metareview/data/prompts.py, or a text with {review}, {ratings}, ...
COMPLETION = "{summary}"  # what it learns to write; with other columns: "Decision: {decision}\n{summary}"
MAX_LENGTH = None  # tokens of prompt and summary together; None: the model's context (2,048 for Pythia)
MAX_SUMMARY_TOKENS = None  # part of MAX_LENGTH reserved for the summary; None: what 95% of the training summaries need
TOKENIZED_DIR = "tokenized_meta_review"  # folder of the token ids, ready to train on


@dataclass
class ProcessingFlags(PublishingFlags):
    """Every constant as a flag, and what is pushed."""

    dataset: str = flag(DATASET, "dataset_name")
    review_column: list[str] | None = flag(REVIEW_COLUMN)
    summary_column: str | None = flag(SUMMARY_COLUMN)
    group_column: str | None = flag(GROUP_COLUMN)
    columns: list[str] | None = flag(COLUMNS)
    review_separator: str = flag(REVIEW_SEPARATOR)
    encoding: str = flag(ENCODING)
    split_seed: int = flag(SPLIT_SEED, least=0)
    venue: list[str] | None = flag(VENUE)
    test_year: int | None = flag(TEST_YEAR)
    keep: str = flag(KEEP)
    drop_sentences: str | None = flag(DROP_SENTENCES)
    processed_dir: str = flag(PROCESSED_DIR, "output_dir")
    model: str = flag(MODEL, "model_name_or_path")
    prompt: str = flag(PROMPT)
    completion: str = flag(COMPLETION)
    max_length: int | None = flag(MAX_LENGTH, least=1)
    max_summary_tokens: int | None = flag(MAX_SUMMARY_TOKENS, least=1)
    tokenized_dir: str = flag(TOKENIZED_DIR)
    hub_dataset_id: str = flag(PROCESSED_DIR, help="name on the Hub, with or without owner", topic="Publishing")
    hub_tokenized_id: str = flag(TOKENIZED_DIR, help="the same for the tokenized data set", topic="Publishing")

    def __post_init__(self) -> None:
        self.venue = [read_id(venue, "VENUE (--venue)") for venue in dict.fromkeys(self.venue or ())]
        if self.venue and (self.dataset, self.review_separator) != (DATASET, REVIEW_SEPARATOR):
            raise InputError("VENUE (--venue) goes with neither DATASET nor REVIEW_SEPARATOR; leave these as they were")
        if self.test_year and not self.venue:
            raise InputError("TEST_YEAR (--test_year) goes with VENUE (--venue)")
        try:
            clean_text("a b", self.keep)
        except (re.error, ValueError) as error:
            raise InputError(f"KEEP (--keep) {self.keep!r} is not a set of characters: {error}") from error
        if re.search(r"\\[a-zA-Z]", self.keep):
            raise InputError(f"KEEP (--keep) {self.keep!r}: name the characters themselves, a-zA-Z0-9_ instead of \\w")
        try:
            re.compile(self.drop_sentences or "")
        except re.error as error:
            told = f"{self.drop_sentences!r} is not a regular expression: {error}"
            raise InputError(f"DROP_SENTENCES (--drop_sentences) {told}") from error
        if not self.venue:
            check_file(self.dataset, "DATASET (--dataset)")
        self.prompt, self.completion = read_line_breaks(self.prompt), read_line_breaks(self.completion)
        find_template(self.prompt)
        check_completion(self.completion)
        check_encoding(self.encoding)
        if self.hub_dataset_id == self.hub_tokenized_id:
            raise InputError(f"--hub_dataset_id and --hub_tokenized_id must differ, got {self.hub_dataset_id!r} twice")


if __name__ == "__main__":  # help and wrong values are answered here, before the libraries load
    FLAGS = start(ProcessingFlags, __file__)

from dataclasses import astuple
from pathlib import Path
from typing import Any

from metareview.common.files import lock
from metareview.common.hub import check_token, open_repository, public_name
from metareview.common.model import check_base
from metareview.data.constants import record_constants
from metareview.data.dataset_card import push_splits
from metareview.data.rows import clean_splits, drop_rows
from metareview.data.splits import check_output_folders, complete_splits, read_record, save_splits
from metareview.data.tokenization import (
    TokenizationArguments,
    check_columns,
    choose_reserve,
    load_tokenizer,
    tokenization_record,
    tokenize_splits,
)
from metareview.sources.columns import Columns, choose_columns, read_papers
from metareview.sources.reading import load_venues, read_source


def main(flags: ProcessingFlags) -> None:
    check_output_folders(flags.processed_dir, flags.tokenized_dir)
    _locks = [lock(folder) for folder in (flags.processed_dir, flags.tokenized_dir)]  # until this process ends

    # 1. Read the tokenizer and the source.
    check_base(flags.model)
    how = TokenizationArguments(
        flags.model, flags.prompt, flags.max_length, flags.max_summary_tokens, completion=flags.completion
    )
    tokenizer = load_tokenizer(how)
    name, source, unread = read_raw(flags)
    papers, notes = read_papers(source, choose_source_columns(flags, source, how))
    repository_ids = open_repositories(flags) if flags.push_to_hub else []

    # 2. Clean the texts of each paper, divide the papers, drop what cannot be used.
    cleaned = complete_splits(clean_splits(papers, flags.keep, flags.drop_sentences), flags.split_seed)
    processed, cleaning, repeated = drop_rows(cleaned)
    print(format_table(cleaning), *notes, *repeated, sep="\n")
    if unread:
        print(f"Not read: {', '.join(unread)}.")

    # 3. Tokenize, fitting the reviews into the context.
    check_columns(processed["train"], how)
    choose_reserve(how, processed["train"], tokenizer)
    tokenized, lengths = tokenize_splits(processed, tokenizer, how)
    print(format_table(lengths))

    # 4. Save both, with a record that the next scripts go by.
    record = build_record(flags, name, how)
    tokenized_record = record | tokenization_record(processed, tokenizer, how)
    save_splits(processed, record, flags.processed_dir)
    save_splits(tokenized, tokenized_record, flags.tokenized_dir)
    print(f"Saved {flags.processed_dir} (texts) and {flags.tokenized_dir} (token ids). Next: python fine_tune.py")

    # 5. Push both, if asked.
    if repository_ids:
        tables = {"cleaning": format_table(cleaning), "lengths": format_table(lengths)}
        model = {"model": public_name(flags.model)}
        push_splits(processed, record | model, None, tables, repository_ids[0])
        push_splits(tokenized, tokenized_record | model, model["model"], tables, repository_ids[1])


def read_raw(flags: ProcessingFlags) -> tuple[str, dict[str, Any], list[str]]:
    """The name of the source, its splits as they are, and what of it is not read."""
    if flags.venue:
        if flags.push_to_hub:
            check_token()  # before hours of fetching
        name = ", ".join(f"https://openreview.net/group?id={venue}" for venue in flags.venue)
        folder = Path(flags.processed_dir).resolve().parent
        return name, dict(load_venues(flags.venue, folder, flags.test_year)), []
    if read_record(flags.dataset):
        raise InputError(f"{flags.dataset!r} is cleaned already; set DATASET to the data that it was made from")
    return flags.dataset, *read_source(flags.dataset, flags.encoding)


def choose_source_columns(flags: ProcessingFlags, source: dict[str, Any], how: TokenizationArguments) -> Columns:
    """The columns that the constants name, or else those with names that people use."""
    names = flags.review_column, flags.summary_column, flags.group_column
    needed = how.other_columns
    return choose_columns(source, *names, flags.review_separator, flags.columns or (), needed)


def open_repositories(flags: ProcessingFlags) -> list[str]:
    """The Hub ids of both data sets, opened before the work, so that a refusal does not come to light after it."""
    ids = [open_repository(flags, name, "dataset") for name in (flags.hub_dataset_id, flags.hub_tokenized_id)]
    if ids[0].lower() == ids[1].lower():
        raise InputError(f"--hub_dataset_id and --hub_tokenized_id both mean {ids[0]}; nothing was written")
    return ids


def build_record(flags: ProcessingFlags, name: str, how: TokenizationArguments) -> dict[str, Any]:
    """What the data are made from and how."""
    record = {
        "dataset_name": public_name(name),
        "keep": flags.keep,
        "review_separator": flags.review_separator,
        "model": flags.model,
        "prompt_template": how.prompt_template,
        "completion": how.completion,
        "frame": list(astuple(how.frame)),
        "asked_max_length": flags.max_length,
        "asked_max_summary_tokens": flags.max_summary_tokens,
        "max_summary_tokens": how.max_summary_tokens,
        "constants": record_constants(flags),
    }
    asked = {name: getattr(flags, name) for name in ("test_year", "group_column", "drop_sentences")}
    return record | {key: value for key, value in asked.items() if value}


if __name__ == "__main__":
    run(main, FLAGS)
