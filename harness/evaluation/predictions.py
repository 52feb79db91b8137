"""What a model answered, image by image; no torch, so that it can be read, compared and stored anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's five best classes for each image.

    Attributes:
        ids: N image ids, in the split's order.
        top5: (N, 5) int16 class indices, best first.
        logits: (N, 5) float32, the logits of ``top5``.
        classes: number of logits that the model gave for each image.
        batch_size: images a forward call saw; smaller than asked for if memory ran out.
        seconds: wall clock from the first batch's read to the last answer on the host.
        waited: how much of it was waiting for images that were still being decoded.
        fed: how much of it was reading crops and bringing them to the device, as the host sees it: on a GPU, where
            copies run beside the model, only as far as the host could not go on.
        switches: of torch's arithmetic, as they were in force.
        first_input: what the model was given for the first image: its id, the sha256 of the float32 values, the
            smallest and the largest of them.
    """

    ids: tuple[str, ...]
    top5: NDArray[np.int16]
    logits: NDArray[np.float32]
    classes: int
    batch_size: int
    seconds: float
    waited: float = 0.0
    fed: float = 0.0
    switches: Mapping[str, Any] = field(default_factory=dict)
    first_input: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def none(cls) -> Predictions:
        """Return those of no images."""
        return cls((), np.empty((0, 5), np.int16), np.empty((0, 5), np.float32), classes=0, batch_size=0, seconds=0.0)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def images_per_second(self) -> float:
        """Images evaluated a second, transfers included, waiting for the decoder not."""
        return len(self) / (self.seconds - self.waited)
