"""Tests of harness.stats, against exact integers and fractions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate, combinations, pairwise
from math import comb

import numpy as np
import pytest

from harness.stats import _cdf, all_among, binomial_tail, images_needed, mcnemar, sampling_band

# A sound model leaves the band once in 10,000 subsets, half of that on either side; a drop counts as found at 99 %.
ALPHA = 1e-4
TAIL = Fraction(1, 20_000)
POWER = Fraction(99, 100)


def _coins(n: int) -> list[int]:
    """Return how many of the 2^n outcomes of n coins have k heads, k = 0..n, by Pascal's triangle."""
    row = [1]
    for _ in range(n):
        row = [1, *(a + b for a, b in pairwise(row)), 1]
    return row


def _hypergeometric(population: int, correct: int, sample: int) -> Iterator[int]:
    """Yield the samples with k correct, k = 0, 1, …, without end: exact integers, to be divided by all samples."""
    k = max(0, sample - (population - correct))
    yield from [0] * k
    term = comb(correct, k) * comb(population - correct, sample - k)
    while True:
        yield term
        term = term * (correct - k) * (sample - k) // ((k + 1) * (population - correct - sample + k + 1))
        k += 1


def _cumulated(population: int, correct: int, sample: int, upto: int) -> int:
    """Return the number of samples with at most ``upto`` correct."""
    return sum(term for term, _ in zip(_hypergeometric(population, correct, sample), range(upto + 1), strict=False))


def test_mcnemar_is_the_share_of_coins_as_lopsided() -> None:
    """The p-value is that of counting the outcomes of n fair coins that lie no nearer to a draw, to the last bit."""
    pairs = [(a, b) for a in range(14) for b in range(14)]
    expected = [
        float(
            Fraction(sum(ways for k, ways in enumerate(_coins(a + b)) if abs(a + b - 2 * k) >= abs(a - b)), 1 << a + b)
        )
        for a, b in pairs
    ]

    actual = [mcnemar(a, b) for a, b in pairs]

    assert expected == actual


@pytest.mark.parametrize("numerator", [1, 5, 10])
def test_binomial_tail_is_the_share_of_outcomes_with_as_many(numerator: int) -> None:
    """For a probability of so many tenths, by exact fractions."""
    probability = Fraction(numerator, 10)
    expected = [
        float(sum(comb(n, k) * probability**k * (1 - probability) ** (n - k) for k in range(count, n + 1)))
        for n in (1, 2, 30)
        for count in range(n + 1)
    ]

    actual = [binomial_tail(count, n, numerator / 10) for n in (1, 2, 30) for count in range(n + 1)]

    assert actual == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("images", "others"), [(1, 0), (3, 0), (1, 5), (4, 4), (50, 2_000), (2_000, 50)])
def test_all_among_is_the_share_of_draws_without_others(images: int, others: int) -> None:
    """By exact fractions, for one drawn image to as many as there are images."""
    counts = range(1, min(images, 30) + 1)

    actual = [all_among(count, images, others) for count in counts]

    assert actual == pytest.approx(
        [float(Fraction(comb(images, k), comb(images + others, k))) for k in counts], abs=1e-12
    )


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [
        pytest.param(1, 9, 0.021484375, id="22 of 1024"),
        pytest.param(40, 41, 1.0, id="next to a draw"),
        pytest.param(600, 600, 1.0, id="a draw"),
        pytest.param(1400, 1500, None, id="2900 coins"),
        pytest.param(3000, 3200, None, id="6200 coins"),
        pytest.param(0, 1070, 2.0**-1069, id="less than a normal float"),
        pytest.param(0, 6000, 0.0, id="less than any float"),
    ],
)
def test_mcnemar_of_large_counts(only_first: int, only_second: int, expected: float | None) -> None:
    """Counts far beyond a float's exponents neither overflow nor lose a digit."""
    n, smaller = only_first + only_second, min(only_first, only_second)
    if expected is None:
        # The binomial coefficients by their recurrence; Pascal's triangle would take a minute.
        terms = accumulate(range(smaller), lambda term, k: term * (n - k) // (k + 1), initial=1)
        expected = float(Fraction(2 * sum(terms), 1 << n))

    actual = mcnemar(only_first, only_second)

    assert expected == actual


@pytest.mark.parametrize("population", [1, 2, 3, 7, 9])
def test_cdf_is_that_of_drawing_every_sample(population: int) -> None:
    """P(X <= k) is what enumerating all samples gives: none correct, all correct, one image and all images included."""
    for correct in range(population + 1):
        for sample in range(1, population + 1):
            samples = list(combinations([True] * correct + [False] * (population - correct), sample))
            counts = Counter(map(sum, samples))
            expected = [float(Fraction(n, len(samples))) for n in accumulate(counts[k] for k in range(sample + 1))]

            actual = _cdf(population, correct, sample)

            np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=0, strict=True)


@pytest.mark.parametrize("tolerance", [0, 1, 4])
@pytest.mark.parametrize("correct", [0, 1, 20, 39, 40])
def test_band_is_exact_on_a_small_population(correct: int, tolerance: int) -> None:
    """Each end is the last that a sound model, off by the whole tolerance, passes with all but half of alpha."""
    population = 40
    for sample in range(1, population + 1):
        everything = comb(population, sample)
        worst, best = max(correct - tolerance, 0), min(correct + tolerance, population)

        band = sampling_band(population, correct, tolerance, sample, ALPHA)

        below = [Fraction(_cumulated(population, worst, sample, band.low - k), everything) for k in (1, 0)]
        above = [1 - Fraction(_cumulated(population, best, sample, band.high - k), everything) for k in (0, 1)]
        assert below[0] < TAIL <= below[1]
        assert above[0] <= TAIL < above[1]


@pytest.mark.parametrize("sample", [1, 10, 500, 25_000, 49_999])
def test_band_is_exact_on_50_000_images(sample: int) -> None:
    """ResNet18's band on a subset of ImageNet is that of exact integers, and its tails keep ten digits."""
    population, correct, tolerance = 50_000, 34_879, 25
    everything = comb(population, sample)

    band = sampling_band(population, correct, tolerance, sample, ALPHA)

    terms = _hypergeometric(population, correct - tolerance, sample)
    under = sum(next(terms) for _ in range(band.low))
    below = [under / everything, (under + next(terms)) / everything]
    # The wrong of a sample are hypergeometric too: the upper tail is their lower one.
    terms = _hypergeometric(population, population - correct - tolerance, sample)
    over = sum(next(terms) for _ in range(sample - band.high))
    above = [over / everything, (over + next(terms)) / everything]
    assert below[0] < TAIL <= below[1]
    assert above[0] <= TAIL < above[1]
    cdf = _cdf(population, correct - tolerance, sample)
    np.testing.assert_allclose([0, *cdf][band.low : band.low + 2], below, rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("correct", "tolerance", "expected"),
    [
        (34_879, 25, (34_854, 34_904)),
        (34_879, 0, (34_879, 34_879)),
        (10, 25, (0, 35)),
        (49_990, 25, (49_965, 50_000)),
        (0, 0, (0, 0)),
        (50_000, 0, (50_000, 50_000)),
    ],
)
def test_band_of_all_images_is_the_tolerance(correct: int, tolerance: int, expected: tuple[int, int]) -> None:
    """Where the sample is the whole dataset, chance allows nothing beyond the tolerance."""
    band = sampling_band(50_000, correct, tolerance, 50_000, ALPHA)

    actual = band.low, band.high
    assert expected == actual


def test_band_moves_with_correct_and_sample_and_widens_with_the_tolerance() -> None:
    """More published correct or more images never lower an end; a larger tolerance never excludes what was allowed."""
    by_correct = [sampling_band(50_000, correct, 25, 500, ALPHA) for correct in range(0, 50_001, 1_000)]
    by_sample = [sampling_band(50_000, 34_879, 25, sample, ALPHA) for sample in range(1, 200)]
    by_tolerance = [sampling_band(50_000, 34_879, tolerance, 500, ALPHA) for tolerance in range(0, 2_000, 100)]

    for bands in (by_correct, by_sample):
        assert all(a.low <= b.low and a.high <= b.high for a, b in pairwise(bands))
    assert all(b.low <= a.low and a.high <= b.high for a, b in pairwise(by_tolerance))


def test_a_larger_subset_misses_less() -> None:
    """The drop that could be missed shrinks from everything, for a subset too small to fail, to the tolerance."""
    samples = [5, 50, 500, 5_000, 49_999, 50_000]

    drops = [sampling_band(50_000, 34_879, 25, sample, ALPHA).could_miss for sample in samples]

    assert all(small > large for small, large in pairwise(drops))
    assert drops[0] == pytest.approx(69.758)
    assert drops[-1] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("population", "correct", "tolerance", "sample"),
    [
        (50_000, 34_879, 25, 50),
        (50_000, 34_879, 25, 500),
        (50_000, 44_539, 25, 500),
        (50_000, 34_879, 25, 49_999),
        (50_000, 34_879, 25, 50_000),
        (10_000, 5_718, 5, 1_000),
        (500, 274, 2, 100),
        (100, 100, 0, 60),
    ],
)
def test_could_miss_is_the_largest_drop_for_which_the_band_lacks_its_power(
    population: int, correct: int, tolerance: int, sample: int
) -> None:
    """Losing the stated points can pass with more than 1 % probability, losing one image more cannot."""
    band = sampling_band(population, correct, tolerance, sample, ALPHA)
    drop = round(band.could_miss * population / 100)

    found = [
        Fraction(_cumulated(population, correct - lost, sample, band.low - 1), comb(population, sample))
        for lost in (drop, drop + 1)
    ]

    assert found[0] < POWER <= found[1]


def test_sampling_band_refuses_a_sample_larger_than_the_population() -> None:
    """There is no sample of 600 among 500."""
    with pytest.raises(ValueError, match="600"):
        sampling_band(500, 400, 2, 600, ALPHA)


def test_a_subset_of_the_needed_size_finds_the_drop_and_none_smaller() -> None:
    """As the gate's own summary says of what a subset could miss; a drop within the tolerance is never found."""
    images = images_needed(50_000, 35_000, 25, ALPHA, 1.0)

    assert images is not None
    missed = [sampling_band(50_000, 35_000, 25, size, ALPHA).could_miss for size in (images - 1, images)]
    assert missed[0] >= 1.0 > missed[1]
    assert images_needed(50_000, 35_000, 25, ALPHA, 0.04) is None
