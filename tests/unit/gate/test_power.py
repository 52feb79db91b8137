"""Tests of harness.gate.power."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from harness.gate.power import KINDS, chance_to_see, images_to_see, paired_images, unpaired_images
from harness.gate.stats import mcnemar, sampling_band


def _power(images: int, regression: float, discordant: float, alpha: float) -> float:
    """Return the power by going through every pair of counts, lost and gained."""
    lost, gained = (discordant + regression) / 2, (discordant - regression) / 2
    found = 0.0
    for one in range(images + 1):
        for other in range(images + 1 - one):
            if mcnemar(one, other) < alpha:
                ways = comb(images, one) * comb(images - one, other)
                rest = (1 - discordant) ** (images - one - other)
                found += ways * lost**one * gained**other * rest
    return found


@pytest.mark.parametrize(
    ("regression", "discordant", "power", "alpha"),
    [(0.3, 0.4, 0.9, 0.05), (0.5, 0.5, 0.99, 0.01), (0.25, 0.3, 0.8, 0.01), (0.6, 0.9, 0.9, 1e-3)],
)
def test_a_paired_gate_needs_as_many_images_as_it_takes(
    regression: float, discordant: float, power: float, alpha: float
) -> None:
    """The fewest, against the power from all pairs of counts; power rises in saw teeth, so one of its crossings."""
    images = paired_images(regression, discordant, power, alpha)

    assert images is not None
    assert _power(images, regression, discordant, alpha) >= power - 1e-9
    assert _power(images - 1, regression, discordant, alpha) < power


def test_a_paired_gate_finds_as_often_as_it_says() -> None:
    """Drawn two thousand times with the number of images that it asks for."""
    images = paired_images(0.01, 0.03, power=0.9, alpha=0.01)

    assert images is not None
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(images, [0.02, 0.01, 0.97], size=2000)
    found = np.mean([mcnemar(int(lost), int(gained)) < 0.01 for lost, gained, _ in drawn])
    assert found == pytest.approx(0.9, abs=0.03)


def test_what_changes_more_needs_more_images() -> None:
    """The net loss is harder to see among more that change both ways; a larger loss is easier."""
    needed = [paired_images(0.005, discordant, 0.99) or 0 for discordant in (0.005, 0.01, 0.05)]

    assert needed == sorted(needed)
    assert (paired_images(0.01, 0.05, 0.99) or 0) < needed[-1]


@pytest.mark.parametrize(("regression", "discordant"), [(0.02, 0.01), (0.0, 0.01), (0.1, 1.1)])
def test_more_cannot_be_lost_than_changes(regression: float, discordant: float) -> None:
    """Nor nothing be found."""
    with pytest.raises(ValueError, match="a regression of"):
        paired_images(regression, discordant, 0.99)


def test_an_unpaired_gate_needs_what_the_summary_says_it_could_miss() -> None:
    """With one image less, the band could miss the loss."""
    images = unpaired_images(0.05, accuracy=0.7, tolerance=0.0005, power=0.99)
    fewer = unpaired_images(0.05, accuracy=0.7, tolerance=0.0005, power=0.8)

    assert images is not None
    assert fewer is not None
    assert fewer < images
    assert (
        sampling_band(50_000, 35_000, 25, images).could_miss
        < 5
        <= sampling_band(50_000, 35_000, 25, images - 1).could_miss
    )


def test_a_loss_within_the_tolerance_is_never_seen() -> None:
    """Not even on all 50,000 images."""
    assert unpaired_images(0.0004, accuracy=0.7, tolerance=0.0005, power=0.99) is None


def test_images_and_chances_go_together() -> None:
    """The fewest images whose chance is that large."""
    for share in (0.001, 0.02, 0.5):
        images = images_to_see(share, 0.99)
        assert chance_to_see(share, images) >= 0.99 - 1e-12 > chance_to_see(share, images - 1) - 1e-9
    assert images_to_see(1.0, 0.99) == 1


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_is_in_order(kind: object) -> None:
    """An image that is right in one run only has changed; one that has changed has drifted."""
    shares = [getattr(kind, name) for name in ("discordant", "changed", "drifted")]
    assert 0 < shares[0] <= shares[1] <= shares[2] <= 1
