"""``imagenet-gate baseline``: a person pins the run that nights are compared with; imports no torch."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from harness.cli import Commands
from harness.cli.nightly import add_nightly
from harness.errors import RecordError
from harness.nightly.pinned import locked, pin, pinned_run
from harness.options import folder
from harness.records.run_folder import Run, read_run
from harness.report.comparison import comparison_sections
from harness.report.report import Judging, headline
from harness.report.sections import as_text
from harness.verdict import FAILED


def add(commands: Commands) -> None:
    """Declare the commands."""
    command = commands.add_parser(
        "baseline",
        help="pin the run that nightly runs are compared with",
        description="Pin the run that imagenet-gate nightly compares with. Nightly runs never pin one themselves.",
    )
    subcommands = command.add_subparsers(metavar="COMMAND", required=True)
    accept = subcommands.add_parser(
        "accept",
        help="pin a run; exit 1 if it is not pinned",
        description="Show what RUN changes compared with the pinned run, and pin a copy of it instead; the earlier one "
        "is kept beside it. Exit 1 if RUN failed or lacks results, and so is not pinned.",
    )
    accept.add_argument("accepted", metavar="RUN", type=folder, help="folder of --results, such as nightly/latest/run")
    add_nightly(accept)
    accept.add_argument("--force", action="store_true", help="pin RUN even if it failed or lacks results")
    accept.set_defaults(run=_accept)


def _accept(options: argparse.Namespace) -> int:
    state = Path(options.nightly)
    with locked(state):
        run, pinned = read_run(options.accepted), pinned_run(state)
        print(headline(run.record).sentence)
        if (against := list(_against(run, pinned))) and not options.force:
            print(f"not pinned: {'; '.join(against)}; --force pins it anyway")
            return 1
        print(f"pinned: {pin(run, state)}")
    return 0


def _against(run: Run, pinned: Run | None) -> Iterator[str]:
    """Print what changes, and yield reasons not to pin a run."""
    if (found := headline(run.record)).outcome == FAILED:
        yield f"the run {found.sentence.replace('FAILED', 'failed', 1)}"
    if not run.record.cases:
        yield "it has no accuracy"
    if pinned is None:
        return
    try:
        comparison, failures = Judging().compare(pinned, run)
    except RecordError as error:
        yield str(error)
        return
    print(*as_text(comparison_sections(comparison, failures)), sep="\n")
    if comparison.missing:
        yield f"it lacks {comparison.missing[0][0]}, which the pinned run has"
    if (before := pinned.record.dataset) and (after := run.record.dataset) and after.images < before.images:
        yield f"it has {after.images:,} images, and the pinned run {before.images:,}"
