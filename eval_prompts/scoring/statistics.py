"""Paired statistics of two sides that answered the same questions, as functions of numbers alone.

Sources: Q. McNemar (1947), the exact form, for one sample of passes and fails; E. Miller, "Adding Error Bars to Evals"
(arXiv 2411.00640, 2024), for paired differences with standard errors clustered by question, and for what a suite of
a size can see; D. Bonett and R. Price (2012), the adjusted Wald interval of a difference of paired proportions;
E. B. Wilson (1927); M. Chen et al., "Evaluating Large Language Models Trained on Code" (2021), for pass@k; S. Holm
(1979). Intervals are of 95%, tests two-sided.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

LEVEL = 0.95
Z_LEVEL, Z_POWER = 1.959964, 0.841621
"""Quantiles of the normal distribution for a two-sided test at 5% and for 80% power."""
PERMUTATIONS = 9999
NOISE = 1e-12
"""A standard error below it is what rounding leaves of none at all."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval; ``of`` is how many questions it rests on."""

    value: float
    low: float
    high: float
    of: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """How much more the tuned side scores than the base side, question by question, with its 95% interval.

    ``p_value`` is that of ``test``: 'mcnemar' (exact) or 'permutation' (of signs). ``error`` is the standard error,
    clustered by question. ``gained`` and ``lost`` count the questions on which tuned scores higher and lower.
    """

    value: float
    low: float
    high: float
    of: int
    error: float
    p_value: float
    test: Literal["mcnemar", "permutation"]
    gained: int
    lost: int

    @property
    def detectable(self) -> float:
        """The smallest true difference that as many questions show at 80% power (Miller 2024, section 5)."""
        return (Z_LEVEL + Z_POWER) * self.error

    def more_for(self, effect: float) -> int:
        """About how many more questions of the same kind would show a difference of ``effect`` at 80% power."""
        if not self.of:
            return 0
        return max(0, math.ceil(self.of * (self.detectable / effect) ** 2) - self.of)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self) | {"detectable": self.detectable}


def wilson(successes: float, of: float) -> tuple[float, float]:
    """The Wilson score interval; 0 to 1 of nothing. ``of`` may be an effective number that is not whole."""
    if of <= 0:
        return 0.0, 1.0
    share, z = successes / of, Z_LEVEL
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    reach = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def mcnemar(only_base: int, only_tuned: int) -> float:
    """The p-value of the exact McNemar test: whether the questions that one side alone passed part as unevenly as this
    by chance (a binomial test with 1/2); 1 if there are none."""
    from scipy.stats import binomtest

    discordant = only_base + only_tuned
    return float(binomtest(only_base, discordant, 0.5).pvalue) if discordant else 1.0


def mean_interval(scores: Sequence[Sequence[float]], clusters: Sequence[Hashable] | None = None) -> Interval:
    """The mean over questions of each question's mean over its samples, 0 to 1.

    ``scores`` are by question and sample. The error is clustered by ``clusters`` (the question itself without them).
    The interval is Wilson's at the effective number of questions, m(1-m) over the squared error, as E. Korn and
    B. Graubard (1998) do for surveys: it stays within 0 and 1, and is not empty where all scores are equal.
    """
    means = [math.fsum(samples) / len(samples) for samples in scores if samples]
    if not means:
        return Interval(0.0, 0.0, 1.0, 0)
    value = min(1.0, max(0.0, math.fsum(means) / len(means)))
    groups = _clusters([at for at, samples in enumerate(scores) if samples], clusters)
    single = all(mean in (0.0, 1.0) for mean in means) and len(set(groups)) == len(means)
    variance = _mean_variance(means, groups)
    alike = variance < NOISE**2
    effective = float(len(set(groups))) if single or alike else value * (1 - value) / variance
    low, high = wilson(value * effective, effective)
    return Interval(value, min(low, value), max(high, value), len(means))


def compare(
    base: Sequence[Sequence[float]],
    tuned: Sequence[Sequence[float]],
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Difference:
    """The paired difference, tuned less base, of scores by question and sample, each from 0 to 1.

    Questions that one side has no score of are left out: whoever calls says how many. One sample each of 0 or 1 is
    tested by McNemar's exact test, with Bonett and Price's interval; anything else by a permutation test of the signs
    of the clusters' differences, with a t interval over the clusters. ``seed`` is that of the permutations.
    """
    known = [at for at, (one, other) in enumerate(zip(base, tuned, strict=True)) if one and other]
    differences = [_mean(tuned[at]) - _mean(base[at]) for at in known]
    groups = _clusters(known, clusters)
    gained, lost = sum(d > 1e-9 for d in differences), sum(d < -1e-9 for d in differences)
    if not differences:
        return Difference(0.0, -1.0, 1.0, 0, 0.0, 1.0, "mcnemar", 0, 0)
    binary = all(len(side[at]) == 1 and side[at][0] in (0, 1) for side in (base, tuned) for at in known)
    if binary and len(set(groups)) == len(groups):
        return _paired_proportions(len(differences), gained, lost)
    value, error = _mean(differences), math.sqrt(_mean_variance(differences, groups))
    if error < NOISE:  # nothing differs, or all alike: that is not certainty
        whole = len(set(groups))
        safe = _paired_proportions(whole, round(max(0.0, value) * whole), round(max(0.0, -value) * whole))
        low, high, error = min(safe.low, value), max(safe.high, value), safe.error
    else:
        reach = _t_quantile(len(set(groups)) - 1) * error
        low, high = max(-1.0, value - reach), min(1.0, value + reach)
    p_value = permutation(differences, groups, seed)
    return Difference(value, low, high, len(differences), error, p_value, "permutation", gained, lost)


def permutation(differences: Sequence[float], clusters: Sequence[Hashable] | None = None, seed: int = 0) -> float:
    """The p-value of the test that the signs of the clusters' summed differences are a coin's: exact for up to 13
    clusters that differ, else with 9,999 drawn sets of signs (SciPy's ``permutation_test``)."""
    import numpy
    from scipy.stats import permutation_test

    sums: defaultdict[Hashable, float] = defaultdict(float)
    for at, difference in enumerate(differences):
        sums[clusters[at] if clusters is not None else at] += difference
    moved = numpy.array([total for total in sums.values() if abs(total) > 1e-12])
    if not len(moved):
        return 1.0
    if len(moved) == 1:
        return 1.0  # either sign is as far from nothing

    def total(values: Any, axis: int) -> Any:
        return values.sum(axis=axis)

    found = permutation_test(
        (moved,),
        total,
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=max(1, 2_000_000 // len(moved)),
        rng=numpy.random.default_rng(seed),
    )
    return min(1.0, float(found.pvalue))


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """The unbiased estimate of the chance that one of ``k`` samples passes, from ``passed`` of ``samples``:
    1 - C(n - c, k) / C(n, k) (Chen et al. 2021, equation 1). Raises ValueError for k above the number of samples."""
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, and there are {samples}")
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


def agreement(samples: Sequence[Sequence[Hashable]]) -> float | None:
    """How often two different samples of a question are the same: the share of equal pairs, averaged over the questions
    with two samples and more; None where there are none."""
    shares = []
    for values in samples:
        pairs = len(values) * (len(values) - 1)
        if pairs:
            shares.append(sum(count * (count - 1) for count in Counter(values).values()) / pairs)
    return _mean(shares) if shares else None


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Each p-value adjusted for all of them (S. Holm, 1979): below 5% holds for all that are so, together."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda pair: pair[1])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_value))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def _paired_proportions(of: int, gained: int, lost: int) -> Difference:
    """The difference of two paired proportions from the questions that one side alone passed."""
    value = (gained - lost) / of
    more, less = (gained + 1) / (of + 2), (lost + 1) / (of + 2)
    error = math.sqrt((more + less - (more - less) ** 2) / (of + 2))
    low, high = (more - less) - Z_LEVEL * error, (more - less) + Z_LEVEL * error
    bounded = min(value, max(-1.0, low)), max(value, min(1.0, high))
    return Difference(value, *bounded, of, error, mcnemar(lost, gained), "mcnemar", gained, lost)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _clusters(known: Sequence[int], clusters: Sequence[Hashable] | None) -> list[Hashable]:
    return [clusters[at] if clusters is not None else at for at in known]


def _mean_variance(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """The squared cluster-robust standard error of a mean: the sum over clusters of their squared summed deviations
    over n² (Miller 2024, equation 4), times G/(G-1) for G clusters; one cluster tells nothing of its own spread."""
    middle = _mean(values)
    sums: defaultdict[Hashable, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] += value - middle
    if len(sums) < 2:
        return 0.0
    return math.fsum(total * total for total in sums.values()) / len(values) ** 2 * len(sums) / (len(sums) - 1)


def _t_quantile(degrees: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, degrees))
