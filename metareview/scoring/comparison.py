"""Scoring: what is measured of a text, means over cases with their intervals, and verdicts in words."""

from itertools import combinations

import numpy as np

from metareview.scoring.metrics import LEAD, METRICS, Results

Estimate = tuple[float, float | None, float | None]  # mean, and from where to where
Averages = dict[str, dict[str, Estimate]]  # of each system, those of METRICS that it has


RESAMPLES = 2_000  # of the bootstrap, at least
TAIL = 20  # resamples outside each end of an interval, at least: a narrower tail takes more resamples
RESAMPLING_SEED = 42  # always the same draws: the same scores give the same interval
FEWEST_CASES = 10  # with fewer, an interval means nothing
LEVEL = 0.95


def estimate(values: list[float], comparisons: int = 1) -> Estimate:
    """Mean and its interval: the percentile bootstrap (Efron 1979) over the values.

    The interval is one of 95 % for one comparison. Of several, each is so much wider that all together hold at 95 %:
    what an interval may miss is divided by their number (Bonferroni; Dunn 1961). The interval is None, None for fewer
    than FEWEST_CASES values.
    """
    array = np.asarray(values, dtype=float)
    if len(array) < FEWEST_CASES:
        return float(array.mean()), None, None
    tail = (1 - LEVEL) / comparisons / 2
    generator, means = np.random.default_rng(RESAMPLING_SEED), []
    for _ in range(max(RESAMPLES, round(TAIL / tail)) // 1_000 + 1):  # in parts, for the memory
        means.append(array[generator.integers(len(array), size=(1_000, len(array)))].mean(axis=1))
    low, high = np.percentile(np.concatenate(means), [100 * tail, 100 * (1 - tail)])
    return float(array.mean()), float(low), float(high)


def find_differences(results: Results, one: str, other: str) -> list[float]:
    """By how much ROUGE-L is higher for `one` than for `other`, case by case where there is a reference."""
    pairs = zip(results[one], results[other], strict=True)
    return [mine["rougeL"] - theirs["rougeL"] for mine, theirs in pairs if mine["rougeL"] is not None]


def count_references(results: Results) -> int:
    """The number of cases with a ROUGE-L: those with a reference that ROUGE can read."""
    return sum(case["rougeL"] is not None for case in next(iter(results.values())))


def explain_few(number: int) -> str:
    """Why nothing can be told of so many cases."""
    are = "case with a ROUGE score is" if number == 1 else "cases with a ROUGE score are"
    return f"{number} {are} too few ({FEWEST_CASES} or more are needed)"


def judge(difference: Estimate) -> tuple[str, str]:
    """Whether a difference in ROUGE-L is one, in words, and in numbers."""
    mean, low, high = difference
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not better than"
    return verdict, f"{mean:+.3f}, {low:+.3f} to {high:+.3f}"


def compare_with_base(results: Results, model: str, base: str | None) -> str:
    """In a sentence, whether a model is better than its base and than lead: the differences in ROUGE-L by case."""
    others = ([(base, f"its base {base}")] if base else []) + [(LEAD, LEAD)]
    number = count_references(results)
    if number < FEWEST_CASES:
        names = " or than ".join(name for _, name in others)
        return f"Whether {model} is better than {names} cannot be told: {explain_few(number)}."
    parts = []
    for other, name in others:
        verdict, figures = judge(estimate(find_differences(results, model, other)))
        parts.append(f"{verdict} {name} (ROUGE-L {figures})")
    return f"{model} is {' and '.join(parts)}."


def group_models(groups: dict[str, str]) -> dict[str, list[str]]:
    """The models of each group, from the group of each model."""
    members: dict[str, list[str]] = {}
    for model, group in groups.items():
        members.setdefault(group, []).append(model)
    return members


def name_group(group: str, members: list[str]) -> str:
    """What a group of models that differ in their seed alone is called; one alone keeps its name."""
    return members[0] if len(members) == 1 else f"{group} ({len(members)} seeds)"


def compare_models(results: Results, groups: dict[str, str]) -> list[str]:
    """In sentences, which fine-tuned models differ in ROUGE-L; `groups` has the group of each of them.

    The paired bootstrap over cases, with as many comparisons as there are pairs. Models that differ in their seed alone
    count as one: of each case, the mean over them.
    """
    members = group_models(groups)
    if len(members) < 2:
        return []
    if (number := count_references(results)) < FEWEST_CASES:
        return [f"Which of the {len(members)} models is better cannot be told: {explain_few(number)}."]
    means: Results = {}
    for group, models in members.items():
        rows = zip(*(results[model] for model in models), strict=True)
        known = [[case["rougeL"] for case in row] for row in rows if row[0]["rougeL"] is not None]
        means[name_group(group, models)] = [{"rougeL": sum(scores) / len(scores)} for scores in known]
    pairs, found = list(combinations(means, 2)), []
    for one, other in pairs:
        if sum(find_differences(means, one, other)) < 0:
            one, other = other, one
        verdict, figures = judge(estimate(find_differences(means, one, other), len(pairs)))
        if verdict == "better than":
            found.append(f"{one} is better than {other} (ROUGE-L {figures}).")
    if len(pairs) == 1:
        [(one, other)] = pairs
        return found or [f"{one} and {other} cannot be told apart (ROUGE-L {figures})."]
    level = f"{100 * (1 - (1 - LEVEL) / len(pairs)):.4g}% intervals, so that all {len(pairs)} together hold at 95%"
    counted = f"{len(found) or 'None'} of the {len(pairs)} pairs of fine-tuned models differ in ROUGE-L"
    rest = " The others cannot be told apart." if 0 < len(found) < len(pairs) else ""
    return [f"{counted} ({level}).{rest}", *found]


def average_scores(results: Results) -> Averages:
    """Mean and interval of each of METRICS for each system, where there are cases that have it."""
    averages: Averages = {}
    for system, cases in results.items():
        values = {name: [case[name] for case in cases if case[name] is not None] for name in METRICS}
        averages[system] = {name: estimate(numbers) for name, numbers in values.items() if numbers}
    return averages


def average_seeds(averages: Averages, groups: dict[str, str]) -> Averages:
    """For each group of several models: mean of their means, and from the lowest to the highest of them."""
    spread: Averages = {}
    for group, models in group_models(groups).items():
        if len(models) > 1:
            shared = [name for name in METRICS if all(name in averages[model] for model in models)]
            means = {name: [averages[model][name][0] for model in models] for name in shared}
            name = name_group(group, models)
            spread[name] = {key: (sum(each) / len(each), min(each), max(each)) for key, each in means.items()}
    return spread


def find_weakest(results: Results, averages: Averages, models: list[str], rows: list[int]) -> str:
    """In a sentence, the rows where the best of the models has its lowest ROUGE-L; `rows` has one for each case."""
    scored = [model for model in models if "rougeL" in averages[model]]
    if not scored:
        return ""
    best = max(scored, key=lambda model: averages[model]["rougeL"][0])
    scores = [(case["rougeL"], row) for case, row in zip(results[best], rows, strict=True)]
    weakest = [row for rouge, row in sorted(pair for pair in scores if pair[0] is not None)[:5]]
    return f"{best} is weakest in the rows {', '.join(map(str, weakest))} (lowest ROUGE-L)."


def find_unread(results: Results, references: list[str], rows: list[int]) -> list[str]:
    """In a sentence, if at all, the rows whose reference ROUGE cannot read; `rows` has one for each case."""
    scores = next(iter(results.values()))
    cases = zip(rows, references, scores, strict=True)
    unread = [str(row) for row, reference, score in cases if reference and score["rougeL"] is None]
    return [f"ROUGE reads Latin letters and digits alone: no score in the rows {', '.join(unread)}."] if unread else []
