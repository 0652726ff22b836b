"""Clean, prompt and tokenize reviews and meta-reviews: the first of three scripts.

    python processing_meta_review.py                                  # zqz979/meta-review from the Hub
    python processing_meta_review.py --dataset_name my_reviews.csv    # a file or folder: CSV, JSON, JSON Lines, Parquet
    python processing_meta_review.py --venue ICLR.cc/2024/Conference  # from OpenReview; several are taken together
    python processing_meta_review.py --model_name_or_path EleutherAI/pythia-410m   # another tokenizer and context
    HF_TOKEN=... python processing_meta_review.py --push_to_hub       # both data sets to the Hub too, private

It writes `processed_meta_review/` (columns review, summary) and `tokenized_meta_review/` (input_ids, labels, length).
Next: python fine_tune.py
"""

import hashlib
import json
import os
import re
import shutil
import sys
import time
import unicodedata
from argparse import ArgumentError
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from io import StringIO
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pandas as pd
import transformers
from datasets import Dataset, DatasetDict
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError, DatasetsError
from httpx2 import TransportError  # what huggingface_hub talks to the Hub with
from huggingface_hub import DatasetCard, DatasetCardData
from huggingface_hub import errors as hub_errors
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, HfArgumentParser
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.utils import find_adapter_config_file

from openreview_forum import fetch_venue, read_id

DATASET = "zqz979/meta-review"  # Hub id, folder or file with the reviews and meta-reviews
MODEL = "EleutherAI/pythia-70m"  # the model to fine-tune; here only its tokenizer and its context are needed
PROCESSED_DIR = "processed_meta_review"  # cleaned texts
TOKENIZED_DIR = "tokenized_meta_review"  # the same as token ids, ready to train on
REVIEW_COLUMN = None  # column with the reviews; None: Input or review, whichever is there
SUMMARY_COLUMN = None  # column with the meta-review; None: Output or summary
KEEP = "a-zA-Z0-9"  # what stays besides whitespace: characters and ranges; "a-zA-Z0-9.,;:!?()'-" keeps punctuation
REVIEW_SEPARATOR = "<REVBREAK>"  # stands between the reviews of one paper in the source
PROMPTS = {  # what the model reads before it writes the summary; add your own
    "plain": "### Review:\n{review}\n\n### Summary:\n",
    "instruction": "Write a meta-review that condenses these reviews of a paper.\n\n"
    "### Review:\n{review}\n\n### Summary:\n",
    "word_limit": "Write a meta-review of at most 100 words that condenses these reviews of a paper.\n\n"
    "### Review:\n{review}\n\n### Summary:\n",
}
PROMPT = "plain"  # which of them
MAX_LENGTH = None  # tokens of prompt and summary together; None: the model's context (2,048 for Pythia)
MAX_SUMMARY_TOKENS = 512  # part of MAX_LENGTH that is kept free for the summary and its end token
SEED = 42  # for dividing a source that has only one split
VENUE = None  # take the papers of these venues of OpenReview instead of DATASET
TEST_YEAR = None  # with VENUE: the papers of this year are the test split; None: a twentieth of all papers

PROMPT_MARK = "{# the prompt of the meta-review scripts #}"  # begins a chat template that is only PROMPT
REVIEW_JOINER = "\n\n"  # between the cleaned reviews of one paper
IGNORE_INDEX = -100  # label of a token that is read but not learned
SPLITS = ("train", "validation", "test")
SPLIT_ALIASES = {"val": "validation", "valid": "validation", "dev": "validation"}
NOT_ON_HUB = (hub_errors.RepositoryNotFoundError, hub_errors.HFValidationError, DatasetNotFoundError)
HUB_OUT_OF_REACH = (ConnectionError, TransportError, hub_errors.LocalEntryNotFoundError)
CARDS = Path(__file__).resolve().parent / "assets" / "cards"  # templates of what describes data and model on the Hub
DROP_REASONS = ("empty", "duplicate", "in a later split")
FILE_FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
RECORD = "processing_record.json"  # in both folders: what they were made with
SILENCE = 60  # seconds that a process waits for the first of its machine to tell what went wrong with both
VENUE_FEATURES = datasets.Features(  # of a file of fetch_venue, said outright: a year or a rating may be missing
    dict.fromkeys(("Input", "Output", "forum", "title", "venue"), datasets.Value("string"))
    | {"year": datasets.Value("int64")}
    | dict.fromkeys(("ratings", "confidences"), datasets.List(datasets.Value("float64")))
)
SHOWN = {"input_ids": slice(20), "labels": slice(-20, None), "review": slice(300), "summary": slice(300)}  # in a card


class InputError(Exception):
    """A wrong argument or input: shown as it is, without a traceback, with exit status 2."""


@dataclass
class TokenizationArguments:
    """What decides the token ids; the same in processing_meta_review.py and fine_tune.py."""

    model_name_or_path: str = field(default=MODEL, metadata={"help": "Hub id or folder of the model to fine-tune"})
    tokenized_dir: str = field(default=TOKENIZED_DIR, metadata={"help": "folder of the tokenized data set"})
    prompt: str = field(default=PROMPT, metadata={"help": f"{', '.join(PROMPTS)}, or a text with {{review}} in it"})
    max_length: int | None = field(default=MAX_LENGTH, metadata={"help": "tokens in all; default: the model's context"})
    max_summary_tokens: int = field(default=MAX_SUMMARY_TOKENS, metadata={"help": "tokens kept for the summary"})

    def __post_init__(self) -> None:
        if self.prompt_template.count("{review}") != 1:
            names = ", ".join(PROMPTS)
            raise ValueError(
                f"--prompt must be one of {names}, or a text with {{review}} in it once; got {self.prompt!r}"
            )
        for name in ("max_length", "max_summary_tokens"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}")

    @property
    def prompt_template(self) -> str:
        """The text that `prompt` names, or is."""
        return PROMPTS.get(self.prompt, self.prompt)


@dataclass
class HubArguments:
    """What is pushed and to whom; the same in all three scripts."""

    push_to_hub: bool = field(default=False, metadata={"help": "put what is made on the Hub; needs HF_TOKEN"})
    hub_user: str | None = field(default=None, metadata={"help": "owner on the Hub; default: the token's user"})
    hub_private_repo: bool | None = field(default=True, metadata={"help": "reviews are other people's texts"})


@dataclass
class ProcessingArguments(TokenizationArguments, HubArguments):
    dataset_name: str = field(default=DATASET, metadata={"help": "Hub id, folder or file to read"})
    output_dir: str = field(default=PROCESSED_DIR, metadata={"help": "folder of the cleaned data set"})
    review_column: str | None = field(default=REVIEW_COLUMN, metadata={"help": "default: Input or review"})
    summary_column: str | None = field(default=SUMMARY_COLUMN, metadata={"help": "default: Output or summary"})
    keep: str = field(default=KEEP, metadata={"help": "characters and ranges to keep besides whitespace"})
    review_separator: str = field(default=REVIEW_SEPARATOR, metadata={"help": "stands between two reviews"})
    seed: int = field(default=SEED, metadata={"help": "for dividing a source that has only one split"})
    venue: list[str] | None = field(default=VENUE, metadata={"help": "venues of OpenReview to read instead"})
    test_year: int | None = field(default=TEST_YEAR, metadata={"help": "with --venue: kept for the test split"})
    hub_dataset_id: str = field(default=PROCESSED_DIR, metadata={"help": "name on the Hub, with or without owner"})
    hub_tokenized_id: str = field(default=TOKENIZED_DIR, metadata={"help": "the same for the tokenized data set"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.venue = [read_id(venue) for venue in dict.fromkeys(self.venue or ())]
        if self.venue and (self.dataset_name, self.review_separator) != (DATASET, REVIEW_SEPARATOR):
            raise ValueError("--venue goes with neither --dataset_name nor --review_separator")
        if self.test_year and not self.venue:
            raise ValueError("--test_year goes with --venue")
        try:
            clean_reviews("a b", self.keep, self.review_separator)
        except (re.error, ValueError) as error:
            raise ValueError(f"--keep {self.keep!r}, --review_separator {self.review_separator!r}: {error}") from error


def parse_flags(dataclass_type: type, description: str) -> Any:
    """An instance of the dataclass from the command line. Raises `InputError` for a wrong flag or value."""
    heading = description.partition("\n")[0]
    parser = HfArgumentParser(dataclass_type, description=heading, allow_abbrev=False, exit_on_error=False)
    try:
        arguments, unknown = parser.parse_args_into_dataclasses(return_remaining_strings=True, look_for_args_file=False)
    except (ValueError, ArgumentError) as error:
        raise InputError(str(error)) from error
    if unknown:
        raise InputError(f"unknown argument: {' '.join(unknown)} (all flags: python {Path(sys.argv[0]).name} --help)")
    return arguments


def run(main: Callable[[], None]) -> None:
    """Run a script. Wrong input ends it with status 2, a failure at run time with 1, each told in plain words.

    Of several processes (torchrun, accelerate launch) the first one speaks. Another one waits before it tells a
    failure: where the first one fails too, the launcher ends it meanwhile.
    """
    first, first_here = (os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK"))
    datasets.disable_caching()  # else every map leaves a file beside the data it read
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # on a CPU, PyTorch then asks for huge pages: faster training
    if not first:
        transformers.utils.logging.disable_progress_bar()
    try:
        with redirect_stdout(sys.stdout if first else StringIO()):
            main()
    except (InputError, OSError, FloatingPointError, KeyboardInterrupt) as error:
        if not first_here and isinstance(error, KeyboardInterrupt):
            sys.exit(1)
        if not first_here:
            time.sleep(SILENCE)
        wrong_input = isinstance(error, InputError)
        message = re.sub(r"hf_[\w.-]+", "hf_...", str(error) or "interrupted")  # a token on the command line
        print(f"{'error' if wrong_input else 'failed'}: {message}", file=sys.stderr)
        sys.exit(2 if wrong_input else 1)


def format_table(table: list[list[Any]]) -> str:
    """Rows, the first of which is the header, as a Markdown table that is also easy to read as it is."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    texts.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    lines = [[first.ljust(widths[0]), *map(str.rjust, others, widths[1:])] for first, *others in texts]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@contextmanager
def explain_hub(attempt: str, failure: type[Exception] = InputError, advice: str = "") -> Iterator[None]:
    """Turn what the Hub's clients raise into `failure`: what was attempted, why it did not work, what to do.

    The Hub's own troubles become an `OSError` whatever `failure` is: another argument would not help.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, TransportError, DatasetsError, SafetensorError) as error:
        causes: list[BaseException] = [error]
        while cause := causes[-1].__cause__ or causes[-1].__context__:
            causes.append(cause)
        answers = [cause for cause in causes if isinstance(cause, hub_errors.HfHubHTTPError)]
        status = answers[0].response.status_code if answers else 0
        hub = f"the Hub ({huggingface_hub.constants.ENDPOINT})"
        if any(isinstance(cause, NOT_ON_HUB) for cause in causes):
            reason = f"it is neither here nor for you to use on {hub}; a private or gated one needs HF_TOKEN"
        elif answers:
            what_to_do = "try again later" if status >= 429 else "check the token in HF_TOKEN and what it may do"
            reason = f"{hub} answers {status} ({answers[0].server_message or 'without a reason'}); {what_to_do}"
        elif any(isinstance(cause, HUB_OUT_OF_REACH) for cause in causes):
            reason = f"{hub} is out of reach; check the network, set HF_ENDPOINT to a mirror, or try: make demo"
        else:
            telling = causes[isinstance(error, DatasetGenerationError)]  # that one only says that something went wrong
            reason = " ".join(str(telling).split())[:200]
        raise (OSError if status >= 429 else failure)(f"{attempt}: {reason}{advice}") from error


def check_token() -> str:
    """The name of the user whose token is set. Raises `InputError` where there is none that may write."""
    if huggingface_hub.get_token() is None:
        raise InputError("--push_to_hub needs a token that may write; set HF_TOKEN or run: hf auth login")
    with explain_hub("--push_to_hub cannot begin"):
        user = huggingface_hub.whoami()
    if user["auth"].get("accessToken", {}).get("role") == "read":
        raise InputError(f"the token of {user['name']} may only read; --push_to_hub needs one that may write")
    return user["name"]


def open_repository(arguments: HubArguments, name: str, repo_type: str) -> str:
    """The id of the repository to push to, made where there is none; `name` may lack its owner.

    To be called before the work, so that a refused token does not come to light after it. Raises `InputError`.
    """
    user = check_token()
    repo_id, private = name if "/" in name else f"{arguments.hub_user or user}/{name}", arguments.hub_private_repo
    with explain_hub(f"cannot push to {repo_id}"):
        huggingface_hub.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True)
        if private and not huggingface_hub.repo_info(repo_id, repo_type=repo_type).private:
            raise InputError(f"{repo_id} is public: make it private in its settings, or give --hub_private_repo False")
    return repo_id


def load_source(name: str) -> DatasetDict:
    """Load a data set from a file, a folder (of data files, or written by `save_to_disk`) or the Hub."""
    path = Path(name)
    if path.is_file() and path.suffix.lower() not in FILE_FORMATS:
        raise InputError(f"the file {name!r} must end in one of {', '.join(FILE_FORMATS)}")
    with explain_hub(f"cannot read the data set {name!r}"):
        if path.is_file():
            return datasets.load_dataset(FILE_FORMATS[path.suffix.lower()], data_files=str(path))
        if (path / "dataset_dict.json").is_file():
            return DatasetDict.load_from_disk(name)
        return datasets.load_dataset(name)


def choose_column(available: list[str], flag: str, given: str | None, defaults: tuple[str, ...]) -> str:
    """The column that the flag names, or the first default that is there. Raises `InputError` naming what is there."""
    names = (given,) if given else defaults
    if found := [name for name in names if name in available]:
        return found[0]
    raise InputError(f"no column {' or '.join(map(repr, names))}, only {', '.join(available)}; name it with --{flag}")


def complete_splits(source: DatasetDict, seed: int = SEED) -> DatasetDict:
    """Splits train, validation, test; one that the source lacks is a twentieth of train, the same rows every time."""
    splits = {SPLIT_ALIASES.get(name, name): split for name, split in source.items()}
    if len(splits) == 1:
        splits = {"train": next(iter(splits.values()))}
    if "train" not in splits:
        raise InputError(f"the source has no split 'train', only: {', '.join(source)}")
    held_out_rows = max(1, round(len(splits["train"]) / 20))
    for name in SPLITS:
        if name not in splits and len(splits["train"]) > held_out_rows:
            splits["train"], splits[name] = splits["train"].train_test_split(held_out_rows, seed=seed).values()
        if name not in splits or len(splits[name]) == 0:
            raise InputError(f"the split {name!r} is empty, or the source has too few rows to make one")
    return DatasetDict({name: splits[name] for name in SPLITS})


def choose_split(forum: str, year: int | None, test_year: int | None) -> str:
    """The split of a paper, by its id alone: it never moves from one to another. A test year takes all its papers."""
    share = int(hashlib.sha256(forum.encode()).hexdigest(), 16) % 20
    if test_year:
        return "test" if year == test_year else "validation" if share == 1 else "train"
    return {0: "test", 1: "validation"}.get(share, "train")


def load_venues(venues: list[str], folder: Path, test_year: int | None) -> DatasetDict:
    """Papers of venues of OpenReview, divided by paper; fetched into files in `folder` unless they are there."""
    try:
        files = [str(fetch_venue(venue, folder, REVIEW_SEPARATOR)) for venue in venues]
    except ValueError as error:
        raise InputError(str(error)) from error
    with explain_hub(f"cannot read {', '.join(files)}"):
        papers = datasets.load_dataset("json", data_files=files, split="train", features=VENUE_FEATURES)
    pairs = zip(papers["forum"], papers["year"], strict=True)
    chosen = np.array([choose_split(forum, year, test_year) for forum, year in pairs])
    if test_year and "test" not in chosen:
        years = sorted({year for year in papers["year"] if year})
        raise InputError(f"no paper is of --test_year {test_year}, only of {', '.join(map(str, years))}")
    return DatasetDict({name: papers.select(np.flatnonzero(chosen == name)) for name in SPLITS})


def clean_text(text: str | None, keep: str = KEEP) -> str:
    """Remove every character but `keep` and whitespace; accents and ligatures become ASCII letters first (NFKD).

    A run of blanks becomes one blank; a run with a line break in it becomes one line break.
    """
    folded = unicodedata.normalize("NFKD", str(text or ""))
    escaped = re.sub(r"[\[\]\\]", r"\\\g<0>", keep)
    kept = re.sub(rf"[^\s{escaped}]", "", folded)
    lines = (" ".join(line.split()) for line in kept.split("\n"))
    return "\n".join(filter(None, lines))


def clean_reviews(text: str | list[str] | None, keep: str = KEEP, separator: str = REVIEW_SEPARATOR) -> str:
    """Clean all reviews of one paper; one blank line stands between two reviews and none inside a review."""
    reviews = text if isinstance(text, list) else str(text or "").split(separator)
    return REVIEW_JOINER.join(filter(None, (clean_text(review, keep) for review in reviews)))


def choose_rows(keys: pd.DataFrame, later_reviews: pd.Series) -> tuple[np.ndarray, list[int]]:
    """Indices of the rows to keep, and how many go for each of DROP_REASONS.

    A row stays that has both sides, once, unless its review is in `later_reviews`. `keys` has the columns `empty`,
    `review_key` and `row_key`: hashes, so that memory does not grow with the texts.
    """
    reasons = [keys["empty"], keys["row_key"].duplicated(), keys["review_key"].isin(later_reviews)]
    kept, dropped = np.full(len(keys), True), []
    for reason in reasons:
        dropped.append(int((kept & reason).sum()))
        kept &= ~reason
    return np.flatnonzero(kept), dropped


def clean_splits(
    splits: DatasetDict, review: str, summary: str, keep: str, separator: str
) -> tuple[DatasetDict, list[list[Any]]]:
    """Splits with the columns review and summary (so named in the source), cleaned; a table of what went and why."""

    def clean_row(row: dict[str, Any]) -> dict[str, Any]:
        texts = {"review": clean_reviews(row[review], keep, separator), "summary": clean_text(row[summary], keep)}
        before, after = sum(len(str(row[name] or "")) for name in (review, summary)), sum(map(len, texts.values()))
        keys = {"review_key": hash(texts["review"]), "row_key": hash((texts["review"], texts["summary"]))}
        return texts | keys | {"empty": "" in texts.values(), "before": before, "after": after}

    cleaned: dict[str, Dataset] = {}
    table: list[list[Any]] = [["split", "rows read", "kept", *DROP_REASONS, "characters removed"]]
    later_reviews = pd.Series(dtype="int64")
    for name in reversed(SPLITS):  # the later ones first: what stands in two splits stays in the later one
        split = splits[name].map(clean_row, remove_columns=splits[name].column_names, desc=f"Clean {name}")
        keys = split.remove_columns(["review", "summary"]).to_pandas()
        kept, dropped = choose_rows(keys, later_reviews)
        if len(kept) == 0:
            raise InputError(f"no row of the split {name!r} has both a review and a summary left after cleaning")
        cleaned[name] = split.select_columns(["review", "summary"]).select(kept)
        later_reviews = pd.concat([later_reviews, keys["review_key"][kept]])
        removed = f"{1 - keys['after'].sum() / max(1, keys['before'].sum()):.1%}"
        table.insert(1, [name, len(keys), len(kept), *dropped, removed])
    return DatasetDict({name: cleaned[name] for name in SPLITS}), table


def prompt_as_chat_template(tokenizer: Tokenizer, prompt: str = PROMPTS["plain"]) -> str:
    """The prompt as a Jinja chat template: the user's message is the reviews, the assistant's message the summary."""
    # The texts stand in expressions because Jinja drops a line break at the end of a template.
    before, after = (json.dumps(text) for text in prompt.split("{review}"))
    start = "{{ bos_token }}" if tokenizer("").input_ids[:1] == [tokenizer.bos_token_id] else ""
    return (
        f"{PROMPT_MARK}{start}{{% for message in messages %}}{{% if message['role'] == 'assistant' %}}"
        "{{ message['content'] + eos_token }}"
        f"{{% else %}}{{{{ {before} + message['content'] + {after} }}}}{{% endif %}}{{% endfor %}}"
    )


def encode_prompts(reviews: list[str], tokenizer: Tokenizer, prompt: str = PROMPTS["plain"]) -> list[list[int]]:
    """Token ids of the whole prompt around the cleaned reviews of each paper, nothing cut. Many at once are faster."""
    if not tokenizer.chat_template.startswith(PROMPT_MARK):  # the model has a template of its own
        reviews = [prompt.replace("{review}", review) for review in reviews]
    chats = [[{"role": "user", "content": review}] for review in reviews]
    texts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    return encode_texts(texts, tokenizer)


def encode_texts(texts: list[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Token ids of texts as they are, without special tokens."""
    # Not by the tokenizer's own call: that also works out where in the text each token stands, and takes longer.
    return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def share_budget(lengths: list[int], budget: int) -> list[int]:
    """Share `budget` tokens among reviews of these lengths: short ones stay whole, long ones get one equal allowance.

    Water-filling: the allowance is the largest number c for which the sum of min(length, c) is at most `budget`.
    """
    remaining = budget
    for served, length in enumerate(sorted(lengths)):
        allowance = remaining // (len(lengths) - served)
        if length > allowance:
            return [min(length, allowance) for length in lengths]
        remaining -= length
    return list(lengths)


def cut_at_word(text: str, offsets: list[tuple[int, int]], allowance: int) -> str:
    """The first words of `text` that take at most `allowance` tokens; `offsets` are its tokens' (start, end).

    A first word that alone takes more is cut inside: a review without a blank should not vanish.
    """
    if len(offsets) <= allowance:
        return text
    end = offsets[allowance - 1][1] if allowance else 0
    if not text[end : end + 1].isspace():
        end = max((blank.start() for blank in re.finditer(r"\s", text[:end])), default=end)
    return text[:end].rstrip()


def fit_prompts(
    reviews: list[str], tokenizer: Tokenizer, limit: int, prompt: str = PROMPTS["plain"]
) -> tuple[list[list[int]], list[int]]:
    """Token ids of the prompt around the reviews of each paper, and how many tokens it cost to fit it into `limit`.

    Only the reviews are cut, never the prompt around them. The same rule serves training and generation. Raises
    `InputError` where even empty reviews would not fit.
    """
    whole = encode_prompts(reviews, tokenizer, prompt)
    fitted = [
        cut_prompt(review, input_ids, tokenizer, limit, prompt) if len(input_ids) > limit else input_ids
        for review, input_ids in zip(reviews, whole, strict=True)
    ]
    return fitted, [len(before) - len(after) for before, after in zip(whole, fitted, strict=True)]


def cut_prompt(review: str, whole: list[int], tokenizer: Tokenizer, limit: int, prompt: str) -> list[int]:
    """`whole`, the prompt around the reviews of one paper, with the reviews cut so that at most `limit` tokens stay."""
    reviews, input_ids = review.split(REVIEW_JOINER), whole
    offsets = tokenizer(reviews, add_special_tokens=False, return_offsets_mapping=True, verbose=False).offset_mapping
    lengths = [len(tokens) for tokens in offsets]
    budget = limit - (len(whole) - sum(lengths))
    while len(input_ids) > limit:  # once, as a rule: after a cut the tokens at a seam may merge in another way
        if budget < 1:
            raise InputError(f"{len(reviews)} reviews and the prompt do not fit into {limit} tokens; see --max_length")
        parts = map(cut_at_word, reviews, offsets, share_budget(lengths, budget))
        [input_ids] = encode_prompts([REVIEW_JOINER.join(filter(None, parts))], tokenizer, prompt)
        budget -= max(1, len(input_ids) - limit)
    return input_ids


def load_tokenizer(arguments: TokenizationArguments) -> tuple[Tokenizer, int]:
    """The model's tokenizer, and how many tokens a prompt may have: the context without the reserve for the summary.

    A tokenizer without a chat template gets the prompt as one. `arguments.max_length` is set where it is None. Raises
    `InputError` for a tokenizer without end-of-text token or offsets, and for a context too small for any review.
    """
    name, reserve = arguments.model_name_or_path, arguments.max_summary_tokens
    with explain_hub(f"cannot read the model {name!r}"):
        adapter = find_adapter_config_file(name)
        base = json.loads(Path(adapter).read_text())["base_model_name_or_path"] if adapter else name
        context = getattr(AutoConfig.from_pretrained(base), "max_position_embeddings", None)
        tokenizer = AutoTokenizer.from_pretrained(name)
    if tokenizer.eos_token_id is None or not tokenizer.is_fast:
        raise InputError(f"the tokenizer of {name!r} has no end-of-text token or is not a fast one; choose another")
    if (tokenizer.chat_template or PROMPT_MARK).startswith(PROMPT_MARK):
        tokenizer.chat_template = prompt_as_chat_template(tokenizer, arguments.prompt_template)
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
    for row in (row for split in splits.values() for row in split):
        texts.update(f"{row['review']}\0{row['summary']}\0".encode())
    vocabulary = tokenizer.backend_tokenizer.to_str() + str(tokenizer.chat_template) + tokenizer.eos_token
    settings = {name: getattr(arguments, name) for name in ("prompt_template", "max_length", "max_summary_tokens")}
    return settings | {"texts": texts.hexdigest(), "tokenizer": hashlib.sha256(vocabulary.encode()).hexdigest()}


def read_record(source: str, name: str = RECORD) -> dict[str, Any]:
    """What a folder, or a data set on the Hub, was made with by these scripts; empty where it holds no record."""
    path = Path(source, name)
    if not Path(source).exists() and source.count("/") == 1:
        with explain_hub(f"cannot read the data set {source!r}"), suppress(hub_errors.EntryNotFoundError):
            path = Path(huggingface_hub.hf_hub_download(source, name, repo_type="dataset"))
    return json.loads(path.read_text()) if path.is_file() else {}


def check_output_folders(*folders: str) -> None:
    """Raise `InputError` where a folder holds something that this script did not write, or one lies in another."""
    paths = [Path(folder).resolve() for folder in folders]
    if any(path == other or path in other.parents for path, other in permutations(paths, 2)):
        raise InputError(f"{' and '.join(folders)} must not lie in one another; nothing was written")
    for folder, path in zip(folders, paths, strict=True):
        names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
        if path.is_file() or (names and not {RECORD} <= names <= {RECORD, "dataset_dict.json", *SPLITS}):
            raise InputError(f"{folder!r} exists and holds something else; nothing was written. Choose another folder")


def save_splits(splits: DatasetDict, record: dict[str, Any], folder: str) -> None:
    """Write splits and record beside `folder` and put them in its place when they are whole."""
    target = Path(folder).resolve()
    new = target.with_name(f".{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    splits.save_to_disk(new)
    (new / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    new.rename(target)


def public_name(name: str) -> str:
    """What a card calls a Hub id or a path: of an absolute one only the end, the rest is nobody else's business."""
    return Path(name).name if Path(name).is_absolute() else name


def push_splits(splits: DatasetDict, record: dict[str, Any], model: str | None, tables: Any, repo_id: str) -> None:
    """Put splits, record and card on the Hub in one commit; `model` is whose token ids they are, None for texts."""
    later = ". Both are saved here; the same command pushes them later"
    with TemporaryDirectory() as folder, explain_hub(f"{repo_id} was not pushed", OSError, later):
        for name, split in splits.items():
            split.to_parquet(Path(folder, "data", f"{name}.parquet"))
        row = splits["train"][0].items()
        example = {column: value[SHOWN[column]] if column in SHOWN else value for column, value in row}
        texts = {"title": repo_id, "model": model, "example": json.dumps(example), **tables, **record}
        card = DatasetCard.from_template(DatasetCardData(), CARDS / "dataset.md", **texts)  # metadata: in the template
        card.save(Path(folder, "README.md"))
        Path(folder, RECORD).write_text(json.dumps(record, indent=2) + "\n")
        whole = {"repo_id": repo_id, "repo_type": "dataset", "folder_path": folder, "delete_patterns": "data/*"}
        huggingface_hub.upload_folder(**whole, commit_message="Add data and card")
    print(f"Pushed {repo_id} to the Hub.")


def main() -> None:
    arguments: ProcessingArguments = parse_flags(ProcessingArguments, __doc__)
    check_output_folders(arguments.output_dir, arguments.tokenized_dir)

    # 1. Read the tokenizer and the source.
    tokenizer, limit = load_tokenizer(arguments)
    if arguments.venue:
        if arguments.push_to_hub:
            check_token()  # before hours of fetching
        source = load_venues(arguments.venue, Path(arguments.output_dir).resolve().parent, arguments.test_year)
        arguments.dataset_name = ", ".join(f"https://openreview.net/group?id={venue}" for venue in arguments.venue)
    elif read_record(arguments.dataset_name):
        raise InputError(f"{arguments.dataset_name!r} is cleaned already; give the data that it was made from")
    else:
        source = load_source(arguments.dataset_name)
    available = sorted(set.intersection(*map(set, source.column_names.values())))
    review = choose_column(available, "review_column", arguments.review_column, ("Input", "review"))
    summary = choose_column(available, "summary_column", arguments.summary_column, ("Output", "summary"))
    if arguments.push_to_hub:
        names = arguments.hub_dataset_id, arguments.hub_tokenized_id
        processed_id, tokenized_id = (open_repository(arguments, name, "dataset") for name in names)

    # 2. Clean the texts, drop what cannot be used.
    splits = complete_splits(source, arguments.seed)
    processed, cleaning = clean_splits(splits, review, summary, arguments.keep, arguments.review_separator)
    print(format_table(cleaning))

    # 3. Tokenize, fitting the reviews into the context, and save both.
    tokenized, lengths = tokenize_splits(processed, tokenizer, limit, arguments)
    print(format_table(lengths))
    made_with = {name: getattr(arguments, name) for name in ("keep", "review_separator")}
    made_with["dataset_name"] = public_name(arguments.dataset_name)
    made_with |= {"test_year": arguments.test_year} if arguments.test_year else {}
    save_splits(processed, made_with, arguments.output_dir)
    record = made_with | tokenization_record(processed, tokenizer, arguments)
    save_splits(tokenized, record, arguments.tokenized_dir)
    print(f"Saved {arguments.output_dir} (texts) and {arguments.tokenized_dir} (token ids). Next: python fine_tune.py")

    # 4. Push both, if asked.
    if arguments.push_to_hub:
        tables = {"cleaning": format_table(cleaning), "lengths": format_table(lengths)}
        push_splits(processed, made_with, None, tables, processed_id)
        push_splits(tokenized, record, public_name(arguments.model_name_or_path), tables, tokenized_id)


if __name__ == "__main__":
    run(main)
