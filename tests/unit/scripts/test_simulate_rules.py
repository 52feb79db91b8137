"""Tests of scripts/simulate_rules.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts import simulate_rules
from scripts.simulate_rules import FAULTS, Model, main

IMAGES = 50_000
TARGETS = np.arange(IMAGES).astype(np.int16) % 1000
MODEL = Model(np.arange(IMAGES) * 7 % 6, TARGETS)  # each rank is that of a sixth of the images, whatever their class


@pytest.mark.parametrize(
    ("fault", "changed", "top5_changed", "lost", "gained"),
    [
        ("1% of the images, at random", 500, 0, 83, 83),
        ("2% of the images, lost or gained alike", 1000, 0, 500, 500),
        ("one class of 1,000", 50, 0, 8, 8),
        ("0.2% of the images lose their top-1 and top-5", 100, 100, 100, 0),
        ("0.2% of the images lose their rank five", 0, 100, 0, 0),
    ],
)
def test_faults_change_what_they_say(fault: str, changed: int, top5_changed: int, lost: int, gained: int) -> None:
    """Within four standard deviations, where images are drawn."""
    draw = FAULTS[fault](MODEL, np.random.default_rng(0))

    was, is_now = MODEL.ranks == 0, draw.ranks == 0
    found = draw.changed, draw.top5_changed, was & ~is_now, is_now & ~was
    for images, number in zip(found, (changed, top5_changed, lost, gained), strict=True):
        assert abs(images.sum() - number) <= 4 * number**0.5


def test_a_file_that_is_absent_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not part of the project."""
    assert main([f"--predictions={tmp_path}/none.npz"]) == 0

    assert capsys.readouterr().out == (
        f"{tmp_path}/none.npz: expected the file of real predictions, found nothing; nothing was simulated\n"
    )


@pytest.mark.skipif(not simulate_rules.PREDICTIONS.exists(), reason="the real predictions are not here")
def test_the_tables_on_real_predictions(capsys: pytest.CaptureFixture[str]) -> None:
    """A loss of 0.2% at rank five, which was invisible to a baseline, is found by each of them on all images."""
    assert main(["--draws=2", "--power-draws=2"]) == 0

    found = {}
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("| 0.2% of the images lose their rank five"):
            _, _, check, *_, last, _ = (cell.strip() for cell in line.split("|"))
            found[check] = last.partition(" ")[0]
    assert found == {
        "published top-1": "0", "published top-5": "100", "baseline of classes": "100", "full baseline": "100"
    }  # fmt: skip
