"""Where names go in a chart, so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_HEIGHT = 13.0
_LETTER = 6.9
_GAP = 8.0


@dataclass(frozen=True)
class Spot:
    """A point in a chart, in pixels from its upper left corner, and its name."""

    x: float
    y: float
    name: str


@dataclass(frozen=True)
class Place:
    """Where a name stands: its anchor, in pixels from the point, and which end of it is there."""

    dx: float
    dy: float
    align: Literal["left", "center", "right"]


_PLACES = (
    Place(_GAP, 0, "left"),
    Place(-_GAP, 0, "right"),
    Place(0, -_GAP - _HEIGHT / 2, "center"),
    Place(0, _GAP + _HEIGHT / 2, "center"),
    Place(_GAP, -_HEIGHT, "left"),
    Place(_GAP, _HEIGHT, "left"),
    Place(-_GAP, -_HEIGHT, "right"),
    Place(-_GAP, _HEIGHT, "right"),
)

_Box = tuple[float, float, float, float]


def places(spots: Sequence[Spot], width: float, height: float) -> list[Place | None]:
    """Return a place for each name, the first come first; None for one that has no room.

    >>> places([Spot(90, 50, "resnet18"), Spot(94, 50, "googlenet")], 200, 100)
    [Place(dx=8.0, dy=0, align='left'), Place(dx=-8.0, dy=0, align='right')]

    Args:
        spots: in the order of their importance.
        width: of the chart, in pixels.
        height: the same.
    """
    taken: list[_Box] = [(spot.x - 4, spot.y - 4, spot.x + 4, spot.y + 4) for spot in spots]
    found: list[Place | None] = []
    for number, spot in enumerate(spots):
        others = taken[:number] + taken[number + 1 :]
        for place in _PLACES:
            box = _box(spot, place)
            inside = box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height
            if inside and not any(_overlap(box, other) for other in others):
                taken.append(box)
                found.append(place)
                break
        else:
            found.append(None)
    return found


def _box(spot: Spot, place: Place) -> _Box:
    length = _LETTER * len(spot.name)
    left = spot.x + place.dx - {"left": 0.0, "center": length / 2, "right": length}[place.align]
    top = spot.y + place.dy - _HEIGHT / 2
    return left, top, left + length, top + _HEIGHT


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
