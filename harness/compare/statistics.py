"""The statistics of a comparison's tables and charts: intervals to look at, by which no prediction is judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BOOTSTRAP_DRAWS = 20_000
_Z95 = 1.959963984540054


def wilson_interval(correct: int, images: int) -> tuple[float, float]:
    """Return the 95% interval of a share, in percent: for images such as these, not for these alone.

    Wilson's score interval (1927), which Brown, Cai and DasGupta (2001) recommend.

    >>> tuple(round(end, 2) for end in wilson_interval(34_879, 50_000))
    (69.35, 70.16)
    """
    share, z = correct / images, _Z95**2 / images
    center = (share + z / 2) / (1 + z)
    half = _Z95 / (1 + z) * math.sqrt(share * (1 - share) / images + z / (4 * images))
    return 100 * max(0.0, center - half), 100 * min(1.0, center + half)


class Ratio(NamedTuple):
    """A ratio and its interval."""

    value: float
    low: float
    high: float


def ratio_of_medians(numerator: Sequence[float], denominator: Sequence[float], confidence: float) -> Ratio:
    """Return the ratio of two positive samples' medians, with a bootstrap interval (percentile method).

    The median of a resample is one of the sample's own values: that at rank floor(n U), where U is the median of n
    uniform numbers and so has the distribution Beta((n + 1) / 2, (n + 1) / 2). Drawing U gives the bootstrap
    distribution without any resampling, exactly where n is odd (Efron 1979, section 3), the same in every call.

    >>> ratio_of_medians([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], confidence=0.99)
    Ratio(value=2.0, low=2.0, high=2.0)
    """
    rng = np.random.default_rng(0)
    ratios = _bootstrapped_medians(numerator, rng) / _bootstrapped_medians(denominator, rng)
    low, high = np.quantile(ratios, ((1 - confidence) / 2, (1 + confidence) / 2))
    return Ratio(float(np.median(numerator) / np.median(denominator)), float(low), float(high))


def _bootstrapped_medians(sample: Sequence[float], rng: np.random.Generator) -> NDArray[np.float64]:
    n = len(sample)
    uniform_median = rng.beta((n + 1) / 2, (n + 1) / 2, size=_BOOTSTRAP_DRAWS)
    return np.sort(np.asarray(sample, dtype=np.float64))[(n * uniform_median).astype(np.int64)]


def ratio_of_pairs(numerators: Sequence[float], denominators: Sequence[float], confidence: float) -> Ratio:
    """Return the geometric mean of the ratios of pairs, two or more, with Student's interval on their logarithms.

    What both values of a pair have in common, such as a machine that is slow for a while, cancels.

    >>> ratio_of_pairs([2.0, 4.0], [1.0, 2.0], confidence=0.99)
    Ratio(value=2.0, low=2.0, high=2.0)
    """
    logs = np.log(numerators) - np.log(denominators)
    half = student_t(confidence, len(logs) - 1) * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    mean = float(logs.mean())
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def student_t(confidence: float, freedom: int) -> float:
    """Return t with P(-t < T < t) = ``confidence`` for Student's T of so many degrees of freedom, a whole number.

    The probability is a finite sum in the angle whose tangent is t / sqrt(freedom) (Abramowitz and Stegun 1964, 26.7.3
    and 26.7.4); it grows with the angle, which is found by bisection.
    """
    low, high = 0.0, math.pi / 2
    while low < (angle := (low + high) / 2) < high:
        low, high = (angle, high) if _within(angle, freedom) < confidence else (low, angle)
    return math.sqrt(freedom) * math.tan(angle)


def _within(angle: float, freedom: int) -> float:
    odd, cosine = freedom % 2, math.cos(angle)
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= k / (k + 1) * cosine * cosine
    return (angle + math.sin(angle) * total) * 2 / math.pi if odd else math.sin(angle) * total
