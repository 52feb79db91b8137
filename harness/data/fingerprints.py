"""What a model was shown, small enough to be kept: a hash of each image, and a few of its values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HASH_BYTES = 16
GRID = 4
"""Pixels of an image that are kept, in each direction."""


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """Of N decoded images, in a split's order.

    Attributes:
        hashes: (N, 16) uint8, of all of an image's pixels.
        samples: (N, 4, 4, 3) uint8, pixels at fixed places, RGB.
    """

    hashes: NDArray[np.uint8]
    samples: NDArray[np.uint8]

    @classmethod
    def room_for(cls, images: int) -> Fingerprints:
        """Return those of images that are still to be seen."""
        return cls(np.zeros((images, HASH_BYTES), np.uint8), np.zeros((images, GRID, GRID, 3), np.uint8))

    @property
    def digest(self) -> str:
        """The sha256 of all hashes: of the pixels alone, so that two runs that saw the same have the same."""
        return hashlib.sha256(self.hashes.tobytes()).hexdigest()

    def at(self, places: NDArray[np.int64]) -> Fingerprints:
        """Return those of the images at these places."""
        return Fingerprints(self.hashes[places], self.samples[places])


def sampled(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (4, 4, 3) pixels of a crop, (S, S, 3), at the middles of a grid."""
    step = max(1, len(crop) // GRID)
    return crop[step // 2 :: step, step // 2 :: step][:GRID, :GRID]


@dataclass(frozen=True)
class PixelDifference:
    """By how much the pixels of N images differ.

    Attributes:
        images: number of images that differ at all.
        first: place of the first of them; 0 if there are none.
        share: of the values sampled from those, how many differ.
        largest: change among the sampled values, in levels of 255.
        mean: change of the sampled values that differ, in levels.
    """

    images: int
    first: int
    share: float
    largest: int
    mean: float


def pixel_difference(old: Fingerprints, new: Fingerprints) -> PixelDifference:
    """Compare the fingerprints of the same N images."""
    differ = (old.hashes != new.hashes).any(axis=1)
    levels = np.abs(old.samples[differ].astype(np.int16) - new.samples[differ])
    moved = levels[levels > 0]
    return PixelDifference(
        images=int(differ.sum()),
        first=int(differ.argmax()),
        share=len(moved) / levels.size if levels.size else 0.0,
        largest=int(moved.max(initial=0)),
        mean=float(moved.mean()) if len(moved) else 0.0,
    )
