"""The statistics of the gate: exact tests, no normal approximations."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

POWER = 0.99  # the probability of finding a regression as large as the stated one


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of the exact McNemar test.

    Under the null hypothesis each image that exactly one of two models gets right is a fair coin
    (McNemar 1947, in the exact binomial form): ``only_first`` heads and ``only_second`` tails.

    >>> mcnemar(only_first=1, only_second=9)
    0.021484375
    """
    n = only_first + only_second
    term = tail = 1  # of the binomial coefficients of n, from 0 on; exact whole numbers
    for k in range(min(only_first, only_second)):
        term = term * (n - k) // (k + 1)
        tail += term
    return min(1.0, tail / (1 << n) * 2)


def binomial_tail(count: int, n: int, probability: float) -> float:
    """Return the probability that at least ``count`` of ``n`` independent events occur.

    >>> binomial_tail(2, 2, 0.5)
    0.25
    """
    if count <= 0 or probability >= 1:
        return 1.0
    k = np.arange(n, dtype=np.float64)
    ratios = np.log((n - k) / (k + 1)) + np.log(probability) - np.log1p(-probability)
    logs = np.cumsum(np.concatenate([[n * np.log1p(-probability)], ratios]))
    return min(1.0, float(np.exp(logs[count:]).sum()))


def all_among(count: int, images: int, others: int) -> float:
    """Return the probability that ``count`` (1 or more) of ``images + others``, drawn at random, are all in ``images``.

    >>> all_among(1, images=1, others=3)
    0.25
    """
    return float(1 - _cdf(images + others, images, count)[count - 1])


@dataclass(frozen=True)
class Band:
    """Allowed counts on a subset, both ends included, and the largest drop, in points, that it could miss."""

    low: int
    high: int
    could_miss: float


@cache
def sampling_band(
    population: int, correct: int, tolerance: int, sample: int, alpha: float, power: float = POWER
) -> Band:
    """Return the band around ``correct`` of ``population`` for a random sample, widened by the tolerance.

    The number of correct predictions in a simple random sample without replacement is hypergeometric. A class-balanced
    subset varies less than that, so the band is on the safe side.

    Args:
        population: number of images of the whole dataset.
        correct: published number of correct predictions on it.
        tolerance: number of images by which a sound model may differ on the whole dataset.
        sample: number of images of the subset.
        alpha: probability that a sound model leaves the band.
        power: probability with which a larger drop than ``could_miss`` would be found.

    Raises:
        ValueError: the sample is larger than the population.
    """
    if sample > population:
        raise ValueError(f"no sample of {sample} among {population}")
    low = _quantile(population, max(correct - tolerance, 0), sample, alpha / 2)
    high = _quantile(population, min(correct + tolerance, population), sample, 1 - alpha / 2)
    missed = _fewest_missed(population, correct, sample, low, power)
    return Band(low, high, could_miss=100 * (correct - missed) / population)


@cache
def images_needed(
    population: int, correct: int, tolerance: int, alpha: float, loss: float, power: float = POWER
) -> int | None:
    """Return how many images of a dataset reveal a drop of ``loss`` points; None if all of them are too few.

    The other arguments are those of ``sampling_band``.
    """

    def finds(sample: int) -> bool:
        return sampling_band(population, correct, tolerance, sample, alpha, power).could_miss < loss

    low = 1
    while 2 * low < population and not finds(2 * low):
        low *= 2
    needed = low + bisect_left(range(low, min(2 * low, population) + 1), True, key=finds)
    return needed if needed <= population and finds(needed) else None


def _fewest_missed(population: int, correct: int, sample: int, low: int, power: float) -> int:
    """Return the smallest correct count on the whole dataset for which P(sample count < ``low``) < ``power``."""
    found, missed = -1, correct
    while missed - found > 1:
        middle = (found + missed) // 2
        if low > 0 and _cdf(population, middle, sample)[low - 1] >= power:
            found = middle
        else:
            missed = middle
    return missed


def _quantile(population: int, correct: int, sample: int, probability: float) -> int:
    """Return the smallest k with P(X <= k) >= probability."""
    return int(np.searchsorted(_cdf(population, correct, sample), probability))


def _cdf(population: int, correct: int, sample: int) -> NDArray[np.float64]:
    """Return P(X <= k) for k = 0..sample, X hypergeometric.

    From the ratio of neighboring terms, in logarithms, so that nothing underflows.
    """
    lowest, highest = max(0, sample - (population - correct)), min(sample, correct)
    k = np.arange(lowest, highest, dtype=np.float64)
    ratios = np.log((correct - k) * (sample - k)) - np.log((k + 1) * (population - correct - sample + k + 1))
    logs = np.concatenate([[0.0], np.cumsum(ratios)])
    terms = np.exp(logs - logs.max())
    cdf = np.zeros(sample + 1)
    cdf[lowest : highest + 1] = np.cumsum(terms) / terms.sum()
    cdf[highest:] = 1.0
    return cdf
