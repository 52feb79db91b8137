"""Tests of harness.report.page.labels."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from harness.report.page.labels import Label, _box, _overlap, labels


def test_no_name_covers_another_or_a_point() -> None:
    """Of a hundred in a small chart, those that have no room are left out; the others are inside."""
    rng = np.random.default_rng(0)
    spots = [(float(x), float(y), f"model{i}") for i, (x, y) in enumerate(rng.uniform(0, 300, (100, 2)))]

    found = labels(spots, 300, 300)

    boxes = [_box(spot, label) for spot, label in zip(spots, found, strict=True) if label]
    points = [(x - 2, y - 2, x + 2, y + 2) for x, y, _ in spots]
    assert 10 < len(boxes) < 100
    assert not any(_overlap(one, other) for one, other in combinations(boxes, 2))
    assert not any(_overlap(box, point) for box in boxes for point in points)
    assert all(0 <= left and 0 <= top and right <= 300 and bottom <= 300 for left, top, right, bottom in boxes)


def test_a_name_alone_stands_on_the_right_unless_that_is_the_edge() -> None:
    """Where the chart ends it stands on the left."""
    assert labels([(100, 50, "vgg16")], 300, 100) == [Label(8.0, 0, "left")]
    assert labels([(290, 50, "vgg16")], 300, 100) == [Label(-8.0, 0, "right")]


def test_a_name_without_room_is_left_out() -> None:
    """As one that is longer than the chart."""
    assert labels([(50, 50, "x" * 100)], 100, 100) == [None]
