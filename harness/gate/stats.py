"""The statistics of the gate: what it judges by is no normal approximation, and there is no dependency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

# A sound model leaves the band of a subset once in ten thousand subsets: with 114 models and two metrics
# on one fixed subset, a false alarm remains unlikely.
BAND_ALPHA = 1e-4
# The probability with which a regression as large as the one that is stated would be found.
POWER = 0.99
_BOOTSTRAP_DRAWS = 20_000
_Z95 = 1.959963984540054


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of the exact McNemar test.

    Under the null hypothesis each image that exactly one of two models gets right is a fair coin
    (McNemar 1947, in the exact binomial form).

    >>> mcnemar(only_first=1, only_second=9)
    0.021484375

    Args:
        only_first: images that only the first model gets right.
        only_second: images that only the second gets right.
    """
    n = only_first + only_second
    term = tail = 1  # of the binomial coefficients of n, from 0 on; exact whole numbers
    for k in range(min(only_first, only_second)):
        term = term * (n - k) // (k + 1)
        tail += term
    return min(1.0, tail / (1 << n) * 2)


def wilson_interval(hits: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, in percent: for images such as these, not for these alone.

    Wilson's score interval (1927), which Brown, Cai and DasGupta (2001) recommend: an approximation, to look at; the
    gate judges by nothing that is one.

    >>> tuple(round(end, 2) for end in wilson_interval(34_879, 50_000))
    (69.35, 70.16)

    Args:
        hits: of ``images``.
        images: above 0.
    """
    share, z = hits / images, _Z95**2 / images
    centre = (share + z / 2) / (1 + z)
    half = _Z95 / (1 + z) * math.sqrt(share * (1 - share) / images + z / (4 * images))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


@dataclass(frozen=True)
class Band:
    """Hits that are allowed on a subset, both ends included; and the largest drop, in points, it could miss."""

    low: int
    high: int
    could_miss: float


@cache
def sampling_band(population: int, hits: int, tolerance: int, sample: int, power: float = POWER) -> Band:
    """Return the band around ``hits`` of ``population`` for a random sample, widened by the tolerance.

    The hits of a simple random sample without replacement are hypergeometric. A class-balanced subset varies
    less than that, so the band is on the safe side.

    Args:
        population: images of the whole split.
        hits: published hits on it.
        tolerance: hits by which a sound model may differ on the whole split.
        sample: images of the subset.
        power: the probability with which a larger drop than ``could_miss`` would be found.

    Raises:
        ValueError: the sample is larger than the population.
    """
    if sample > population:
        raise ValueError(f"no sample of {sample} among {population}")
    low = _quantile(population, max(hits - tolerance, 0), sample, BAND_ALPHA / 2)
    high = _quantile(population, min(hits + tolerance, population), sample, 1 - BAND_ALPHA / 2)
    return Band(low, high, could_miss=100 * (hits - _fewest_missed(population, hits, sample, low, power)) / population)


def _fewest_missed(population: int, hits: int, sample: int, low: int, power: float) -> int:
    """Return the fewest hits on the whole split that fall below ``low`` on the sample less often than ``power``."""
    found, missed = -1, hits
    while missed - found > 1:
        middle = (found + missed) // 2
        if low > 0 and _cdf(population, middle, sample)[low - 1] >= power:
            found = middle
        else:
            missed = middle
    return missed


def _quantile(population: int, hits: int, sample: int, probability: float) -> int:
    """Return the smallest k with P(X <= k) >= probability."""
    return int(np.searchsorted(_cdf(population, hits, sample), probability))


def _cdf(population: int, hits: int, sample: int) -> NDArray[np.float64]:
    """Return P(X <= k) for k = 0..sample, X hypergeometric.

    From the ratio of neighbouring terms, in logarithms, so that nothing underflows.
    """
    lowest, highest = max(0, sample - (population - hits)), min(sample, hits)
    k = np.arange(lowest, highest, dtype=np.float64)
    ratios = np.log((hits - k) * (sample - k)) - np.log((k + 1) * (population - hits - sample + k + 1))
    logs = np.concatenate([[0.0], np.cumsum(ratios)])
    terms = np.exp(logs - logs.max())
    cdf = np.zeros(sample + 1)
    cdf[lowest : highest + 1] = np.cumsum(terms) / terms.sum()
    cdf[highest:] = 1.0
    return cdf


@dataclass(frozen=True)
class Ratio:
    """A ratio, and the interval that its bootstrap distribution fills."""

    value: float
    low: float
    high: float


def ratio_of_medians(numerator: Sequence[float], denominator: Sequence[float], confidence: float) -> Ratio:
    """Return the ratio of two samples' medians, with a bootstrap interval (percentile method).

    The median of a resample is one of the sample's own values: that at rank floor(n U), where U is the median of n
    uniform numbers and so has the distribution Beta((n + 1) / 2, (n + 1) / 2). Drawing U gives the bootstrap
    distribution without any resampling, exactly where n is odd (Efron 1979, section 3), the same in every call.

    >>> ratio_of_medians([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], confidence=0.99)
    Ratio(value=2.0, low=2.0, high=2.0)

    Args:
        numerator: values above 0.
        denominator: values above 0.
        confidence: of the interval, between 0 and 1.
    """
    rng = np.random.default_rng(0)
    ratios = _bootstrapped_medians(numerator, rng) / _bootstrapped_medians(denominator, rng)
    low, high = np.quantile(ratios, ((1 - confidence) / 2, (1 + confidence) / 2))
    return Ratio(float(np.median(numerator) / np.median(denominator)), float(low), float(high))


def _bootstrapped_medians(sample: Sequence[float], rng: np.random.Generator) -> NDArray[np.float64]:
    n = len(sample)
    uniform_median = rng.beta((n + 1) / 2, (n + 1) / 2, size=_BOOTSTRAP_DRAWS)
    return np.sort(np.asarray(sample, dtype=np.float64))[(n * uniform_median).astype(np.int64)]
