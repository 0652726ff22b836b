"""What is learned: the summary and its end, nothing of the prompt; and the prompt that the tokenizer itself gives."""

import pytest
from conftest import make_tokenizer
from datasets import Dataset, DatasetDict
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from processing_meta_review import (
    PROMPTS,
    TokenizationArguments,
    encode_prompts,
    prompt_as_chat_template,
    tokenize_splits,
)

CHAT_TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}<assistant>"


@pytest.fixture
def prompted():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = prompt_as_chat_template(tokenizer)
    return tokenizer


@pytest.mark.parametrize("prompt", [*PROMPTS, "Sum up: {review}\n"])
def test_labels_are_the_summary_with_its_end_and_nothing_else(prompt: str) -> None:
    arguments, prompted = TokenizationArguments(max_length=200, prompt=prompt), make_tokenizer()
    prompted.chat_template = prompt_as_chat_template(prompted, arguments.prompt_template)
    split = Dataset.from_dict({"review": ["a b\n\nc"], "summary": ["good work"]})
    tokenized, _ = tokenize_splits(DatasetDict(train=split), prompted, 150, arguments)
    row = tokenized["train"][0]
    learned = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]
    read = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label == -100]
    assert prompted.decode(read) == PROMPTS.get(prompt, prompt).format(review="a b\n\nc")
    assert learned == [*prompted("good work").input_ids, prompted.eos_token_id]
    assert [label for label in row["labels"] if label != -100] == learned
    assert row["labels"][-1] == prompted.eos_token_id  # the end token has a label: that is how it is learned
    assert row["length"] == len(row["input_ids"])


def test_the_saved_tokenizer_gives_the_prompt_without_this_project(prompted, tmp_path) -> None:
    prompted.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    messages = [{"role": "user", "content": "a b\n\nc"}]
    assert loaded.apply_chat_template(messages, tokenize=False) == PROMPTS["plain"].format(review="a b\n\nc")
    ids = loaded.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids == encode_prompts(["a b\n\nc"], prompted)[0]
    answered = [*messages, {"role": "assistant", "content": "good work"}]
    assert (
        loaded.apply_chat_template(answered, tokenize=False)
        == PROMPTS["plain"].format(review="a b\n\nc") + "good work<|endoftext|>"
    )


def test_a_chat_template_of_the_models_own_is_kept_and_the_prompt_is_the_message() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    text = tokenizer.decode(encode_prompts(["a b"], tokenizer)[0])
    assert text == f"<user>{PROMPTS['plain'].format(review='a b')}</s><assistant>"


def test_a_tokenizer_that_begins_texts_with_a_token_does_so_once() -> None:
    tokenizer = make_tokenizer()
    starting = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    tokenizer.backend_tokenizer.post_processor = starting
    tokenizer.chat_template = prompt_as_chat_template(tokenizer)
    ids = encode_prompts(["a b"], tokenizer)[0]
    assert ids[0] == 0 and ids.count(0) == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == PROMPTS["plain"].format(review="a b")
