"""What one model predicted for N images, and the pixels that it was shown; no torch, so it is read anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.records.evidence import Counts

KEPT = 6
"""Highest classes that are kept of each image: five for top-5, and the next, which a change would bring in."""
HASH_BYTES, GRID = 16, 4
"""Bytes of an image's hash, and pixels that are kept of it in each direction."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's highest classes for N images; the same type whether computed, joined from ranks, or read from a file.

    K is 6, or the number of classes if that is smaller. None means not known.
    """

    ids: NDArray[np.str_]  # (N,) image ids, sorted
    top: NDArray[np.int16]  # (N, K) class indices, highest logit first
    logits: NDArray[np.float32] | None = None  # (N, K) logits of top
    logsumexp: NDArray[np.float32] | None = None  # (N,) of all logits: logits minus this are log-probabilities
    hashes: NDArray[np.uint8] | None = None  # (N, 16) XXH3 of each image's decoded pixels
    samples: NDArray[np.uint8] | None = None  # (N, 4, 4, 3) 16 of each image's pixels at fixed positions, RGB

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def top1(self) -> NDArray[np.int16]:
        """(N,) the class with the highest logit."""
        return self.top[:, 0]

    @property
    def top5(self) -> NDArray[np.int16]:
        """(N, 5) the five highest classes."""
        return self.top[:, :5]

    @property
    def inputs_digest(self) -> str:
        """The sha256 of all pixel hashes, the same for the same pixels in the same order; empty if not known."""
        return "" if self.hashes is None else hashlib.sha256(self.hashes.tobytes()).hexdigest()

    def wrong(self, classes: int = 0) -> str:
        """Return what is wrong with the predictions, given ``classes`` where that is known; empty if nothing is."""
        if self.logits is not None and not (np.isfinite(self.logits).all() and (np.diff(self.logits) <= 0).all()):
            return "expected finite logits, highest first, found others"
        if self.logsumexp is not None and not np.isfinite(self.logsumexp).all():
            return "expected finite values of logsumexp, found others"
        inside = (self.top >= 0) & (self.top < (classes or 2**15))
        if not inside.all() or not np.diff(np.sort(self.top)).all():
            return f"expected different classes of each image{f', 0 to {classes - 1}' if classes else ''}, found others"
        return ""

    def at(self, indices: NDArray[np.int64]) -> Predictions:
        """Return the predictions for the images at these indices."""
        arrays: Any = vars(self).items()
        return replace(self, **{name: array[indices] for name, array in arrays if array is not None})

    def indices_of(self, ids: NDArray[np.str_]) -> NDArray[np.int64]:
        """Return the indices of images by id; -1 for an image that is not here."""
        indices = np.searchsorted(self.ids, ids).astype(np.int64)
        found = self.ids[np.minimum(indices, len(self) - 1)] == ids
        return np.where(found, indices, -1)


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of all parts, sorted by id; all of them hold logits and pixels, or none does."""
    columns: Any = {name: [getattr(part, name) for part in parts] for name in vars(parts[0])}
    known = {name: np.concatenate(arrays) for name, arrays in columns.items() if arrays[0] is not None}
    joined = replace(parts[0], **known)
    return joined.at(np.argsort(joined.ids, kind="stable"))


def count(predictions: Predictions, targets: NDArray[np.int16]) -> Counts:
    """Count the correct predictions.

    Args:
        predictions: predictions for N images.
        targets: (N,) class indices, in the order of the predictions' ids.
    """
    among = (predictions.top5 == targets[:, None]).any(axis=1)
    return Counts(len(targets), int((predictions.top1 == targets).sum()), int(among.sum()))


def sampled(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (..., 4, 4, 3) pixels of crops, (..., S, S, 3), at the middles of a grid."""
    step = max(1, crop.shape[-2] // GRID)
    return crop[..., step // 2 :: step, step // 2 :: step, :][..., :GRID, :GRID, :]
