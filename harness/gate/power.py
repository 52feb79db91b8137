"""How many images a gate needs to see a regression: against a published value, against a baseline, by drift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from harness.data import imagenet
from harness.gate.stats import BAND_ALPHA, sampling_band

_LARGEST = 10_000_000


@dataclass(frozen=True)
class Kind:
    """A kind of change, as measured.

    Attributes:
        name: in a few words.
        discordant: share of the images that one of the two runs gets right and the other wrong.
        changed: share of the images whose answer changes.
        drifted: share of the images whose logits move beyond the floor of fp32.
    """

    name: str
    discordant: float
    changed: float
    drifted: float


KINDS = (
    Kind("libjpeg's fast DCT", discordant=0.002, changed=0.010, drifted=1.0),
    Kind("bilinear for bicubic", discordant=0.010, changed=0.022, drifted=1.0),
    Kind("resize without antialias", discordant=0.020, changed=0.028, drifted=1.0),
    Kind("crop off by one pixel", discordant=0.028, changed=0.034, drifted=1.0),
    Kind("resize to 232 for 256", discordant=0.060, changed=0.082, drifted=1.0),
    Kind("one image in a thousand", discordant=0.001, changed=0.001, drifted=0.001),
)
"""EfficientNet-Lite0 on 500 real images (docs/faults.md); the last is what it says."""


def paired_images(regression: float, discordant: float, power: float, alpha: float = BAND_ALPHA) -> int | None:
    """Return how many images an exact McNemar test needs; None if ten million do not suffice.

    Of the discordant images, the share that is lost exceeds the share that is gained by the regression.

    Args:
        regression: share of the images lost, net; in 0..discordant.
        discordant: share of the images that exactly one of the two runs gets right.
        power: probability of finding it.
        alpha: a smaller p-value is a finding.

    Raises:
        ValueError: the regression is larger than the disagreement, which cannot be.
    """
    if not 0 < regression <= discordant <= 1:
        raise ValueError(f"a regression of {regression} among {discordant} of disagreement")
    low, high = 0, 1
    while _mcnemar_power(high, regression, discordant, alpha) < power:
        low, high = high, high * 2
        if high > _LARGEST:
            return None
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        if _mcnemar_power(middle, regression, discordant, alpha) < power:
            low = middle
        else:
            high = middle
    return high


def unpaired_images(regression: float, accuracy: float, tolerance: float, power: float) -> int | None:
    """Return how many of 50,000 images a subset needs for the gate against published values; None if all are too few.

    Args:
        regression: share of the images lost.
        accuracy: published, as a share.
        tolerance: of the published value, as a share.
        power: probability of finding it.
    """
    whole = imagenet.IMAGES
    hits, allowed = round(accuracy * whole), math.floor(tolerance * whole + 1e-9)

    def finds(images: int) -> bool:
        return sampling_band(whole, hits, allowed, images, power).could_miss < 100 * regression - 1e-9

    if not finds(whole):
        return None
    low, high = 0, whole
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if finds(middle) else (middle, high)
    return high


def chance_to_see(share: float, images: int) -> float:
    """Return the probability that at least one of so many images is among the share that a change touches.

    >>> chance_to_see(share=0.5, images=2)
    0.75
    """
    return 1.0 - (1.0 - share) ** images


def images_to_see(share: float, power: float) -> int:
    """Return how many images hold at least one of that share with a probability of ``power``.

    >>> images_to_see(share=0.5, power=0.75)
    2
    """
    return 1 if share >= 1 else math.ceil(math.log1p(-power) / math.log1p(-share) - 1e-9)


def _mcnemar_power(images: int, regression: float, discordant: float, alpha: float) -> float:
    """Return the probability of p < alpha: a sum over the number of discordant images and of the lost among them."""
    first, weights = _binomial(images, discordant)
    lost = (discordant + regression) / 2 / discordant
    step = max(1, len(weights) // 100)  # neighbours are alike: a sample of them is enough
    found = total = 0.0
    for place in range(0, len(weights), step):
        total += float(weights[place])
        found += float(weights[place]) * _upper_tail(first + place, _fewest(first + place, alpha), lost)
    return found / total


def _fewest(number: int, alpha: float) -> int:
    """Return how many of so many discordant images must have gone one way for p < alpha; more than all if none do."""
    first, terms = _binomial(number, 0.5)
    from_all_down = np.cumsum(terms[::-1])
    significant = int(np.searchsorted(2 * from_all_down, alpha))
    return first + len(terms) - significant


def _upper_tail(number: int, fewest: int, probability: float) -> float:
    first, terms = _binomial(number, probability)
    return float(terms[max(0, fewest - first) :].sum())


def _binomial(number: int, probability: float) -> tuple[int, NDArray[np.float64]]:
    """Return the probabilities of counts as far as they matter, and the first of the counts."""
    if probability >= 1:
        return number, np.ones(1)
    mean, spread = number * probability, 12 * math.sqrt(number * probability * (1 - probability)) + 12
    first, last = max(0, math.floor(mean - spread)), min(number, math.ceil(mean + spread))
    k = np.arange(first, last + 1)
    logs = _log_factorials(number.bit_length())
    terms = logs[number] - logs[k] - logs[number - k] + k * math.log(probability)
    return first, np.asarray(np.exp(terms + (number - k) * math.log1p(-probability)))


@cache
def _log_factorials(bits: int) -> NDArray[np.float64]:
    """Return the logarithms of the factorials of all numbers of so many bits."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 1 << bits)))])
