"""Consensus: the text that says most of what the others say."""

from hypothesis import given
from hypothesis import strategies as st

from metareview.generation.consensus import choose_typical, compare_ngrams, count_ngrams

texts = st.lists(st.text("abc ", max_size=12), min_size=1, max_size=6)


def test_the_text_that_shares_most_with_the_others_is_chosen() -> None:
    common = "The method is new but the experiments are weak"
    others = ["the method is new", "the experiments are weak", "I like trains", ""]
    for place in range(5):
        assert choose_typical([*others[:place], common, *others[place:]]) == place
    assert choose_typical(["only one"]) == choose_typical(["", ""]) == 0


@given(texts)
def test_the_choice_does_not_depend_on_the_order(texts: list[str]) -> None:
    assert texts[choose_typical(texts)] == texts[::-1][choose_typical(texts[::-1])]


@given(st.text("abC \n"), st.text("abC \n"))
def test_sharing_is_an_f1(one: str, other: str) -> None:
    first, second = count_ngrams(one), count_ngrams(other)
    shared = compare_ngrams(first, second)
    assert 0 <= shared <= 1 and shared == compare_ngrams(second, first)
    assert compare_ngrams(first, first) == bool(one.split())
    assert first == count_ngrams(one.upper())
    # By hand: of two words and one pair each, one word is shared.
    assert compare_ngrams(count_ngrams("a b"), count_ngrams("a c")) == 1 / 3
