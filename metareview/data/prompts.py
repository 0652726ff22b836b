"""What the model reads before it writes: prompts, as text, as chat template, as token ids."""

import json
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metareview.common.cli import InputError
from metareview.data.placeholders import as_jinja, mark_lines

if TYPE_CHECKING:  # prompts are checked before transformers is loaded
    from transformers import PreTrainedTokenizerBase as Tokenizer

PROMPTS = {  # add your own, with {review} where the reviews go; a line whose columns a paper lacks is left out
    "plain": "### Review:\n{review}\n\n### Summary:\n",
    "instruction": "Write a meta-review that condenses these reviews of a paper.\n\n"
    "### Review:\n{review}\n\n### Summary:\n",
    "word_limit": "Write a meta-review of at most 100 words that condenses these reviews of a paper.\n\n"
    "### Review:\n{review}\n\n### Summary:\n",
    "ratings": "### Title: {title}\n### Ratings: {ratings}\n### Review:\n{review}\n\n### Summary:\n",
}
PLAIN_COMPLETION = "{summary}"
ANSWER = "\ue001"  # stands for an answer while a chat template is filled in; no text has it
SYSTEM_MESSAGE = {"role": "system", "content": "You are a helpful assistant."}  # for a template that demands one
TEMPLATE_SECONDS = 5  # for filling in a chat template
PROMPT_MARK = "{# the prompt of the meta-review scripts #}"  # begins a chat template that is a frame


def read_line_breaks(text: str | None) -> str | None:
    r"""A text with the line breaks that stand in it as \n, two characters, as they do on a command line."""
    return text and text.replace(r"\n", "\n")


def find_template(prompt: str) -> str:
    """The text that `prompt` names, or is. Raises `InputError` if it is neither."""
    template = PROMPTS.get(prompt, prompt)
    if template.count("{review}") != 1 or "{summary}" in template:
        expected = f"one of {', '.join(PROMPTS)}, or a text with {{review}} in it once and without {{summary}}"
        raise InputError(f"PROMPT (--prompt) must be {expected}; got {prompt!r}")
    _check_names(template, "PROMPT (--prompt)")
    return template


def _check_names(text: str, constant: str) -> None:
    """Raise `InputError` for a {column} that would stay literal, or replace another thing in a chat."""
    for name in re.findall(r"\{(\w[\w -]*)\}", text):
        if name != re.sub("[ -]", "_", name.lower()) or name in ("role", "content"):
            expected = "a column is written in lower case, with _ for blanks, and cannot be called role or content"
            raise InputError(f"{constant} has {{{name}}}; {expected}")


def check_completion(completion: str) -> None:
    """Raise `InputError` for a completion that cannot be read back from what a model writes."""
    touching = re.search(r"\}[^\S\n]*\{summary\}|\{summary\}[^\S\n]*\{", completion)
    if completion.count("{summary}") != 1 or "{review}" in completion or touching:
        expected = "{summary} in it once, and a line break or a text between it and another column, such as "
        expected += r"'Decision: {decision}\n{summary}'"
        raise InputError(f"COMPLETION (--completion) must have {expected}; got {completion!r}")
    _check_names(completion, "COMPLETION (--completion)")


@dataclass(frozen=True)
class Frame:
    """What a model reads around the reviews, special tokens included, and the token that ends its answer, as texts.

    Other columns stand in it as {column}, and the lines that may be left out are marked.
    """

    before: str
    after: str
    end: str


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` in a block that takes longer; Windows has no such signal, and waits."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"it takes more than {seconds} seconds")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)


def build_frame(tokenizer: "Tokenizer", name: str, prompt: str) -> Frame:
    """The prompt, inside the user's message of the tokenizer's own chat template if it has one.

    It is built once, when texts are tokenized, and kept in their record: a template may have today's date in it. Raises
    `InputError` for a template that cannot be used; `name` is the model's.
    """
    prompt = mark_lines(prompt)
    if tokenizer.chat_template is None or is_frame(tokenizer.chat_template):
        before, after = prompt.split("{review}")
        starts = tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
        return Frame(f"{tokenizer.bos_token}{before}" if starts else before, after, tokenizer.eos_token)
    question = {"role": "user", "content": prompt}
    for messages in ([question], [SYSTEM_MESSAGE, question]):
        try:
            with _time_limit(TEMPLATE_SECONDS):
                asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
                messages = [*messages, {"role": "assistant", "content": ANSWER}]
                answered = tokenizer.apply_chat_template(messages, tokenize=False)
            break
        except Exception as error:  # a template is a program: it may fail in any way
            reason = " ".join((str(error) or type(error).__name__).split())[:200]
    else:
        raise InputError(f"the chat template of {name!r} cannot be used: {reason}; choose another model")
    if asked.count("{review}") != 1:
        raise InputError(f"the chat template of {name!r} does not take the user's message once; choose another model")
    before, after = asked.split("{review}")
    rest = answered.partition(ANSWER)[2]
    ends = [text for text in special_texts(tokenizer) if text in rest]
    return Frame(before, after, min(ends, key=rest.index, default=tokenizer.eos_token))


def is_frame(template: str | dict[str, str] | None) -> bool:
    """Whether a chat template was written by `frame_as_chat_template`."""
    return str(template).startswith(PROMPT_MARK)


def change_prompt(frame: Frame, prompt: str, new: str) -> Frame:
    """The frame with the prompt `new` in the place of its own. Raises `InputError` if that is not in it as it is."""
    if prompt == new:
        return frame
    framed = f"{frame.before}{{review}}{frame.after}"
    for text in (str, str.strip):  # many a chat template trims what it is given
        if text(mark_lines(prompt)) in framed:
            before, after = framed.replace(text(mark_lines(prompt)), text(mark_lines(new))).split("{review}")
            return Frame(before, after, frame.end)
    raise InputError("PROMPT (--prompt) cannot be replaced: the chat template altered the one of the model's training")


def frame_as_chat_template(frame: Frame) -> str:
    """The frame as a Jinja chat template: the user's message is the reviews, the assistant's message the summary.

    The user's message may have the other columns, too: {"role": "user", "content": reviews, "ratings": "6, 8, 3"}.
    """
    asked = as_jinja(f"{frame.before}{{review}}{frame.after}")
    answered = f"{{{{ message['content'] + {json.dumps(frame.end, ensure_ascii=False)} }}}}"
    return (
        f"{PROMPT_MARK}{{% for message in messages %}}{{% if message['role'] == 'assistant' %}}{answered}"
        f"{{% else %}}{asked}{{% endif %}}{{% endfor %}}"
    )


def drop_headings(review: str, prompt: str) -> str:
    """A review in which no line begins with a heading of the prompt, such as ### Summary:, as if it ended there."""
    for heading in re.findall(r"(?m)^#+ *([^\n{]+)", prompt):
        review = re.sub(rf"(?m)^#+ *(?={re.escape(heading)})", "", review)
    return review


def encode_prompts(rows: Sequence[Mapping[str, str]], tokenizer: "Tokenizer") -> list[list[int]]:
    """Token ids of the prompt, a frame that is the tokenizer's chat template, with the columns of each paper."""
    chats = [[{"role": "user", "content": row["review"], **row}] for row in rows]
    prompts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    return encode_texts(prompts, tokenizer, special=True)


def find_end(tokenizer: "Tokenizer") -> int:
    """The token that ends an answer in the frame that is the tokenizer's chat template."""
    answer = tokenizer.apply_chat_template([{"role": "assistant", "content": ANSWER}], tokenize=False)
    return tokenizer.convert_tokens_to_ids(answer.removeprefix(ANSWER))


def special_texts(tokenizer: "Tokenizer") -> list[str]:
    """The texts that a tokenizer takes for special tokens, such as <|endoftext|>."""
    return [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]


def encode_texts(texts: list[str], tokenizer: "Tokenizer", special: bool = False) -> list[list[int]]:
    """Token ids of texts as they are; what looks like a special token is one only where `special` is true."""
    # Not by the tokenizer's own call: that also works out where in the text each token stands, and takes longer.
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = not special
    return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
