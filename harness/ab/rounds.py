"""Runs of ``imagenet-gate run -m throughput`` in two environments in turns, each in a process of its own."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.ab.process import run_gate
from harness.errors import ResultsError
from harness.options import THROUGHPUT
from harness.records.run_folder import Run, read_run

FEWEST = 5
"""Rounds before the first look: with fewer, an interval that covers several looks and cases is too wide to decide."""
_GROWTH, _LAST_LINES = 1.4, 15


def looks(rounds: int) -> tuple[int, ...]:
    """Return after which rounds to look: few, since each look widens the intervals of all.

    >>> looks(10), looks(20)
    ((5, 7, 9, 10), (5, 7, 9, 12, 16, 20))
    """
    found = [FEWEST]
    while (later := int(found[-1] * _GROWTH)) < rounds:
        found.append(later)
    return tuple(dict.fromkeys([*found, rounds]))


def measured(
    pythons: tuple[str, str], arguments: Sequence[str], rounds: int, folder: Path
) -> Iterator[tuple[list[Run], list[Run]]]:
    """Yield the old and the new runs so far after each round: a process of each, in the order A B B A A B and so on.

    A ResultsError says that one cannot be started, or ended with another status than 0.
    """
    runs: tuple[list[Run], list[Run]] = [], []
    for number in range(1, rounds + 1):
        for side in (0, 1) if number % 2 else (1, 0):
            file = folder / f"{('old', 'new')[side]}-{number:02}.json"
            _measure(pythons[side], arguments, file)
            runs[side].append(read_run(file))
        yield runs


def _measure(python: str, arguments: Sequence[str], file: Path) -> None:
    try:
        run = run_gate(python, ["-m", THROUGHPUT, f"--benchmark-json={file}", *arguments])
    except OSError as error:
        raise ResultsError(f"{python}: expected a Python interpreter, found none to start: {error.strerror}") from error
    if run.returncode or not file.exists():
        shown = "\n".join(run.stdout.splitlines()[-_LAST_LINES:])
        raise ResultsError(
            f"{shlex.join(run.args)}: expected exit status 0 and a JSON file, found status {run.returncode}; its last "
            f"lines:\n{shown}"
        )
