"""Decoded images held in memory, for tests of what consumes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.preset import Geometry


class InMemory:
    """Images as ``harness.data.decoded.DecodedSplit`` hands them out; remembers what was read."""

    def __init__(self, images: NDArray[np.uint8], geometry: Geometry) -> None:
        self.ids = tuple(f"image-{i}" for i in range(len(images)))
        self.geometry = geometry
        self.seconds = 0.0
        self.images = images
        self.rows_read: list[int] = []

    def read(self, rows: slice, into: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return copies of the images at ``rows``."""
        self.rows_read += range(*rows.indices(len(self.images)))
        if into is None:
            return self.images[rows].copy()
        into[:] = self.images[rows]
        return into
