"""The context rule: reviews are cut, and shared fairly; never the prompt around them."""

import pytest
from conftest import make_frame_template, make_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from metareview.common.cli import InputError
from metareview.data.context import fit_prompts
from metareview.data.prompts import PROMPTS, encode_prompts

TOKENIZER = make_tokenizer()
TOKENIZER.chat_template = make_frame_template(TOKENIZER)
FRAME = len(encode_prompts([{"review": ""}], TOKENIZER)[0])
BEFORE, AFTER = PROMPTS["plain"].split("{review}")
WORDS = st.lists(st.text(alphabet="abcdefghXYZ019", min_size=1, max_size=8), min_size=1, max_size=9)
REVIEWS = st.lists(
    st.builds(lambda words, times: " ".join(words * times), WORDS, st.integers(1, 9)), min_size=1, max_size=5
)


def fit(reviews: list[str], limit: int) -> tuple[list[str], int, int]:
    """What is left of each review in a prompt of at most `limit` tokens; its tokens; how many were cut."""
    [input_ids], [lost] = fit_prompts([{"review": "\n\n".join(reviews)}], TOKENIZER, [limit])
    text = TOKENIZER.decode(input_ids)
    assert text.startswith(BEFORE) and text.endswith(AFTER)
    return text.removeprefix(BEFORE).removesuffix(AFTER).split("\n\n"), len(input_ids), lost


@given(REVIEWS, st.integers(0, 100))
def test_a_prompt_never_exceeds_its_limit_and_reviews_are_cut_alike_after_a_word(reviews: list[str], room: int) -> None:
    limit = FRAME + 9 * len(reviews) + room
    length_before = len(encode_prompts([{"review": "\n\n".join(reviews)}], TOKENIZER)[0])
    kept, length, lost = fit(reviews, limit)
    assert length <= limit and lost == length_before - length and (lost or kept == reviews)
    lengths: dict[bool, list[int]] = {True: [], False: []}
    for part, review in zip(kept, reviews, strict=True):
        words = part.split()
        assert review.startswith(part) and (words == review.split()[: len(words)] or len(words) == 1)
        lengths[part == review].append(len(TOKENIZER(part).input_ids))
    if lengths[False]:
        assert max(lengths[False]) - min(lengths[False]) <= 8  # a word at most: the longest word above has 8 letters
        assert max(lengths[True], default=0) <= max(lengths[False]) + 8


def test_a_prompt_without_room_for_any_review_is_refused() -> None:
    with pytest.raises(InputError, match="the reviews that begin 'word word'"):
        fit_prompts([{"review": "word\n\nword"}], TOKENIZER, [FRAME - 2])
