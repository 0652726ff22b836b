"""What is measured of a text, by hand and by definition, and the systems that are no models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metareview.data.cleaning import REVIEW_JOINER, clean_text
from metareview.generation.outputs import Output
from metareview.generation.variants import RESERVED
from metareview.scoring.comparison import average_scores
from metareview.scoring.metrics import (
    METRICS,
    OTHERS,
    ROUGE,
    Text,
    copied,
    find_unsupported,
    is_readable,
    lead,
    repetition,
    score,
    score_systems,
)

words = st.lists(st.sampled_from("abcde"), max_size=30)


def test_scores_by_hand() -> None:
    review = REVIEW_JOINER.join(["we like that the method works on images", "it is new"])
    scores = score(Text("the method works well", review, "The method works It is new", ended=True))
    assert scores["rouge1"] == pytest.approx(0.6)  # 3 of 4 words against 3 of 6: 2 * 3 / (4 + 6)
    assert scores["rouge2"] == pytest.approx(0.5)  # 2 of 3 pairs against 2 of 5: 2 * 2 / (3 + 5)
    assert scores["rougeL"] == pytest.approx(0.6)
    assert scores["words"] == 4 and scores["ended"] is True
    assert scores["copied"] == 0  # "the method works" is too short to count
    assert score(Text("reviewers agreed", "", "reviewer agrees"))["rouge1"] == 1  # stemming
    assert set(OTHERS) <= set(RESERVED)  # no model is called like a system that is none


def test_what_cannot_be_told_is_none() -> None:
    results = score_systems({"a": [Output("some words", True, 3)]}, ["a review"], [""], "a-z", [""])
    assert list(results) == ["a"] and results["a"][0]["text"] == "some words"
    assert [name for name in METRICS if name not in average_scores(results)["a"]] == [*ROUGE, "bertscore", "right"]
    empty = score(Text("", "a review", "a reference"))
    assert [empty[name] for name in ("rougeL", "words", "repetition", "copied")] == [0, 0, 0, 0]


def test_repetition_by_hand() -> None:
    assert repetition(list("abcdabcd")) == pytest.approx(0.2)  # abcd bcda cdab dabc abcd: one of five
    assert repetition(list("abcdefgh")) == repetition(list("abc")) == 0
    assert repetition(list("aaaaaaaaaa")) == pytest.approx(6 / 7)


@given(text=words, reviews=st.lists(words, max_size=3))
def test_copies_are_what_the_definition_says(text: list[str], reviews: list[list[str]]) -> None:
    """A word is copied if it is inside any run of four or more words that stands so in a review."""
    covered = set()
    for start, end in ((i, j) for i in range(len(text)) for j in range(i + 4, len(text) + 1)):
        places = [(review, k) for review in reviews for k in range(len(review))]
        if any(review[k : k + end - start] == text[start:end] for review, k in places):
            covered.update(range(start, end))
    assert copied(text, reviews) == pytest.approx(len(covered) / max(1, len(text)))


def test_lead_takes_the_opening_words_in_equal_parts() -> None:
    assert lead(REVIEW_JOINER.join(["a b c d", "e", "f g h"]), 6) == "a b\ne\nf g"


@pytest.mark.parametrize("reference", ["论文写得很清楚 BERT", "!?", ""])
def test_there_is_no_score_if_rouge_does_not_read_half_of_a_reference(reference: str) -> None:
    """One name would stand for all."""
    assert not is_readable(reference) and Text(reference, "", reference).rouge == dict.fromkeys(ROUGE)


BENCHMARKS = "The GANs are trained on CIFAR-10 for 300 epochs and reach 93.5% on ImageNet and WMT 14, as Table 2 says."
TERMS = {
    "The GAN reaches 93.5% on CIFAR10 and on imagenet.": [],
    "A CIFAR 10 model, trained for 300 epochs, and one for WMT14.": [],
    "A VAE reaches 97% on MNIST; the VAEs of others do not.": ["VAE", "97", "MNIST"],
    "As R1 and AnonReviewer3 say, the AC finds the SOTA of 2019 missing, which was shown at ICLR 2020.": [],
    "All 4 reviewers raise 3 points: 1) text, 2) tables.": [],
    "It was trained for 300 hours on 64 GPUs with ResNet50.": ["64", "GPUs", "ResNet50"],
    "The method is Bayesian and the results of Section 12 are good.": ["12"],
    "": [],
}


@pytest.mark.parametrize(("text", "terms"), TERMS.items())
@pytest.mark.parametrize("keep", ["a-zA-Z0-9.,;:!?()'%-", "a-zA-Z0-9"])
def test_terms_by_hand(text: str, terms: list[str], keep: str) -> None:
    assert find_unsupported(clean_text(text, keep), clean_text(BENCHMARKS, keep)) == terms


REVIEWS = ["The GAN reaches 95 on MNIST.", "It is new.", "No proof."]
REFERENCES = ["I recommend acceptance of this GAN.", "It beats BERT. I recommend rejection.", "A proof is missing."]
WRITTEN = ["I recommend acceptance, 97 on CIFAR.", "I recommend acceptance.", "I cannot recommend acceptance."]


RATINGS = ["6, 7, 5", "3 8", ""]


@pytest.mark.parametrize(
    ("decisions", "right"),
    [  # of the model, the reference, the ratings
        (["", "", ""], [[True, False, None], [None] * 3, [True, True, None]]),  # by the references; the last has none
        (["Reject", "Accept (Poster)", "Reject"], [[False, True, True], [False, False, None], [False, False, None]]),
    ],
)
def test_verdicts_and_terms_of_each_system(decisions: list[str], right: list[list]) -> None:
    outputs = {"a": [Output(text, True, 5) for text in WRITTEN]}
    results = score_systems(outputs, REVIEWS, REFERENCES, "a-zA-Z0-9.,", decisions, RATINGS)
    assert list(results) == ["a", "lead", "other paper", "reference", "ratings"]
    assert [[case["right"] for case in results[system]] for system in ("a", "reference", "ratings")] == right
    assert [case["verdict"] for case in results["a"]] == ["accept", "accept", "reject"]
    assert [case["named"] for case in results["ratings"]] == [True, True, False]
    others = {case["text"]: case for case in results["other paper"]}  # scored like a model's
    assert [others[text]["terms"] for text in REFERENCES] == ["GAN", "BERT", ""]
    assert all(0 <= case["rougeL"] < 1 and case["ended"] is None for case in others.values())
    assert [case["terms"] for case in results["a"]] == ["97, CIFAR", "", ""]
    averages = average_scores(results)
    assert averages["a"]["unsupported"][0] == pytest.approx(2 / 3) and "rougeL" not in averages["reference"]
    assert averages["ratings"].keys() == {"named", "right"}


def test_a_decision_in_its_place_is_the_verdict_and_the_rest_is_compared_with_the_reference() -> None:
    outputs = {"a": [Output("Decision: Accept (Poster)\nWe reject nothing", True, 9), Output("Reject", True, 2)]}
    cases = ["a review"] * 2, ["We reject nothing", "Reject"], "a-zA-Z", ["oral", "oral"]
    results = score_systems(outputs, *cases, completions={"a": "Decision: {decision}\n{summary}"})["a"]
    assert [result["verdict"] for result in results] == ["accept", "reject"]
    assert [(result["rougeL"], result["right"]) for result in results] == [(1, True), (1, False)]
    assert results[0]["text"].startswith("Decision: ") and results[0]["words"] == 3
