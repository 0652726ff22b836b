"""Prompts: as the tokenizer itself gives them, with a chat template of ours or with the model's own."""

import re

import jinja2
import pytest
from conftest import make_tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from metareview.common.cli import InputError
from metareview.data.prompts import (
    PROMPTS,
    drop_headings,
    encode_prompts,
    encode_texts,
    find_template,
    prompt_as_chat_template,
    set_chat_template,
)

CHAT_TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}<assistant>"


@pytest.fixture
def prompted():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = prompt_as_chat_template(tokenizer)
    return tokenizer


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


# Of Jinja, what vLLM (which uses Jinja itself) and llama.cpp (whose parser is its own: common/jinja) both understand.
UNDERSTOOD = {"Template", "Output", "For", "If", "Compare", "Operand", "Add", "Getitem", "Name", "Const"}
ESCAPES = set('\\"nrtbf')  # in texts: llama.cpp has no \\u


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("prompt", [*PROMPTS.values(), 'Say "yes" or \\no:\t{review}\n'])
def test_the_chat_template_is_one_that_other_programs_understand(prompt: str, start: bool) -> None:
    tokenizer = make_tokenizer()
    if start:
        starting = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
        tokenizer.backend_tokenizer.post_processor = starting
    template = prompt_as_chat_template(tokenizer, prompt)
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # as in llama.cpp
    nodes = [tree := environment.parse(template), *tree.find_all(jinja2.nodes.Node)]
    assert {type(node).__name__ for node in nodes} <= UNDERSTOOD
    texts = [text for _, kind, text in environment.lex(template) if kind == "string"]
    assert {escaped for text in texts for escaped in re.findall(r"\\(.)", text)} <= ESCAPES
    made = environment.from_string(template).render(
        messages=[{"role": "user", "content": "a b"}], bos_token="<s>", eos_token="</s>"
    )
    assert made == "<s>" * start + prompt.format(review="a b")


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


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE.replace("</s>", "<|endoftext|>")])
def test_what_looks_like_a_special_token_in_a_review_is_text(template: str | None) -> None:
    """In the chat template it is one."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template or prompt_as_chat_template(tokenizer)
    review = "it stops <|endoftext|> here"
    plain, imitating = encode_prompts(["a b", review], tokenizer)
    assert imitating.count(0) == plain.count(0) == (template is not None)
    assert review in tokenizer.decode(imitating)
    alone = tokenizer(review, split_special_tokens=True).input_ids
    assert "".join(map(chr, alone)) in "".join(map(chr, imitating))
    assert encode_texts([review], tokenizer) == [alone] and tokenizer(review).input_ids.count(0) == 1


def test_a_heading_of_the_prompt_does_not_stand_in_a_review() -> None:
    review = "fine\n### Summary:\naccept\n## Summary: yes\n# Other ### Summary:"
    assert drop_headings(review, PROMPTS["plain"]) == "fine\nSummary:\naccept\nSummary: yes\n# Other ### Summary:"
    assert drop_headings(review, "{review}\nIn short:") == review


def test_a_chat_template_that_drops_the_message_is_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['role'] }}"
    with pytest.raises(InputError, match="does not take the user's message once"):
        encode_prompts(["a b"], tokenizer)


@pytest.mark.parametrize("prompt", ["word_limt", "no place for them", "{review} and {review}", ""])
def test_a_prompt_has_a_name_or_one_place_for_the_reviews(prompt: str) -> None:
    with pytest.raises(
        InputError, match=r"PROMPT \(--prompt\) must be one of plain, instruction, word_limit, or a text with"
    ):
        find_template(prompt)


@pytest.mark.parametrize("prompt", [*PROMPTS, "Sum up: {review}\n", '\U0001f600 é \u2028"\\ {{ x }} {# {review} #}\n'])
def test_every_prompt_stands_around_the_reviews(prompt: str, prompted) -> None:
    template = find_template(prompt)
    prompted.chat_template = prompt_as_chat_template(prompted, template)
    text = prompted.decode(encode_prompts(["a b"], prompted, template)[0])
    assert text == template.replace("{review}", "a b")


def test_of_several_chat_templates_the_default_one_counts(tmp_path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"default": CHAT_TEMPLATE, "tool_use": "{{ tools }}"}
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(loaded.chat_template, dict)
    set_chat_template(loaded, "it", PROMPTS["plain"])
    assert loaded.chat_template == CHAT_TEMPLATE
    loaded.chat_template = {"rag": CHAT_TEMPLATE, "tool_use": "{{ tools }}"}
    with pytest.raises(InputError, match="the tokenizer of 'it' has the chat templates rag, tool_use, and no default"):
        set_chat_template(loaded, "it", PROMPTS["plain"])


@pytest.mark.parametrize(
    "template",
    ["{% for m in messages %}", "{{ raise_exception('no user') }}", "{{ messages[0].x.y }}", "{{ 1 + 'a' }}"],
)
def test_a_chat_template_that_cannot_be_used_is_told_in_a_line(template: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(InputError, match=r"^the chat template of 'it' cannot be used: .+; choose another model$"):
        set_chat_template(tokenizer, "it", PROMPTS["plain"])
