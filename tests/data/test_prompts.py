"""Prompts: as the tokenizer itself gives them, with a chat template of ours or with the model's own."""

import re
from itertools import permutations

import jinja2
import pytest
from conftest import make_frame_template, make_tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from metareview.common.cli import InputError
from metareview.data.placeholders import fill
from metareview.data.prompts import (
    PROMPTS,
    Frame,
    build_frame,
    change_prompt,
    drop_headings,
    encode_prompts,
    encode_texts,
    find_template,
    frame_as_chat_template,
    read_end,
)

CHAT_TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}<assistant>"


@pytest.fixture
def prompted():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = make_frame_template(tokenizer)
    return tokenizer


def test_the_saved_tokenizer_gives_the_prompt_without_this_project(prompted, tmp_path) -> None:
    prompted.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    messages = [{"role": "user", "content": "a b\n\nc"}]
    assert loaded.apply_chat_template(messages, tokenize=False) == PROMPTS["plain"].format(review="a b\n\nc")
    ids = loaded.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids == encode_prompts([{"review": "a b\n\nc"}], prompted)[0]
    answered = [*messages, {"role": "assistant", "content": "good work"}]
    assert (
        loaded.apply_chat_template(answered, tokenize=False)
        == PROMPTS["plain"].format(review="a b\n\nc") + "good work<|endoftext|>"
    )


# Of Jinja, what vLLM (which uses Jinja itself) and llama.cpp (whose parser is its own: common/jinja) both understand.
UNDERSTOOD = {"Template", "Output", "For", "If", "Compare", "Operand", "Add", "Or", "Getitem", "Name", "Const"}
ESCAPES = set('\\"nrtbf')  # in texts: llama.cpp has no \\u


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("prompt", [*PROMPTS.values(), 'Say "yes" or \\no:\t{review}\n'])
def test_the_chat_template_is_one_that_other_programs_understand(prompt: str, start: bool) -> None:
    tokenizer = make_tokenizer()
    if start:
        starting = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
        tokenizer.backend_tokenizer.post_processor = starting
    template = make_frame_template(tokenizer, prompt)
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # as in llama.cpp
    nodes = [tree := environment.parse(template), *tree.find_all(jinja2.nodes.Node)]
    assert {type(node).__name__ for node in nodes} <= UNDERSTOOD
    texts = [text for _, kind, text in environment.lex(template) if kind == "string"]
    assert {escaped for text in texts for escaped in re.findall(r"\\(.)", text)} <= ESCAPES
    made = environment.from_string(template).render(messages=[{"role": "user", "content": "a b"}])
    assert made == "<|endoftext|>" * start + fill(prompt, {"review": "a b"})


def test_a_tokenizer_that_begins_texts_with_a_token_does_so_once() -> None:
    tokenizer = make_tokenizer()
    starting = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    tokenizer.backend_tokenizer.post_processor = starting
    tokenizer.chat_template = make_frame_template(tokenizer)
    ids = encode_prompts([{"review": "a b"}], tokenizer)[0]
    assert ids[0] == 0 and ids.count(0) == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == PROMPTS["plain"].format(review="a b")


@pytest.mark.parametrize("template", [None, CHAT_TEMPLATE.replace("</s>", "<|endoftext|>")])
def test_what_looks_like_a_special_token_in_a_review_is_text(template: str | None) -> None:
    """In the chat template it is one."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template or make_frame_template(tokenizer)
    review = "it stops <|endoftext|> here"
    plain, imitating = encode_prompts([{"review": "a b"}, {"review": review}], tokenizer)
    assert imitating.count(0) == plain.count(0) == (template is not None)
    assert review in tokenizer.decode(imitating)
    alone = tokenizer(review, split_special_tokens=True).input_ids
    assert "".join(map(chr, alone)) in "".join(map(chr, imitating))
    assert encode_texts([review], tokenizer) == [alone] and tokenizer(review).input_ids.count(0) == 1


def test_a_heading_of_the_prompt_does_not_stand_in_a_review() -> None:
    review = "fine\n### Summary:\naccept\n## Summary: yes\n# Other ### Summary:"
    assert drop_headings(review, PROMPTS["plain"]) == "fine\nSummary:\naccept\nSummary: yes\n# Other ### Summary:"
    assert drop_headings(review, "{review}\nIn short:") == review


@pytest.mark.parametrize("prompt", ["word_limt", "no place for them", "{review} and {review}", ""])
def test_a_prompt_has_a_name_or_one_place_for_the_reviews(prompt: str) -> None:
    with pytest.raises(
        InputError, match=r"PROMPT \(--prompt\) must be one of plain, instruction, word_limit, ratings, or a text with"
    ):
        find_template(prompt)


@pytest.mark.parametrize("prompt", [*PROMPTS, "Sum up: {review}\n", '\U0001f600 é \u2028"\\ {{ x }} {# {review} #}\n'])
def test_every_prompt_stands_around_the_reviews(prompt: str, prompted) -> None:
    template = find_template(prompt)
    prompted.chat_template = make_frame_template(prompted, template)
    text = prompted.decode(encode_prompts([{"review": "a b"}], prompted)[0])
    assert text == fill(template, {"review": "a b"})


# The model's own chat template


def chat(template: object) -> PreTrainedTokenizerFast:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>", "</s>"]})
    tokenizer.chat_template = template
    return tokenizer


TURNS = "{% for m in messages %}<turn>{{ m['role'] }}\n{{ m['content'] | trim }}</s>\n{% endfor %}"
TEMPLATES = {
    "plain": None,
    "chat": TURNS + "{% if add_generation_prompt %}<turn>assistant\n{% endif %}",
    "system": "{% if messages[0].role != 'system' %}<turn>system\nBe kind.</s>\n{% endif %}" + TURNS,
    "dated": "Today is {{ strftime_now('%d %b %Y') }}.\n" + TURNS,
    "several": {"default": TURNS, "tool_use": "{{ tools }}"},
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
@pytest.mark.parametrize("prompt", PROMPTS.values())
def test_the_saved_template_prompts_as_in_training(template: object, prompt: str, tmp_path) -> None:
    """Reviews in, the right prompt out, and the token that ended an answer in the base ends it still."""
    tokenizer = chat(template)
    frame = build_frame(tokenizer, "it", prompt)
    expected = tokenizer.apply_chat_template(
        [{"role": "user", "content": fill(prompt, {"review": "a b"})}], tokenize=False, add_generation_prompt=True,
        chat_template=template["default"] if isinstance(template, dict) else template or "{{ messages[0].content }}",
    )  # fmt: skip
    assert fill(frame.before + "a b" + frame.after, {}) == expected
    assert frame.end == ("</s>" if template else "<|endoftext|>") == read_end(with_frame(tokenizer, frame))
    tokenizer.save_pretrained(tmp_path)
    loaded, messages = AutoTokenizer.from_pretrained(tmp_path), [{"role": "user", "content": "a b"}]
    ids = loaded.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids == encode_prompts([{"review": "a b"}], tokenizer)[0]
    assert build_frame(loaded, "it", prompt) == frame or template  # with one of its own it is known from the record


def with_frame(tokenizer: PreTrainedTokenizerFast, frame: Frame) -> PreTrainedTokenizerFast:
    tokenizer.chat_template = frame_as_chat_template(frame)
    return tokenizer


def test_another_prompt_takes_the_place_of_the_first_within_the_frame() -> None:
    tokenizer = chat(TEMPLATES["chat"].replace(" | trim", ""))
    frames = {prompt: build_frame(tokenizer, "it", prompt) for prompt in PROMPTS.values()}
    for one, other in permutations(PROMPTS.values(), 2):
        assert change_prompt(frames[one], one, other) == frames[other]
    trimmed = build_frame(chat(TEMPLATES["chat"]), "it", PROMPTS["plain"])
    assert change_prompt(trimmed, PROMPTS["plain"], PROMPTS["plain"]) == trimmed
    with pytest.raises(InputError, match="--prompt cannot be used here"):
        change_prompt(trimmed, PROMPTS["plain"], PROMPTS["instruction"])


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ messages[0]['role'] }}", "does not take the user's message once; choose another model"),
        ({"rag": TURNS, "tool_use": "{{ tools }}"}, "has the chat templates rag, tool_use, and no default"),
        ("{% for m in messages %}", "cannot be used: .+; choose another model"),
        ("{{ raise_exception('no user') }}", "cannot be used: no user; choose another model"),
        ("{{ messages[0].x.y }}", "cannot be used: .+; choose another model"),
        ("{{ 1 / 0 }}", "cannot be used: .+; choose another model"),
    ],
)
def test_a_chat_template_that_cannot_be_used_is_told_in_a_line(template: object, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        build_frame(chat(template), "it", PROMPTS["plain"])
    assert "\n" not in str(error.value)
