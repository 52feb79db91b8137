"""Tests of harness.data.fingerprints."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data.fingerprints import Fingerprints, PixelDifference, pixel_difference, sampled


@pytest.mark.parametrize(("side", "places"), [(224, [28, 84, 140, 196]), (8, [1, 3, 5, 7]), (299, [37, 111, 185, 259])])
def test_pixels_are_sampled_in_a_grid(side: int, places: list[int]) -> None:
    """Four by four, at the middles of the grid's cells, all three channels."""
    crop = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)

    grid = sampled(crop)

    assert grid.shape == (4, 4, 3)
    np.testing.assert_array_equal(grid, crop[np.ix_(places, places)])


def _random(images: int) -> Fingerprints:
    rng = np.random.default_rng(0)
    return Fingerprints(
        rng.integers(0, 256, (images, 16), dtype=np.uint8), rng.integers(0, 256, (images, 4, 4, 3), dtype=np.uint8)
    )


def test_equal_images_do_not_differ() -> None:
    """Nothing is divided by zero."""
    assert pixel_difference(_random(5), _random(5)) == PixelDifference(
        images=0, first=0, share=0.0, largest=0, mean=0.0
    )


def test_differences_are_counted_over_the_images_that_differ() -> None:
    """Two images of five: one by a pixel off the grid, one by three sampled values, up and down."""
    old = Fingerprints(np.zeros((5, 16), np.uint8), np.full((5, 4, 4, 3), 100, np.uint8))
    new = Fingerprints(old.hashes.copy(), old.samples.copy())
    new.hashes[[1, 3], 7] = 1
    new.samples[3, 0, 0] = [101, 98, 250]

    found = pixel_difference(old, new)

    assert found == PixelDifference(images=2, first=1, share=3 / 96, largest=150, mean=51.0)


def test_the_digest_is_of_the_hashes_in_order() -> None:
    """Another order is another digest; the samples, which follow from the pixels, take no part."""
    found = _random(5)
    order = np.array([1, 0, 2, 3, 4])

    assert found.digest != found.at(order).digest
    assert found.digest == Fingerprints(found.hashes, found.samples // 2).digest
    np.testing.assert_array_equal(found.at(order).samples[0], found.samples[1])
