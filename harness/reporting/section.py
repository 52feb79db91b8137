"""Parts of a report, the same for a terminal, Markdown and a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.reporting.table import Table, escaped

_WIDTH = 100


@dataclass(frozen=True)
class Section:
    """A part of a report: a title where it has one, a table where there are rows, and lines below it."""

    title: str
    table: Table | None
    lines: tuple[str, ...] = ()

    def body(self) -> Iterator[str]:
        """Yield what stands below the title, as lines for a terminal of any width."""
        if self.table and self.table.rows:
            yield from self.table.lines()
        yield from self.lines


def as_text(sections: Sequence[Section]) -> Iterator[str]:
    """Yield lines for a terminal."""
    for number, section in enumerate(sections):
        if number:
            yield ""
        yield from _wrapped(section.title)
        if section.table and section.table.rows:
            yield from section.table.lines()
        for line in section.lines:
            yield from _wrapped(line)


def as_markdown(sections: Sequence[Section]) -> Iterator[str]:
    """Yield lines of Markdown, as for a CI job's summary."""
    for section in sections:
        if section.title:
            yield f"### {escaped(section.title)}"
            yield ""
        if section.table and section.table.rows:
            yield from section.table.markdown()
            yield ""
        for line in section.lines:
            yield f"{'  ' if line.startswith(' ') else ''}- {escaped(line.strip())}"
        if section.lines:
            yield ""


def _wrapped(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line.strip(),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
