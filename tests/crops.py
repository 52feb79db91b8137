"""Decoded images held in memory, for tests of what consumes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.predictions import GRID, HASH_BYTES
from harness.preset import Geometry


class InMemory:
    """Images as ``harness.decoding.store.DecodedImages`` reads them; remembers which were read."""

    def __init__(self, images: NDArray[np.uint8], geometry: Geometry) -> None:
        self.ids = tuple(f"image-{i}" for i in range(len(images)))
        self.geometry = geometry
        self.images = images
        self.hashes = np.arange(len(images), dtype=np.uint8).repeat(HASH_BYTES).reshape(-1, HASH_BYTES)
        self.samples = np.zeros((len(images), GRID, GRID, 3), np.uint8)
        self.rows_read: list[int] = []

    def read(self, rows: slice, into: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return copies of the images at ``rows``."""
        self.rows_read += range(*rows.indices(len(self.images)))
        if into is None:
            return self.images[rows].copy()
        into[:] = self.images[rows]
        return into
