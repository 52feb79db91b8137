"""Tests of harness.predictions: counting against a plain loop and real predictions, joining, and sampled pixels."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.predictions import Predictions, concatenate, count, sampled
from harness.records.evidence import Counts

# Counted by the reference data's own README from the same file.
REAL_CORRECT = {
    "alexnet": (28259, 39535),
    "resnet18": (34879, 44538),
    "resnet50": (38065, 46431),
    "squeezenet1_1": (29089, 40312),
    "vgg11": (34510, 44314),
    "densenet121": (37217, 45986),
}


def random_predictions(seed: int, images: int, classes: int, *, whole: bool = True) -> Predictions:
    """Return predictions of up to six different classes each; with logits and pixels if whole."""
    rng = np.random.default_rng(seed)
    every_class = np.tile(np.arange(classes, dtype=np.int16), (images, 1))
    top = rng.permuted(every_class, axis=1)[:, :6]
    ids = np.array([f"{number:05}.JPEG" for number in range(images)])
    if not whole:
        return Predictions(ids, top)
    logits = -np.sort(-rng.normal(size=top.shape).astype(np.float32), axis=1)
    logsumexp = rng.normal(size=images).astype(np.float32)
    hashes = rng.integers(0, 256, (images, 16), dtype=np.uint8)
    samples = rng.integers(0, 256, (images, 4, 4, 3), dtype=np.uint8)
    return Predictions(ids, top, logits, logsumexp, hashes, samples)


def assert_equal(one: Predictions, other: Predictions) -> None:
    """Compare all arrays, with their dtypes."""
    for field in fields(Predictions):
        found, expected = getattr(one, field.name), getattr(other, field.name)
        if expected is None:
            assert found is None
        else:
            np.testing.assert_array_equal(found, expected, strict=True)


def _counted_slowly(predictions: Predictions, targets: NDArray[np.int16]) -> Counts:
    """Count by hand: one image, position and comparison at a time."""
    top1 = top5 = 0
    for row, target in zip(predictions.top.tolist(), targets.tolist(), strict=True):
        for position, predicted in enumerate(row, start=1):
            if predicted == target and position <= 5:
                top5 += 1
                if position == 1:
                    top1 += 1
    return Counts(len(predictions.ids), top1, top5)


@pytest.mark.parametrize("classes", [5, 6, 7, 1000])
@pytest.mark.parametrize("images", [1, 2, 64, 65])
@pytest.mark.parametrize("seed", [0, 1])
def test_correct_predictions_are_counted_as_a_slow_loop_does(seed: int, images: int, classes: int) -> None:
    """Also with as few classes as are kept; the sixth does not count."""
    predictions = random_predictions(seed, images, classes, whole=False)
    targets = np.random.default_rng(seed + 9).integers(classes, size=images, dtype=np.int16)
    expected = _counted_slowly(predictions, targets)

    assert expected == count(predictions, targets)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param(7, Counts(1, 1, 1), id="first"),
        pytest.param(300, Counts(1, 0, 1), id="second"),
        pytest.param(999, Counts(1, 0, 1), id="fifth, last class"),
        pytest.param(4, Counts(1, 0, 0), id="sixth"),
        pytest.param(5, Counts(1, 0, 0), id="not kept"),
    ],
)
def test_count_of_one_image(target: int, expected: Counts) -> None:
    """An image counts for top-1 at the first position only, and for top-5 at each of the five."""
    predictions = Predictions(np.array(["a"]), np.array([[7, 300, 0, 1, 999, 4]], np.int16))

    assert expected == count(predictions, np.array([target], np.int16))


@pytest.mark.parametrize("model", REAL_CORRECT)
def test_counts_of_real_predictions(
    model: str, real_predictions: dict[str, Predictions], real_targets: NDArray[np.int16]
) -> None:
    """For all 50,000 validation images the counts are exactly those known."""
    expected = Counts(50_000, *REAL_CORRECT[model])

    assert expected == count(real_predictions[model], real_targets)


@given(
    images=st.integers(1, 40),
    whole=st.booleans(),
    parts=st.lists(st.integers(0, 4), min_size=40, max_size=40),
    order=st.permutations(range(5)),
)
def test_any_partition_in_any_order_gives_the_same(
    images: int, whole: bool, parts: list[int], order: list[int]
) -> None:
    """As from any number of ranks; in total, as before they were divided, arrays that are not known included."""
    expected = random_predictions(images, images, 9, whole=whole)
    members = [np.flatnonzero(np.array(parts[:images]) == part) for part in order]

    joined = concatenate([expected.at(member) for member in members])

    assert_equal(joined, expected)
    assert joined.inputs_digest == expected.inputs_digest


def test_images_are_found_by_id() -> None:
    """-1 for one that is missing, at either end and in between."""
    predictions = random_predictions(0, 5, 9).at(np.array([1, 2, 4]))

    indices = predictions.indices_of(np.array(["00000.JPEG", "00004.JPEG", "00003.JPEG", "00001.JPEG", "1"]))

    assert indices.tolist() == [-1, 2, -1, 0, -1]


@pytest.mark.parametrize(
    ("side", "positions"), [(224, [28, 84, 140, 196]), (8, [1, 3, 5, 7]), (299, [37, 111, 185, 259])]
)
def test_pixels_are_sampled_in_a_grid(side: int, positions: list[int]) -> None:
    """Four by four, at the middles of the grid's cells, all three channels."""
    crop = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)

    grid = sampled(crop)

    assert grid.shape == (4, 4, 3)
    np.testing.assert_array_equal(grid, crop[np.ix_(positions, positions)])


def test_the_inputs_digest_is_of_the_hashes_in_order() -> None:
    """Another order gives another digest; the samples, which follow from the pixels, have no part in it."""
    found = random_predictions(0, 5, 9)
    assert found.samples is not None

    assert found.inputs_digest != found.at(np.array([1, 0, 2, 3, 4])).inputs_digest
    assert found.inputs_digest == Predictions(found.ids, found.top, hashes=found.hashes).inputs_digest
    assert Predictions(found.ids, found.top, samples=found.samples).inputs_digest == ""
