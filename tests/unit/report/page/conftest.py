"""What a reader sees of a chart."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from harness.report.page.charts import Chart

SVG = "{http://www.w3.org/2000/svg}"


def marks_of(chart: Chart) -> list[tuple[str, float, float]]:
    """Return what each point tells, and where it is."""
    found = []
    for element in ElementTree.fromstring(chart.svg).iter():
        if (title := element.find(f"{SVG}title")) is not None and element.get("aria-roledescription") == "point":
            moved = re.fullmatch(r"translate\(([-\d.]+),([-\d.]+)\)", element.get("transform", ""))
            assert moved is not None
            found.append((str(title.text), float(moved[1]), float(moved[2])))
    return found


def told_by(chart: Chart) -> list[str]:
    """Return what each point tells."""
    return [told for told, _, _ in marks_of(chart)]


def texts_in(chart: Chart) -> set[str]:
    """Return the names and numbers that are written in a chart."""
    return {str(element.text) for element in ElementTree.fromstring(chart.svg).iter(f"{SVG}text")}
