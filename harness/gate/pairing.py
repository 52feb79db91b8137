"""The same images in two runs: how far the logits moved, which answers changed, and whether arithmetic explains it.

If no logit of an image moved by more than d, its best class can change only where the best two were within 2 d of each
other. So a bound on what arithmetic moves is a bound on the margin of the answers that it can change: a changed answer
with a larger margin is a real change, one with a smaller margin a near-tie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.gate.answers import Answers
from harness.gate.stats import mcnemar
from harness.gate.tolerance import Floor


@dataclass(frozen=True)
class Changed:
    """An image that the two runs answer differently.

    Attributes:
        id: the image's.
        old: best class in the old run.
        new: best class in the new run.
        was_right: whether the old one is the target.
        is_right: whether the new one is.
        margin: how far the best class was ahead of the second in the old run, in units of the logits' spread; in the
            new run if the old holds no logits, None if neither does.
        near_tie: whether arithmetic alone may have changed it.
    """

    id: str
    old: int
    new: int
    was_right: bool
    is_right: bool
    margin: float | None
    near_tie: bool


@dataclass(frozen=True)
class Drift:
    """How far the logits of N images moved, in units of their spread.

    Attributes:
        median: of the images.
        p99: the 99th percentile.
        largest: of all images.
    """

    median: float
    p99: float
    largest: float


@dataclass(frozen=True)
class Paired:
    """The same images' answers in two runs.

    Attributes:
        images: number of images.
        changed: those with another best class.
        top5_changed: number of images whose five best classes are not the same five.
        lost: images that were right and are wrong.
        gained: images that were wrong and are right.
        p: of the exact McNemar test on these two.
        drift: of the logits; None where one of the runs holds none.
    """

    images: int
    changed: tuple[Changed, ...]
    top5_changed: int
    lost: int
    gained: int
    p: float
    drift: Drift | None

    @property
    def real(self) -> tuple[Changed, ...]:
        """The changes that are no near-ties, largest margin first."""
        real = [change for change in self.changed if not change.near_tie]
        return tuple(sorted(real, key=lambda change: -(change.margin or 0.0)))

    @property
    def near_ties(self) -> int:
        """The number of changes that arithmetic alone may have made."""
        return len(self.changed) - len(self.real)

    @property
    def largest_margin(self) -> float | None:
        """Among the changed; None if there are none, or no margins are known."""
        return max((change.margin for change in self.changed if change.margin is not None), default=None)


def pair(old: Answers, new: Answers, floor: Floor) -> Paired:
    """Compare two runs' answers to the same N images, in the same order.

    Args:
        old: the earlier run's.
        new: the later run's.
        floor: what arithmetic alone may move.

    Raises:
        ValueError: they are not the same images.
    """
    if not np.array_equal(old.ids, new.ids):
        raise ValueError("answers to different images cannot be paired")
    before, after = old.top5[:, 0], new.top5[:, 0]
    was_right, is_right = old.correct, new.correct
    margins = margins_of(old) if old.logits is not None else margins_of(new)
    changed = []
    for place in np.flatnonzero(before != after).tolist():
        margin = None if margins is None else float(margins[place])
        changed.append(
            Changed(
                id=str(old.ids[place]),
                old=int(before[place]),
                new=int(after[place]),
                was_right=bool(was_right[place]),
                is_right=bool(is_right[place]),
                margin=margin,
                near_tie=margin is not None and margin <= floor.margin,
            )
        )
    lost, gained = int(np.sum(was_right & ~is_right)), int(np.sum(is_right & ~was_right))
    same_five = np.sort(old.top5, axis=1) == np.sort(new.top5, axis=1)
    return Paired(
        images=len(old),
        changed=tuple(changed),
        top5_changed=int(np.sum(~same_five.all(axis=1))),
        lost=lost,
        gained=gained,
        p=mcnemar(lost, gained),
        drift=drift_of(old, new),
    )


def drifts(old: Answers, new: Answers) -> NDArray[np.float64] | None:
    """Return (N,) how far each image's logits moved at least, in units of the old run's spread; None without logits.

    Of a class that is among the five best in both runs, the change is known. One that has left them has fallen at least
    to the fifth of the new run, and one that has come was at most the fifth of the old: these too are lower bounds of
    the largest change of any logit.
    """
    if old.logits is None or new.logits is None:
        return None
    moved = np.zeros(len(old))
    for (classes, logits), (others, other_logits) in (
        ((old.top5, old.logits), (new.top5, new.logits)),
        ((new.top5, new.logits), (old.top5, old.logits)),
    ):
        here, there = logits.astype(np.float64), other_logits.astype(np.float64)
        match = classes[:, :, None] == others[:, None, :]
        still = np.abs(here - (match * there[:, None, :]).sum(axis=2))
        left = np.maximum(here - there[:, 4:5], 0.0)
        moved = np.maximum(moved, np.where(match.any(axis=2), still, left).max(axis=1))
    return moved / spread(old)


def spread(answers: Answers) -> float:
    """Return how far the best class is ahead of the fifth in the median image: the unit of drift and margins."""
    assert answers.logits is not None
    found = float(np.median(answers.logits[:, 0].astype(np.float64) - answers.logits[:, 4]))
    return found or 1.0


def margins_of(answers: Answers) -> NDArray[np.float64] | None:
    """Return (N,) how far the best class is ahead of the second, in units of the spread; None without logits."""
    if answers.logits is None:
        return None
    return (answers.logits[:, 0].astype(np.float64) - answers.logits[:, 1]) / spread(answers)


def drift_of(old: Answers, new: Answers) -> Drift | None:
    """Return how far the logits of the same N images moved; None where one of the runs holds none."""
    moved = drifts(old, new)
    if moved is None:
        return None
    return Drift(float(np.median(moved)), float(np.quantile(moved, 0.99)), float(moved.max()))
