"""What is learned: the summary and its end, nothing of the prompt; what the settings leave open."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import make_frame_template, make_tokenizer
from datasets import Dataset, DatasetDict

from metareview.common.cli import InputError
from metareview.data.placeholders import fill
from metareview.data.prompts import PROMPTS
from metareview.data.tokenization import (
    TokenizationArguments,
    choose_reserve,
    load_tokenizer,
    tokenize_splits,
)


def tokenize(rows: list[tuple[str, str]], prompt: str = "plain", limit: int = 140) -> tuple[list, dict[str, Any]]:
    """What a model reads and what it learns of each row, in tokens; the table's line by its columns."""
    arguments = TokenizationArguments(prompt=prompt, max_length=limit + 60, max_summary_tokens=60)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = make_frame_template(tokenizer, arguments.prompt_template)
    split = Dataset.from_list([{"review": review, "summary": summary} for review, summary in rows])
    splits, (header, line) = tokenize_splits(DatasetDict(train=split), tokenizer, arguments)
    pairs = []
    for row in splits["train"]:
        read = row["labels"].count(-100)
        assert row["labels"] == [-100] * read + row["input_ids"][read:] and row["length"] == len(row["labels"])
        pairs.append((row["input_ids"][:read], row["input_ids"][read:]))
    return pairs, dict(zip(header, line, strict=True))


@pytest.mark.parametrize("prompt", ["plain", "ratings", '\U0001f600 é \u2028"\\ {{ x }} {# {review} #}\n'])
def test_labels_are_the_summary_with_its_end_and_nothing_else(prompt: str) -> None:
    [(read, learned)], _ = tokenize([("a b\n\nc", "good work")], prompt)
    tokenizer = make_tokenizer()
    assert tokenizer.decode(read) == fill(PROMPTS.get(prompt, prompt), {"review": "a b\n\nc"})
    assert learned == [*tokenizer("good work").input_ids, tokenizer.eos_token_id]


def test_a_summary_over_the_reserve_takes_from_its_own_reviews_or_is_left_out_and_reported() -> None:
    rows = [("fine", "fine"), ("fine", "long " * 90), ("word " * 300, "fine"), ("word " * 300, "long " * 20)]
    pairs, reported = tokenize(rows)
    assert len(pairs) == 3 and reported["cut to fit"] == 2 and reported["summary too long"] == 1
    read, learned = pairs[2]
    with pytest.raises(InputError, match="no summary of 'train' leaves room for its reviews"):
        tokenize(rows[1:2])
    assert 190 < len(read) + len(learned) <= 200 and make_tokenizer().decode(learned).count("long") == 20


def test_the_reserve_is_what_most_of_the_training_summaries_need() -> None:
    arguments, tokenizer = TokenizationArguments(prompt="plain", max_length=200), make_tokenizer()
    tokenizer.chat_template = make_frame_template(tokenizer)
    split = Dataset.from_dict({"summary": ["a"] * 94 + ["a b c d"] * 6})
    choose_reserve(arguments, split, tokenizer)
    assert arguments.max_summary_tokens == 1 + len(tokenizer("a b c d").input_ids)
    with pytest.raises(InputError, match="is too small for any review"):
        choose_reserve(TokenizationArguments(prompt="plain", max_length=5), split, tokenizer)


def test_other_columns_are_read_and_learned() -> None:
    tokenizer, completion = make_tokenizer(), "Decision: {decision}\n{summary}"
    arguments = TokenizationArguments(prompt="ratings", max_length=250, max_summary_tokens=60, completion=completion)
    tokenizer.chat_template = make_frame_template(tokenizer, arguments.prompt_template)
    rows = [{"review": "a " * 300, "summary": "fine", "ratings": "6, 8", "decision": "accept", "title": ""}]
    rows += [{"review": "b", "summary": "bad", "ratings": "", "decision": "", "title": "<|endoftext|>"}]
    splits, _ = tokenize_splits(DatasetDict(train=Dataset.from_list(rows)), tokenizer, arguments)
    one, two = (tokenizer.decode(row["input_ids"]) for row in splits["train"])
    assert one.startswith("### Ratings: 6, 8\n### Review:\na a")
    assert one.endswith("\n\n### Summary:\nDecision: accept\nfine<|endoftext|>")
    assert two == "### Title: < |endoftext|>\n### Review:\nb\n\n### Summary:\nbad<|endoftext|>"
    assert splits["train"][1]["input_ids"].count(tokenizer.eos_token_id) == 1


def test_a_text_that_looks_like_the_end_is_learned_as_text_and_the_end_as_the_token() -> None:
    """Also if the reviews are cut to fit, to the same room whatever the summary."""
    text, tokenizer = "says <|endoftext|> and more", make_tokenizer()
    [(other, _), (read, learned)], _ = tokenize([(f"{text} " * 3, "fine"), (f"{text} " * 3, text)], limit=30)
    assert [*read, *learned].count(tokenizer.eos_token_id) == 1 and learned[-1] == tokenizer.eos_token_id
    assert other == read and len(read) <= 30
    assert tokenizer.decode(learned) == f"{text}<|endoftext|>"


@pytest.mark.parametrize(
    ("max_length", "reserve", "message"),
    [
        (300, 60, "MAX_LENGTH .* is 300, but '.*' has a context of 256 tokens"),
        (None, 250, "a context of 256 tokens is too small for any review: 250 are kept for the summary"),
        (80, 75, "a context of 80 tokens is too small for any review"),
    ],
)
def test_a_context_that_cannot_be(max_length: int | None, reserve: int, message: str, base: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_tokenizer(TokenizationArguments(str(base), "plain", max_length, reserve))


def test_an_adapter_without_its_base_names_the_base(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "moved/away"}')
    with pytest.raises(InputError, match="cannot read the model 'moved/away'"):
        load_tokenizer(TokenizationArguments(str(tmp_path / "adapter"), "plain", 256, 100))
