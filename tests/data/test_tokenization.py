"""What is learned: the summary and its end, nothing of the prompt; what the settings leave open."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import make_frame_template, make_tokenizer
from datasets import Dataset, DatasetDict
from transformers import AutoTokenizer

from metareview.common.cli import InputError
from metareview.data.placeholders import fill
from metareview.data.prompts import PROMPTS, encode_prompts
from metareview.data.tokenization import TokenizationArguments, choose_reserve, load_tokenizer, tokenize_splits


def tokenize(rows: list[dict[str, str]], limit: int = 140, **how: str) -> tuple[list, dict[str, Any]]:
    """What a model reads and what it learns of each row, as texts; the table's line by its columns."""
    arguments = TokenizationArguments(max_length=limit + 60, max_summary_tokens=60, **{"prompt": "plain"} | how)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = make_frame_template(tokenizer, arguments.prompt_template)
    splits, (header, line) = tokenize_splits(DatasetDict(train=Dataset.from_list(rows)), tokenizer, arguments)
    pairs = []
    for row in splits["train"]:
        read = row["labels"].count(-100)
        assert row["labels"] == [-100] * read + row["input_ids"][read:] and row["length"] == len(row["labels"])
        assert row["length"] <= limit + 60
        assert row["input_ids"].count(tokenizer.eos_token_id) == 1 and row["labels"][-1] == tokenizer.eos_token_id
        pairs.append((tokenizer.decode(row["input_ids"][:read]), tokenizer.decode(row["labels"][read:])))
    return pairs, dict(zip(header, line, strict=True))


@pytest.mark.parametrize("prompt", ["plain", "ratings", '\U0001f600 é \u2028"\\ {{ x }} {# {review} #}\n'])
def test_labels_are_the_summary_with_its_end_and_nothing_else(prompt: str) -> None:
    pairs, _ = tokenize([{"review": "a b\n\nc", "summary": "good work"}], prompt=prompt)
    read = fill(PROMPTS.get(prompt, prompt), {"review": "a b\n\nc"})
    assert pairs == [(read, "good work<|endoftext|>")]


def test_a_summary_over_the_reserve_takes_from_its_own_reviews_or_is_left_out_and_reported() -> None:
    texts = [("fine", "fine"), ("fine", "long " * 90), ("word " * 300, "fine"), ("word " * 300, "long " * 20)]
    rows = [{"review": review, "summary": summary} for review, summary in texts]
    pairs, reported = tokenize(rows)
    assert len(pairs) == 3 and reported["cut to fit"] == 2 and reported["summary too long"] == 1
    (shorter, learned), (longer, _) = pairs[2], pairs[1]
    assert learned.count("long") == 20 and 0 < shorter.count("word") < longer.count("word")
    with pytest.raises(InputError, match="no summary of 'train' leaves room for its reviews"):
        tokenize(rows[1:2])


def test_the_reserve_is_what_most_of_the_training_summaries_need() -> None:
    arguments, tokenizer = TokenizationArguments(prompt="plain", max_length=200), make_tokenizer()
    tokenizer.chat_template = make_frame_template(tokenizer)
    split = Dataset.from_dict({"summary": ["a"] * 94 + ["a b c d"] * 6})
    choose_reserve(arguments, split, tokenizer)
    assert arguments.max_summary_tokens == 1 + len(tokenizer("a b c d").input_ids)
    with pytest.raises(InputError, match="is too small for any review"):
        choose_reserve(TokenizationArguments(prompt="plain", max_length=5), split, tokenizer)


def test_other_columns_are_read_and_learned() -> None:
    rows = [{"review": "a " * 300, "summary": "fine", "ratings": "6, 8", "decision": "accept", "title": ""}]
    rows += [{"review": "b", "summary": "bad", "ratings": "", "decision": "", "title": "T"}]
    pairs, _ = tokenize(rows, prompt="ratings", completion="Decision: {decision}\n{summary}")
    (read, learned), second = pairs
    assert read.startswith("### Ratings: 6, 8\n### Review:\na a") and read.endswith("\n\n### Summary:\n")
    assert learned == "Decision: accept\nfine<|endoftext|>"
    assert second == ("### Title: T\n### Review:\nb\n\n### Summary:\n", "bad<|endoftext|>")


def test_a_text_that_looks_like_the_end_is_learned_as_text_and_the_end_as_the_token() -> None:
    """Also if the reviews are cut to fit, to the same room whatever the summary."""
    text = "says <|endoftext|> and more"
    [(other, _), (read, learned)], _ = tokenize([{"review": f"{text} " * 9, "summary": end} for end in ("fine", text)])
    assert other == read and "says < |endoftext|>" in read and learned == f"{text}<|endoftext|>"


def test_no_prompt_is_cut_because_its_tokenizer_was_saved_with_truncation(base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer("a b c", truncation=True, max_length=2)
    tokenizer.save_pretrained(shutil.copytree(base, tmp_path / "base"))
    loaded = load_tokenizer(TokenizationArguments(str(tmp_path / "base"), "plain", 200, 60))
    [input_ids] = encode_prompts([{"review": "a b c"}], loaded)
    assert loaded.decode(input_ids) == fill(PROMPTS["plain"], {"review": "a b c"})


def test_a_context_that_cannot_be(base: Path) -> None:
    with pytest.raises(InputError, match=r"MAX_LENGTH .* is 300, but '.*' has a context of 256 tokens"):
        load_tokenizer(TokenizationArguments(str(base), "plain", 300, 60))
    with pytest.raises(InputError, match="256 tokens is too small for any review: 250 are kept for the summary"):
        load_tokenizer(TokenizationArguments(str(base), "plain", None, 250))


def test_an_adapter_without_its_base_names_the_base(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "moved/away"}')
    with pytest.raises(InputError, match="cannot read the model 'moved/away'"):
        load_tokenizer(TokenizationArguments(str(tmp_path / "adapter"), "plain", 256, 100))
