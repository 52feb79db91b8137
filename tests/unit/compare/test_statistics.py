"""Tests of harness.compare.statistics."""

from __future__ import annotations

import math
from itertools import product
from statistics import geometric_mean, mean, stdev

import numpy as np
import pytest

from harness.compare.statistics import ratio_of_medians, ratio_of_pairs, student_t, wilson_interval


@pytest.mark.parametrize(
    "sample", [[3.0], [1.0, 2.0, 9.0], [4.0, 1.0, 2.0, 16.0, 8.0], [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]]
)
def test_the_interval_is_that_of_all_resamples(sample: list[float]) -> None:
    """Against every resample that can be drawn, for samples of odd size and all sorts of confidence."""
    medians = np.sort([sorted(resample)[len(sample) // 2] for resample in product(sample, repeat=len(sample))])
    steps = np.searchsorted(medians, sample, side="right") / len(medians)
    # The interval rests on 20,000 draws; where it ends at a step it may end on either side.
    far = [
        tail for tail in np.arange(1, 100) / 200 if np.abs(np.subtract.outer((tail, 1 - tail), steps)).min() > 1 / 80
    ]

    ratios = [ratio_of_medians(sample, [2.0], float(1 - 2 * tail)) for tail in far]
    inverses = [ratio_of_medians([2.0], sample, float(1 - 2 * tail)) for tail in far]

    exact = [tuple(np.quantile(medians, (tail, 1 - tail), method="inverted_cdf") / 2) for tail in far]
    assert exact == [(ratio.low, ratio.high) for ratio in ratios]
    assert exact == [(1 / inverse.high, 1 / inverse.low) for inverse in inverses]
    assert {ratio.value for ratio in ratios} == {sorted(sample)[len(sample) // 2] / 2}
    assert len(far) > 40
    assert ratio_of_medians([1.0, 2.0], [1.0], 0.9).value == 1.5  # the median of an even sample is a mean


@pytest.mark.parametrize("correct", [0, 1, 5, 10])
def test_wilsons_interval_ends_where_the_score_test_rejects(correct: int) -> None:
    """Its ends solve (p - share)^2 = z^2 p (1 - p) / n, by which it is defined; none is outside 0 to 100."""
    low, high = (end / 100 for end in wilson_interval(correct, 10))

    for end in (low, high):
        assert (end - correct / 10) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 10, abs=1e-7)
    assert 0 <= low < high <= 1
    assert low - 1e-9 <= correct / 10 <= high + 1e-9


@pytest.mark.parametrize(
    ("confidence", "freedom", "expected"),
    [
        (0.5, 1, 1.000000),
        (0.95, 1, 12.706205),
        (0.99, 4, 4.604095),
        (0.999, 40, 3.550966),
        (0.99, 41, 2.701181),
        (0.999999, 6, 20.047856),
    ],
)
def test_student_t_is_that_of_scipy(confidence: float, freedom: int, expected: float) -> None:
    """For odd and even degrees of freedom, whose sums differ; values of scipy.stats.t.ppf, which tables round."""
    assert expected == pytest.approx(student_t(confidence, freedom), rel=1e-6)


def test_the_interval_of_pairs_is_that_of_a_paired_t_test() -> None:
    """On the logarithms; what the values of a pair share, such as a slow machine, changes nothing."""
    rng = np.random.default_rng(0)
    drift = np.exp(np.linspace(0, 1, 5))
    new, old = rng.lognormal(0.1, 0.02, 5), rng.lognormal(0, 0.02, 5)

    found = ratio_of_pairs(list(new * drift), list(old * drift), 0.99)

    logs = [math.log(one / other) for one, other in zip(new, old, strict=True)]
    half = 4.604095 * stdev(logs) / math.sqrt(5)
    assert (math.exp(mean(logs) - half), math.exp(mean(logs) + half)) == pytest.approx(found[1:], rel=1e-6)
    assert geometric_mean(new / old) == pytest.approx(found.value)
