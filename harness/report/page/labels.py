"""Positions of names in a chart, so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

# In pixels: height of a name, width of a letter, distance of a name from its point, and half the width of a point.
_HEIGHT, _LETTER, _GAP, _POINT = 13.0, 6.9, 8.0, 4.0

Spot: TypeAlias = tuple[float, float, str]
"""A point in a chart, in pixels from its upper left corner, and its name."""
_Box: TypeAlias = tuple[float, float, float, float]


class Label(NamedTuple):
    """The position of a name: the offset of its anchor from the point, in pixels, and which end of it that is."""

    dx: float
    dy: float
    align: Literal["left", "center", "right"]


# In the order in which they are tried: beside the point, above and below it, then at its corners.
_LABELS = (
    Label(_GAP, 0, "left"),
    Label(-_GAP, 0, "right"),
    *(Label(0, dy, "center") for dy in (-_GAP - _HEIGHT / 2, _GAP + _HEIGHT / 2)),
    *(Label(dx, dy, "left" if dx > 0 else "right") for dx in (_GAP, -_GAP) for dy in (-_HEIGHT, _HEIGHT)),
)


def labels(spots: Sequence[Spot], width: float, height: float) -> list[Label | None]:
    """Return a label for each point, most important first, in a chart of that size; None where there is no room.

    >>> labels([(90, 50, "resnet18"), (94, 50, "googlenet")], 200, 100)
    [Label(dx=8.0, dy=0, align='left'), Label(dx=-8.0, dy=0, align='right')]
    """
    taken = [(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y, _ in spots]

    def is_free(box: _Box) -> bool:
        left, top, right, bottom = box
        inside = left >= 0 and top >= 0 and right <= width and bottom <= height
        return inside and not any(_overlap(box, other) for other in taken)

    found = []
    for spot in spots:
        label = next((label for label in _LABELS if is_free(_box(spot, label))), None)
        if label is not None:
            taken.append(_box(spot, label))
        found.append(label)
    return found


def _box(spot: Spot, label: Label) -> _Box:
    x, y, name = spot
    length = _LETTER * len(name)
    left = x + label.dx - {"left": 0.0, "center": length / 2, "right": length}[label.align]
    top = y + label.dy - _HEIGHT / 2
    return left, top, left + length, top + _HEIGHT


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
