"""The scores of a text, against values computed by hand, against their definitions, and their means with intervals."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer

from metareview.data.cleaning import REVIEW_JOINER
from metareview.generation.outputs import Output
from metareview.scoring.comparison import (
    FEWEST_CASES,
    average_scores,
    average_seeds,
    compare_models,
    compare_with_base,
    estimate,
    find_unread,
    find_weakest,
)
from metareview.scoring.metrics import METRICS, ROUGE, Results, Text, copied, lead, repetition, score, score_systems

words = st.lists(st.sampled_from("abcde"), max_size=30)


def test_scores_by_hand() -> None:
    review = REVIEW_JOINER.join(["we like that the method works on images", "it is new"])
    scores = score(Text("the method works well", review, "The method works It is new", ended=True))
    assert scores["rouge1"] == pytest.approx(0.6)  # 3 of 4 words against 3 of 6: 2 * 3 / (4 + 6)
    assert scores["rouge2"] == pytest.approx(0.5)  # 2 of 3 pairs against 2 of 5: 2 * 2 / (3 + 5)
    assert scores["rougeL"] == pytest.approx(0.6)
    assert scores["words"] == 4 and scores["stopped"] is True
    assert scores["copied"] == 0  # "the method works" is too short to count
    assert score(Text("reviewers agreed", "", "reviewer agrees"))["rouge1"] == 1  # stemming
    assert set(scores) == {"text", *METRICS, "verdict", "terms"}


def test_what_cannot_be_told_is_none() -> None:
    scores = score(Text("something", "a review", ended=False))
    assert [name for name in METRICS if scores[name] is None] == ["rouge1", "rouge2", "rougeL", "right"]
    empty = score(Text("", "a review", "a reference"))
    assert (empty["rougeL"], empty["words"], empty["repetition"], empty["copied"]) == (0, 0, 0, 0)


def rouge(text: list[str], reference: list[str], kind: str) -> float:
    """ROUGE F1 written down from Lin 2004, section 2 (n-grams) and 3 (longest common subsequence)."""
    if kind == "rougeL":
        lengths = [[0] * (len(reference) + 1) for _ in range(len(text) + 1)]
        for i, one in enumerate(text):
            for j, other in enumerate(reference):
                longer = max(lengths[i][j + 1], lengths[i + 1][j])
                lengths[i + 1][j + 1] = lengths[i][j] + 1 if one == other else longer
        common, sizes = lengths[-1][-1], (len(text), len(reference))
    else:
        n = int(kind[-1])
        mine, theirs = ([tuple(x[i : i + n]) for i in range(len(x) - n + 1)] for x in (text, reference))
        common = sum(min(mine.count(gram), theirs.count(gram)) for gram in set(mine))
        sizes = len(mine), len(theirs)
    return 2 * common / sum(sizes) if common else 0.0


@given(text=words, reference=words.filter(bool), kind=st.sampled_from(["rouge1", "rouge2", "rougeL"]))
def test_rouge_is_that_of_the_paper(text: list[str], reference: list[str], kind: str) -> None:
    scores = score(Text(" ".join(text), "", " ".join(reference)))
    assert scores[kind] == pytest.approx(rouge(text, reference, kind))


def test_rouge_stems_words_of_more_than_three_letters_with_porter() -> None:
    text, reference = "the reviewers were disagreeing on novelty", "reviewer disagreement on novelties was seen"
    stem = PorterStemmer().stem
    stems = [[stem(word) if len(word) > 3 else word for word in sentence.split()] for sentence in (text, reference)]
    assert score(Text(text, "", reference))["rouge1"] == pytest.approx(rouge(*stems, "rouge1")) != 0


def test_repetition_by_hand() -> None:
    assert repetition(list("abcdabcd")) == pytest.approx(0.2)  # abcd bcda cdab dabc abcd: one of five
    assert repetition(list("abcdefgh")) == 0
    assert repetition(list("abc")) == 0
    assert repetition(list("aaaaaaaaaa")) == pytest.approx(6 / 7)


@given(text=words.filter(lambda text: len(text) > 3), times=st.integers(2, 5))
def test_saying_it_again_is_repetition(text: list[str], times: int) -> None:
    assert repetition(text) < repetition(text * times) < 1


def test_copies_by_hand() -> None:
    first, second = "the method is sound but the table is hard to read", "nobody has tried this before"
    text = "they say the table is hard and the method is new and nobody has tried this"
    share = copied(text.split(), [first.split(), second.split()])
    assert share == pytest.approx(8 / 16)  # "the table is hard" and "nobody has tried this"
    across = "hard to read nobody has"  # over the seam of two reviews: no fragment of four
    assert copied(across.split(), [first.split(), second.split()]) == 0


@given(text=words, reviews=st.lists(words, max_size=3))
def test_copies_are_what_the_definition_says(text: list[str], reviews: list[list[str]]) -> None:
    """A word is copied if it is inside any run of four or more words that stands so in a review."""
    runs = [(i, j) for i in range(len(text)) for j in range(i + 4, len(text) + 1)]
    found = [
        (i, j) for i, j in runs for review in reviews for k in range(len(review)) if review[k : k + j - i] == text[i:j]
    ]
    covered = {index for i, j in found for index in range(i, j)}
    assert copied(text, reviews) == pytest.approx(len(covered) / max(1, len(text)))


@given(reviews=st.lists(words.filter(bool), min_size=1, max_size=4), number=st.integers(1, 60))
def test_lead_takes_the_opening_words_in_equal_parts(reviews: list[list[str]], number: int) -> None:
    text = lead(REVIEW_JOINER.join(" ".join(review) for review in reviews), number)
    total = sum(map(len, reviews))
    assert min(number, total) - len(reviews) < len(text.split()) <= min(number, total)
    parts = [part.split() for part in text.split("\n")] if text else []
    if number >= len(reviews):
        assert all(review[: len(part)] == part for review, part in zip(reviews, parts, strict=True))
        cut = [len(part) for part, review in zip(parts, reviews, strict=True) if len(part) < len(review)]
        assert len(set(cut)) <= 1  # those that are cut are cut to one length


def test_the_interval_is_that_of_the_mean() -> None:
    values = [float(random.Random(seed).random() < 0.3) for seed in range(400)]
    mean, low, high = estimate(values)
    error = 1.96 * math.sqrt(mean * (1 - mean) / len(values))
    assert mean == pytest.approx(sum(values) / 400)
    assert low == pytest.approx(mean - error, abs=0.01) and high == pytest.approx(mean + error, abs=0.01)
    assert estimate(values) == (mean, low, high)  # always the same draws
    assert estimate([0.25] * FEWEST_CASES) == (0.25, 0.25, 0.25)
    assert estimate([0.25] * (FEWEST_CASES - 1)) == (0.25, None, None)


@given(values=st.lists(st.floats(0, 1), min_size=FEWEST_CASES, max_size=30))
def test_the_interval_stays_within_the_values(values: list[float]) -> None:
    _, low, high = estimate(values)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def draw_cases(means: dict[str, float], number: int = 40, noise: float = 0.05) -> Results:
    """ROUGE-L of systems with these means on the same cases."""
    rng = random.Random(0)
    cases = [rng.random() for _ in range(number)]
    return {name: [{"rougeL": case + mean + rng.gauss(0, noise)} for case in cases] for name, mean in means.items()}


def test_intervals_of_several_comparisons_are_wider_by_bonferroni() -> None:
    rng = random.Random(1)
    values = [rng.gauss(0, 1) for _ in range(400)]
    for comparisons, quantile in ((1, 1.96), (10, 2.807), (45, 3.26)):  # of the normal distribution: 1 - 0.025 / number
        mean, low, high = estimate(values, comparisons)
        error = quantile * math.sqrt(sum((value - mean) ** 2 for value in values)) / len(values)
        assert low == pytest.approx(mean - error, abs=0.015) and high == pytest.approx(mean + error, abs=0.015)


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.1, "is better than"), (-0.1, "is worse than"), (0.0, "is not better than")]
)
def test_the_verdict_follows_the_interval(gain: float, verdict: str) -> None:
    results = draw_cases({"base": 0.0, "tuned": gain, "lead": -1.0})
    if gain == 0:
        results["tuned"] = [{"rougeL": case["rougeL"] + (-1) ** i / 10} for i, case in enumerate(results["base"])]
    sentence = compare_with_base(results, "tuned", "base")
    assert sentence.startswith(f"tuned {verdict} its base base (ROUGE-L ")
    assert " and better than lead (ROUGE-L +" in sentence
    assert compare_with_base(results, "tuned", None).startswith("tuned is better than lead (")


def test_few_cases_give_no_verdict() -> None:
    cases = [{"rougeL": 0.1}] * (FEWEST_CASES - 1) + [{"rougeL": None}] * 5
    better = [{"rougeL": 0.9}] * (FEWEST_CASES - 1) + [{"rougeL": None}] * 5
    results = {"base": cases, "a": better, "b": cases, "lead": cases}
    assert "Whether a is better than its base base or than lead cannot be told: 9 cases" in compare_with_base(
        results, "a", "base"
    )
    assert compare_models(results, {"a": "a", "b": "b"})[0].startswith("Which of the 2 models is better cannot be told")
    none = {"a": [{"rougeL": None}] * 20}  # without references there is no lead
    assert "cannot be told: 0 cases" in compare_with_base(none, "a", None)


def test_models_are_compared_in_pairs() -> None:
    results = draw_cases({"low": 0.0, "high": 0.3, "higher": 0.302})
    first, *found = compare_models(results, {name: name for name in results})
    assert first.startswith("2 of the 3 pairs of fine-tuned models differ in ROUGE-L (98.33% intervals")
    assert first.endswith("The others cannot be told apart.")
    assert [line.partition(" (")[0] for line in found] == ["high is better than low", "higher is better than low"]
    del results["low"]
    [line] = compare_models(results, {name: name for name in results})
    assert line.startswith("high") and " and high" in line and "cannot be told apart (ROUGE-L " in line
    assert compare_models(results, {"high": "high"}) == []


def test_models_that_differ_in_their_seed_alone_count_as_one() -> None:
    results = draw_cases({"a": 0.2, "a_seed7": 0.3, "b": 0.0})
    groups = {"a": "a", "a_seed7": "a", "b": "b"}
    [line] = compare_models(results, groups)
    assert line.startswith("a (2 seeds) is better than b (ROUGE-L +0.2")
    for cases in results.values():
        for case in cases:
            case |= dict.fromkeys(METRICS, case["rougeL"])
    averages = average_scores(results)
    spread = average_seeds(averages, groups)
    means = sorted(averages[name]["rougeL"][0] for name in ("a", "a_seed7"))
    assert list(spread) == ["a (2 seeds)"] and spread["a (2 seeds)"]["rougeL"] == (sum(means) / 2, *means)


def test_the_weakest_rows_are_those_of_the_best_model() -> None:
    results = {"a": [{"rougeL": score} for score in (0.9, 0.1, None)], "b": [{"rougeL": 0.0}] * 3}
    averages = {name: {"rougeL": (mean, None, None)} for name, mean in (("a", 0.5), ("b", 0.0))}
    assert find_weakest(results, averages, ["a", "b"], [2, 3, 4]) == "a is weakest in the rows 3, 2 (lowest ROUGE-L)."
    assert find_weakest(results, {"a": {}, "b": {}}, ["a", "b"], [2, 3, 4]) == ""


def test_averages_leave_out_what_no_case_has() -> None:
    cases = [score(Text("a text", "a review")), score(Text("another one", "a review", "a reference"))]
    averages = average_scores({"lead": cases})["lead"]
    assert "stopped" not in averages and averages["words"][0] == 2 and averages["rouge1"][0] == 0


def test_without_references_there_is_neither_lead_nor_a_right_verdict() -> None:
    results = score_systems({"a": [Output("some words", True, 3)]}, ["a review"], [""], "a-z", [""])
    assert list(results) == ["a"] and results["a"][0]["text"] == "some words"
    assert [name for name in METRICS if name not in average_scores(results)["a"]] == [*ROUGE, "right"]


def test_what_the_ratings_alone_would_say_is_a_system_where_there_are_some() -> None:
    """Held against the decision, or else against what the reference says; a case without ratings does not count."""
    outputs, texts = (
        {"a": [Output("I recommend acceptance", True, 3)] * 3},
        [["a review"] * 3, ["I recommend rejection"] * 3],
    )
    for decisions, right in ((["accept", "", "reject"], [True, None, None]), (["", "", ""], [False, True, None])):
        results = score_systems(outputs, *texts, "a-zA-Z", decisions, ["6, 7, 5", "3 8", ""])
        assert list(results)[-1] == "ratings" and [case["named"] for case in results["ratings"]] == [True, True, False]
        assert [case["right"] for case in results["ratings"]] == right
        averages = average_scores(results)["ratings"]
        assert averages.keys() == {"named", "right"} and averages["named"][0] == pytest.approx(2 / 3)
    assert "ratings" not in score_systems(outputs, *texts, "a-zA-Z", decisions, ["", "", ""])


REVIEWS = ["The GAN reaches 95 on MNIST.", "It is new.", "No proof."]
REFERENCES = [
    "I recommend acceptance of this GAN.",
    "It was compared with BERT. I recommend rejection.",
    "A proof is missing.",
]
WRITTEN = ["I recommend acceptance, 97 on CIFAR.", "I recommend acceptance.", "I cannot recommend acceptance."]


@pytest.mark.parametrize(
    ("decisions", "right", "right_of_reference"),
    [
        (["", "", ""], [True, False, None], [None, None, None]),  # what the references say; the last says nothing
        (["Reject", "Accept (Poster)", "Reject"], [False, True, True], [False, False, None]),
        (["", "Accept", ""], [None, True, None], [None, False, None]),
    ],
)
def test_verdicts_and_terms_of_each_system(
    decisions: list[str], right: list[bool | None], right_of_reference: list[bool | None]
) -> None:
    outputs = {"a": [Output(text, True, 5) for text in WRITTEN]}
    results = score_systems(outputs, REVIEWS, REFERENCES, "a-zA-Z0-9.,", decisions)
    assert list(results) == ["a", "lead", "reference"]
    assert [case["verdict"] for case in results["a"]] == ["accept", "accept", "reject"]
    assert [case["right"] for case in results["a"]] == right
    assert [case["right"] for case in results["reference"]] == right_of_reference
    assert [case["terms"] for case in results["a"]] == ["97, CIFAR", "", ""]
    assert [case["unsupported"] for case in results["reference"]] == [0, 1, 0]
    averages = average_scores(results)
    assert averages["a"]["named"][0] == 1 and averages["reference"]["named"][0] == pytest.approx(2 / 3)
    assert averages["a"]["unsupported"][0] == pytest.approx(2 / 3) and "rougeL" not in averages["reference"]
    assert ("right" in averages["reference"]) == any(decisions)


def test_seeds_of_which_one_names_no_verdict() -> None:
    averages = {"a": {"right": (1.0, None, None), "words": (3.0, None, None)}, "b": {"words": (5.0, None, None)}}
    assert average_seeds(averages, {"a": "a", "b": "a"}) == {"a (2 seeds)": {"words": (4.0, 3.0, 5.0)}}


def test_references_that_rouge_cannot_read_have_no_score_and_no_verdict() -> None:
    written = [Output("论文写得很清楚", True, 9)] * 20
    for keep in ("a-zA-Z0-9", "一-龥"):  # cleaning leaves nothing of them, or all
        texts = ["a review"] * 20, ["论文写得很清楚"] * 20
        results = score_systems({"a": written, "b": written}, *texts, keep, [""] * 20)
        assert list(results) == ["a", "b", "lead", "reference"]
        assert all(case["rougeL"] is None for cases in results.values() for case in cases)
        assert "cannot be told: 0 cases with a ROUGE score are too few" in compare_with_base(results, "a", "b")
        assert "cannot be told: 0 cases" in compare_models(results, {"a": "a", "b": "b"})[0]
        assert "rougeL" not in average_scores(results)["a"]
        [line] = find_unread(results, ["论文写得很清楚"] * 19 + [""], list(range(2, 22)))
        assert "no score in the rows 2, 3, 4" in line and line.endswith("19, 20.")
