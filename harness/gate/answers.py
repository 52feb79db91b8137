"""What a model answered, image by image, beside what is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.gate.scores import TopK


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's five best classes for each of N images.

    Attributes:
        ids: (N,) image ids, sorted.
        targets: (N,) int16 class indices, of the labels.
        top5: (N, 5) int16 class indices, best first.
        logits: (N, 5) float32, theirs; None where only the classes are known.
    """

    ids: NDArray[np.str_]
    targets: NDArray[np.int16]
    top5: NDArray[np.int16]
    logits: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(N,) whether the best class is the target."""
        return np.equal(self.top5[:, 0], self.targets)

    @property
    def hits(self) -> TopK:
        """The hits, counted from the answers."""
        among = (self.top5 == self.targets[:, None]).any(axis=1)
        return TopK(len(self), int(self.correct.sum()), int(among.sum()))

    def at(self, places: NDArray[np.int64]) -> Answers:
        """Return the answers to the images at these places."""
        logits = None if self.logits is None else self.logits[places]
        return Answers(self.ids[places], self.targets[places], self.top5[places], logits)

    def places_of(self, ids: NDArray[np.str_]) -> NDArray[np.int64]:
        """Return the places of images by id; -1 for one that is not here."""
        places = np.searchsorted(self.ids, ids).astype(np.int64)
        found = self.ids[np.minimum(places, len(self) - 1)] == ids
        return np.where(found, places, -1)
