"""Tests of harness.gate.stats, against exact integers and fractions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate, combinations, pairwise, product
from math import comb

import numpy as np
import pytest

from harness.gate.stats import _cdf, mcnemar, ratio_of_medians, sampling_band, wilson_interval

# A sound model leaves the band once in 10,000 subsets, half of that on either side; a drop counts as found at 99 %.
TAIL = Fraction(1, 20_000)
POWER = Fraction(99, 100)


def _coins(n: int) -> list[int]:
    """Return how many of the 2^n outcomes of n coins have k heads, k = 0..n, by Pascal's triangle."""
    row = [1]
    for _ in range(n):
        row = [1, *(a + b for a, b in pairwise(row)), 1]
    return row


def _hypergeometric(population: int, hits: int, sample: int) -> Iterator[int]:
    """Yield the samples with k hits, k = 0, 1, …, without end: exact integers, to be divided by all samples."""
    k = max(0, sample - (population - hits))
    yield from [0] * k
    term = comb(hits, k) * comb(population - hits, sample - k)
    while True:
        yield term
        term = term * (hits - k) * (sample - k) // ((k + 1) * (population - hits - sample + k + 1))
        k += 1


def _cumulated(population: int, hits: int, sample: int, upto: int) -> int:
    """Return the number of samples with at most ``upto`` hits."""
    return sum(term for term, _ in zip(_hypergeometric(population, hits, sample), range(upto + 1), strict=False))


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


def test_mcnemar_knows_no_order() -> None:
    """Which of the two models comes first does not matter."""
    pairs = [(a, b) for a in range(30) for b in range(a)]

    forwards = [mcnemar(a, b) for a, b in pairs]
    backwards = [mcnemar(b, a) for a, b in pairs]

    assert forwards == backwards


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 1), (0, 1), (40, 41), (600, 600)])
def test_mcnemar_of_no_difference_is_one(only_first: int, only_second: int) -> None:
    """Without disagreement, at a draw and next to one nothing speaks against chance, and no p-value exceeds 1."""
    actual = mcnemar(only_first, only_second)

    assert actual == 1.0


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [
        pytest.param(1, 9, 0.021484375, id="22 of 1024"),
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
    """P(X <= k) is what enumerating all samples gives: no hits, only hits, one image and all images among them."""
    for hits in range(population + 1):
        for sample in range(1, population + 1):
            samples = list(combinations([True] * hits + [False] * (population - hits), sample))
            counts = Counter(map(sum, samples))
            expected = [float(Fraction(n, len(samples))) for n in accumulate(counts[k] for k in range(sample + 1))]

            actual = _cdf(population, hits, sample)

            np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=0, strict=True)


@pytest.mark.parametrize("tolerance", [0, 1, 4])
@pytest.mark.parametrize("hits", [0, 1, 20, 39, 40])
def test_band_is_exact_on_a_small_population(hits: int, tolerance: int) -> None:
    """Each end is the last that a sound model, off by the whole tolerance, passes with all but half of alpha."""
    population = 40
    for sample in range(1, population + 1):
        everything = comb(population, sample)
        worst, best = max(hits - tolerance, 0), min(hits + tolerance, population)

        band = sampling_band(population, hits, tolerance, sample)

        below = [Fraction(_cumulated(population, worst, sample, band.low - k), everything) for k in (1, 0)]
        above = [1 - Fraction(_cumulated(population, best, sample, band.high - k), everything) for k in (0, 1)]
        assert below[0] < TAIL <= below[1]
        assert above[0] <= TAIL < above[1]


@pytest.mark.parametrize("sample", [1, 10, 500, 25_000, 49_999])
def test_band_is_exact_on_50_000_images(sample: int) -> None:
    """ResNet18's band on a subset of ImageNet is that of exact integers, and its tails keep ten digits."""
    population, hits, tolerance = 50_000, 34_879, 25
    everything = comb(population, sample)

    band = sampling_band(population, hits, tolerance, sample)

    terms = _hypergeometric(population, hits - tolerance, sample)
    under = sum(next(terms) for _ in range(band.low))
    below = [under / everything, (under + next(terms)) / everything]
    # The misses of a sample are hypergeometric too: the upper tail is their lower one.
    terms = _hypergeometric(population, population - hits - tolerance, sample)
    over = sum(next(terms) for _ in range(sample - band.high))
    above = [over / everything, (over + next(terms)) / everything]
    assert below[0] < TAIL <= below[1]
    assert above[0] <= TAIL < above[1]
    cdf = _cdf(population, hits - tolerance, sample)
    np.testing.assert_allclose([0, *cdf][band.low : band.low + 2], below, rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("hits", "tolerance", "expected"),
    [
        (34_879, 25, (34_854, 34_904)),
        (34_879, 0, (34_879, 34_879)),
        (10, 25, (0, 35)),
        (49_990, 25, (49_965, 50_000)),
        (0, 0, (0, 0)),
        (50_000, 0, (50_000, 50_000)),
    ],
)
def test_band_of_all_images_is_the_tolerance(hits: int, tolerance: int, expected: tuple[int, int]) -> None:
    """Where the sample is the whole split, chance allows nothing beyond the tolerance."""
    band = sampling_band(50_000, hits, tolerance, 50_000)

    actual = band.low, band.high
    assert expected == actual


def test_band_moves_with_hits_and_sample_and_widens_with_the_tolerance() -> None:
    """More published hits or more images never lower an end; a larger tolerance never excludes what was allowed."""
    by_hits = [sampling_band(50_000, hits, 25, 500) for hits in range(0, 50_001, 1_000)]
    by_sample = [sampling_band(50_000, 34_879, 25, sample) for sample in range(1, 200)]
    by_tolerance = [sampling_band(50_000, 34_879, tolerance, 500) for tolerance in range(0, 2_000, 100)]

    for bands in (by_hits, by_sample):
        assert all(a.low <= b.low and a.high <= b.high for a, b in pairwise(bands))
    assert all(b.low <= a.low and a.high <= b.high for a, b in pairwise(by_tolerance))


def test_a_larger_subset_misses_less() -> None:
    """The drop that could be missed shrinks from everything, for a subset too small to fail, to the tolerance."""
    samples = [5, 50, 500, 5_000, 49_999, 50_000]

    drops = [sampling_band(50_000, 34_879, 25, sample).could_miss for sample in samples]

    assert all(small > large for small, large in pairwise(drops))
    assert drops[0] == pytest.approx(69.758)
    assert drops[-1] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("population", "hits", "tolerance", "sample"),
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
    population: int, hits: int, tolerance: int, sample: int
) -> None:
    """Losing the stated points can pass with more than 1 % probability, losing one image more cannot."""
    band = sampling_band(population, hits, tolerance, sample)
    drop = round(band.could_miss * population / 100)

    found = [
        Fraction(_cumulated(population, hits - lost, sample, band.low - 1), comb(population, sample))
        for lost in (drop, drop + 1)
    ]

    assert found[0] < POWER <= found[1]


def test_sampling_band_refuses_a_sample_larger_than_the_population() -> None:
    """There is no sample of 600 among 500."""
    with pytest.raises(ValueError, match="600"):
        sampling_band(500, 400, 2, 600)


def _bootstrap(sample: list[float]) -> dict[float, Fraction]:
    """Return the exact distribution of the median of a resample, by making every resample that there is."""
    resamples = product(sample, repeat=len(sample))
    counts = Counter(sorted(resample)[len(sample) // 2] for resample in resamples)
    return {value: Fraction(count, len(sample) ** len(sample)) for value, count in sorted(counts.items())}


def _exact_quantile(distribution: dict[float, Fraction], probability: Fraction) -> float:
    for value, cumulated in zip(distribution, accumulate(distribution.values()), strict=True):
        if cumulated >= probability:
            return value
    raise AssertionError("probabilities sum to less")


@pytest.mark.parametrize(
    "sample", [[3.0], [1.0, 2.0, 9.0], [4.0, 1.0, 2.0, 16.0, 8.0], [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]]
)
def test_the_interval_is_that_of_all_resamples(sample: list[float]) -> None:
    """Against every resample that can be drawn, for samples of odd size and all sorts of confidence."""
    distribution = _bootstrap(sample)
    steps = list(accumulate(distribution.values()))
    tails = [Fraction(percent, 200) for percent in range(1, 100)]
    # The interval rests on 20,000 draws; where it ends at a step it may end on either side.
    clear = [
        tail for tail in tails if all(abs(step - end) > Fraction(1, 80) for step in steps for end in (tail, 1 - tail))
    ]

    ratios = [ratio_of_medians(sample, [2.0], float(1 - 2 * tail)) for tail in clear]

    exact = [(_exact_quantile(distribution, tail) / 2, _exact_quantile(distribution, 1 - tail) / 2) for tail in clear]
    assert [(ratio.low, ratio.high) for ratio in ratios] == exact
    assert {ratio.value for ratio in ratios} == {sorted(sample)[len(sample) // 2] / 2}
    assert len(clear) > 40


def test_the_interval_of_a_ratio_is_turned_round_with_it() -> None:
    """Exchanged, the two give the inverse, up to the draws; the median of an even sample is a mean."""
    first, second = [1.0, 1.1, 1.2, 1.4], [2.0, 2.2, 2.3, 2.9]

    ratio, inverse = ratio_of_medians(first, second, 0.9), ratio_of_medians(second, first, 0.9)

    assert ratio.value == pytest.approx(1.15 / 2.25)
    turned = 1 / ratio.value, 1 / ratio.high, 1 / ratio.low
    assert turned == pytest.approx((inverse.value, inverse.low, inverse.high), rel=0.05)
    assert ratio.low < ratio.value < ratio.high


def test_the_interval_is_the_same_in_every_call() -> None:
    """A comparison made twice says the same twice."""
    first, second = (np.random.default_rng(1).random((2, 100)) + 1).tolist()

    assert ratio_of_medians(first, second, 0.99) == ratio_of_medians(first, second, 0.99)


def test_the_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    """Of 400 pairs of samples from one distribution, 40 of the 90 % intervals leave out 1, give or take chance."""
    samples = np.random.default_rng(2).lognormal(sigma=0.1, size=(400, 2, 51))
    ratios = [ratio_of_medians(first, second, 0.9) for first, second in samples.tolist()]

    missed = sum(not ratio.low <= 1 <= ratio.high for ratio in ratios)

    assert 15 <= missed <= 65  # four standard deviations


@pytest.mark.parametrize("hits", [0, 1, 5, 10])
def test_wilsons_interval_ends_where_the_score_test_rejects(hits: int) -> None:
    """Its ends solve (p - share)^2 = z^2 p (1 - p) / n, by which it is defined; none is outside 0 to 100."""
    low, high = (end / 100 for end in wilson_interval(hits, 10))

    for end in (low, high):
        assert (end - hits / 10) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 10, abs=1e-7)
    assert 0 <= low < high <= 1
    assert low - 1e-9 <= hits / 10 <= high + 1e-9
