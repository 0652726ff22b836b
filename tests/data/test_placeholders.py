"""Texts with columns in them: filled in, as a chat template, and read back from what a model wrote."""

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metareview.data.placeholders import as_jinja, fill, find_columns, read_back

RATED = "### Title: {title}, {year}\n### Ratings: {ratings}\n### Review:\n{review}\n\n### Summary:\n"
DECIDED = "Decision: {decision}\n{summary}"
WORDS = st.text(st.sampled_from("ab {}\"\\%'é\n"), max_size=12)


def test_a_line_whose_columns_are_all_empty_is_left_out() -> None:
    assert find_columns(RATED) == ["title", "year", "ratings", "review"]
    assert fill(RATED, {"review": "good\nwork", "year": "2017"}) == (
        "### Title: , 2017\n### Review:\ngood\nwork\n\n### Summary:\n"
    )
    assert fill(RATED, {"review": ""}) == "### Review:\n\n\n### Summary:\n"  # the line of the reviews stays
    assert fill(DECIDED, {"decision": "", "summary": "fine"}) == "fine"


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("title", "year", "ratings", "review"), WORDS)))
def test_the_chat_template_fills_in_the_same(values: dict[str, str]) -> None:
    template = jinja2.Environment().from_string(as_jinja(RATED))
    values = {"review": ""} | values
    message = {"content" if name == "review" else name: value for name, value in values.items()}
    assert template.render(message=message) == fill(RATED, values)


@pytest.mark.parametrize("template", [DECIDED, "{summary}\nDecision: {decision}", "Decision: {decision}\n\n{summary}"])
@given(decision=st.sampled_from(["", "Accept (Poster)", "reject."]), summary=st.text("ab. \n", min_size=1))
def test_what_was_filled_in_is_read_back(template: str, decision: str, summary: str) -> None:
    written = fill(template, {"decision": decision, "summary": summary})
    assert read_back(template, written) == {"decision": decision, "summary": summary.strip()}


@pytest.mark.parametrize(
    ("template", "text", "values"),
    [
        (DECIDED, "Good paper.\nAccept.", {"decision": "", "summary": "Good paper.\nAccept."}),
        (DECIDED, "Decision: accept", {"decision": "accept", "summary": ""}),
        ("{2nd}: {größe}\n{summary}", "b: c\nfine\nwork", {"2nd": "b", "größe": "c", "summary": "fine\nwork"}),
        (f"{DECIDED}\nSo: {{decision}}", "Decision: no\nfine\nSo: no", {"decision": "no", "summary": "fine"}),
    ],
)
def test_a_text_is_read_as_far_as_it_goes_and_columns_have_any_name(template: str, text: str, values: dict) -> None:
    assert read_back(template, text) == values
