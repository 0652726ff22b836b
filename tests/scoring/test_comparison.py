"""Means, their intervals, and which models differ, in words."""

import math
import random
import re

import numpy as np
import pytest

from metareview.generation.outputs import Output
from metareview.scoring.comparison import (
    FEWEST_CASES,
    MOST_NAMED,
    average_scores,
    average_seeds,
    compare_columns,
    compare_models,
    compare_with_base,
    estimate,
    find_unread,
    find_weakest,
)
from metareview.scoring.metrics import Results, score_systems


def draw_cases(means: dict[str, float], number: int = 40, noise: float = 0.05) -> Results:
    """ROUGE-L of systems with these means on the same cases."""
    rng = random.Random(0)
    cases = [rng.random() for _ in range(number)]
    return {name: [{"rougeL": case + mean + rng.gauss(0, noise)} for case in cases] for name, mean in means.items()}


def test_the_interval_is_that_of_the_mean() -> None:
    values = [float(random.Random(seed).random() < 0.3) for seed in range(400)]
    [(mean, low, high)] = estimate([values])
    error = 1.96 * math.sqrt(mean * (1 - mean) / len(values))
    assert mean == pytest.approx(sum(values) / 400)
    assert (low, high) == pytest.approx((mean - error, mean + error), abs=0.01)
    assert estimate([[0.25] * FEWEST_CASES])[0] == pytest.approx((0.25, 0.25, 0.25))
    assert estimate([[0.25] * (FEWEST_CASES - 1)]) == [(0.25, None, None)]


def test_intervals_of_all_pairs_are_those_of_tukey() -> None:
    """A table of the studentized range (0.05, infinitely many degrees of freedom) over the square root of 2."""
    scores = np.random.default_rng(0).normal(size=(1000, 10))
    first, second = np.triu_indices(10, 1)
    gaps = scores[:, first] - scores[:, second]
    bounds = compare_columns(gaps, jointly=True) / (gaps.std(axis=0) / math.sqrt(1000))
    assert bounds == pytest.approx(3.164, abs=0.06)


def test_equal_systems_seem_to_differ_in_one_of_twenty_comparisons_at_most() -> None:
    """Although the differences are few and skewed; by a percentile bootstrap, at ten cases in one of nine."""
    draws = np.random.default_rng(1)
    gaps = draws.beta(1, 4, size=(10, 1000)) - draws.beta(2, 8, size=(10, 1000))  # both of mean 0.2
    assert 0.025 < (np.abs(gaps.mean(axis=0)) > compare_columns(gaps)).mean() < 0.06
    lows, highs = np.transpose(estimate(gaps.T))[1:]
    assert 0.03 < ((lows > 0) | (highs < 0)).mean() < 0.07


def test_three_cases_that_differ_tell_nothing() -> None:
    results = {"a": [{"rougeL": float(case < 3)} for case in range(40)], "b": [{"rougeL": 0.0}] * 40}
    assert compare_models(results, {"a": ["a"], "b": ["b"]}) == [
        "a: no difference from b was found (ROUGE-L +0.075, from fewer than 10 cases that differ)."
    ]


def test_the_verdict_follows_the_interval() -> None:
    """In the cases in which all have a score: lead has none where nothing of the reviews can be read."""
    results = draw_cases({"base": 0.0, "lead": -1.0, "other paper": 2.0})
    results["tuned"] = [{"rougeL": case["rougeL"] + (-1) ** i / 10} for i, case in enumerate(results["base"])]
    for system, case in (("lead", 3), ("base", 4)):
        results[system][case] = {"rougeL": None}
    sentence = compare_with_base(results, "tuned", "base")
    assert "base was found (ROUGE-L +0.000, -0.0" in sentence and "lead (ROUGE-L +1.0" in sentence
    told = "tuned is better than lead and worse than another paper's meta-review; no difference from its base base"
    assert re.sub(r" \(.*?\)", "", sentence) == f"{told} was found."
    [line] = compare_models(results, {"lead": ["lead"], "tuned": ["tuned"]})
    assert line.startswith("tuned is better than lead (ROUGE-L +1.0")


def test_few_cases_give_no_verdict() -> None:
    results = draw_cases({"base": 0.0, "a": 0.5, "b": 0.0, "lead": 0.0}, FEWEST_CASES - 1)
    for cases in results.values():
        cases.append({"rougeL": None})  # a case without a reference
    told = "Whether a is better than its base base or lead or another paper's meta-review cannot be told: 10 cases"
    assert compare_with_base(results, "a", "base").startswith(told)
    [line] = compare_models(results, {"a": ["a"], "b": ["b"]})
    assert line.startswith("Which of the 2 models is better cannot be told")
    none = {"a": [{"rougeL": None}] * 20}  # without references there is no lead
    assert compare_with_base(none, "a", None).endswith("there are none.")


def test_models_are_compared_in_pairs_and_the_largest_differences_are_named() -> None:
    results = draw_cases({f"m{number}": number for number in range(9)} | {"m8 again": 8.002})
    first, *found = compare_models(results, {name: [name] for name in results})
    assert first.startswith("A difference in ROUGE-L was found in 44 of the 45 pairs of fine-tuned models (")
    assert len(found) == MOST_NAMED
    gaps = [float(line.partition("+")[2].partition(",")[0]) for line in found]
    assert gaps == sorted(gaps, reverse=True) and found[0].startswith("m8 again is better than m0 (ROUGE-L +8.0")
    [line] = compare_models(results, {name: [name] for name in ("m8", "m8 again")})
    assert line.startswith("m8 again: no difference from m8 was found (ROUGE-L +0.0")
    assert compare_models(results, {"m8": ["m8"]}) == []


def test_models_that_differ_in_their_seed_alone_count_as_one() -> None:
    groups = {"a (2 seeds)": ["a", "a_seed7"], "b": ["b"]}
    [line] = compare_models(draw_cases({"a": 0.2, "a_seed7": 0.3, "b": 0.0}), groups)
    assert line.startswith("a (2 seeds) is better than b (ROUGE-L +0.2")
    averages = {"a": {"words": (3.0, 1, 4)}, "a_seed7": {"words": (5.0, 4, 6), "right": (1.0, 1, 1)}, "b": {}}
    assert average_seeds(averages, groups) == {"a (2 seeds)": {"words": (4.0, 3.0, 5.0)}}


def test_the_weakest_rows_are_those_of_the_best_model() -> None:
    results = {"a": [{"rougeL": score} for score in (0.9, 0.1, None)], "b": [{"rougeL": 0.0}] * 3}
    averages = {name: {"rougeL": (mean, None, None)} for name, mean in (("a", 0.5), ("b", 0.0))}
    assert find_weakest(results, averages, ["a", "b"], [2, 3, 4]) == ["a is weakest in the rows 3, 2 (lowest ROUGE-L)."]
    assert find_weakest(results, {"a": {}, "b": {}}, ["a", "b"], [2, 3, 4]) == []


@pytest.mark.parametrize("keep", ["a-zA-Z0-9", "一-龥"])  # cleaning leaves nothing of the references, or all
def test_references_that_rouge_cannot_read_have_no_score_and_no_verdict(keep: str) -> None:
    outputs, references = {"a": [Output("论文", True, 9)] * 12}, ["论文写得很清楚"] * 12
    results = score_systems(outputs, ["a review"] * 12, references, keep, [""] * 12)
    assert "cannot be told" in compare_with_base(results, "a", None)
    assert "rougeL" not in average_scores(results)["a"]
    [line] = find_unread(results, references[:2] + [""] * 10, list(range(2, 14)))
    assert line.endswith("no score in the rows 2, 3.")
    told = "ROUGE is of 1 of 3 cases: the others have no reference that it can read."
    assert find_unread({"a": [{"rougeL": score} for score in (0.5, None, None)]}, ["r", "", ""], [2, 3, 4]) == [told]
