"""Any subset of the images, in any order and batch size, gives each image the same prediction."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.predict import predict
from harness.prefetch import Prefetch
from harness.preset import Geometry, Preset
from tests.crops import InMemory

IMAGES, CLASSES = 24, 9
PRESET = Preset(Geometry(4, 4, "bilinear"), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
PIXELS = np.random.default_rng(0).integers(0, 256, (IMAGES, 4, 4, 3), dtype=np.uint8)
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


@settings(max_examples=20)
@given(images=st.lists(st.integers(0, IMAGES - 1), min_size=1, unique=True), batch_size=st.integers(1, IMAGES + 1))
def test_any_subset_order_and_batch_size_give_the_same(images: list[int], batch_size: int) -> None:
    """Each image has the classes and logits that NumPy finds for it alone."""
    crops, prefetch = InMemory(PIXELS[images], PRESET.geometry), Prefetch(torch.device("cpu"))

    loop = predict(Whole().eval(), crops, PRESET, prefetch=prefetch, batch_size=batch_size, classes=CLASSES)

    found = loop.predictions
    assert list(crops.ids) == found.ids.tolist()
    np.testing.assert_array_equal(TOP[images], found.top)
    np.testing.assert_array_equal(np.take_along_axis(LOGITS, TOP, 1)[images], found.logits)
