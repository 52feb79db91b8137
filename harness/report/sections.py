"""Parts of a report, the same for a terminal, Markdown and a page: titles, tables, and lines below them."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from harness.records.evidence import counted as counted
from harness.records.evidence import wrapped
from harness.records.results import CaseResult
from harness.verdict import BASELINE, FAILED, WARNING

Row: TypeAlias = Sequence[tuple[str, str]]
"""The cells of a row, each after the heading of its column; a heading that begins with ``<`` aligns it left."""


@dataclass(frozen=True)
class Table:
    """A head, rows of cells, and the indices of the columns that are aligned left; numbers are aligned right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: frozenset[int]

    def lines(self) -> Iterator[str]:
        """Yield lines for a terminal; where that is too narrow for a row, its first cell has a line of its own."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        # A file or a pipe has any number; Python 3.10 gives 0 for a terminal that does not say.
        columns = shutil.get_terminal_size((sys.maxsize, 0)).columns or sys.maxsize
        between = "  " if sum(widths) + 2 * len(widths) - 2 <= columns else "\n  "
        for row in [self.head, *self.rows]:
            first, *others = (f"{cell:{'<' if i in self.left else '>'}{widths[i]}}" for i, cell in enumerate(row))
            line = f"{first}{between}{'  '.join(others)}"
            yield from (part.rstrip() for part in line.split("\n"))

    def markdown(self) -> Iterator[str]:
        """Yield lines of a Markdown table; markup in a cell is shown as text."""
        alignment = [":--" if i in self.left else "--:" for i in range(len(self.head))]
        for row in [self.head, alignment, *self.rows]:
            yield f"| {' | '.join(map(_escaped, row))} |"


def table_of(rows: Sequence[Row]) -> Table | None:
    """Return a table of rows with the same headings; None if there are no rows."""
    if not rows:
        return None
    headings = [heading for heading, _ in rows[0]]
    left = frozenset(i for i, heading in enumerate(headings) if heading.startswith("<"))
    head = [heading.removeprefix("<") for heading in headings]
    return Table(head, [[cell for _, cell in row] for row in rows], left)


def number(value: float | None, form: str) -> str:
    """Return a number as a cell, by a format specification; a dash if it is not known."""
    return "-" if value is None else format(value, form)


@dataclass(frozen=True)
class Section:
    """A part of a report: its title or an empty one, a table if there are rows, and lines below it."""

    title: str
    table: Table | None
    lines: tuple[str, ...] = ()

    def body(self) -> Iterator[str]:
        """Yield the lines below the title, for a terminal."""
        yield from self.table.lines() if self.table else ()
        for line in self.lines:
            yield from wrapped(line).split("\n")


def reason_lines(reasons: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of reasons: the id of each and its first line, then its other lines, indented."""
    for identity, why in reasons:
        first, *rest = why.split("\n")
        yield f"{identity}: {first}"
        yield from (f"    {line.strip()}" for line in rest)


def by_cause(reasons: Iterable[tuple[str, str]]) -> Iterator[tuple[list[str], str]]:
    """Yield each cause once: the ids whose reasons begin alike, figures in brackets aside, and the lines they share."""
    found: dict[str, dict[str, str]] = {}
    for identity, why in reasons:
        cause = re.sub(r" \([^()]*\)\Z", "", why.partition("\n")[0])
        found.setdefault(cause, {}).setdefault(identity, why)
    for cause, whys in found.items():
        lines = [why.split("\n") for why in whys.values()]
        shared = [line for line in lines[0] if all(line in others for others in lines)]
        yield list(whys), "\n".join(shared if lines[0][0] in shared else [cause, *shared])


def reasons_in_short(cases: Sequence[CaseResult]) -> Iterator[str]:
    """Yield all warnings, and for each failure its first sentence, once for the cases that share it."""
    yield from reason_lines((f"warning: {identity}", why) for identity, why in reasons(cases, WARNING))
    failed: dict[str, str] = {}
    for identity, why in reasons(cases, FAILED):
        failed.setdefault(identity, why.partition("\n")[0])
    for (first, *others), sentence in by_cause(failed.items()):
        yield f"failed: {first}{f' and {len(others):,} more' if others else ''}: {sentence}"


def reasons(cases: Iterable[CaseResult], outcome: str) -> Iterator[tuple[str, str]]:
    """Yield the checks with an outcome; of each case the baseline first, which explains what the others only show."""
    for case in cases:
        for check in sorted(case.verdict.checks, key=lambda check: check.name != BASELINE):
            if outcome == check.outcome:
                yield case.id, check.reason


def as_text(sections: Sequence[Section]) -> Iterator[str]:
    """Yield lines for a terminal."""
    for index, section in enumerate(sections):
        if index:
            yield ""
        if section.title:
            yield wrapped(section.title)
        yield from section.body()


def as_markdown(sections: Sequence[Section]) -> Iterator[str]:
    """Yield lines of Markdown, as for a CI job's summary."""
    for section in sections:
        if section.title:
            yield from (f"### {_escaped(section.title)}", "")
        if section.table:
            yield from (*section.table.markdown(), "")
        for line in section.lines:
            yield f"{'  ' if line.startswith(' ') else ''}- {_escaped(line.strip())}"
        if section.lines:
            yield ""


def disturbed_note(reasons: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence about the timings that were disturbed alike, by their ids; others have no reason."""
    found: dict[str, list[str]] = {}
    for identity, why in reasons.items():
        found.setdefault(re.sub(r"[\d.,]+", "", why), []).append(identity)
    for first, *others in (ids for kind, ids in found.items() if kind):
        yield f"disturbed: {first}{f' and {len(others):,} more' if others else ''}: {reasons[first]}"


def for_stderr(text: str) -> str:
    """Return text wrapped as for a terminal if stderr is one; tools that read it elsewhere take it line by line."""
    return "\n".join(map(wrapped, text.split("\n"))) if sys.stderr.isatty() else text


def _escaped(text: str) -> str:
    """Return text that Markdown shows unchanged."""
    return re.sub(r"[\\`*_\[\]<>|~#]", r"\\\g<0>", text)
