"""Small image files for tests, made when they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def noise(seed: int, width: int = 80, height: int = 60) -> Image.Image:
    """Return an RGB image of smooth noise about a color of its own; the same for the same arguments."""
    rng = np.random.RandomState(seed)
    pixels = rng.randint(40, 216, size=3) + rng.randint(-40, 40, size=(height // 4 + 1, width // 4 + 1, 3))
    pixels = pixels.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
    return Image.fromarray(pixels.astype(np.uint8))


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    """Write ``image``, as JPEG unless ``format`` says otherwise, and make the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **{"format": "JPEG", **options})
    return path
