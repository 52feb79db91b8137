"""Predictions and targets -> hits; integers only, one division at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import EvaluationError
from harness.evaluation.predictions import Predictions

METRICS = ("top1", "top5")
NAMES = {"top1": "top-1", "top5": "top-5"}


@dataclass(frozen=True)
class TopK:
    """Hits of ``n`` images: the target is the best class (top1), or among the five best (top5).

    >>> TopK(n=50_000, top1=34_879, top5=44_539).percent("top1")
    69.758
    """

    n: int
    top1: int
    top5: int

    def hits(self, metric: str) -> int:
        """Return the hits of ``top1`` or ``top5``."""
        return {"top1": self.top1, "top5": self.top5}[metric]

    def percent(self, metric: str) -> float:
        """Return the accuracy in percent."""
        return 100 * self.hits(metric) / self.n


def correct(predictions: Predictions, targets: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return (N,) whether the best class is the target.

    Args:
        predictions: of N images.
        targets: (N,) class indices, in the order of the predictions' ids.
    """
    return np.equal(predictions.top5[:, 0], targets)


def score(predictions: Predictions, targets: NDArray[np.int16], classes: int) -> TopK:
    """Count the hits.

    Args:
        predictions: of N images.
        targets: (N,) class indices, in the order of the predictions' ids.
        classes: number of classes that the targets index.

    Raises:
        EvaluationError: the model gives another number of logits than there are classes, so that its indices
            would not mean the same classes.
        ValueError: there is not one prediction for each target.
    """
    if predictions.classes != classes:
        raise EvaluationError(
            f"the model gives {predictions.classes:,} logits for {classes:,} classes, so its answers cannot be scored"
        )
    if len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} predictions for {len(targets)} targets")
    return TopK(
        n=len(targets),
        top1=int(correct(predictions, targets).sum()),
        top5=int((predictions.top5 == targets[:, None]).any(axis=1).sum()),
    )
