"""Runs of the gate in processes of their own: with other packages, or the timings of two environments, alternating."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import ResultsError
from harness.options import THROUGHPUT
from harness.records.run_folder import Run, read_run

FEWEST = 5
"""Rounds before the first look: with fewer, an interval that covers several looks and cases is too wide to decide."""
_GROWTH, _LAST_LINES = 1.4, 15
_ROOT = Path(__file__).parents[2]


def run_gate(python: str, arguments: Sequence[str], packages: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Return ``imagenet-gate run`` of this harness after its end; packages in a folder precede those installed."""
    folders = [packages] if packages else []
    # This harness; but where it is installed, torch may lie beside it, which is the other environments' own.
    own = [] if _ROOT.name.endswith("-packages") else [_ROOT]
    # CUDA's libraries come in packages of their own; where only they differ, torch looks there first.
    libraries = [found for folder in folders for found in folder.glob("nvidia/*/lib")]
    variables = dict(os.environ)
    for name, first in (("PYTHONPATH", [*folders, *own]), ("LD_LIBRARY_PATH", libraries)):
        variables[name] = os.pathsep.join([*map(str, first), *filter(None, [os.environ.get(name)])])
    return subprocess.run(
        [python, "-m", "harness", "run", *arguments], env=variables, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip


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
    expected = "expected OLD_PYTHON and NEW_PYTHON, two executable files, before pytest's options"
    if missing := [python for python in pythons if shutil.which(python) is None]:
        raise ResultsError(f"{expected}, found {missing[0]!r}")  # before the other one is timed
    runs: tuple[list[Run], list[Run]] = [], []
    for number in range(1, rounds + 1):
        for side in (0, 1) if number % 2 else (1, 0):
            python, file = pythons[side], folder / f"{('old', 'new')[side]}-{number:02}.json"
            try:
                run = run_gate(python, ["-m", THROUGHPUT, f"--benchmark-json={file}", *arguments])
            except OSError as error:
                raise ResultsError(f"{expected}, found {python!r}: {error.strerror}") from error
            if run.returncode or not file.exists():
                found = f"expected exit status 0 and a JSON file, found status {run.returncode}; its last lines"
                shown = "\n".join(run.stdout.splitlines()[-_LAST_LINES:])
                raise ResultsError(f"{shlex.join(run.args)}: {found}:\n{shown}")
            runs[side].append(read_run(file))
        yield runs
