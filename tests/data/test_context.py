"""The context rule: reviews are cut, and shared fairly; never the prompt's ending, never the summary."""

import pytest
from conftest import make_frame_template, make_tokenizer
from hypothesis import assume, given
from hypothesis import strategies as st

from metareview.common.cli import InputError
from metareview.data.context import cut_at_word, fit_prompts, share_budget
from metareview.data.prompts import PROMPTS, encode_prompts

TOKENIZER = make_tokenizer()
TOKENIZER.chat_template = make_frame_template(TOKENIZER)
FRAME = len(encode_prompts([{"review": ""}], TOKENIZER)[0])
WORD = st.text(alphabet="abcdefghXYZ019", min_size=1, max_size=8)
WORDS = st.builds(
    lambda words, times: " ".join(words * times), st.lists(WORD, min_size=1, max_size=9), st.integers(1, 9)
)
REVIEWS = st.lists(WORDS, min_size=1, max_size=5)


@given(st.lists(st.integers(0, 1000), max_size=8), st.integers(0, 3000))
def test_budget_is_shared_by_water_filling(lengths: list[int], budget: int) -> None:
    shares = share_budget(lengths, budget)
    assert all(0 <= share <= length for share, length in zip(shares, lengths, strict=True))
    cut = [share for share, length in zip(shares, lengths, strict=True) if share < length]
    whole = [share for share, length in zip(shares, lengths, strict=True) if share == length]
    if sum(lengths) <= budget:
        assert not cut
    else:
        assert len(set(cut)) == 1  # one allowance for all that are cut
        assert all(share <= cut[0] for share in whole)  # nobody has more than those
        assert budget - len(lengths) < sum(shares) <= budget  # and nothing to speak of is left over


def test_short_reviews_stay_whole_and_long_ones_get_the_rest() -> None:
    assert share_budget([10, 500, 90, 700], 500) == [10, 200, 90, 200]


@given(WORDS, st.integers(0, 60))
def test_cut_ends_at_a_word_and_keeps_what_fits(text: str, allowance: int) -> None:
    offsets = TOKENIZER(text, return_offsets_mapping=True).offset_mapping
    kept = cut_at_word(text, offsets, allowance)
    words = text.split()
    assert len(TOKENIZER(kept).input_ids) <= allowance
    first_fits = len(TOKENIZER(words[0]).input_ids) <= allowance
    if first_fits:
        assert kept.split() == words[: len(kept.split())]
        longer = " ".join(words[: len(kept.split()) + 1])
        assert kept == text or len(TOKENIZER(longer).input_ids) > allowance  # one more word would not have fitted
    else:
        assert words[0].startswith(kept)


@given(REVIEWS, st.integers(0, 200))
def test_a_prompt_never_exceeds_its_limit_and_keeps_its_frame(reviews: list[str], room: int) -> None:
    review, limit = "\n\n".join(reviews), FRAME + 20 + room
    whole = encode_prompts([{"review": review}], TOKENIZER)[0]
    [input_ids], [lost] = fit_prompts([{"review": review}], TOKENIZER, [limit])
    assert len(input_ids) <= limit
    assert lost == len(whole) - len(input_ids)
    if len(whole) <= limit:
        assert input_ids == whole
    before, after = PROMPTS["plain"].split("{review}")
    text = TOKENIZER.decode(input_ids)
    assert text.startswith(before) and text.endswith(after)
    kept = [part for part in text.removeprefix(before).removesuffix(after).split("\n\n") if part]
    originals = iter(reviews)  # what is kept are beginnings of the reviews, in their order
    assert all(any(original.startswith(part) for original in originals) for part in kept)


@given(REVIEWS, st.integers(0, 40))
def test_cut_reviews_are_cut_to_about_the_same_length(reviews: list[str], room: int) -> None:
    limit = FRAME + 9 * len(reviews) + room
    assume(len(encode_prompts([{"review": "\n\n".join(reviews)}], TOKENIZER)[0]) > limit)
    [input_ids], _ = fit_prompts([{"review": "\n\n".join(reviews)}], TOKENIZER, [limit])
    before, after = PROMPTS["plain"].split("{review}")
    kept = TOKENIZER.decode(input_ids).removeprefix(before).removesuffix(after).split("\n\n")
    lengths = [len(TOKENIZER(part).input_ids) for part in kept]
    cut = [length for length, part, review in zip(lengths, kept, reviews, strict=True) if part != review]
    whole = [length for length, part, review in zip(lengths, kept, reviews, strict=True) if part == review]
    assert max(cut) - min(cut) <= 8  # a word at most: the longest word above has 8 letters
    assert max(whole, default=0) <= max(cut) + 8


@given(st.integers(1, 400), st.integers(8, 300))
def test_of_too_many_reviews_the_first_ones_are_read(number: int, room: int) -> None:
    """Never an empty prompt, never an error that stops the run; all are read where each has a few tokens."""
    reviews = [f"review {index} praises the proof" for index in range(number)]
    [input_ids], _ = fit_prompts([{"review": "\n\n".join(reviews)}], TOKENIZER, [FRAME + room])
    before, after = PROMPTS["plain"].split("{review}")
    kept = TOKENIZER.decode(input_ids).removeprefix(before).removesuffix(after).split("\n\n")
    assert kept[0] and all(review.startswith(part) for review, part in zip(reviews, kept, strict=False))
    assert len(input_ids) > FRAME + min(room, 10 * number) * 0.4  # the room is used
    if room >= 7 * number:
        assert len(kept) == number


def test_a_prompt_without_room_for_any_review_is_refused() -> None:
    with pytest.raises(InputError, match="the reviews that begin 'word word'"):
        fit_prompts([{"review": "word\n\nword"}], TOKENIZER, [FRAME - 2])
