"""Tests of what harness.parallel.ranks joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import EvaluationError
from harness.parallel.ranks import join
from harness.predictions import GRID, HASH_BYTES, Predictions
from harness.records.evidence import Counts
from harness.records.results import CaseResult, Phases
from tests.records import case_result

IDS = [f"{number:04}" for number in range(40)]


def part_of(images: Sequence[int], **changes: Any) -> tuple[CaseResult, Predictions]:
    """Return the part of a process that has images of these numbers; every second is correct, every fourth by top-1."""
    numbers = np.array(images)
    predictions = Predictions(
        ids=np.array(IDS)[numbers],
        top=(numbers[:, None] + np.arange(6)).astype(np.int16),
        logits=(numbers[:, None] - np.arange(6)).astype(np.float32),
        logsumexp=numbers.astype(np.float32),
        hashes=np.repeat(numbers[:, None], HASH_BYTES, axis=1).astype(np.uint8),
        samples=np.broadcast_to(numbers[:, None, None, None], (len(numbers), GRID, GRID, 3)).astype(np.uint8),
    )
    result = case_result(
        counts=Counts(len(numbers), int((numbers % 4 == 0).sum()), int((numbers % 2 == 0).sum())),
        expected=None,
        batch_size=32,
        seconds=Phases(decode=0.5, load=1.0, transfer=0.25, forward=1.75, total=4.0),
        images_per_second=len(numbers) / 2,
        inputs_digest=predictions.inputs_digest,
        first_input={"id": str(predictions.ids[0]), "sha256": "1nput", "low": 0.0, "high": 1.0},
    )
    return msgspec.structs.replace(result, **changes), predictions


@given(ranks=st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_parts_are_joined_to_the_result_of_one_process(ranks: list[int]) -> None:
    """However images are shared among ranks, each is there once with its own prediction and pixels."""
    shared = [[image for image, its in enumerate(ranks) if its == rank] for rank in range(6)]

    result, predictions = join([part_of(images) if images else None for images in shared], IDS[: len(ranks)])

    expected, whole = part_of(range(len(ranks)))
    assert msgspec.structs.replace(expected, images_per_second=result.images_per_second) == result
    assert expected.images_per_second == pytest.approx(result.images_per_second)
    for name, array in vars(whole).items():
        np.testing.assert_array_equal(array, getattr(predictions, name), strict=True)


@pytest.mark.parametrize(
    "images",
    [[[0, 2], [1]], [[0, 2], [1, 2, 3]], [[0, 2, 2], [1]], [[0, 2], [1, 4]], [[0, 2], [1, 3, 4]]],
    ids=["missing", "twice", "twice instead of another", "unknown instead of another", "unknown besides"],
)
def test_parts_that_are_not_all_images_are_never_scored(images: list[list[int]]) -> None:
    """It would be a bug: a padded or a lost image, as distributed samplers make them."""
    with pytest.raises(RuntimeError, match=r"^predictions for \d images are not those of 4 images, each once$"):
        join([part_of(own) for own in images], IDS[:4])


def test_parts_of_different_weights_are_an_error() -> None:
    """A rank with other weights in its cache would evaluate its images by another model."""
    sentence = r"did not load the same model and weights: their sha256 are 5ha256\.\.\., 0ther\.\.\.$"

    with pytest.raises(EvaluationError, match=sentence):
        join([part_of([0, 2]), part_of([1], weights_sha256="0ther")], IDS[:3])


def test_times_are_those_of_the_slowest_and_notes_those_of_all() -> None:
    """The others wait for it; a smaller batch on one rank is reported for all."""
    slow = part_of([0, 2, 4], seconds=Phases(0.5, 1.0, 0.5, 4.0, 7.0), images_per_second=3 / 4.5, notes=("even", "odd"))
    quick = part_of(
        [1, 3], seconds=Phases(3.0, 0.5, 1.0, 2.0, 6.5), images_per_second=2 / 3, notes=("odd",), batch_size=8
    )

    result, _ = join([quick, slow], IDS[:5])

    assert Phases(decode=3.0, load=1.0, transfer=0.5, forward=4.0, total=7.0) == result.seconds
    assert ("odd", "even") == result.notes
    assert 5 / 4.5 == pytest.approx(result.images_per_second)
    assert 8 == result.batch_size
