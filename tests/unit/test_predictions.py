"""Tests of harness.predictions: counting against a plain loop, joining, and sampled pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.predictions import Predictions, concatenate, count, sampled
from harness.records.evidence import Counts
from tests.records import random_predictions


@pytest.mark.parametrize("classes", [5, 6, 7, 1000])
@pytest.mark.parametrize("images", [1, 2, 64, 65])
def test_correct_predictions_are_counted_as_a_slow_loop_does(images: int, classes: int) -> None:
    """Also with as few classes as are kept; the sixth does not count."""
    predictions = random_predictions(images, images, classes, whole=False)
    targets = np.random.default_rng(9).integers(classes, size=images, dtype=np.int16)
    rows = zip(predictions.top.tolist(), targets.tolist(), strict=True)
    ranks = [row.index(target) if target in row else 9 for row, target in rows]

    assert Counts(images, sum(rank == 0 for rank in ranks), sum(rank < 5 for rank in ranks)) == count(
        predictions, targets
    )


@given(
    images=st.integers(1, 40),
    whole=st.booleans(),
    parts=st.lists(st.integers(0, 4), min_size=40, max_size=40),
    order=st.permutations(range(5)),
)
def test_any_partition_gives_the_same(images: int, whole: bool, parts: list[int], order: list[int]) -> None:
    """As from any number of ranks; in total, as before they were divided, arrays that are not known included."""
    expected = random_predictions(images, images, 9, whole=whole)
    members = [np.flatnonzero(np.array(parts[:images]) == part) for part in order]

    joined = concatenate([expected.at(member) for member in members])

    for name, array in vars(expected).items():
        np.testing.assert_array_equal(array, getattr(joined, name), strict=array is not None)
    assert expected.inputs_digest == joined.inputs_digest


def test_images_are_found_by_id() -> None:
    """-1 for one that is missing, at either end and in between."""
    predictions = random_predictions(0, 5, 9).at(np.array([1, 2, 4]))

    indices = predictions.indices_of(np.array(["00000.JPEG", "00004.JPEG", "00003.JPEG", "00001.JPEG", "1"]))

    assert [-1, 2, -1, 0, -1] == indices.tolist()


@pytest.mark.parametrize(
    ("side", "positions"), [(224, [28, 84, 140, 196]), (8, [1, 3, 5, 7]), (299, [37, 111, 185, 259])]
)
def test_pixels_are_sampled_in_a_grid(side: int, positions: list[int]) -> None:
    """Four by four, at the middles of the grid's cells, all three channels."""
    crop = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)

    np.testing.assert_array_equal(crop[np.ix_(positions, positions)], sampled(crop), strict=True)


def test_the_inputs_digest_is_of_the_hashes_in_order() -> None:
    """Another order gives another digest; the samples, which follow from the pixels, have no part in it."""
    found = random_predictions(0, 5, 9)

    assert found.inputs_digest != found.at(np.array([1, 0, 2, 3, 4])).inputs_digest
    assert found.inputs_digest == Predictions(found.ids, found.top, hashes=found.hashes).inputs_digest
    assert "" == Predictions(found.ids, found.top, samples=found.samples).inputs_digest
