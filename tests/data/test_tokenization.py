"""What is learned: the summary and its end, nothing of the prompt; what the settings leave open."""

from pathlib import Path

import pytest
from conftest import make_frame_template, make_model, make_tokenizer
from datasets import Dataset, DatasetDict

from metareview.common.cli import InputError
from metareview.data.context import fit_prompts
from metareview.data.placeholders import fill
from metareview.data.prompts import PROMPTS
from metareview.data.tokenization import (
    TokenizationArguments,
    choose_reserve,
    follow_record,
    load_tokenizer,
    tokenization_record,
    tokenize_splits,
)

TOKENIZER = make_tokenizer()
TOKENIZER.chat_template = make_frame_template(TOKENIZER)


@pytest.mark.parametrize("prompt", [*PROMPTS, "Sum up: {review}\n"])
def test_labels_are_the_summary_with_its_end_and_nothing_else(prompt: str) -> None:
    arguments, prompted = TokenizationArguments(prompt=prompt, max_length=200, max_summary_tokens=50), make_tokenizer()
    prompted.chat_template = make_frame_template(prompted, arguments.prompt_template)
    split = Dataset.from_dict({"review": ["a b\n\nc"], "summary": ["good work"]})
    tokenized, _ = tokenize_splits(DatasetDict(train=split), prompted, arguments)
    row = tokenized["train"][0]
    learned = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]
    read = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label == -100]
    assert prompted.decode(read) == fill(PROMPTS.get(prompt, prompt), {"review": "a b\n\nc"})
    assert learned == [*prompted("good work").input_ids, prompted.eos_token_id]
    assert [label for label in row["labels"] if label != -100] == learned
    assert row["labels"][-1] == prompted.eos_token_id  # the end token has a label: that is how it is learned
    assert row["length"] == len(row["input_ids"])


def tokenize(rows: list[tuple[str, str]]) -> tuple[Dataset, dict[str, object]]:
    arguments = TokenizationArguments(prompt="plain", max_length=200, max_summary_tokens=60)
    split = Dataset.from_list([{"review": review, "summary": summary} for review, summary in rows])
    splits, (header, row) = tokenize_splits(DatasetDict(train=split), TOKENIZER, arguments)
    return splits["train"], dict(zip(header, row, strict=True))


def test_the_reserve_is_the_same_whatever_the_summary() -> None:
    review = "word " * 500
    tokenized, _ = tokenize([(review.strip(), "short"), (review.strip(), "longer " * 8)])
    prompts = [[t for t, label in zip(r["input_ids"], r["labels"], strict=True) if label == -100] for r in tokenized]
    assert prompts[0] == prompts[1] == fit_prompts([{"review": review.strip()}], TOKENIZER, [140])[0][0]
    assert 130 < len(prompts[0]) <= 140


def test_a_summary_over_the_reserve_takes_from_its_own_reviews_or_is_left_out_and_reported() -> None:
    rows = [("fine", "fine"), ("fine", "long " * 90), ("word " * 300, "fine"), ("word " * 300, "long " * 20)]
    tokenized, reported = tokenize(rows)
    assert len(tokenized) == 3
    assert reported["cut to fit"] == 2 and reported["summary too long"] == 1
    assert 190 < tokenized[2]["length"] <= 200 and TOKENIZER.decode(tokenized[2]["input_ids"]).count("long") == 20


def test_the_reserve_is_what_most_of_the_training_summaries_need() -> None:
    arguments = TokenizationArguments(prompt="plain", max_length=200)
    split = Dataset.from_dict({"summary": ["a"] * 94 + ["a b c d"] * 6})
    choose_reserve(arguments, split, TOKENIZER)
    assert arguments.max_summary_tokens == 1 + len(TOKENIZER("a b c d").input_ids)
    with pytest.raises(InputError, match="is too small for any review"):
        choose_reserve(TokenizationArguments(prompt="plain", max_length=5), split, TOKENIZER)


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
    assert two == "### Title: <|endoftext|>\n### Review:\nb\n\n### Summary:\nbad<|endoftext|>"
    assert splits["train"][1]["input_ids"].count(tokenizer.eos_token_id) == 1


def test_a_record_fills_what_is_left_open_and_changes_nothing_else() -> None:
    record = {
        "model": "recorded", "prompt_template": "Sum up: {review}", "asked_max_length": 700,
        "max_length": 256, "max_summary_tokens": 60,
    }  # fmt: skip
    arguments = TokenizationArguments()
    follow_record(arguments, record)
    expected = TokenizationArguments("recorded", "Sum up: {review}", 700, 60)
    assert arguments == expected
    given = TokenizationArguments("mine", "plain", 99, 9)
    follow_record(given, record)
    assert given == TokenizationArguments("mine", "plain", 99, 9)


def test_without_a_record_there_are_defaults_but_no_model() -> None:
    arguments = TokenizationArguments()
    follow_record(arguments, {})
    assert arguments == TokenizationArguments(None, "plain", None, None)


def test_the_whole_context_is_that_of_the_model_at_hand(base: Path, tmp_path: Path) -> None:
    make_model("gpt_neox", context=512).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    for folder, context in ((base, 256), (tmp_path, 512)):
        arguments = TokenizationArguments(str(folder), "plain", None, 60)
        load_tokenizer(arguments)
        assert (arguments.max_length, arguments.prompt_limit) == (context, context - 60)


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


@pytest.mark.parametrize("room", [140, 30])
def test_a_text_that_looks_like_the_end_is_learned_as_text_and_the_end_as_the_token(room: int) -> None:
    """Also where the reviews are cut to fit: both go the same way."""
    arguments = TokenizationArguments(prompt="plain", max_length=room + 60, max_summary_tokens=60)
    text = "says <|endoftext|> and goes on"
    split = Dataset.from_list([{"review": f"{text} " * 3, "summary": text}])
    splits, _ = tokenize_splits(DatasetDict(train=split), TOKENIZER, arguments)
    [row] = splits["train"]
    assert [place for place, token in enumerate(row["input_ids"]) if token == TOKENIZER.eos_token_id] == [
        row["length"] - 1
    ]
    learned = [label for label in row["labels"] if label != -100]
    assert TOKENIZER.decode(learned) == f"{text}<|endoftext|>" and learned[-1] == TOKENIZER.eos_token_id


def test_the_record_knows_where_a_split_ends(base: Path) -> None:
    """A row that moves from train to validation makes other data."""
    rows, records = [{"review": text, "summary": text} for text in "abc"], []
    arguments = TokenizationArguments(str(base), "plain", None, 60)
    tokenizer = load_tokenizer(arguments)
    for end in (1, 2):
        splits = DatasetDict(train=Dataset.from_list(rows[:end]), validation=Dataset.from_list(rows[end:]))
        records.append(tokenization_record(splits, tokenizer, arguments))
    assert [name for name in records[0] if records[0][name] != records[1][name]] == ["texts"]


def test_a_changed_prompt_changes_the_record_in_that_alone(base: Path) -> None:
    splits = DatasetDict(train=Dataset.from_dict({"review": ["a"], "summary": ["b"]}))
    records = []
    for prompt in ("plain", "instruction"):
        arguments = TokenizationArguments(str(base), prompt, None, 60)
        tokenizer = load_tokenizer(arguments)
        records.append(tokenization_record(splits, tokenizer, arguments))
    changed = [name for name in records[0] if records[0][name] != records[1][name]]
    assert changed == ["prompt_template", "frame"]
