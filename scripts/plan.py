"""How many images are needed to see a regression of top-1: against the published value, and against a baseline.

    python scripts/plan.py --regression 0.1

Against a baseline it can be seen in three ways: by counts of correct predictions (exact McNemar test), by a changed
prediction, and by drifted logits. The changes are those that were measured on real images
(docs/measurements/faults.md).
"""

from __future__ import annotations

import argparse
import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.stats import sampling_band
from harness.verdict import ALPHA

IMAGES = 50_000
LARGEST = 10_000_000
LIMITS = (10, 100, 1000)


class Change(NamedTuple):
    """A change, and shares of images: correct in one run only, another prediction, logits beyond the noise floor."""

    name: str
    discordant: float
    changed: float
    drifted: float


CHANGES = (
    Change("libjpeg's fast DCT", 0.002, 0.010, 1.0),
    Change("bilinear for bicubic", 0.010, 0.022, 1.0),
    Change("resize without antialias", 0.020, 0.028, 1.0),
    Change("crop off by one pixel", 0.028, 0.034, 1.0),
    Change("resize to 232 for 256", 0.060, 0.082, 1.0),
    Change("one image in a thousand", 0.001, 0.001, 0.001),
)
"""EfficientNet-Lite0 on 500 real images; the last is made up."""


def paired_images(regression: float, discordant: float, power: float, alpha: float = ALPHA) -> int | None:
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


def unpaired_images(regression: float, accuracy: float, tolerance: float, power: float) -> int | None:
    """Return how many of 50,000 images a subset needs against the published accuracy; None if all are too few."""

    def finds(images: int) -> bool:
        correct, allowed = round(accuracy * IMAGES), math.floor(tolerance * IMAGES + 1e-9)
        return sampling_band(IMAGES, correct, allowed, images, ALPHA, power).could_miss < 100 * regression - 1e-9

    if not finds(IMAGES):
        return None
    low, high = 0, IMAGES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if finds(middle) else (middle, high)
    return high


def chance_to_see(share: float, images: int) -> float:
    """Return the probability that at least one of ``images`` images is among a share of all."""
    return 1.0 - (1.0 - share) ** images


def images_to_see(share: float, power: float) -> int:
    """Return how many images include at least one of a share of all with a probability of ``power``."""
    return 1 if share >= 1 else math.ceil(math.log1p(-power) / math.log1p(-share) - 1e-9)


def _mcnemar_power(images: int, regression: float, discordant: float, alpha: float) -> float:
    """Return the probability of p < alpha: a sum over the numbers of discordant images and of lost ones among them."""
    first, weights = _binomial(images, discordant)
    lost = (discordant + regression) / 2 / discordant
    step = max(1, len(weights) // 100)  # neighbours are alike: a sample of them is enough
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
    images = unpaired_images(regression, options.accuracy / 100, options.tolerance / 100, power)
    needed = "all 50,000 images are too few" if images is None else f"{images:,} of 50,000 images"
    print(f"against the published {options.accuracy:g}, tolerance {options.tolerance:g} points: {needed}")
    print("against a baseline, image by image, images needed by\n")
    heads = "".join(f"{f'drift in {limit}':>15}" for limit in LIMITS)
    print(f"{'':25}{'counts':>14}{'prediction':>12}{'drift':>8}{heads}")
    for change in CHANGES:
        paired = paired_images(regression, change.discordant, power) if regression <= change.discordant else 0
        counts = "> 10,000,000" if paired is None else f"{paired:,}" if paired else "-"
        chances = "".join(f"{chance_to_see(change.drifted, limit):>15.2f}" for limit in LIMITS)
        seen = f"{images_to_see(change.changed, power):>12,}{images_to_see(change.drifted, power):>8,}"
        print(f"{change.name:25}{counts:>14}{seen}{chances}")
    print(f"\ncounts: exact McNemar test, p < {ALPHA:g}; -: the change cannot lose as much")
    print("prediction: at least one image with another top-1 class")
    print("drift: at least one image whose logits moved beyond the noise floor, and the chance of that in N images")


if __name__ == "__main__":
    main()
