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


@given(REVIEWS, st.integers(0, 100))
def test_a_prompt_never_exceeds_its_limit_and_reviews_are_cut_alike_after_a_word(reviews: list[str], room: int) -> None:
    limit, rows = FRAME + 9 * len(reviews) + room, [{"review": "\n\n".join(reviews)}]
    [input_ids], [lost] = fit_prompts(rows, TOKENIZER, [limit])
    text = TOKENIZER.decode(input_ids)
    assert text.startswith(BEFORE) and text.endswith(AFTER)
    kept = text.removeprefix(BEFORE).removesuffix(AFTER).split("\n\n")
    assert len(input_ids) <= limit and lost == len(encode_prompts(rows, TOKENIZER)[0]) - len(input_ids)
    assert lost or kept == reviews
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
