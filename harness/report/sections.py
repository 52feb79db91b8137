"""Parts of a report, the same for a terminal, Markdown and a page: titles, tables, and lines below them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_WIDTH = 100


@dataclass(frozen=True)
class Table:
    """A head, rows of cells, and the indices of the columns that are aligned left; numbers are aligned right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: frozenset[int]

    def lines(self) -> Iterator[str]:
        """Yield lines for a terminal; none without rows."""
        if not self.rows:
            return
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        for row in [self.head, *self.rows]:
            padded = (f"{cell:{'<' if i in self.left else '>'}{widths[i]}}" for i, cell in enumerate(row))
            yield "  ".join(padded).rstrip()

    def markdown(self) -> Iterator[str]:
        """Yield lines of a Markdown table; markup in a cell is shown as text."""
        alignment = [":--" if i in self.left else "--:" for i in range(len(self.head))]
        yield from map(_markdown_row, [self.head, alignment, *self.rows])


@dataclass(frozen=True)
class Section:
    """A part of a report: its title or an empty one, a table if there are rows, and lines below it."""

    title: str
    table: Table | None
    lines: tuple[str, ...] = ()

    def body(self) -> Iterator[str]:
        """Yield the lines below the title, for a terminal of any width."""
        yield from self.table.lines() if self.table else ()
        yield from self.lines


def reason_lines(reasons: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of reasons: the id of each and its first line, then its other lines, indented."""
    for identity, why in reasons:
        first, *rest = why.split("\n")
        yield f"{identity}: {first}"
        yield from (f"    {line.strip()}" for line in rest)


def as_text(sections: Sequence[Section]) -> Iterator[str]:
    """Yield lines for a terminal."""
    for number, section in enumerate(sections):
        if number:
            yield ""
        yield from _wrapped(section.title)
        yield from section.table.lines() if section.table else ()
        for line in section.lines:
            yield from _wrapped(line)


def as_markdown(sections: Sequence[Section]) -> Iterator[str]:
    """Yield lines of Markdown, as for a CI job's summary."""
    for section in sections:
        if section.title:
            yield from (f"### {_escaped(section.title)}", "")
        if section.table and section.table.rows:
            yield from (*section.table.markdown(), "")
        for line in section.lines:
            yield f"{'  ' if line.startswith(' ') else ''}- {_escaped(line.strip())}"
        if section.lines:
            yield ""


def _escaped(text: str) -> str:
    """Return text that Markdown shows unchanged."""
    return "".join(f"\\{character}" if character in r"\`*_[]<>|~#" else character for character in text)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _wrapped(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    wrapper = textwrap.TextWrapper(_WIDTH, indent, f"{indent}  ", break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(line.strip())
