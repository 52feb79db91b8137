"""Tests of harness.report.page.charts."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("altair", reason="needs the extra report")
pytest.importorskip("vl_convert", reason="needs the extra report")

from harness.report.page.charts import Bar, Chart, Point, series, speeds, trade_off
from tests.unit.report.page.conftest import SVG, marks_of, told_by

HOSTILE = '<script>&"'
POINTS = [
    Point("vgg16", 15.47, 15.47, 15.47, 71.592, 71.19, 71.98),
    Point(HOSTILE, 1.81, 1.81, 1.81, 69.758, 69.35, 70.16),
    Point("alexnet", 0.71, 0.7, 0.75, 56.522, 56.09, 56.96),
]
BARS = [
    Bar("alexnet b1", "before", 60.0, 70.0, 75.0, 77.0, 80.0),
    Bar("alexnet b1", "now", 61.0, 72.0, 76.0, 78.0, 81.0),
    Bar("vgg16 b1", "now", 6.0, 7.0, 7.5, 7.7, 8.0),
]


@pytest.mark.parametrize(
    "chart",
    [
        trade_off("a", POINTS[::2], "GFLOPs", "top-1"),
        speeds("b", BARS),
        series("c", {"alexnet": (0.0, None, 0.2)}, ["1", "2", "3"], "points", 0.05),
    ],
    ids=["trade-off", "speeds", "series"],
)
def test_charts_are_themed_by_the_page(chart: Chart) -> None:
    """Every colour is a variable of the page's, so that dark is dark; nothing is fetched; it fits a phone, nearly."""
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', chart.svg))
    addresses = set(re.findall(r"https?://[^\"]+", chart.svg))

    assert {"none", "transparent"} >= {colour for colour in colours if not colour.startswith("var(--")}
    assert {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"} >= addresses
    assert "id=" not in chart.svg  # two charts on a page must not share one
    # The page scales it to 361 pixels on a phone of 390: no text below 11 pixels.
    assert 12 * 361 / 11 >= float(ElementTree.fromstring(chart.svg).get("width", "0")) > 200


def test_no_name_covers_another_or_a_point() -> None:
    """Of a hundred models in one chart, those that have no room are left out."""
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 10, 100).tolist(), rng.uniform(60, 80, 100).tolist()
    points = [Point(f"model{n}", x, x, x, y, y, y) for n, (x, y) in enumerate(zip(*values, strict=True))]

    chart = trade_off("a", points, "GMACs", "top-1")

    boxes = []
    for element in ElementTree.fromstring(chart.svg).iter(f"{SVG}text"):
        if str(element.text).startswith("model"):
            x, y = map(float, re.findall(r"[-\d.]+", element.get("transform", ""))[:2])
            length = 6.9 * len(str(element.text))
            left = x - length * {"end": 1.0, "middle": 0.5}.get(element.get("text-anchor", ""), 0.0)
            boxes.append((left, left + length, y - 4))
    assert 5 < len(boxes) < 100
    for one, other in combinations(boxes, 2):
        assert one[1] <= other[0] or other[1] <= one[0] or abs(one[2] - other[2]) >= 12
    for left, right, down in boxes:
        assert [] == [1 for _, x, y in marks_of(chart) if left - 2 < x < right + 2 and abs(y - down) < 8]


def test_points_stand_where_their_values_are() -> None:
    """Better is higher, more is further right, by the logarithm; each tells its values and its interval."""
    chart = trade_off("a", POINTS, "GFLOPs", "top-1")

    assert [
        "vgg16: GFLOPs 15.47, top-1 71.592 (71.19 to 71.98)",
        f"{HOSTILE}: GFLOPs 1.81, top-1 69.758 (69.35 to 70.16)",
        "alexnet: GFLOPs 0.71, top-1 56.522 (56.09 to 56.96)",
    ] == told_by(chart)
    (vgg_x, vgg_y), (own_x, own_y), (alexnet_x, alexnet_y) = [(x, y) for _, x, y in marks_of(chart)]
    assert pytest.approx(2.146 / 0.936, rel=0.01) == (vgg_x - own_x) / (own_x - alexnet_x)  # ln(15.47 / 1.81), …
    assert pytest.approx(15.07 / 1.834, rel=0.01) == (alexnet_y - vgg_y) / (own_y - vgg_y)
    assert 0 < vgg_y < own_y < alexnet_y


def test_speeds_of_two_runs_stand_beside_each_other() -> None:
    """One row for a timing, one point for each run in it."""
    marks = marks_of(speeds("b", BARS))

    assert "alexnet b1, before: 75.0 images/s, middle half 70.0 to 77.0, all 60.0 to 80.0" == marks[0][0]
    first, second, third = [y for _, _, y in marks]
    assert 0 < second - first < third - second
