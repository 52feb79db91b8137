"""Tables, for a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A head and rows of cells.

    Attributes:
        left: the columns that are aligned left, by number; numbers stand on the right.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: frozenset[int]

    def lines(self) -> Iterator[str]:
        """Yield lines for a terminal."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        for row in [self.head, *self.rows]:
            cells = [
                cell.ljust(width) if i in self.left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            yield "  ".join(cells).rstrip()

    def markdown(self) -> Iterator[str]:
        """Yield lines of a Markdown table; what a cell holds shows as text."""
        yield _markdown_row(self.head)
        yield _markdown_row([":--" if i in self.left else "--:" for i in range(len(self.head))])
        yield from map(_markdown_row, self.rows)


def escaped(text: str) -> str:
    """Return text that Markdown shows as it stands."""
    return "".join(f"\\{character}" if character in r"\`*_[]<>|~#" else character for character in text)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escaped(cell) for cell in cells)} |"
