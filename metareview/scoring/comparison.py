"""Means over the test cases with their intervals, and in words which models differ."""

from collections.abc import Iterator, Sequence

import numpy as np

from metareview.scoring.metrics import LEAD, METRICS, OTHER_PAPER, Results

Estimate = tuple[float, float | None, float | None]  # mean, lower and upper end of its interval
Averages = dict[str, dict[str, Estimate]]  # of each system, those of METRICS that it has

RESAMPLES = 10_000  # of the bootstrap
FEWEST_CASES = 10  # with fewer, an interval means nothing
LEVEL = 0.95
MOST_NAMED = 10  # pairs of models that differ; the others are counted
_PART = 1_000  # resamples at a time, for the memory
_SEED = 42  # always the same draws: the same scores give the same interval
_ROUNDING = 1e-12  # differences below it are none


def _resample(cases: int) -> Iterator[np.ndarray]:
    """RESAMPLES bootstrap samples in parts of (_PART, cases): the weight of each case in a mean over the sample.

    What is compared shares these draws, so that differences are paired by case.
    """
    generator = np.random.default_rng(_SEED)
    for _ in range(RESAMPLES // _PART):
        draws = generator.integers(cases, size=(_PART, cases)) + cases * np.arange(_PART)[:, None]
        yield np.bincount(draws.ravel(), minlength=_PART * cases).reshape(_PART, cases) / cases


def estimate(columns: Sequence[Sequence[float]]) -> list[Estimate]:
    """The mean of each column and its 95% interval, by the percentile bootstrap (Efron 1979); equally long columns.

    The interval is None, None for fewer than FEWEST_CASES values.
    """
    scores = np.array(columns, dtype=float).T
    means = scores.mean(axis=0).tolist()
    if len(scores) < FEWEST_CASES:
        return [(mean, None, None) for mean in means]
    resampled = np.concatenate([weights @ scores for weights in _resample(len(scores))])
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0).tolist()
    return list(zip(means, low, high, strict=True))


def compare_pairs(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By how much each system is above each other one, and the half-width of the interval, both (systems, systems).

    `scores` is (cases, systems). The intervals hold at 95% for all pairs together: in 95% of the bootstrap samples, no
    pair's mean difference is further from that of all cases than the half-width, in standard errors of the sample (the
    studentized max-t bootstrap of Romano and Wolf 2005, Econometrica 73, one step of it). As pairs share models and
    cases, this takes narrower intervals than Bonferroni's, and some thousand samples do for any number of pairs.

    Of equal models it finds a difference in 2 to 5% of comparisons (5 models, 10 to 100 cases with normal noise, 400
    simulations of each); percentile intervals widened by Bonferroni find one in 6 to 22%.

    The half-width is infinite if fewer than FEWEST_CASES cases differ from the rest, and 0 if none does.
    """
    cases, systems = scores.shape
    means = scores.mean(axis=0)
    gaps = [scores[:, system + 1 :] - scores[:, [system]] for system in range(systems - 1)]
    varied = [(np.abs(gap - np.median(gap, axis=0)) > _ROUNDING).sum(axis=0) for gap in gaps]
    largest = []
    for weights in _resample(cases):
        shifts, distances = weights @ scores - means, np.zeros(_PART)
        for system, gap in enumerate(gaps):
            shift = shifts[:, system + 1 :] - shifts[:, [system]]
            variance = weights @ (gap - gap.mean(axis=0)) ** 2 - shift**2
            squared = shift**2 / np.maximum(variance, _ROUNDING**2) * (varied[system] >= FEWEST_CASES)
            distances = np.maximum(distances, squared.max(axis=1))
        largest.append(distances)
    bound = np.sqrt(np.quantile(np.concatenate(largest), LEVEL))
    widths = np.zeros((systems, systems))
    for system, gap in enumerate(gaps):
        width = np.where(varied[system] >= FEWEST_CASES, bound * gap.std(axis=0), np.inf)
        widths[system, system + 1 :] = np.where(varied[system] > 0, width, 0)
    return means[:, None] - means, widths + widths.T


def _find_known(results: Results, system: str) -> list[float]:
    """ROUGE-L of a system in the cases with a reference that ROUGE can read."""
    return [case["rougeL"] for case in results[system] if case["rougeL"] is not None]


def _explain_few(number: int) -> str:
    """Why so few cases tell nothing; empty if they are enough."""
    if number >= FEWEST_CASES:
        return ""
    are = "case with a ROUGE score is" if number == 1 else "cases with a ROUGE score are"
    return f"cannot be told: {number} {are} too few ({FEWEST_CASES} or more are needed)."


def _format_interval(mean: float, low: float, high: float) -> str:
    if np.isinf(high):
        return f"(ROUGE-L {mean:+.3f}, from fewer than {FEWEST_CASES} cases that differ)"
    return f"(ROUGE-L {mean:+.3f}, {low:+.3f} to {high:+.3f})"


def _join(parts: list[str], word: str) -> str:
    return f" {word} ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def compare_with_base(results: Results, model: str, base: str | None) -> str:
    """In a sentence, how a model differs in ROUGE-L from its base, lead and another paper's meta-review, by case."""
    names = {base: f"its base {base}"} if base else {}
    names |= {LEAD: LEAD, OTHER_PAPER: "another paper's meta-review"}
    scores = _find_known(results, model)
    if few := _explain_few(len(scores)):
        return f"Whether {model} is better than {_join(list(names.values()), 'or')} {few}"
    others = [system for system in names if system in results]
    differences = [np.subtract(scores, _find_known(results, system)) for system in others]
    claims, unclear = [], []
    for system, (mean, low, high) in zip(others, estimate(differences), strict=True):
        figures = _format_interval(mean, low, high)
        if low > 0 or high < 0:
            claims.append(f"{'better' if low > 0 else 'worse'} than {names[system]} {figures}")
        else:
            unclear.append(f"no difference from {names[system]} was found {figures}")
    if claims:
        return "; ".join([f"{model} is {_join(claims, 'and')}", *unclear]) + "."
    return f"{model}: {'; '.join(unclear)}."


def group_models(groups: dict[str, str]) -> dict[str, list[str]]:
    """The models of each group, by the name that is shown, from the group of each model.

    Models of a group differ in their seed alone; a model alone keeps its name.
    """
    members: dict[str, list[str]] = {}
    for model, group in groups.items():
        members.setdefault(group, []).append(model)
    return {f"{group} ({len(each)} seeds)" if len(each) > 1 else each[0]: each for group, each in members.items()}


def compare_models(results: Results, groups: dict[str, str]) -> list[str]:
    """In sentences, which fine-tuned models differ in ROUGE-L; `groups` has the group of each of them.

    The largest MOST_NAMED differences that `compare_pairs` finds are named, the others counted. Models that differ in
    their seed alone count as one: of each case, the mean over them.
    """
    members = group_models(groups)
    if len(members) < 2:
        return []
    known = [[_find_known(results, model) for model in models] for models in members.values()]
    scores = np.array([np.mean(rows, axis=0) for rows in known])
    if few := _explain_few(scores.shape[1]):
        return [f"Which of the {len(members)} models is better {few}"]
    names, (differences, widths) = list(members), compare_pairs(scores.T)
    intervals = np.stack([differences, differences - widths, differences + widths])
    found = np.argwhere(differences > widths)  # of each pair that differs, the better one first
    sentences = []
    for better, worse in sorted(found, key=lambda pair: -differences[*pair])[:MOST_NAMED]:
        figures = _format_interval(*intervals[:, better, worse])
        sentences.append(f"{names[better]} is better than {names[worse]} {figures}.")
    pairs = len(names) * (len(names) - 1) // 2
    if pairs == 1:
        figures = _format_interval(*intervals[:, 0, 1])
        return sentences or [f"No difference between {names[0]} and {names[1]} was found {figures}."]
    first = f"A difference in ROUGE-L was found in {len(found) or 'none'} of the {pairs} pairs of fine-tuned models"
    first += " (the intervals hold at 95% for all pairs together)"
    return [f"{first}; the {MOST_NAMED} largest:" if len(found) > MOST_NAMED else f"{first}.", *sentences]


def average_scores(results: Results) -> Averages:
    """Mean and interval of each of METRICS for each system, if there are cases that have it."""
    averages: Averages = {system: {} for system in results}
    for name in METRICS:
        columns: dict[int, dict[str, list[float]]] = {}  # by their length: those of one length share their draws
        for system, cases in results.items():
            if values := [case[name] for case in cases if case[name] is not None]:
                columns.setdefault(len(values), {})[system] = values
        for alike in columns.values():
            for system, mean_and_interval in zip(alike, estimate(list(alike.values())), strict=True):
                averages[system][name] = mean_and_interval
    return averages


def average_seeds(averages: Averages, groups: dict[str, str]) -> Averages:
    """For each group of several models: mean of their means, and from the lowest to the highest of them."""
    spread: Averages = {}
    for group, models in group_models(groups).items():
        if len(models) > 1:
            shared = [name for name in METRICS if all(name in averages[model] for model in models)]
            means = {name: [averages[model][name][0] for model in models] for name in shared}
            spread[group] = {name: (sum(each) / len(each), min(each), max(each)) for name, each in means.items()}
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
