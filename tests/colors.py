"""A classifier whose predictions are known by hand: eight of the thousand classes, one color each."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import torch
from PIL import Image
from torch import Tensor, nn

from harness.formats import imagenet
from tests.images import save

WNIDS = imagenet.wnids()[::125]
# Class c is the color with bits c: red 4, green 2, blue 1. Red is the farthest apart, blue the nearest, so that
# the ranking of the others is: blue flipped, green, green and blue, red | red and blue, red and green, all three.
LOW, HIGH = (30, 60, 90), (230, 200, 170)
COLORS = [tuple(HIGH[k] if c & (4 >> k) else LOW[k] for k in range(3)) for c in range(8)]

# 16 images as (class by color, class by folder): 12 correct, 2 whose folder is the fifth class, 2 with neither.
PLAN = [(c, c) for c in range(8)] + [(c, c) for c in range(4)] + [(0, 4), (1, 5), (2, 5), (3, 4)]
TOP1, TOP5 = 12, 14

EXPECTED = """
schema_version: 2
tolerance: 0.05
datasets:
  colors: {images: 16, source: made by hand}
models:
  - model: nearest
    weights: V1
    builder: tests.colors:nearest_color
    preset: &preset {resize: 8, crop: 8, interpolation: bilinear, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
    colors: &values {acc@1: 75.0, acc@5: 87.5}
"""


class NearestColor(nn.Module):
    """Logits fall with the distance of the image's mean color from the class's."""

    def __init__(self) -> None:
        super().__init__()
        colors = torch.tensor(COLORS) / 127.5 - 1
        self.weight = nn.Parameter(torch.zeros(3, 1000))
        self.bias = nn.Parameter(torch.full((1000,), -100.0))
        with torch.no_grad():
            self.weight[:, ::125] = 2 * colors.T
            self.bias[::125] = -(colors**2).sum(dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 1000)."""
        return images.mean(dim=(2, 3)) @ self.weight + self.bias


nearest_color = NearestColor


def nearest_color_brighter() -> nn.Module:
    """Build it with other weights, which give the same predictions."""
    model = NearestColor()
    with torch.no_grad():
        model.bias.add_(1)
    return model


class Tired(NearestColor):
    """Gives sound logits in some calls, and in later ones what a function makes of them."""

    def __init__(self, then: Callable[[Tensor], Tensor], sound: int = 3) -> None:
        super().__init__()
        self._left, self._then = sound, then

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 1000)."""
        self._left -= 1
        logits = super().forward(images)
        return logits if self._left >= 0 else self._then(logits)


def _nan(logits: Tensor) -> Tensor:
    return logits * float("nan")


def _killed_in_a_worker(logits: Tensor) -> Tensor:
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
    return logits


always_nan = partial(Tired, _nan, sound=0)
nan_in_the_end = partial(Tired, _nan)
raises_in_the_end = partial(Tired, Mock(side_effect=RuntimeError("out of luck")))
interrupted_in_the_end = partial(Tired, Mock(side_effect=KeyboardInterrupt))  # by the user
killed_in_a_worker = partial(Tired, _killed_in_a_worker, sound=0)  # at the first images


def killed_on_rank_1() -> nn.Module:
    """Build the classifier, but kill the process of rank 1."""
    if os.environ.get("RANK") == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return NearestColor()


def write_dataset(root: Path) -> Path:
    """Write the 16 images in class folders below ``root``, and return it."""
    for number, (color, folder) in enumerate(PLAN):
        save(Image.new("RGB", (20, 14), COLORS[color]), root / WNIDS[folder] / f"{number:02}.JPEG", quality=95)
    return root
