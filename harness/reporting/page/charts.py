"""Charts as SVG, drawn by Vega-Lite: in two widths each, coloured by the page's CSS variables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from xml.etree import ElementTree

import altair as alt
import vl_convert

from harness.reporting.page.labels import Spot, places

Drawing: TypeAlias = alt.LayerChart | alt.FacetChart

WIDE, NARROW = 475, 265
"""Pixels of the drawing itself, for a screen and for a phone."""
_HEIGHT, _ROW = 340, 24
_MARGIN = 0.08
_FEWEST_TICKS = 3
_SVG = "http://www.w3.org/2000/svg"


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: what it shows.
        wide: SVG for a screen.
        narrow: SVG for a phone.
    """

    title: str
    wide: str
    narrow: str


@dataclass(frozen=True)
class Point:
    """A model among others: two values, each with an interval where one is known."""

    name: str
    x: float
    y: float
    x_interval: tuple[float, float] | None
    y_interval: tuple[float, float]


@dataclass(frozen=True)
class Bar:
    """One row of a chart of speeds.

    Attributes:
        name: of the row.
        run: which run, where there are two.
        quartiles: first, second and third.
        ends: smallest and largest.
    """

    name: str
    run: str
    quartiles: tuple[float, float, float]
    ends: tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line of a series: its value in each run, None where it has none."""

    name: str
    values: tuple[float | None, ...]


def trade_off(title: str, points: Sequence[Point], x_title: str, y_title: str) -> Chart:
    """Draw models by two values, the first on a logarithmic axis.

    Args:
        points: in the order in which they are named where there is no room for all names.
    """
    xs = [value for point in points for value in (point.x, *(point.x_interval or ()))]
    ys = [value for point in points for value in (point.y, *point.y_interval)]
    x_domain = _padded([math.log10(x) for x in xs])
    y_domain = _padded(ys)

    def draw(width: int) -> Drawing:
        spots = [
            Spot(
                width * _share(math.log10(point.x), x_domain),
                _HEIGHT * (1 - _share(point.y, y_domain)),
                point.name,
            )
            for point in points
        ]
        rows = [
            {
                "name": point.name,
                "told": f"{point.name}: {x_title} {point.x:,.4g}, {y_title} {point.y:.3f} "
                f"({point.y_interval[0]:.2f} to {point.y_interval[1]:.2f})",
                "x": point.x,
                "y": point.y,
                "x_low": (point.x_interval or (point.x,))[0],
                "x_high": (point.x_interval or (point.x,))[-1],
                "y_low": point.y_interval[0],
                "y_high": point.y_interval[1],
            }
            for point in points
        ]
        x_scale = alt.Scale(type="log", domain=[10**bound for bound in x_domain], nice=False)
        y_scale = alt.Scale(domain=list(y_domain), nice=False)
        x = alt.X("x:Q", title=x_title).scale(x_scale).axis(_log_axis(*x_domain))
        y = alt.Y("y:Q", title=y_title).scale(y_scale)
        base = alt.Chart(_data(rows))
        names = [
            alt.Chart(_data([row]))
            .mark_text(align=place.align, dx=place.dx, dy=place.dy, baseline="middle", color="var(--ink)", fontSize=12)
            .encode(x=x, y=y, text="name:N")
            for row, place in zip(rows, places(spots, width, _HEIGHT), strict=True)
            if place is not None
        ]
        y_low = alt.Y("y_low:Q", title=y_title).scale(y_scale)
        x_low = alt.X("x_low:Q", title=x_title).scale(x_scale)
        interval = base.mark_rule(color="var(--accent)", opacity=0.55)
        point = base.mark_point(color="var(--accent)", filled=True, size=55, opacity=1)
        return alt.layer(
            interval.encode(x=x, y=y_low, y2="y_high:Q"),
            interval.encode(x=x_low, x2="x_high:Q", y=y),
            point.encode(x=x, y=y, description="told:N"),
            *names,
        ).properties(width=width, height=_HEIGHT)

    return _chart(title, draw)


def speeds(title: str, bars: Sequence[Bar]) -> Chart:
    """Draw images a second, one row for each timing: the middle half of the calls, and all of them."""
    runs = list(dict.fromkeys(bar.run for bar in bars))
    colours = ["var(--muted)", "var(--accent)"][-len(runs) :]
    rows = [
        {
            "name": bar.name,
            "run": bar.run,
            "told": f"{bar.name}{f', {bar.run}' if bar.run else ''}: {bar.quartiles[1]:,.1f} images/s, middle half "
            f"{bar.quartiles[0]:,.1f} to {bar.quartiles[2]:,.1f}, all {bar.ends[0]:,.1f} to {bar.ends[1]:,.1f}",
            "first": bar.quartiles[0],
            "median": bar.quartiles[1],
            "third": bar.quartiles[2],
            "low": bar.ends[0],
            "high": bar.ends[1],
        }
        for bar in bars
    ]
    names = list(dict.fromkeys(bar.name for bar in bars))

    def draw(width: int) -> Drawing:
        long = width == WIDE
        axis = alt.Axis(labelLimit=320 if long else 130, labelOverlap=False, ticks=False, domain=False)
        y = alt.Y("name:N", title=None, sort=names, axis=axis)
        domain = _padded([math.log10(end) for bar in bars for end in bar.ends])
        scale = alt.Scale(type="log", domain=[10**bound for bound in domain], nice=False)
        x = alt.X("low:Q", title="images/s").scale(scale).axis(_log_axis(*domain))
        colour = alt.Color("run:N", title=None).scale(domain=runs, range=colours)
        colour = colour.legend(orient="top", labelLimit=width) if len(runs) > 1 else colour.legend(None)
        shift = alt.YOffset("run:N", sort=runs)
        base = alt.Chart(_data(rows)).encode(y=y, color=colour, yOffset=shift)
        return alt.layer(
            base.mark_rule(opacity=0.5).encode(x=x, x2="high:Q"),
            base.mark_rule(strokeWidth=6, opacity=0.45).encode(x="first:Q", x2="third:Q"),
            base.mark_point(filled=True, size=45, opacity=1).encode(x="median:Q", description="told:N"),
        ).properties(width=width if long else width - 110, height=_ROW * len(names) * (1 + (len(runs) > 1) / 2))

    return _chart(title, draw)


def series(title: str, lines: Sequence[Line], runs: Sequence[str], y_title: str, least: float) -> Chart:
    """Draw lines over runs.

    Args:
        lines: at most 8, each with its own colour.
        runs: what stands below each run.
        least: the axis goes so far up and down at least.
    """
    values = [value for line in lines for value in line.values if value is not None]
    domain = _padded([*values, least, -least])
    rows = [
        {"name": line.name, "run": run, "value": value, "told": f"{line.name}, {run}: {value:+.3f}"}
        for line in lines
        for run, value in zip(runs, line.values, strict=True)
        if value is not None
    ]
    names = [line.name for line in lines]

    def draw(width: int) -> Drawing:
        colour = alt.Color("name:N", title=None).scale(
            domain=names, range=[f"var(--line-{number + 1})" for number in range(len(names))]
        )
        colour = colour.legend(orient="top", columns=3 if width == WIDE else 1, labelLimit=width)
        x = alt.X("run:O", title=None).scale(domain=list(runs)).axis(labelAngle=-40, labelOverlap="greedy")
        y = alt.Y("value:Q", title=y_title).scale(domain=list(domain), nice=False)
        base = alt.Chart(_data(rows)).encode(x=x, y=y, color=colour)
        return alt.layer(
            base.mark_line(strokeWidth=1.5), base.mark_point(filled=True, size=40).encode(description="told:N")
        ).properties(width=width, height=_HEIGHT - 100)

    return _chart(title, draw)


def _chart(title: str, draw: Callable[[int], Drawing]) -> Chart:
    return Chart(title, _svg(draw(WIDE), title), _svg(draw(NARROW), title))


def _svg(chart: Drawing, title: str) -> str:
    """Return the SVG, with what each mark tells as its tooltip."""
    styled = (
        chart.configure(font="inherit", background="transparent", padding=4)
        .configure_axis(
            labelColor="var(--muted)",
            titleColor="var(--muted)",
            titleFontWeight="normal",
            gridColor="var(--rule)",
            tickColor="var(--rule)",
            domainColor="var(--rule)",
            labelFontSize=12,
            titleFontSize=12,
        )
        .configure_view(stroke=None)
        .configure_legend(labelColor="var(--ink)", labelFontSize=12)
    )
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(vl_convert.vegalite_to_svg(styled.to_dict()))
    for mark in root.iter():
        if told := mark.get("aria-label") if mark.get("role") == "graphics-symbol" else None:
            ElementTree.SubElement(mark, f"{{{_SVG}}}title").text = told
    root.set("role", "img")
    root.set("aria-label", title)
    return ElementTree.tostring(root, encoding="unicode")


def _data(rows: Iterable[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=list(rows))  # type: ignore[no-untyped-call]


def _log_axis(low: float, high: float) -> alt.Axis:
    """Return an axis with ticks at 1, 2 and 5 times the powers of ten; at more where those are too few."""
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), [digit / 10 for digit in range(10, 100)]):
        ticks = [digit * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for digit in digits]
        ticks = [tick for tick in ticks if low <= math.log10(tick) <= high]
        if len(ticks) >= _FEWEST_TICKS:
            break
    return alt.Axis(values=ticks, format="~g", labelOverlap="greedy")


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = _MARGIN * (high - low) or 0.1
    return low - margin, high + margin


def _share(value: float, domain: tuple[float, float]) -> float:
    return (value - domain[0]) / (domain[1] - domain[0])
