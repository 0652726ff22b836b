"""Texts as programs write them: what a person meant comes out, and what only looks like an escape stays."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metareview.common.cli import InputError
from metareview.sources.escapes import parse_list, plain_text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("It&#39;s &quot;new&quot;, &amp;quot;too&amp;quot;, p &lt; 0.05 &amp; q", 'It\'s "new", "too", p < 0.05 & q'),
        ("AT&T, R&D, ?a=1&copy=2, &nosuch;", "AT&T, R&D, ?a=1&copy=2, &nosuch;"),
        ("<p>One</p><ul><li>two</li><li>three<br/>four</li></ul>", "One|two|three|four"),
        ("<B>Summary</B>The <a href='x y'>good</a>, CO<sub>2</sub> un<i></i>clear", "Summary The good, CO2 un clear"),
        ("&lt;p&gt;Escaped&lt;/p&gt;<!-- no --><style>p {}</style>twice", "Escaped|twice"),
        ("a < b and c > d, <x, y>, a <b and c> d, <REVBREAK>", "a < b and c > d, <x, y>, a <b and c> d, <REVBREAK>"),
        (r"Strengths:\n- new\r\n- clear\\n---\nNot so:\t2", "Strengths:|- new|- clear|---|Not so: 2"),
        (r"$\nabla f$ \nu, \neq, \notin \theta \times \ne", r"$\nabla f$ \nu, \neq, \notin \theta \times \ne"),
        ("one_x000D_\ntwo_x000d__x000a_three\rfour\r\nfive", "one|two|three|four|five"),
        ("_x005F_x0041_ my_x_1 \\u00e9 \\ud83d\\ude00", "_x0041_ my_x_1 é 😀"),
        ("\ud800 a", "\ufffd a"),
        (7, "7"),
    ],
)  # fmt: skip
def test_what_was_meant(text: Any, plain: str) -> None:
    lines = [line for line in plain_text(text).split("\n") if line.strip()]
    assert "|".join(lines) == plain


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="&<\\\r_")))
def test_a_text_without_escapes_stays(text: str) -> None:
    assert plain_text(text) == text


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(TEXTS, min_size=1))
def test_a_list_comes_back_from_json_python_and_numpy(texts: list[str]) -> None:
    for written in (repr(texts), json.dumps(texts), json.dumps(texts, ensure_ascii=False)):
        assert parse_list(f" {written}\n") == texts
    array = np.array(texts, dtype=object)
    with np.printoptions(threshold=10_000):
        assert parse_list(str(array)) == parse_list(repr(array)) == texts


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[{'review': 'a', 'rating': nan}\n {'review': \"it's\", 'ok': True}]",
         [{"review": "a", "rating": None}, {"review": "it's", "ok": True}]),
        ('{"review": "a", "rating": NaN, "ok": true}', {"review": "a", "rating": None, "ok": True}),
        ('{"a","b c"}', ["a", "b c"]),
        (json.dumps(json.dumps(["a", 'b "c"'])), ["a", 'b "c"']),
        ("[]", []),
        ("[1, 2]", None),
        ("(I know the field.)", None),
        ('["Deep learning" is cited]', None),
    ],
)  # fmt: skip
def test_forms_missing_values_and_what_is_no_list(text: str, found: Any) -> None:
    assert parse_list(text) == found


@pytest.mark.parametrize("text", ["['a', 'b", '[{"review": "a", "rating": 3}, {"rev'])
def test_a_list_that_breaks_off_is_no_review(text: str) -> None:
    with pytest.raises(InputError, match=r"begins like a list, \[.*32,767 characters"):
        parse_list(text)
