"""``python -m harness merge``: runs made apart come together in one folder; imports no torch."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.options import folder
from harness.errors import ResultsError
from harness.reporting.merge import Merged, merge, write_files
from harness.reporting.record import ERROR, Record, measured_cases, unmeasured
from harness.reporting.run_folder import NewRun, read_run
from harness.reporting.text import run_sections

if TYPE_CHECKING:
    from harness.commands import Commands


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "merge",
        help="bring together runs that were made apart; exit 1 if a case did not hold, or has no values",
        description="Bring runs that were made apart, such as by the jobs of a Slurm array, together in one run "
        "folder, and print its tables. They must be of the same images and the same environment, and agree where they "
        "overlap. Exit 1 if a case did not hold or a result has no values, 2 if they cannot be merged.",
    )
    command.add_argument("runs", metavar="RUN", type=folder, nargs="+", help="folders of --results")
    command.add_argument(
        "--results",
        metavar="DIR",
        type=folder,
        required=True,
        help="folder for the merged run; an earlier run there is replaced",
    )
    command.set_defaults(run=_merge)


def _merge(options: argparse.Namespace) -> int:
    _refuse_to_replace(options.runs, options.results)
    merged = merge([read_run(path) for path in options.runs])
    record, written = _write(merged, options.results)
    for line in _lines(record):
        print(line)
    print(f"results: {written}")
    missing = unmeasured((*record.cases, *record.timings))
    return 1 if missing or not all(case.verdict.held for case in measured_cases(record.cases)) else 0


def _refuse_to_replace(runs: Sequence[Path], results: Path) -> None:
    for run in runs:
        if results.resolve().is_relative_to(run.resolve()):
            raise ResultsError(f"--results {results}: expected another folder than those of the runs, found {run}")


def _write(merged: Merged, folder: Path) -> tuple[Record, Path]:
    """Write the run whole or not at all, and return its record, with all answers, and its folder."""
    run = NewRun(folder)
    try:
        record = write_files(merged, run.staging)
        run.finish(record)
    finally:
        run.discard()
    return record, run.folder


def _lines(record: Record) -> Iterator[str]:
    """Yield the tables, below why a result has no values."""
    for result in unmeasured((*record.cases, *record.timings)):
        if result.outcome == ERROR:
            yield f"error: {result.id}: {result.detail}"
    for section in run_sections(record.cases, record.timings, record.split):
        yield section.title
        yield from section.body()
