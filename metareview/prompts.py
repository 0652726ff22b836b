"""What the model reads before it writes: prompts, as text, as chat template, as token ids."""

import json

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase as Tokenizer

from metareview.cli import InputError

PROMPTS = {  # add your own, with {review} where the reviews go
    "plain": "### Review:\n{review}\n\n### Summary:\n",
    "instruction": "Write a meta-review that condenses these reviews of a paper.\n\n"
    "### Review:\n{review}\n\n### Summary:\n",
    "word_limit": "Write a meta-review of at most 100 words that condenses these reviews of a paper.\n\n"
    "### Review:\n{review}\n\n### Summary:\n",
}
PROMPT_MARK = "{# the prompt of the meta-review scripts #}"  # begins a chat template that is only a prompt of ours


def find_template(prompt: str) -> str:
    """The text that `prompt` names, or is. Raises `InputError` where it is neither."""
    template = PROMPTS.get(prompt, prompt)
    if template.count("{review}") != 1:
        names = ", ".join(PROMPTS)
        raise InputError(f"--prompt must be one of {names}, or a text with {{review}} in it once; got {prompt!r}")
    return template


def prompt_as_chat_template(tokenizer: Tokenizer, prompt: str = PROMPTS["plain"]) -> str:
    """The prompt as a Jinja chat template: the user's message is the reviews, the assistant's message the summary."""
    # The texts stand in expressions because Jinja drops a line break at the end of a template.
    before, after = (json.dumps(text, ensure_ascii=False) for text in prompt.split("{review}"))
    start = "{{ bos_token }}" if tokenizer("").input_ids[:1] == [tokenizer.bos_token_id] else ""
    return (
        f"{PROMPT_MARK}{start}{{% for message in messages %}}{{% if message['role'] == 'assistant' %}}"
        "{{ message['content'] + eos_token }}"
        f"{{% else %}}{{{{ {before} + message['content'] + {after} }}}}{{% endif %}}{{% endfor %}}"
    )


def set_chat_template(tokenizer: Tokenizer, name: str, prompt: str) -> None:
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
    try:
        encode_prompts(["a"], tokenizer, prompt)
    except (TemplateError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the chat template of {name!r} cannot be used: {reason}; choose another model") from error


def encode_prompts(reviews: list[str], tokenizer: Tokenizer, prompt: str = PROMPTS["plain"]) -> list[list[int]]:
    """Token ids of the whole prompt around the cleaned reviews of each paper, nothing cut. Many at once are faster."""
    if not tokenizer.chat_template.startswith(PROMPT_MARK):  # the model has a template of its own
        reviews = [prompt.replace("{review}", review) for review in reviews]
    chats = [[{"role": "user", "content": review}] for review in reviews]
    texts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    return encode_texts(texts, tokenizer)


def encode_texts(texts: list[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Token ids of texts as they are, without special tokens."""
    # Not by the tokenizer's own call: that also works out where in the text each token stands, and takes longer.
    return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
