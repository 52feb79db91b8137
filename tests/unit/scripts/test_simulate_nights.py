"""Tests of scripts/simulate_nights.py: how a series of nights is walked through."""

from __future__ import annotations

import pytest

from scripts.simulate_nights import Found, first_red

pytest.importorskip("asv", reason="needs the extra nightly")
STEP = [1.0, 1.001] * 10 + [1.1, 1.101] * 2


@pytest.mark.parametrize(
    ("again", "found"),
    [(STEP, Found(21, 20)), ([1.0] * 21 + [1.0, 1.1, 1.1], Found(23, 22)), ([1.0] * 24, None)],
    ids=["slower again", "the first time faster", "always faster"],
)
def test_the_first_red_night(again: list[float], found: Found | None) -> None:
    """The second slow night, unless it is fast when it is timed again."""
    assert found == first_red(STEP, again, 0.05)
    assert first_red(STEP[:20], STEP[:20], 0.05) is None
