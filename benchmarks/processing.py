"""Time cleaning and tokenizing: the old loop over rows and processing_meta_review.py, in turn on the same rows.

    python benchmarks/processing.py --dataset_name my_reviews.csv --tokenizer EleutherAI/pythia-70m
    python benchmarks/processing.py --times 1 10 100 ...      # the data once, ten times, a hundred times over

Repeated rows get a number, so that they are not dropped as duplicates. Each contestant writes both data sets to disk.
"""

import argparse
import re
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
from datasets import Dataset, DatasetDict
from measuring import medians, parse, print_ratios, save_results, seconds, take_turns
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from metareview.common.cli import run
from metareview.common.device import peak_memory
from metareview.data.rows import clean_splits, drop_rows
from metareview.data.splits import complete_splits, save_splits
from metareview.data.tokenization import (
    TokenizationArguments,
    choose_reserve,
    load_tokenizer,
    tokenization_record,
    tokenize_splits,
)
from metareview.sources.columns import Columns, choose_columns, read_papers
from metareview.sources.reading import read_source
from processing_meta_review import DATASET, KEEP, MAX_SUMMARY_TOKENS, MODEL, PROMPT, REVIEW_SEPARATOR, SPLIT_SEED


def old_loop(source: DatasetDict, review: str, summary: str, name: str, folder: str) -> None:
    """Clean row by row into lists, tokenize row by row, twice: once for the length, once to cut at 2,048 tokens."""
    tokenizer = AutoTokenizer.from_pretrained(name)
    tokenizer.pad_token, tokenizer.truncation_side = tokenizer.eos_token, "left"

    def clean(text: str) -> str:
        return re.sub(r"[^a-zA-Z0-9\s]", "", text).lower()

    def tokenize(rows: dict[str, list[str]]) -> Any:
        text = rows["Input"][0] + rows["Output"][0]
        length = tokenizer(text, return_tensors="np", padding=True)["input_ids"].shape[1]
        return tokenizer(text, return_tensors="np", truncation=True, max_length=min(length, 2048))

    cleaned = DatasetDict()
    for split in source:
        inputs, outputs = [], []
        for row in source[split]:
            if row[review] is not None and row[summary] is not None:
                inputs.append(f"### Review:\n{clean(row[review])}\n\n### Summary:")
                outputs.append(clean(row[summary]))
        cleaned[split] = Dataset.from_dict({"Input": inputs, "Output": outputs})
    cleaned.save_to_disk(Path(folder, "processed"))
    tokenized = cleaned.map(tokenize, batched=True, batch_size=1, drop_last_batch=True)
    for split in source:
        tokenized[split] = tokenized[split].add_column("labels", tokenized[split]["input_ids"][:])
    tokenized.save_to_disk(Path(folder, "tokenized"))


def ours(source: DatasetDict, review: str, summary: str, name: str, folder: str, reserve: int | None) -> None:
    """What processing_meta_review.py does between reading the source and saying so."""
    arguments = TokenizationArguments(name, PROMPT, max_summary_tokens=reserve)
    tokenizer = load_tokenizer(arguments)
    papers, _ = read_papers(source, Columns([review], summary, separator=REVIEW_SEPARATOR))
    processed, _, _ = drop_rows(complete_splits(clean_splits(papers, KEEP), SPLIT_SEED))
    choose_reserve(arguments, processed["train"], tokenizer)
    tokenized, _ = tokenize_splits(processed, tokenizer, arguments)
    save_splits(processed, {}, f"{folder}/processed")
    save_splits(tokenized, tokenization_record(processed, tokenizer, arguments), f"{folder}/tokenized")


def tokenize_only(source: DatasetDict, review: str, summary: str, name: str, folder: str) -> None:
    """The tokenizer alone, on the raw texts, a thousand at a time: what no processing can fall below."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name)
    for rows in (rows for split in source for rows in source[split].iter(1000)):
        tokenizer.backend_tokenizer.encode_batch_fast([text or "" for text in rows[review]])
        tokenizer.backend_tokenizer.encode_batch_fast([text or "" for text in rows[summary]])


CONTESTANTS = {"old": old_loop, "ours": ours, "tokenizer": tokenize_only}


def repeat(source: DatasetDict, times: int, review: str, folder: str) -> DatasetDict:
    """The rows `times` times over, on disk, each copy told apart by a number."""
    for split, data in source.items():
        copies = [
            data.map(lambda row, copy: {review: f"{copy} {row[review] or ''}"}, fn_kwargs={"copy": copy})
            for copy in range(times)
        ]
        datasets.concatenate_datasets(copies).save_to_disk(Path(folder, split))
    return DatasetDict({split: datasets.load_from_disk(Path(folder, split)) for split in source})


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    datasets.disable_progress_bars()
    rows, _ = read_source(arguments.dataset_name)
    columns = choose_columns(rows, None, None, None, REVIEW_SEPARATOR)
    [review], summary = columns.reviews, columns.summary
    source = DatasetDict({split: Dataset.from_list(list(data)) for split, data in rows.items()})
    name, _, times = arguments.contestant.partition("_x")
    work = partial(CONTESTANTS[name], review=review, summary=summary, name=arguments.tokenizer)
    work = partial(work, reserve=arguments.max_summary_tokens) if name == "ours" else work
    with TemporaryDirectory() as folder:
        few = DatasetDict({split: data.select(range(min(20, len(data)))) for split, data in source.items()})
        work(source=few, folder=f"{folder}/warm_up")
        repeated = repeat(source, int(times), review, f"{folder}/source")
        time = seconds(lambda: work(source=repeated, folder=folder))
    rows = sum(repeated.num_rows.values())
    return {"rows": rows, "rows/s": rows / time, "seconds": time, "GB": peak_memory() / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset_name", default=DATASET, help="raw reviews: Hub id, folder or file")
    parser.add_argument("--tokenizer", default=MODEL, help="Hub id or folder of the model whose tokenizer is used")
    parser.add_argument("--max_summary_tokens", type=int, default=MAX_SUMMARY_TOKENS)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS), choices=CONTESTANTS)
    arguments = parse(parser, measure)
    arguments.contestants = [f"{name}_x{times}" for times in arguments.times for name in arguments.contestants]
    runs = take_turns(__file__, arguments, {})
    results = {name: medians(runs[name]) for name in runs}
    formats = {"rows": ",.0f", "rows/s": ".0f", "seconds": ".1f", "GB": ".2f"}
    for times in arguments.times:
        group = {name: results[name] for name in results if name.endswith(f"_x{times}")}
        print_ratios(group, runs, formats, "rows/s", f"ours_x{times}")
    save_results("processing", {"medians": results, "rounds": runs})


if __name__ == "__main__":
    run(main)
