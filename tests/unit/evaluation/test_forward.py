"""Tests of harness.evaluation.forward."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from harness.data.preset import Geometry, Preset
from harness.errors import EvaluationError
from harness.evaluation.forward import Normalize, forward
from harness.evaluation.models import preset_of

CPU = torch.device("cpu")
PRESET = Preset(Geometry(8, 8, "bilinear"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def crops(images: int, side: int = 8) -> Tensor:
    """Return random (images, side, side, 3) uint8."""
    return torch.from_numpy(np.random.RandomState(0).randint(0, 256, (images, side, side, 3)).astype(np.uint8))


def every_weight() -> list[object]:
    """Return a weights member for each distinct mean and std of torchvision's classifiers."""
    distinct: dict[object, object] = {}
    for model in torchvision.models.list_models(module=torchvision.models):
        for weights in torchvision.models.get_model_weights(model):
            transform = weights.transforms()
            distinct.setdefault((tuple(transform.mean), tuple(transform.std)), weights)
    return list(distinct.values())


@pytest.mark.parametrize("weights", every_weight(), ids=str)
def test_normalization_is_the_presets_bit_for_bit(weights: object) -> None:
    """All 256 values of each channel come out as torchvision's own preset makes them of a PIL image."""
    transform = weights.transforms(crop_size=64, resize_size=64)  # type: ignore[attr-defined]
    values = np.stack([np.random.RandomState(c).permutation(4096) % 256 for c in range(3)], axis=-1)
    image = Image.fromarray(values.reshape(64, 64, 3).astype(np.uint8))

    [ours] = Normalize(preset_of(transform), CPU)(torch.tensor(np.asarray(image))[None])

    assert torch.equal(transform(image), ours)
    assert ours.dtype == torch.float32


def test_images_come_out_in_channels_last_order() -> None:
    """(B, S, S, 3) becomes (B, 3, S, S) without moving the channels in memory."""
    images = Normalize(PRESET, CPU)(crops(2))

    assert images.shape == (2, 3, 8, 8)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_channels_in_another_order_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where all channels share a mean and a standard deviation."""
    gray = Preset(PRESET.geometry, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    right = Normalize.__call__
    monkeypatch.setattr(Normalize, "__call__", lambda self, crops: right(self, crops.flip(3)))

    with pytest.raises(EvaluationError, match="does not give the bits that torchvision gives"):
        Normalize(gray, CPU)


def test_arithmetic_that_rounds_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose division is a product with the reciprocal would be found before the first image."""
    monkeypatch.setattr(Tensor, "div_", lambda self, other: self.mul_(1 / other))

    with pytest.raises(EvaluationError, match=r"normalization on cpu does not give the bits that torchvision gives"):
        Normalize(PRESET, CPU)


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (lambda x: x.mean(dim=(2, 3)), r"\(2, 3\)"),
        (lambda x: x, r"\(2, 3, 8, 8\)"),
        (lambda x: x[:1].flatten(1), r"\(1, 192\)"),
        (lambda x: (x.flatten(1), x), "tuple"),
    ],
    ids=["three classes", "four dimensions", "too few rows", "tuple"],
)
def test_what_is_no_matrix_of_logits_is_refused(output: object, found: str) -> None:
    """A model's output has a row for each image and at least five columns."""

    class Wrong(nn.Module):
        def forward(self, images: Tensor) -> object:
            return output(images)  # type: ignore[operator]

    with pytest.raises(
        EvaluationError, match=rf"expected logits of shape \(2, 5 or more classes\), the model gave {found}"
    ):
        forward(Wrong(), Normalize(PRESET, CPU), crops(2))


def test_five_classes_are_enough() -> None:
    """The five best of five classes can be told."""

    class Five(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :5]

    assert forward(Five(), Normalize(PRESET, CPU), crops(2)).shape == (2, 5)
