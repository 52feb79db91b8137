"""``imagenet-gate merge``: merge separate runs into one folder; imports no torch."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from harness.cli import Commands
from harness.errors import ResultsError
from harness.options import folder
from harness.parallel.merge import merge
from harness.records.results import ERROR
from harness.records.run_folder import NewRun, Run, read_run
from harness.report.run import run_sections
from harness.verdict import FAILED


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "merge",
        help="merge runs made separately; exit 1 if a case failed or has no result",
        description="Merge runs made separately, such as by the jobs of a Slurm array, into one run folder, and "
        "print its tables. They must be of the same images and the same environment, and agree where they overlap. "
        "Exit 1 if a case failed or a test has no result, 2 if they cannot be merged.",
    )
    command.add_argument("runs", metavar="RUN", type=folder, nargs="+", help="folders of --results")
    results = "folder for the merged run; an earlier run there is replaced"
    command.add_argument("--results", metavar="DIR", type=folder, required=True, help=results)
    command.set_defaults(run=_merge)


def _merge(options: argparse.Namespace) -> int:
    results: Path = options.results
    for path in options.runs:
        if Path(os.path.realpath(results)).is_relative_to(os.path.realpath(path)):
            raise ResultsError(f"--results {results}: expected another folder than those of the runs, found {path}")
    run = NewRun(results)
    try:
        record = merge([read_run(path) for path in options.runs], run.staging)
        run.finish(record)
    finally:
        run.discard()
    assert run.folder is not None
    for missing in record.missing:
        if missing.outcome == ERROR:
            print(f"error: {missing.id}: {missing.detail}")
    for section in run_sections(Run(run.folder, record)):
        print(section.title, *section.body(), sep="\n")
    print(f"results: {run.folder}")
    return 1 if record.missing or any(case.outcome == FAILED for case in record.cases) else 0
