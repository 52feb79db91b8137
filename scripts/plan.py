"""How many images are needed to see a regression of top-1: against the published value, and against a baseline.

    python scripts/plan.py --regression 0.1

Against a baseline it can be seen in three ways: by counts of correct predictions (exact McNemar test), by a changed
prediction, and by drifted logits. The changes are those that were measured on 500 real images
(docs/measurements/faults.md); so numbers of images are ranges, from the 95% intervals of their shares.
"""

from __future__ import annotations

import argparse
import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.compare.statistics import wilson_interval
from harness.stats import images_needed
from harness.verdict import ALPHA, PAIRED_ALPHA

IMAGES = 50_000
LARGEST = 10_000_000


class Change(NamedTuple):
    """A change of all pixels, and of 500 images how many are correct in one run only, and have another prediction."""

    name: str
    discordant: int
    changed: int


MEASURED = 500
CHANGES = (
    Change("libjpeg's fast DCT", 1, 5),
    Change("bilinear for bicubic", 5, 11),
    Change("resize without antialias", 10, 14),
    Change("crop off by one pixel", 14, 17),
    Change("resize to 232 for 256", 30, 41),
)
"""EfficientNet-Lite0 on 500 real images. The logits of each drifted beyond the noise floor."""


def paired_images(regression: float, discordant: float, power: float, alpha: float = PAIRED_ALPHA) -> int | None:
    """Return how many images an exact McNemar test needs, to three digits; None if ten million are too few.

    Args:
        regression: share of images lost, net; at most ``discordant``.
        discordant: share of images that exactly one of the two runs predicts correctly.
        power: probability of p < alpha.
        alpha: level of the test.
    """
    low, high = 0, 1
    while _mcnemar_power(high, regression, discordant, alpha) < power:
        low, high = high, high * 2
        if high > LARGEST:
            return None
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        if _mcnemar_power(middle, regression, discordant, alpha) < power:
            low = middle
        else:
            high = middle
    return high


def found_in_all(discordant: float, power: float, alpha: float = PAIRED_ALPHA) -> float:
    """Return the smallest net loss, as a share, that 50,000 images find; ``discordant`` if they find none."""
    low, high = 0.0, discordant
    while high - low > discordant / 1000:
        middle = (low + high) / 2
        low, high = (low, middle) if _mcnemar_power(IMAGES, middle, discordant, alpha) >= power else (middle, high)
    return high


def images_to_see(share: float, power: float) -> int:
    """Return how many images include at least one of a share of all with a probability of ``power``."""
    return 1 if share >= 1 else math.ceil(math.log1p(-power) / math.log1p(-share) - 1e-9)


def _mcnemar_power(images: int, regression: float, discordant: float, alpha: float) -> float:
    """Return the probability of p < alpha: a sum over the numbers of discordant images and of lost ones among them."""
    first, weights = _binomial(images, discordant)
    lost = (discordant + regression) / 2 / discordant
    step = max(1, len(weights) // 100)  # neighbors are alike: a sample of them is enough
    found = 0.0
    for index in range(0, len(weights), step):
        start, terms = _binomial(first + index, lost)
        found += float(weights[index] * terms[max(0, _fewest(first + index, alpha) - start) :].sum())
    return found / float(weights[::step].sum())


def _fewest(number: int, alpha: float) -> int:
    """Return how many of ``number`` discordant images must be lost for p < alpha; more than all if none suffice."""
    first, terms = _binomial(number, 0.5)
    return first + len(terms) - int(np.searchsorted(2 * np.cumsum(terms[::-1]), alpha))


def _binomial(number: int, probability: float) -> tuple[int, NDArray[np.float64]]:
    """Return the first count that matters, and the probabilities from it on."""
    if probability >= 1:
        return number, np.ones(1)
    mean, width = number * probability, 12 * math.sqrt(number * probability * (1 - probability)) + 12
    first, last = max(0, math.floor(mean - width)), min(number, math.ceil(mean + width))
    k = np.arange(first, last + 1)
    logs = _log_factorials(number.bit_length())
    terms = logs[number] - logs[k] - logs[number - k] + k * math.log(probability)
    return first, np.asarray(np.exp(terms + (number - k) * math.log1p(-probability)))


@cache
def _log_factorials(bits: int) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 1 << bits)))])


def main(arguments: list[str] | None = None) -> None:
    """Print the numbers of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regression", metavar="POINTS", type=float, default=0.1, help="loss to be seen (%(default)s)")
    parser.add_argument("--power", metavar="P", type=float, default=0.99, help="probability of seeing it (%(default)s)")
    parser.add_argument("--accuracy", metavar="POINTS", type=float, default=70.0, help="published top-1 (%(default)s)")
    parser.add_argument("--tolerance", metavar="POINTS", type=float, default=0.05, help="its tolerance (%(default)s)")
    options = parser.parse_args(arguments)
    if not 0 < options.regression <= options.accuracy < 100 or not 0 < options.power < 1:
        parser.error("expected 0 < REGRESSION <= ACCURACY < 100 and 0 < POWER < 1")
    regression, power = options.regression / 100, options.power
    print(f"To see a loss of {options.regression:g} points of top-1 with a probability of {power:g}:\n")
    correct, tolerance = (round(points / 100 * IMAGES) for points in (options.accuracy, options.tolerance))
    images = images_needed(IMAGES, correct, tolerance, ALPHA, options.regression - 1e-7, power)
    needed = f"all {IMAGES:,} images are too few" if images is None else f"{images:,} of {IMAGES:,} images"
    print(f"against the published {options.accuracy:g}, tolerance {options.tolerance:g} points: {needed}")
    print("against a baseline, image by image, images needed by\n")
    print(f"{'':25}{'counts':>22}{'prediction':>18}{'drift':>7}{'50,000 find':>20}")
    for change in CHANGES:
        shares = [end / 100 for end in wilson_interval(change.discordant, MEASURED)]
        fewest, most = (paired_images(regression, max(share, regression), power) for share in shares)
        counts = f"more than {IMAGES:,}" if fewest is None or fewest > IMAGES else f"{_range(fewest, most)}"
        least, largest = (images_to_see(end / 100, power) for end in wilson_interval(change.changed, MEASURED)[::-1])
        low, high = (100 * found_in_all(share, power) for share in shares)
        found = f"{low:.2g} to {high:.2g} points"
        print(f"{change.name:25}{counts:>22}{_range(least, largest):>18}{1:>7}{found:>20}")
    print(f"\ncounts: exact McNemar test, p < {PAIRED_ALPHA:g}; ranges: 95% intervals of shares of {MEASURED} images")
    print(
        "prediction: at least one image with another top-1 class; drift: one whose logits moved beyond the noise floor"
    )
    print(f"50,000 find: the smallest net loss that counts find on {IMAGES:,} images with that probability")


def _range(low: int, high: int | None) -> str:
    """Return a range with two digits, as more are not known."""
    ends = (f"{float(f'{end:.2g}'):,.0f}" if end and end <= IMAGES else f"> {IMAGES:,}" for end in (low, high))
    return " to ".join(ends)


if __name__ == "__main__":
    main()
