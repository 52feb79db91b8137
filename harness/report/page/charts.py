"""Charts as SVG, drawn by Vega-Lite: as wide as a phone, colored by the page's CSS variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias
from xml.etree import ElementTree

import altair as alt
import numpy as np
import vl_convert

_WIDTH, _HEIGHT, _ROW = 290, 300, 24
# Of a name, in pixels: its height, the width of a letter, and its distance from the point.
_NAME, _LETTER, _GAP = 13.0, 6.9, 8.0
_SVG = "http://www.w3.org/2000/svg"


class Chart(NamedTuple):
    """A chart: its title and its SVG."""

    title: str
    svg: str


class Point(NamedTuple):
    """A model among others: two values, and the interval of each; without one its ends are the value."""

    name: str
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float


class Bar(NamedTuple):
    """One timing: its name, its run if there are two, and the smallest value, the quartiles and the largest value."""

    name: str
    run: str
    low: float
    first: float
    median: float
    third: float
    high: float


Lines: TypeAlias = dict[str, tuple[float | None, ...]]
"""The lines of a series by their names: the value in each run; None where it has none."""


def trade_off(title: str, points: Sequence[Point], x_title: str, y_title: str) -> Chart:
    """Draw models by two values, the first on a logarithmic axis.

    The last points have no name where there is no room for all: the most important come first.
    """
    x_domain = _padded([math.log10(x) for point in points for x in (point.x_low, point.x_high)])
    y_domain = _padded([y for point in points for y in (point.y_low, point.y_high)])
    rows = [
        {
            **point._asdict(),
            "description": f"{point.name}: {x_title} {point.x:,.4g}, {y_title} {point.y:.3f} "
            f"({point.y_low:.2f} to {point.y_high:.2f})",
        }
        for point in points
    ]
    x = partial(_log_axis, title=x_title, domain=x_domain)
    y = partial(alt.Y, title=y_title, scale=alt.Scale(domain=list(y_domain), nice=False))
    base = _chart(rows)
    interval = base.mark_rule(color="var(--accent)", opacity=0.55)
    mark = base.mark_point(color="var(--accent)", filled=True, size=55, opacity=1)

    across = np.interp([math.log10(point.x) for point in points], x_domain, (0, _WIDTH))
    down = np.interp([point.y for point in points], y_domain, (_HEIGHT, 0))
    labels = _labels([point.name for point in points], across, down)
    names = [
        _chart([row])
        .mark_text(**label, baseline="middle", color="var(--ink)", fontSize=12)
        .encode(x=x("x:Q"), y=y("y:Q"), text="name:N")
        for row, label in zip(rows, labels, strict=True)
        if label
    ]
    layers = [
        interval.encode(x=x("x:Q"), y=y("y_low:Q"), y2="y_high:Q"),
        interval.encode(x=x("x_low:Q"), x2="x_high:Q", y=y("y:Q")),
        mark.encode(x=x("x:Q"), y=y("y:Q"), description="description:N"),
    ]
    return _drawn(title, alt.LayerChart(layer=[*layers, *names], width=_WIDTH, height=_HEIGHT))


# The positions of a name that are tried: offsets of its anchor from the point, and which part of the name that is.
_LABELS = ((_GAP, 0, "left"), (-_GAP, 0, "right"), (0, -_NAME, "center"), (0, _NAME, "center"))


def _labels(names: Sequence[str], across: Any, down: Any) -> list[dict[str, Any]]:
    """Return a position for each name, so that it covers no other name and no point; empty where there is no room."""
    taken = [(x - _GAP / 2, x + _GAP / 2, y) for x, y in zip(across, down, strict=True)]
    found: list[dict[str, Any]] = []
    for name, x, y in zip(names, across, down, strict=True):
        length, label = _LETTER * len(name), {}
        for dx, dy, align in _LABELS:
            left, height = x + dx - length * {"left": 0.0, "center": 0.5, "right": 1.0}[align], y + dy
            near = [(low, high) for low, high, other in taken if abs(height - other) < _NAME]
            if 0 <= left <= _WIDTH - length and all(left >= high or low >= left + length for low, high in near):
                label = {"dx": dx, "dy": dy, "align": align}
                taken.append((left, left + length, height))
                break
        found.append(label)
    return found


def speeds(title: str, bars: Sequence[Bar]) -> Chart:
    """Draw images/s, one row for each timing: the middle half of the calls, and all of them."""
    runs = list(dict.fromkeys(bar.run for bar in bars))
    names = list(dict.fromkeys(bar.name for bar in bars))
    rows = [
        {
            **bar._asdict(),
            "description": f"{bar.name}{f', {bar.run}' if bar.run else ''}: {bar.median:,.1f} images/s, middle half "
            f"{bar.first:,.1f} to {bar.third:,.1f}, all {bar.low:,.1f} to {bar.high:,.1f}",
        }
        for bar in bars
    ]
    x = _log_axis("low:Q", "images/s", _padded([math.log10(end) for bar in bars for end in (bar.low, bar.high)]))

    axis = alt.Axis(labelLimit=130, labelOverlap=False, ticks=False, domain=False)
    y = alt.Y("name:N", title=None, sort=names, axis=axis)
    color = alt.Color("run:N", title=None).scale(domain=runs, range=["var(--muted)", "var(--accent)"][-len(runs) :])
    color = color.legend(orient="top", labelLimit=_WIDTH) if len(runs) > 1 else color.legend(None)
    base = _chart(rows).encode(y=y, color=color, yOffset=alt.YOffset("run:N", sort=runs))
    layers = [
        base.mark_rule(opacity=0.5).encode(x=x, x2="high:Q"),
        base.mark_rule(strokeWidth=6, opacity=0.45).encode(x="first:Q", x2="third:Q"),
        base.mark_point(filled=True, size=45, opacity=1).encode(x="median:Q", description="description:N"),
    ]
    height = _ROW * len(names) * (1.5 if len(runs) > 1 else 1)
    return _drawn(title, alt.LayerChart(layer=layers, width=_WIDTH - 90, height=height))


def series(title: str, lines: Lines, runs: Sequence[str], y_title: str, least: float) -> Chart:
    """Draw at most 8 lines over runs; the axis extends at least so far up and down."""
    rows: list[dict[str, Any]] = [
        {"name": name, "run": run, "value": value, "description": f"{name}, {run}: {value:+.3f}"}
        for name, values in lines.items()
        for run, value in zip(runs, values, strict=True)
        if value is not None
    ]
    x = alt.X("run:O", title=None).scale(domain=list(runs)).axis(labelAngle=-40, labelOverlap="greedy")
    domain = list(_padded([*(row["value"] for row in rows), least, -least]))
    y = alt.Y("value:Q", title=y_title).scale(domain=domain, nice=False)
    colors = [f"var(--line-{number + 1})" for number in range(len(lines))]

    color = alt.Color("name:N", title=None).scale(domain=list(lines), range=colors)
    color = color.legend(orient="top", columns=1, labelLimit=_WIDTH)
    base = _chart(rows).encode(x=x, y=y, color=color)
    points = base.mark_point(filled=True, size=40).encode(description="description:N")
    layers = [base.mark_line(strokeWidth=1.5), points]
    return _drawn(title, alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT - 60))


def _drawn(title: str, chart: alt.LayerChart) -> Chart:
    """Return a chart with each mark's description as its tooltip."""
    ElementTree.register_namespace("", _SVG)
    styled = (
        chart.configure(font="inherit", background="transparent", padding=4)
        .configure_axis(
            **dict.fromkeys(("labelColor", "titleColor"), "var(--muted)"),
            **dict.fromkeys(("gridColor", "tickColor", "domainColor"), "var(--rule)"),
            **dict.fromkeys(("labelFontSize", "titleFontSize"), 12),
            titleFontWeight="normal",
        )
        .configure_view(stroke=None)
        .configure_legend(labelColor="var(--ink)", labelFontSize=12)
    )
    root = ElementTree.fromstring(vl_convert.vegalite_to_svg(styled.to_dict()))
    for mark in root.iter():
        if mark.get("role") == "graphics-symbol" and (description := mark.get("aria-label")):
            ElementTree.SubElement(mark, f"{{{_SVG}}}title").text = description
    root.attrib |= {"role": "img", "aria-label": title}
    return Chart(title, ElementTree.tostring(root, encoding="unicode"))


def _chart(rows: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.Data(values=rows))  # type: ignore[no-untyped-call]


def _log_axis(field: str, title: str, domain: tuple[float, float]) -> alt.X:
    """Return an axis with ticks at 1, 2 and 5 times the powers of ten, its domain's base; at more if those are few."""
    low, high = domain
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), [digit / 10 for digit in range(10, 100)]):
        ticks = [digit * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for digit in digits]
        ticks = [tick for tick in ticks if low <= math.log10(tick) <= high]
        if len(ticks) >= 3:
            break
    scale = alt.Scale(type="log", domain=[10**low, 10**high], nice=False)
    return alt.X(field, title=title).scale(scale).axis(values=ticks, format="~g", labelOverlap="greedy")


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.1
    return low - margin, high + margin
