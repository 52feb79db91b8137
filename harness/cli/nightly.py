"""``imagenet-gate nightly``: the gate and the timings of one night, against a pinned run and all nights before."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from harness.cli import PYTEST_OPTIONS, Commands
from harness.cli.compare import add_judging, judging_of
from harness.cli.report import thumbnails
from harness.nightly.night import Night


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "nightly",
        help="run gate and timings, compare with the pinned run and earlier nightly runs; exit 1 if something fails",
        description="Run the gate and the timings, and compare accuracy and speed with the run that imagenet-gate "
        "baseline accept pinned, and speed with all earlier nightly runs as well. The title, printed last, is the "
        f"verdict. Exit 1 if something fails, 2 if there is no verdict or no run is pinned. {PYTEST_OPTIONS}",
        usage="%(prog)s [options] [pytest options]",
        allow_abbrev=False,
    )
    add_nightly(command)
    add_judging(command)
    command.set_defaults(run=_nightly, takes_more=True)


def _nightly(options: argparse.Namespace) -> int:
    return Night(Path(options.nightly), options.more, judging_of(options), thumbnails).run()


def add_nightly(command: argparse.ArgumentParser) -> None:
    """Declare the folder of nightly runs."""
    nightly = "folder kept between nightly runs (default: $NIGHTLY_DIR, else nightly)"
    default = os.environ.get("NIGHTLY_DIR") or "nightly"
    command.add_argument("--nightly", metavar="DIR", type=os.path.realpath, default=default, help=nightly)
