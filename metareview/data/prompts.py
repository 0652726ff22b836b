"""What the model reads before it writes: prompts, as text, as chat template, as token ids."""

import json
import re
from typing import TYPE_CHECKING

from metareview.common.cli import InputError

if TYPE_CHECKING:  # prompts are checked before transformers is loaded
    from transformers import PreTrainedTokenizerBase as Tokenizer

PROMPTS = {  # add your own, with {review} where the reviews go
    "plain": "### Review:\n{review}\n\n### Summary:\n",
    "instruction": "Write a meta-review that condenses these reviews of a paper.\n\n"
    "### Review:\n{review}\n\n### Summary:\n",
    "word_limit": "Write a meta-review of at most 100 words that condenses these reviews of a paper.\n\n"
    "### Review:\n{review}\n\n### Summary:\n",
}
PLACE = "\ue000"  # stands for the reviews while a chat template is filled in; a character that no text has
PROMPT_MARK = "{# the prompt of the meta-review scripts #}"  # begins a chat template that is only a prompt of ours


def find_template(prompt: str) -> str:
    """The text that `prompt` names, or is. Raises `InputError` where it is neither."""
    template = PROMPTS.get(prompt, prompt)
    if template.count("{review}") != 1:
        names = ", ".join(PROMPTS)
        raise InputError(
            f"PROMPT (--prompt) must be one of {names}, or a text with {{review}} in it once; got {prompt!r}"
        )
    return template


def prompt_as_chat_template(tokenizer: "Tokenizer", prompt: str = PROMPTS["plain"]) -> str:
    """The prompt as a Jinja chat template: the user's message is the reviews, the assistant's message the summary."""
    # The texts stand in expressions because Jinja drops a line break at the end of a template.
    before, after = (json.dumps(text, ensure_ascii=False) for text in prompt.split("{review}"))
    start = "{{ bos_token }}" if tokenizer("").input_ids[:1] == [tokenizer.bos_token_id] else ""
    return (
        f"{PROMPT_MARK}{start}{{% for message in messages %}}{{% if message['role'] == 'assistant' %}}"
        "{{ message['content'] + eos_token }}"
        f"{{% else %}}{{{{ {before} + message['content'] + {after} }}}}{{% endif %}}{{% endfor %}}"
    )


def set_chat_template(tokenizer: "Tokenizer", name: str, prompt: str) -> None:
    """Give a tokenizer one chat template: its own, of several the default one, or else the prompt.

    Raises `InputError` for one that cannot be used; `name` is the model's.
    """
    if isinstance(tokenizer.chat_template, dict):
        if "default" not in tokenizer.chat_template:
            names = ", ".join(tokenizer.chat_template)
            raise InputError(
                f"the tokenizer of {name!r} has the chat templates {names}, and no default; choose another"
            )
        tokenizer.chat_template = tokenizer.chat_template["default"]
    if (tokenizer.chat_template or PROMPT_MARK).startswith(PROMPT_MARK):
        tokenizer.chat_template = prompt_as_chat_template(tokenizer, prompt)
    from jinja2 import TemplateError  # here: prompts are checked before anything is loaded

    try:
        encode_prompts(["a"], tokenizer, prompt)
    except (TemplateError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the chat template of {name!r} cannot be used: {reason}; choose another model") from error


def encode_prompts(reviews: list[str], tokenizer: "Tokenizer", prompt: str = PROMPTS["plain"]) -> list[list[int]]:
    """Token ids of the whole prompt around the cleaned reviews of each paper, nothing cut. Many at once are faster.

    Special tokens of the prompt or of the model's chat template are tokens; what looks like one in a review is text.
    """
    frame = tokenizer.apply_chat_template(
        [{"role": "user", "content": frame_message(PLACE, tokenizer, prompt)}],
        add_generation_prompt=True,
        tokenize=False,
    )
    if frame.count(PLACE) != 1:
        raise InputError("the chat template of the model does not take the user's message once; choose another model")
    before, after = frame.split(PLACE)
    encoded = encode_texts([f"{before}{review}{after}" for review in reviews], tokenizer, special=True)
    names = sorted(map(re.escape, special_texts(tokenizer)), key=len, reverse=True)
    imitating = [index for index, review in enumerate(reviews) if names and re.search("|".join(names), review)]
    if imitating:  # these are put together from three pieces, which may be another token at a seam
        [first], [last] = (encode_texts([text], tokenizer, special=True) for text in (before, after))
        for index, ids in zip(imitating, encode_texts([reviews[i] for i in imitating], tokenizer), strict=True):
            encoded[index] = [*first, *ids, *last]
    return encoded


def frame_message(review: str, tokenizer: "Tokenizer", prompt: str) -> str:
    """What the user says in the chat: where the model has a template of its own, the prompt goes into it."""
    return review if tokenizer.chat_template.startswith(PROMPT_MARK) else prompt.replace("{review}", review)


def special_texts(tokenizer: "Tokenizer") -> list[str]:
    """The texts that a tokenizer takes for special tokens, such as <|endoftext|>."""
    return [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]


def drop_headings(review: str, prompt: str) -> str:
    """A review in which no line begins with a heading of the prompt, such as ### Summary:, as if it ended there."""
    for heading in re.findall(r"(?m)^#+ *([^\n{]+)", prompt):
        review = re.sub(rf"(?m)^#+ *(?={re.escape(heading)})", "", review)
    return review


def encode_texts(texts: list[str], tokenizer: "Tokenizer", special: bool = False) -> list[list[int]]:
    """Token ids of texts as they are; what looks like a special token is one only where `special` is true."""
    # Not by the tokenizer's own call: that also works out where in the text each token stands, and takes longer.
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = not special
    return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
