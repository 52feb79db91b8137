"""``imagenet-gate list-models``: the models that a file of expected accuracies lists, and what each should score."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli import Commands
from harness.records.accuracy_file import default_file, read_expected
from harness.records.evidence import METRICS


def add(commands: Commands) -> None:
    """Declare the command."""
    about = "Show the ids that --models takes, with the expected top-1 and top-5 accuracy in percent by dataset."
    command = commands.add_parser("list-models", help="show models and their expected accuracy", description=about)
    file = "file of expected accuracies (default: %(default)s)"
    command.add_argument("--expected", metavar="FILE", type=Path, default=default_file(Path()), help=file)
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    for entry in read_expected(options.expected):
        for dataset in entry.expected or [""]:
            expected = entry.expected_on(dataset)
            values = [f"{expected.counts.percent(metric):7.3f}" for metric in METRICS] if expected else []
            print(f"{entry.spec!s:<44} {dataset:<27}", *values or ["not judged"])
    return 0
