"""Any subset of the images, in any order, batch size and partition, gives each image the same prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.predict import predict
from harness.predictions import Predictions, concatenate, count
from harness.prefetch import Prefetch
from harness.preset import Geometry, Preset
from harness.records.evidence import Counts
from tests.crops import InMemory

IMAGES, CLASSES = 24, 9
PRESET = Preset(Geometry(4, 4, "bilinear"), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
PIXELS = np.random.default_rng(0).integers(0, 256, (IMAGES, 4, 4, 3), dtype=np.uint8)
TARGETS = np.random.default_rng(1).integers(0, CLASSES, IMAGES).astype(np.int16)
# Small whole numbers, so that sums are exact in float32 in any order of summation, and some logits are equal.
WEIGHTS = np.random.default_rng(2).integers(-1, 2, (48, CLASSES))
# By NumPy in whole numbers: the logits, and the six highest classes of each image, the lowest first among equals.
LOGITS = PIXELS.transpose(0, 3, 1, 2).reshape(IMAGES, 48).astype(np.int64) @ WEIGHTS // 64
TOP = np.argsort(-LOGITS, axis=1, kind="stable")[:, :6]


class Whole(nn.Module):
    """Logits as whole numbers of the pixels' values."""

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, classes)."""
        values = (images * 255).round().flatten(1)
        return (values @ torch.from_numpy(WEIGHTS).float() / 64).floor()


class Chosen(InMemory):
    """Some of the images, in some order."""

    def __init__(self, images: Sequence[int]) -> None:
        super().__init__(PIXELS[list(images)], PRESET.geometry)
        self.ids = tuple(f"{image:02}" for image in images)
        self.hashes = np.array(images, np.uint8).repeat(16).reshape(-1, 16)


def predicted(images: Sequence[int], batch_size: int) -> Predictions:
    """Return the loop's predictions."""
    prefetch = Prefetch(torch.device("cpu"))
    return predict(
        Whole().eval(), Chosen(images), PRESET, prefetch=prefetch, batch_size=batch_size, classes=CLASSES
    ).predictions


def counted(images: Sequence[int]) -> Counts:
    """Return the counts of these images, one at a time."""
    ranks = [TOP[image].tolist().index(TARGETS[image]) if TARGETS[image] in TOP[image] else 9 for image in images]
    return Counts(len(images), sum(rank < 1 for rank in ranks), sum(rank < 5 for rank in ranks))


chosen = st.lists(st.integers(0, IMAGES - 1), min_size=1, max_size=IMAGES, unique=True)
batch_sizes = st.integers(1, IMAGES + 1)


def test_some_logits_are_equal() -> None:
    """Else the properties would say nothing about ties."""
    assert any(len(set(row)) < CLASSES for row in LOGITS.tolist())


@settings(max_examples=20)
@given(images=chosen, batch_size=batch_sizes)
def test_any_subset_order_and_batch_size_give_the_same(images: list[int], batch_size: int) -> None:
    """Each image has the classes and logits that NumPy finds for it alone."""
    found = predicted(images, batch_size)

    assert [f"{image:02}" for image in images] == found.ids.tolist()
    np.testing.assert_array_equal(TOP[images], found.top)
    np.testing.assert_array_equal(np.take_along_axis(LOGITS, TOP, 1)[images], found.logits)
    assert counted(images) == count(found, TARGETS[images])


@settings(max_examples=10)
@given(images=chosen, ranks=st.lists(st.integers(0, 4), min_size=IMAGES, max_size=IMAGES), batch_size=batch_sizes)
def test_any_partition_gives_the_same(images: list[int], ranks: list[int], batch_size: int) -> None:
    """What up to five ranks predict for their shares is, joined, what one process predicts for all; counts add up."""
    shares = [[image for image in images if ranks[image] == rank] for rank in range(5)]
    parts = [(share, predicted(share, batch_size)) for share in shares if share]

    joined, whole = concatenate([part for _, part in parts]), predicted(sorted(images), IMAGES)

    for name, array in vars(whole).items():
        np.testing.assert_array_equal(array, getattr(joined, name), strict=True)
    counts = [count(part, TARGETS[share]) for share, part in parts]
    assert counted(images).top1 == sum(part.top1 for part in counts)
    assert counted(images).top5 == sum(part.top5 for part in counts)
