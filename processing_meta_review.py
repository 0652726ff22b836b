"""Clean, prompt and tokenize reviews and meta-reviews: the first of three scripts.

    python processing_meta_review.py                                  # zqz979/meta-review from the Hub
    python processing_meta_review.py --dataset my_reviews.csv         # a file or folder: CSV, Excel, JSON, Parquet
    python processing_meta_review.py --dataset rows.csv --group_column paper_id   # a row for each review
    python processing_meta_review.py --venue ICLR.cc/2024/Conference  # from OpenReview; several are taken together
    python processing_meta_review.py --model EleutherAI/pythia-410m   # another tokenizer and context
    HF_TOKEN=... python processing_meta_review.py --push_to_hub       # both data sets to the Hub too, private

It writes `processed_meta_review/` (columns review, summary) and `tokenized_meta_review/` (input_ids, labels, length).
Next: python fine_tune.py
"""

import re
from dataclasses import dataclass
from pathlib import Path

from metareview.common.cli import InputError, flag, format_table, parse_flags, run
from metareview.common.files import hold
from metareview.common.hub import HubArguments, check_token, open_repository, public_name
from metareview.data.cleaning import clean_splits, clean_text, drop_rows
from metareview.data.dataset_card import push_splits
from metareview.data.splits import check_output_folders, complete_splits, read_record, save_splits
from metareview.data.tokenization import TokenizationArguments, load_tokenizer, tokenization_record, tokenize_splits
from metareview.sources.columns import choose_columns, read_papers
from metareview.sources.forms import read_id
from metareview.sources.reading import load_venues, read_source
from metareview.sources.table_files import check_encoding

# The reviews
DATASET = "zqz979/meta-review"  # Hub id, folder or file with the reviews and meta-reviews
REVIEW_COLUMN = None  # column with the reviews, or several: ["review_1", "review_2"]; None: Input, review, reviews, ...
SUMMARY_COLUMN = None  # column with the meta-review; None: Output, summary, meta_review or metareview
GROUP_COLUMN = None  # column that names the paper, such as paper_id, where each row has one of its reviews
REVIEW_SEPARATOR = "<REVBREAK>"  # stands between the reviews in one cell; a line --- is understood too
ENCODING = "utf-8"  # of text files; cp1252 for many that Excel on Windows has saved
SPLIT_SEED = 42  # for dividing a source that has only one split
VENUE = None  # take the papers of these venues of OpenReview instead of DATASET
TEST_YEAR = None  # with VENUE: the papers of this year are the test split; None: a twentieth of all papers

# The texts
KEEP = "a-zA-Z0-9"  # what stays besides whitespace: characters and ranges; "a-zA-Z0-9.,;:!?()'-" keeps punctuation
PROCESSED_DIR = "processed_meta_review"  # folder of the cleaned texts

# The token ids
MODEL = "EleutherAI/pythia-70m"  # the model to fine-tune, a Hub id or a folder: its tokenizer and context are used
PROMPT = "plain"  # what the model reads before it writes: a name in metareview/prompts.py, or a text with {review}
MAX_LENGTH = None  # tokens of prompt and summary together; None: the model's context (2,048 for Pythia)
MAX_SUMMARY_TOKENS = 512  # part of MAX_LENGTH that is kept free for the summary and its end token
TOKENIZED_DIR = "tokenized_meta_review"  # folder of the token ids, ready to train on


@dataclass
class ProcessingArguments(TokenizationArguments, HubArguments):
    """Every constant as a flag, and what is pushed."""

    dataset_name: str = flag(DATASET, "dataset")
    review_column: list[str] | None = flag(REVIEW_COLUMN, several=True)
    summary_column: str | None = flag(SUMMARY_COLUMN)
    group_column: str | None = flag(GROUP_COLUMN)
    review_separator: str = flag(REVIEW_SEPARATOR)
    encoding: str = flag(ENCODING)
    split_seed: int = flag(SPLIT_SEED)
    venue: list[str] | None = flag(VENUE, several=True)
    test_year: int | None = flag(TEST_YEAR)
    keep: str = flag(KEEP)
    output_dir: str = flag(PROCESSED_DIR, "processed_dir")
    model_name_or_path: str = flag(MODEL, "model")
    prompt: str = flag(PROMPT)
    max_length: int | None = flag(MAX_LENGTH)
    max_summary_tokens: int = flag(MAX_SUMMARY_TOKENS)
    tokenized_dir: str = flag(TOKENIZED_DIR)
    hub_dataset_id: str = flag(PROCESSED_DIR, help="name on the Hub, with or without owner", topic="Publishing")
    hub_tokenized_id: str = flag(TOKENIZED_DIR, help="the same for the tokenized data set", topic="Publishing")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.venue = [read_id(venue) for venue in dict.fromkeys(self.venue or ())]
        if self.venue and (self.dataset_name, self.review_separator) != (DATASET, REVIEW_SEPARATOR):
            raise ValueError("--venue goes with neither --dataset_name nor --review_separator")
        if self.test_year and not self.venue:
            raise ValueError("--test_year goes with --venue")
        if self.split_seed < 0:
            raise ValueError(f"--split_seed must be 0 or more, got {self.split_seed}")
        try:
            clean_text("a b", self.keep)
        except (re.error, ValueError) as error:
            raise ValueError(f"--keep {self.keep!r}: {error}") from error
        check_encoding(self.encoding)
        if not self.review_separator:
            raise ValueError("--review_separator must not be empty")
        if self.hub_dataset_id == self.hub_tokenized_id:
            raise ValueError(f"--hub_dataset_id and --hub_tokenized_id must differ, got {self.hub_dataset_id!r} twice")


def main() -> None:
    arguments: ProcessingArguments = parse_flags(ProcessingArguments, __file__)
    check_output_folders(arguments.output_dir, arguments.tokenized_dir)
    _locks = [hold(folder) for folder in (arguments.output_dir, arguments.tokenized_dir)]  # until this process ends

    # 1. Read the tokenizer and the source.
    asked_max_length = arguments.max_length
    tokenizer, limit = load_tokenizer(arguments)
    if arguments.venue:
        if arguments.push_to_hub:
            check_token()  # before hours of fetching
        folder, unread = Path(arguments.output_dir).resolve().parent, []
        source = dict(load_venues(arguments.venue, folder, arguments.test_year))
        arguments.dataset_name = ", ".join(f"https://openreview.net/group?id={venue}" for venue in arguments.venue)
    elif read_record(arguments.dataset_name):
        raise InputError(f"{arguments.dataset_name!r} is cleaned already; give the data that it was made from")
    else:
        source, unread = read_source(arguments.dataset_name, arguments.encoding)
    given = (arguments.review_column, arguments.summary_column, arguments.group_column)
    columns = choose_columns(source, *given, arguments.review_separator)
    if arguments.push_to_hub:
        processed_id = open_repository(arguments, arguments.hub_dataset_id, "dataset")
        tokenized_id = open_repository(arguments, arguments.hub_tokenized_id, "dataset")
        if processed_id.lower() == tokenized_id.lower():
            raise InputError(f"--hub_dataset_id and --hub_tokenized_id both mean {processed_id}; nothing was written")

    # 2. Clean the texts of each paper, divide the papers, drop what cannot be used.
    papers, joined = read_papers(source, columns)
    cleaned = complete_splits(clean_splits(papers, arguments.keep), arguments.split_seed)
    processed, cleaning, repeated = drop_rows(cleaned)
    print(
        format_table(cleaning), *joined, *repeated, *([f"Not read: {', '.join(unread)}."] if unread else []), sep="\n"
    )

    # 3. Tokenize, fitting the reviews into the context.
    tokenized, lengths = tokenize_splits(processed, tokenizer, limit, arguments)
    print(format_table(lengths))

    # 4. Save both, with a record that the next scripts go by.
    record = {
        "dataset_name": public_name(arguments.dataset_name),
        "keep": arguments.keep,
        "review_separator": arguments.review_separator,
        "model": arguments.model_name_or_path,
        "prompt_template": arguments.prompt_template,
        "asked_max_length": asked_max_length,
        "max_summary_tokens": arguments.max_summary_tokens,
    }
    for name in ("test_year", "group_column"):
        if value := getattr(arguments, name):
            record[name] = value
    tokenized_record = record | tokenization_record(processed, tokenizer, arguments)
    save_splits(processed, record, arguments.output_dir)
    save_splits(tokenized, tokenized_record, arguments.tokenized_dir)
    print(f"Saved {arguments.output_dir} (texts) and {arguments.tokenized_dir} (token ids). Next: python fine_tune.py")

    # 5. Push both, if asked.
    if arguments.push_to_hub:
        model = public_name(arguments.model_name_or_path)
        tables = {"cleaning": format_table(cleaning), "lengths": format_table(lengths)}
        push_splits(processed, record | {"model": model}, None, tables, processed_id)
        push_splits(tokenized, tokenized_record | {"model": model}, model, tables, tokenized_id)


if __name__ == "__main__":
    run(main)
