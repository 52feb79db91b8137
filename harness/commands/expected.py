"""``python -m harness expected``: the file of expected accuracies."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from harness.gate.expected import disagreements
from harness.gate.expected_file import DEFAULT_FILE, read_expected

if TYPE_CHECKING:
    from harness.commands import Commands


def add(commands: Commands) -> None:
    """Declare the command."""
    expected = commands.add_parser(
        "expected",
        help="check the file of expected accuracies",
        description="The file of expected accuracies, by default expected_accuracy.yaml.",
    )
    actions = expected.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="compare it with the installed torchvision's own metadata; exit 1 if they disagree",
        description="Compare the imagenet-1k values of the file with the installed torchvision's own metadata. Exit 1 "
        "if they disagree.",
    )
    check.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        nargs="?",
        default=DEFAULT_FILE,
        help="file of expected accuracies (default: %(default)s)",
    )
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    entries = read_expected(options.file)
    from harness.evaluation.models import published_accuracies, torchvision_version  # imports torch

    published = published_accuracies()
    lines = disagreements(entries, published)
    for line in lines:
        print(line)
    verdict = f"{len(lines) or 'no'} disagreement{'s' if len(lines) > 1 else ''}"
    print(f"{options.file}: {verdict} with the {len(published)} weights of torchvision {torchvision_version()}")
    return 1 if lines else 0
