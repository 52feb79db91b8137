"""``python -m harness``: what is not a test. Exit status: 0 fine, 1 a check failed, 2 it could not be done."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.gate.expected import disagreements
from harness.gate.expected_file import DEFAULT_FILE, read_expected


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness",
        description="Companion of the gate; the gate itself is: pytest -m imagenet --imagenet DIR",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    expected = commands.add_parser("expected", help="the file of expected accuracies")
    actions = expected.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="compare it with the installed torchvision's own metadata; exit 1 where they disagree",
        description="Compare the imagenet-1k values of the file with the installed torchvision's own metadata.",
    )
    check.add_argument(
        "file", metavar="FILE", type=Path, nargs="?", default=DEFAULT_FILE, help="the file (default: %(default)s)"
    )
    check.set_defaults(run=_expected_check)
    return parser


def _expected_check(options: argparse.Namespace) -> int:
    entries = read_expected(options.file)
    from harness.evaluation.models import published_accuracies, torchvision_version  # imports torch

    published = published_accuracies()
    lines = disagreements(entries, published)
    for line in lines:
        print(line)
    verdict = f"{len(lines) or 'no'} disagreement{'s' if len(lines) > 1 else ''}"
    print(f"{options.file}: {verdict} with the {len(published)} weights of torchvision {torchvision_version()}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
