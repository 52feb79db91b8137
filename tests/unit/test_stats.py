"""Tests of harness.stats, against exact integers and fractions."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest

from harness.stats import all_among, binomial_tail, images_needed, mcnemar, sampling_band

# A sound model leaves the band once in 10,000 subsets, half of that on either side; a drop counts as found at 99%.
ALPHA = 1e-4
TAIL = Fraction(1, 20_000)
POWER = Fraction(99, 100)


def _at_most(most: int, population: int, correct: int, sample: int) -> Fraction:
    """Return the share of the samples of a population in which at most so many are correct."""
    k = max(0, sample - (population - correct))
    term, total = comb(correct, k) * comb(population - correct, sample - k), 0
    while k <= min(most, correct, sample):
        total += term
        term = term * (correct - k) * (sample - k) // ((k + 1) * (population - correct - sample + k + 1))
        k += 1
    return Fraction(total, comb(population, sample))


# Counts far beyond a float's exponents neither overflow nor lose a digit, down to less than any float.
LARGE = [(1400, 1500), (2100, 2200), (600, 600), (0, 1070), (0, 6000)]


@pytest.mark.parametrize("pairs", [[(a, b) for a in range(14) for b in range(14)], LARGE], ids=["small", "large"])
def test_mcnemar_is_the_share_of_coins_as_lopsided(pairs: list[tuple[int, int]]) -> None:
    """The p-value is that of counting the outcomes of n fair coins that lie no nearer to a draw, to the last bit."""
    for first, second in pairs:
        n, fewer = first + second, min(first, second)
        as_lopsided = sum(comb(n, heads) for heads in range(n + 1) if min(heads, n - heads) <= fewer)

        assert float(Fraction(as_lopsided, 1 << n)) == mcnemar(first, second)


@pytest.mark.parametrize("numerator", [1, 5, 10])
@pytest.mark.parametrize("n", [1, 2, 30])
def test_binomial_tail_is_the_share_of_outcomes_with_as_many(n: int, numerator: int) -> None:
    """For a probability of so many tenths, by exact fractions."""
    p = Fraction(numerator, 10)
    exactly = [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]

    found = [binomial_tail(count, n, numerator / 10) for count in range(n + 1)]

    assert pytest.approx([float(sum(exactly[count:])) for count in range(n + 1)], rel=1e-12) == found


@pytest.mark.parametrize(("images", "others"), [(1, 0), (3, 0), (1, 5), (4, 4), (50, 2_000), (2_000, 50)])
def test_all_among_is_the_share_of_draws_without_others(images: int, others: int) -> None:
    """By exact fractions, for one drawn image to as many as there are images."""
    counts = range(1, min(images, 30) + 1)

    found = [all_among(count, images, others) for count in counts]

    assert pytest.approx([comb(images, k) / comb(images + others, k) for k in counts], abs=1e-12) == found


SMALL = [
    (40, correct, tolerance, sample)
    for correct in (0, 1, 20, 39, 40)
    for tolerance in (0, 1, 4)
    for sample in range(1, 41)
]
RESNET18 = [(50_000, 34_879, 25, sample) for sample in (1, 10, 50, 500, 10_000, 49_999, 50_000)]
EDGES = [(50_000, correct, tolerance, 50_000) for correct in (0, 10, 49_990, 50_000) for tolerance in (0, 25)]


@pytest.mark.parametrize("cases", [SMALL, RESNET18, EDGES, [(10_000, 5_718, 5, 1_000), (100, 100, 0, 60)]])
def test_band_and_largest_missed_drop_are_exact(cases: list[tuple[int, int, int, int]]) -> None:
    """Each end is the last that a sound model, off by the whole tolerance, passes with all but half of alpha.

    Losing the stated points can pass with more than 1% probability, losing one image more cannot.
    """
    for population, correct, tolerance, sample in cases:
        worst, best = max(correct - tolerance, 0), min(correct + tolerance, population)

        band = sampling_band(population, correct, tolerance, sample, ALPHA)

        assert _at_most(band.low - 1, population, worst, sample) < TAIL <= _at_most(band.low, population, worst, sample)
        # The wrong of a sample are hypergeometric too: the upper tail is their lower one.
        over, wrong = sample - band.high, population - best
        assert _at_most(over - 1, population, wrong, sample) < TAIL <= _at_most(over, population, wrong, sample)
        left = correct - round(band.could_miss * population / 100)
        assert pytest.approx(100 * (correct - left) / population) == band.could_miss
        assert _at_most(band.low - 1, population, left, sample) < POWER
        assert left == 0 or POWER <= _at_most(band.low - 1, population, left - 1, sample)


def test_what_no_sample_can_be_or_show() -> None:
    """There is none of 600 among 500, and none finds a drop within the tolerance."""
    with pytest.raises(ValueError, match="600"):
        sampling_band(500, 400, 2, 600, ALPHA)
    assert images_needed(50_000, 35_000, 25, ALPHA, 0.04) is None
