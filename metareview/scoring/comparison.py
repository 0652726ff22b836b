"""Means over the test cases with their intervals, and in words which models differ."""

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np

from metareview.scoring.metrics import LEAD, METRICS, OTHER_PAPER, Results

Estimate = tuple[float, float | None, float | None]  # mean, lower and upper end of its interval
Averages = dict[str, dict[str, Estimate]]  # of each system, those of METRICS that it has

RESAMPLES = 10_000  # of the bootstrap
FEWEST_CASES = 10  # with fewer, an interval means nothing
LEVEL = 0.95
MOST_NAMED = 10  # pairs of models that differ; the others are counted
_PART = 100  # resamples at a time, for the memory
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
    """The mean of each column and its 95% interval, within the values; the columns are equally long.

    By the percentile bootstrap, expanded for few cases to what Student's t would give (Hesterberg 2015, The American
    Statistician 69). The interval is None, None for fewer than FEWEST_CASES values.
    """
    scores = np.array(columns, dtype=float).T
    means, cases = scores.mean(axis=0).tolist(), len(scores)
    if cases < FEWEST_CASES:
        return [(mean, None, None) for mean in means]
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    t = z + (z**3 + z) / (4 * (cases - 1))  # its expansion (Fisher 1926): 2.22 instead of 2.26 for ten cases
    tail = NormalDist().cdf(-t * np.sqrt(cases / (cases - 1)))
    resampled = np.concatenate([weights @ scores for weights in _resample(cases)])
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0).tolist()
    return list(zip(means, low, high, strict=True))


def compare_columns(differences: np.ndarray, jointly: bool = False) -> np.ndarray:
    """The half-width of the 95% interval of the mean of each column; `differences` is (cases, columns).

    By the symmetric bootstrap-t (Hall 1988, Journal of the Royal Statistical Society B 50): in 95% of the bootstrap
    samples, the mean is no further from that of all cases than the half-width, in standard errors of the sample.
    `jointly`: in 95%, no column's mean is (the max-t of Romano and Wolf 2005, Econometrica 73, one step of it), so the
    intervals hold for all columns together. Where columns are related they are narrower than Bonferroni's.

    Of equal systems it finds a difference in 4 to 5% of comparisons (10, 20, 100 cases; normal, or as skewed as beta
    distributions are; 4,000 simulations), in 6 to 7% if they differ by exponential noise, in 7 to 11% by lognormal; the
    percentile bootstrap in 10, 11, 13 and 20% for ten cases. Jointly, in 2 to 6% of the comparisons of five models.
    The half-width is infinite if fewer than FEWEST_CASES cases differ from the rest, and _ROUNDING if none does.
    """
    differing = (np.abs(differences - np.median(differences, axis=0)) > _ROUNDING).sum(axis=0)
    centered = differences - differences.mean(axis=0)
    distances = []
    for weights in _resample(len(differences)):
        shift = weights @ centered
        variance = np.maximum(weights @ centered**2 - shift**2, _ROUNDING**2)
        squares = shift**2 / variance * (differing >= FEWEST_CASES)
        distances.append(squares.max(axis=1, keepdims=True) if jointly else squares)
    bound = np.sqrt(np.quantile(np.concatenate(distances), LEVEL, axis=0))
    widths = np.where(differing >= FEWEST_CASES, bound * differences.std(axis=0), np.inf)
    return np.where(differing > 0, widths, _ROUNDING)


def _find_known(results: Results, systems: Sequence[str]) -> np.ndarray:
    """ROUGE-L (systems, cases) in the cases where all of these systems have one: a reference may be unreadable."""
    scores = np.array([[case["rougeL"] for case in results[system]] for system in systems], dtype=float)
    return scores[:, ~np.isnan(scores).any(axis=0)]


def _explain_few(cases: int) -> str:
    return f"cannot be told: {FEWEST_CASES} cases with a ROUGE score are needed, there are {cases or 'none'}."


def _differ(means: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Which differences have an interval without zero, to the three digits that are printed."""
    return np.round(np.abs(means) - widths, 3) > 0


def _describe_differences(model: str, rivals: Sequence[str], means: np.ndarray, widths: np.ndarray) -> str:
    """In a sentence, which rivals a model is better or worse than: it differs from each by its mean, +- its width."""
    claims, unclear = [], []
    for rival, mean, width in zip(rivals, means, widths, strict=True):
        few = f"from fewer than {FEWEST_CASES} cases that differ"
        interval = few if np.isinf(width) else f"{mean - width:+z.3f} to {mean + width:+z.3f}"
        figures = f"(ROUGE-L {mean:+z.3f}, {interval})"
        if _differ(mean, width):
            claims.append(f"{'better' if mean > 0 else 'worse'} than {rival} {figures}")
        else:
            unclear.append(f"no difference from {rival} was found {figures}")
    if claims:
        return "; ".join([f"{model} is {' and '.join(claims)}", *unclear]) + "."
    return f"{model}: {'; '.join(unclear)}."


def compare_with_base(results: Results, model: str, base: str | None) -> str:
    """In a sentence, how a model differs in ROUGE-L from its base, lead and another paper's meta-review, by case."""
    names = {base: f"its base {base}"} if base else {}
    names |= {LEAD: LEAD, OTHER_PAPER: "another paper's meta-review"}
    rivals = [system for system in names if system in results]
    scores = _find_known(results, [model, *rivals])
    if scores.shape[1] < FEWEST_CASES:
        return f"Whether {model} is better than {' or '.join(names.values())} {_explain_few(scores.shape[1])}"
    differences = (scores[0] - scores[1:]).T
    called = [names[rival] for rival in rivals]
    return _describe_differences(model, called, differences.mean(axis=0), compare_columns(differences))


def compare_models(results: Results, groups: dict[str, list[str]]) -> list[str]:
    """In sentences, which fine-tuned models differ in ROUGE-L; `groups` has the models of each group, by its name.

    The largest MOST_NAMED differences are named; the intervals hold for all pairs together. Models of a group differ in
    their seed alone and count as one: of each case, the mean over them.
    """
    if len(groups) < 2:
        return []
    models = [model for group in groups.values() for model in group]
    known = _find_known(results, models)
    if known.shape[1] < FEWEST_CASES:
        return [f"Which of the {len(groups)} models is better {_explain_few(known.shape[1])}"]
    by_model = dict(zip(models, known, strict=True))
    means = {name: np.mean([by_model[model] for model in group], axis=0) for name, group in groups.items()}  # by case
    names = sorted(means, key=lambda name: -means[name].mean())  # of each pair, the first is the better one
    scores = np.array([means[name] for name in names])
    first, second = np.triu_indices(len(names), 1)
    differences = (scores[first] - scores[second]).T
    gaps, widths = differences.mean(axis=0), compare_columns(differences, jointly=True)
    if len(gaps) == 1:
        return [_describe_differences(names[0], names[1:], gaps, widths)]
    found = np.flatnonzero(_differ(gaps, widths))
    largest = found[np.argsort(-gaps[found], kind="stable")][:MOST_NAMED]
    summary = f"A difference in ROUGE-L was found in {len(found) or 'none'} of the {len(gaps)} pairs of fine-tuned"
    summary += f" models (the intervals hold at {LEVEL:.0%} for all pairs together)"
    sentences = [
        _describe_differences(names[first[pair]], [names[second[pair]]], gaps[[pair]], widths[[pair]])
        for pair in largest
    ]
    return [f"{summary}; the {MOST_NAMED} largest:" if len(found) > MOST_NAMED else f"{summary}.", *sentences]


def average_scores(results: Results) -> Averages:
    """Mean and interval of each of METRICS for each system, if there are cases that have it."""
    columns: dict[int, dict[tuple[str, str], list[float]]] = {}  # by their length: those of one share their draws
    for system, cases in results.items():
        for name in METRICS:
            values = [case[name] for case in cases if case[name] is not None]
            columns.setdefault(len(values), {})[system, name] = values
    columns.pop(0, None)
    averages: Averages = {system: {} for system in results}
    for alike in columns.values():
        for (system, name), mean_and_interval in zip(alike, estimate(list(alike.values())), strict=True):
            averages[system][name] = mean_and_interval
    return averages


def average_seeds(averages: Averages, groups: dict[str, list[str]]) -> Averages:
    """For each group of several models: mean of their means, and from the lowest to the highest of them."""
    spread: Averages = {}
    for group, models in groups.items():
        if len(models) > 1:
            shared = [name for name in METRICS if all(name in averages[model] for model in models)]
            means = {name: [averages[model][name][0] for model in models] for name in shared}
            spread[group] = {name: (sum(each) / len(each), min(each), max(each)) for name, each in means.items()}
    return spread


def find_weakest(results: Results, averages: Averages, models: list[str], rows: list[int]) -> list[str]:
    """In a sentence, if any, the rows where the best model has its lowest ROUGE-L; `rows` has one for each case."""
    scored = [model for model in models if "rougeL" in averages[model]]
    if not scored:
        return []
    best = max(scored, key=lambda model: averages[model]["rougeL"][0])
    cases = zip(results[best], rows, strict=True)
    weakest = sorted((case["rougeL"], row) for case, row in cases if case["rougeL"] is not None)[:5]
    return [f"{best} is weakest in the rows {', '.join(str(row) for _, row in weakest)} (lowest ROUGE-L)."]


def find_unread(results: Results, references: list[str], rows: list[int]) -> list[str]:
    """In sentences, if any, how many cases ROUGE is over, and the `rows` of the cases that it cannot read."""
    scored = [score["rougeL"] is not None for score in next(iter(results.values()))]
    cases = zip(rows, references, scored, strict=True)
    unread = [str(row) for row, reference, has_score in cases if reference and not has_score]
    sentences = []
    if 0 < sum(scored) < len(rows) - len(unread):
        number = f"{sum(scored)} of {len(rows)} cases"
        sentences.append(f"ROUGE is of {number}: the others have no reference that it can read.")
    if unread:
        sentences.append(f"ROUGE reads Latin letters and digits alone: no score in the rows {', '.join(unread)}.")
    return sentences
