"""The contrast of the page's colors by WCAG 2.2, in both themes and in print: 4.5 of text, 3 of lines and marks."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

CSS = files("harness.report.page").joinpath("page.css").read_text(encoding="utf-8")
# Which colors text has on each background; on those of the page and its boxes every one that text has.
ON_BARS = {"ink", "passed", "failed"}
OUTCOMES = {"passed", "warning", "failed"}


def _theme(start: str) -> dict[str, str]:
    """Return the colors of the first :root rule after a text, by name."""
    rule = CSS[CSS.index(start) :].partition(":root")[2].partition("}")[0]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", rule))


THEMES = {"light": _theme(""), "dark": _theme("prefers-color-scheme: dark"), "print": _theme("@media print")}


def _luminance(color: str) -> float:
    parts = [int(color[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _pairs() -> list[tuple[str, str]]:
    """Return each color of text with each background that it may have."""
    texts = set(re.findall(r"(?<![-\w])color: var\(--([\w-]+)\)", CSS))
    backgrounds = set(re.findall(r"background: [^;]*?var\(--([\w-]+)\)", CSS))
    assert {"paper", "raised", "bar", *(f"{outcome}-tint" for outcome in OUTCOMES)} == backgrounds
    assert texts >= {"ink", "muted", "accent", *OUTCOMES}
    pairs = [(text, background) for text in texts for background in ("paper", "raised")]
    return sorted([*pairs, *((text, "bar") for text in ON_BARS), *((text, f"{text}-tint") for text in OUTCOMES)])


@pytest.mark.parametrize("theme", THEMES)
def test_text_lines_of_charts_and_the_focus_can_be_seen(theme: str) -> None:
    """Level AA: 4.5 for text of any size, 3 for what is not text."""
    colors = THEMES["light"] | THEMES[theme]
    marks = [name for name in colors if name.startswith("line-")] + ["accent"]

    assert [] == [pair for pair in _pairs() if _contrast(*(colors[name] for name in pair)) < 4.5]
    assert 9 == len(marks)
    assert theme == "print" or [] == [name for name in marks if _contrast(colors[name], colors["paper"]) < 3]
