"""Prompts: as the tokenizer itself gives them, with a chat template of ours or with the model's own."""

import re
from collections.abc import Callable
from itertools import permutations

import jinja2
import pytest
from conftest import make_frame_template, make_tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from evaluation import EvaluationFlags
from fine_tune import FineTuningFlags
from metareview.common.cli import InputError
from metareview.data import prompts
from metareview.data.placeholders import fill
from metareview.data.prompts import PROMPTS, Frame
from processing_meta_review import ProcessingFlags

# Of Jinja, what vLLM (which uses Jinja itself) and llama.cpp (whose parser is its own: common/jinja) both understand.
UNDERSTOOD = {"Template", "Output", "For", "If", "Compare", "Operand", "Add", "Or", "Getitem", "Name", "Const"}
ESCAPES = set('\\"nrtbf')  # in texts: llama.cpp has no \\u


@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize("prompt", [PROMPTS["ratings"], 'Say "yes" or \\no:\t{review}\n'])
def test_the_chat_template_is_one_that_other_programs_understand(prompt: str, starts: bool) -> None:
    """A token that begins each text is there once."""
    tokenizer = make_tokenizer()
    if starts:
        starting = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
        tokenizer.backend_tokenizer.post_processor = starting
    template = tokenizer.chat_template = make_frame_template(tokenizer, prompt)
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # as in llama.cpp
    nodes = [tree := environment.parse(template), *tree.find_all(jinja2.nodes.Node)]
    assert {type(node).__name__ for node in nodes} <= UNDERSTOOD
    texts = [text for _, kind, text in environment.lex(template) if kind == "string"]
    assert {escaped for text in texts for escaped in re.findall(r"\\(.)", text)} <= ESCAPES
    rendered = environment.from_string(template).render(messages=[{"role": "user", "content": "a b"}])
    assert rendered == "<|endoftext|>" * starts + fill(prompt, {"review": "a b"})
    assert prompts.encode_prompts([{"review": "a b"}], tokenizer)[0].count(0) == starts


def test_a_heading_of_the_prompt_is_not_in_a_review() -> None:
    review = "fine\n### Summary:\naccept\n## Summary: yes\n# Other ### Summary:"
    expected = "fine\nSummary:\naccept\nSummary: yes\n# Other ### Summary:"
    assert prompts.drop_headings(review, PROMPTS["plain"]) == expected


@pytest.mark.parametrize(
    ("check", "text", "told"),
    [
        (prompts.find_template, "word_limt", "must be one of plain, instruction, word_limit, ratings, or a text with"),
        (prompts.find_template, "{review}{summary}", "must be one of .* and without {summary}"),
        (prompts.find_template, "{2nd Größe}\n{review}", r"PROMPT \(--prompt\) has \{2nd Größe\}; a column"),
        (prompts.find_template, "{content}\n{review}", "cannot be called role or content"),
        (prompts.check_completion, "{decision}", r"COMPLETION \(--completion\) must have \{summary\} in it once"),
        (prompts.check_completion, "{summary} {decision}", r"COMPLETION \(--completion\) must have .* a line break"),
        (prompts.check_completion, "{Final}\n{summary}", r"COMPLETION \(--completion\) has \{Final\}"),
    ],
)
def test_a_prompt_or_completion_that_cannot_be_used_is_told(check: Callable, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        check(text)


def test_a_line_break_may_be_typed_as_it_is_written() -> None:
    """In the flags of all scripts; the prompt that a model records stays as it is."""
    typed = r"Read:\n{review}"
    assert prompts.find_template(typed) == typed
    assert EvaluationFlags(prompt=typed, num_examples=1).prompt == "Read:\n{review}"
    for kind in (ProcessingFlags, FineTuningFlags):
        flags = kind(prompt=typed, completion=r"{decision}\n{summary}")
        assert (flags.prompt, flags.completion) == ("Read:\n{review}", "{decision}\n{summary}")


# The model's own chat template


def chat(template: object) -> PreTrainedTokenizerFast:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>", "</s>"]})
    tokenizer.chat_template = template
    return tokenizer


TURNS = "{% for m in messages %}<turn>{{ m['role'] }}\n{{ m['content'] | trim }}</s>\n{% endfor %}"
TURNS += "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
WITHOUT_SYSTEM = "{% if messages[0].role != 'system' %}"


@pytest.mark.parametrize(
    "template",
    [
        None,
        TURNS,
        WITHOUT_SYSTEM + "<turn>system\nBe kind.</s>\n{% endif %}" + TURNS,
        {"default": TURNS, "tool_use": "{{ tools }}"},
    ],
)
@pytest.mark.parametrize("prompt", [PROMPTS["plain"], PROMPTS["ratings"]])
def test_the_saved_template_prompts_as_in_training(template: object, prompt: str, tmp_path) -> None:
    """Without this project: reviews in, the right prompt out; what ended an answer in the base ends it still."""
    tokenizer = chat(template)
    frame = prompts.build_frame(tokenizer, "it", prompt)
    expected = fill(prompt, {"review": "a b"})
    if template:
        asked = [{"role": "user", "content": expected}]
        expected = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    tokenizer.chat_template = prompts.frame_as_chat_template(frame)
    assert frame.end == ("</s>" if template else "<|endoftext|>") == tokenizer.decode(prompts.find_end(tokenizer))
    tokenizer.save_pretrained(tmp_path)
    loaded, messages = AutoTokenizer.from_pretrained(tmp_path), [{"role": "user", "content": "a b"}]
    ids = loaded.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert ids == prompts.encode_prompts([{"review": "a b"}], tokenizer)[0]
    answered = [*messages, {"role": "assistant", "content": "good"}]
    assert loaded.apply_chat_template(answered, tokenize=False) == expected + "good" + frame.end
    assert template or prompts.build_frame(loaded, "it", prompt) == frame


def test_a_template_that_demands_a_system_message_gets_one() -> None:
    demanding = WITHOUT_SYSTEM + "{{ raise_exception('no system') }}{% endif %}" + TURNS
    frame = prompts.build_frame(chat(demanding), "it", PROMPTS["plain"])
    assert frame.before.startswith("<turn>system\nYou are a helpful assistant.</s>\n<turn>user\n### Review:\n")
    assert (frame.after, frame.end) == ("\n\n### Summary:</s>\n<turn>assistant\n", "</s>")


def test_another_prompt_replaces_the_first_within_the_frame() -> None:
    for template in (TURNS, TURNS.replace(" | trim", "")):
        frames = {prompt: prompts.build_frame(chat(template), "it", prompt) for prompt in PROMPTS.values()}
        for first, second in permutations(PROMPTS.values(), 2):
            assert prompts.change_prompt(frames[first], first, second) == frames[second]
    shouted = Frame("<turn>### REVIEW:\n", "\n\n### SUMMARY:</s>", "</s>")
    assert prompts.change_prompt(shouted, PROMPTS["plain"], PROMPTS["plain"]) == shouted
    with pytest.raises(InputError, match=r"PROMPT \(--prompt\) cannot be replaced"):
        prompts.change_prompt(shouted, PROMPTS["plain"], PROMPTS["instruction"])


LOOPS = "".join(f"{{% for {name} in range(99999) %}}" for name in "abc") + "{% endfor %}" * 3


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ messages[0]['role'] }}", "does not take the user's message once"),
        ("{{ raise_exception('no user') }}", "cannot be used: no user"),
        (LOOPS, "cannot be used: it takes more than 1 seconds"),
    ],
)
def test_a_chat_template_that_cannot_be_used_is_told(template: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "TEMPLATE_SECONDS", 1)
    with pytest.raises(InputError, match=f"^the chat template of 'it' {told}; choose another model$"):
        prompts.build_frame(chat(template), "it", PROMPTS["plain"])
