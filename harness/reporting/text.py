"""Lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from harness.gate.scores import METRICS
from harness.gate.stats import mcnemar
from harness.reporting.record import CaseRecord

# Neighbours in the ranking whose difference is less sure than this are ties.
SIGNIFICANT = 0.05
TIE = "~"


def accuracy_table(records: Iterable[CaseRecord], unmeasured: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield a table of the cases, best top-1 first, then those that were not measured.

    Args:
        records: of one split.
        unmeasured: id of a case, and a word for why it has no values.
    """
    ranked = sorted(records, key=lambda record: (-record.measured.top1, record.id))
    origin = next((record.origin for record in ranked if record.expected), "expected")
    head = ["", "model", "weights", "top-1", origin, "diff", "top-5", origin, "diff"]
    head += ["params", "GFLOPs", "images/s", "verdict"]
    rows = [
        _row(record, tie=above is not None and _are_tied(above, record))
        for above, record in zip([None, *ranked], ranked, strict=False)
    ]
    if rows:
        yield from _aligned(head, rows)
    for identity, word in unmeasured:
        yield f"  {identity}: {word}"
    if any(row[0] == TIE for row in rows):
        yield (
            f"{TIE} not significantly different from the row above on the same images "
            f"(top-1, exact McNemar test, p >= {SIGNIFICANT})"
        )
    could_miss: dict[str, float] = {}
    for check in (check for record in ranked for check in record.verdict.checks if check.could_miss):
        could_miss[check.name] = max(check.could_miss, could_miss.get(check.name, 0.0))
    if could_miss:
        drops = " and of ".join(f"{name} by up to {drop:.2f} points" for name, drop in could_miss.items())
        yield f"judged on a subset of the images, which could miss a drop of {drops}"
    for record in ranked:
        if record.note:
            yield f"{record.id}: {record.note}"


def _row(record: CaseRecord, *, tie: bool) -> list[str]:
    cells = [TIE if tie else "", record.model, record.weights]
    for metric in METRICS:
        percent = record.measured.percent(metric)
        cells.append(f"{percent:.3f}")
        if record.expected is None:
            cells += ["-", "-"]
        else:
            expected = record.expected.percent(metric)
            cells += [f"{expected:.3f}", f"{percent - expected:+.3f}"]
    cells += [f"{record.parameters / 1e6:.1f}M", f"{record.gflops:.2f}", f"{record.images_per_second:,.0f}"]
    return [*cells, "held" if record.verdict.held else "FAILED"]


def _are_tied(first: CaseRecord, second: CaseRecord) -> bool:
    """Tell whether the two models' top-1 could well differ by chance, from their answers to the same images."""
    a, b = first.correct_bits(), second.correct_bits()
    return mcnemar(int(np.sum(a & ~b)), int(np.sum(b & ~a))) >= SIGNIFICANT


def _aligned(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Yield lines of columns: the first three and the last aligned left, numbers right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    left = {0, 1, 2, len(head) - 1}
    for row in [head, *rows]:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
