"""Tests of harness.evaluation.share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from harness.data.fingerprints import GRID, HASH_BYTES, Fingerprints
from harness.data.preset import Geometry, Preset
from harness.errors import EvaluationError
from harness.evaluation.predictions import Predictions
from harness.evaluation.share import Share, join
from harness.evaluation.spec import ModelFacts

PRESET = Preset(Geometry(256, 224, "bilinear"), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
MODEL = ModelFacts(PRESET, parameters=7, gflops=0.5, sha256="5ha")


def share_of(rows: Sequence[int], **changes: object) -> Share:
    """Return the share of images that are called and answered by their number."""
    numbers = np.array(rows)
    return replace(
        Share(
            predictions=Predictions(
                ids=tuple(f"{row:04}" for row in rows),
                top5=(numbers[:, None] + np.arange(5)).astype(np.int16),
                logits=(numbers[:, None] - np.arange(5)).astype(np.float32),
                classes=1000,
                batch_size=32,
                seconds=2.0 + len(rows),
                waited=0.5,
                fed=0.25,
                switches={"autocast": "off"},
                first_input={"id": f"{rows[0]:04}"},
            ),
            fingerprints=Fingerprints(
                np.repeat(numbers[:, None], HASH_BYTES, axis=1).astype(np.uint8),
                np.broadcast_to(numbers[:, None, None, None], (len(rows), GRID, GRID, 3)).astype(np.uint8),
            ),
            model=MODEL,
            decode_seconds=0.5,
            load_seconds=1.0,
            notes=(),
        ),
        **changes,  # type: ignore[arg-type]
    )


def ids_of(images: int) -> list[str]:
    """Return the ids of images by their number."""
    return [f"{row:04}" for row in range(images)]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("images", [1, 7, 499, 500])
def test_shares_are_joined_to_what_one_process_has(images: int, world: int) -> None:
    """Whatever the numbers, each image is there once, in its place, with its own answers and pixels."""
    shares = [share_of(range(rank, images, world)) if rank < images else Share.none() for rank in range(world)]

    joined = join(shares[::-1], ids_of(images))

    whole = share_of(range(images))
    assert whole.predictions.ids == joined.predictions.ids
    np.testing.assert_array_equal(whole.predictions.top5, joined.predictions.top5)
    np.testing.assert_array_equal(whole.predictions.logits, joined.predictions.logits)
    assert whole.fingerprints.digest == joined.fingerprints.digest
    np.testing.assert_array_equal(whole.fingerprints.samples, joined.fingerprints.samples)
    assert (MODEL, {"id": "0000"}) == (joined.model, joined.predictions.first_input)
    assert (1000, {"autocast": "off"}) == (joined.predictions.classes, joined.predictions.switches)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([[0, 2], [1]], id="one is missing"),
        pytest.param([[0, 2], [1, 2, 3]], id="one was answered twice"),
        pytest.param([[0, 2, 2], [1]], id="one twice in the place of another"),
        pytest.param([[0, 2], [1, 4]], id="a stranger"),
        pytest.param([[0, 2], [1, 3, 4]], id="a stranger more"),
    ],
)
def test_shares_that_are_not_the_whole_are_never_scored(rows: list[list[int]]) -> None:
    """It would be a fault of the harness: a padded or a lost image, as a sampler makes them."""
    with pytest.raises(RuntimeError, match=r"answers do not make up 4 images, each once"):
        join([share_of(own) for own in rows], ids_of(4))


def test_shares_of_different_models_are_refused() -> None:
    """A rank with other weights in its cache would give its images to another model."""
    other = replace(MODEL, sha256="0ther")

    with pytest.raises(
        EvaluationError, match=r"did not load the same model and weights: their sha256 are 5ha\.\.\., 0ther\.\.\.$"
    ):
        join([share_of([0, 2]), share_of([1], model=other)], ids_of(3))


def test_times_are_those_of_the_slowest_and_notes_those_of_all() -> None:
    """The others wait for it; a smaller batch on one rank is told as of all."""
    slow, quick = share_of([0, 2, 4]), share_of([1, 3], decode_seconds=3.0, load_seconds=0.5, notes=("odd",))
    quick = replace(quick, predictions=replace(quick.predictions, batch_size=8, seconds=6.0, waited=3.0))

    joined = join([slow, quick], ids_of(5))

    times = joined.predictions.seconds, joined.predictions.waited, joined.decode_seconds, joined.load_seconds
    assert (5.0, 0.5, 3.0, 1.0) == times
    assert (8, ("odd",)) == (joined.predictions.batch_size, joined.notes)
    assert joined.predictions.images_per_second == 5 / 4.5
