"""What arithmetic alone moves: a floor for each precision, from measurements (docs/tolerance.md)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Floor:
    """The noise of a precision, in units of the logits' spread.

    Attributes:
        median: the median image's logits may move so far.
        largest: any image's logits may.
        margin: the largest lead of a best class that it may turn into a second place.
    """

    median: float
    largest: float
    margin: float


FLOORS = {
    "fp32": Floor(median=4e-5, largest=1e-4, margin=2e-4),
    "tf32": Floor(median=0.02, largest=0.05, margin=0.04),
    "bf16": Floor(median=0.15, largest=0.4, margin=0.3),
    "fp16": Floor(median=0.02, largest=0.05, margin=0.04),
}


def floor_of(*precisions: str) -> Floor:
    """Return the floor of runs in these precisions: the highest of theirs."""
    return max((FLOORS[precision] for precision in precisions), key=lambda floor: floor.largest)
