"""Tests of scripts/plan.py."""

from __future__ import annotations

import re
from math import comb

import numpy as np
import pytest

from harness.stats import mcnemar
from harness.verdict import PAIRED_ALPHA
from scripts.plan import found_in_all, images_to_see, main, paired_images


def _power(images: int, regression: float, discordant: float, alpha: float) -> float:
    """Return the power by enumerating all pairs of counts, lost and gained."""
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
def test_images_for_a_paired_test(regression: float, discordant: float, power: float, alpha: float) -> None:
    """The fewest, by enumeration; power rises in saw teeth, so one of its crossings."""
    images = paired_images(regression, discordant, power, alpha)

    assert images is not None
    assert _power(images, regression, discordant, alpha) >= power - 1e-9
    assert _power(images - 1, regression, discordant, alpha) < power


def test_the_loss_that_all_images_find_is_found_that_often() -> None:
    """Drawn a thousand times; for a change of 2% of the images 0.4 points, of which the tolerance would miss none."""
    loss = found_in_all(0.02, power=0.99)

    share = np.array([0.02 + loss, 0.02 - loss]) / 2
    drawn = np.random.default_rng(0).multinomial(50_000, [*share, 0.98], size=1000)
    found = np.mean([mcnemar(int(lost), int(gained)) < PAIRED_ALPHA for lost, gained, _ in drawn])
    assert round(100 * loss, 1) == 0.4
    assert found == pytest.approx(0.99, abs=0.02)


@pytest.mark.parametrize("option", ["--regression=0", "--regression=71", "--power=1", "--power=nan"])
def test_what_cannot_be_planned_is_a_usage_error(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By argparse, with exit status 2."""
    with pytest.raises(SystemExit) as exit_:
        main([option])

    assert exit_.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_images_to_see_a_change_are_the_fewest() -> None:
    """Whose chance to include one of the share is that large."""
    for share in (0.001, 0.02, 0.5):
        images = images_to_see(share, 0.99)
        assert 1 - (1 - share) ** images >= 0.99 - 1e-12 > 1 - (1 - share) ** (images - 1) - 1e-9


@pytest.mark.slow
def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """One row per change: ranges, as 1 to 30 of 500 images were measured, and no more images than there are."""
    main(["--regression", "0.1"])
    table = capsys.readouterr().out
    main(["--regression=0.3", "--tolerance=0.3", "--power=0.5"])  # a loss within the tolerance cannot be seen

    assert "tolerance 0.3 points: all 50,000 images are too few" in capsys.readouterr().out
    assert "\nagainst the published 70, tolerance 0.05 points: 49,921 of 50,000 images\n" in table
    assert re.search(r"^resize to 232 .* more than 50,000 .* 0\.59 to 0\.83 points$", table, re.MULTILINE)
    assert re.search(r"^libjpeg.* 27,000 to > 50,000 .* 200 to 1,100 ", table, re.MULTILINE)
