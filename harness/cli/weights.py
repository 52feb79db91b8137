"""``imagenet-gate weights``: list, fetch and verify published weights, as for a machine without internet."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli import Commands
from harness.errors import WeightsError
from harness.expected import select_cases
from harness.options import listed
from harness.precision import DEFAULT
from harness.records.accuracy_file import default_file, read_expected

if TYPE_CHECKING:
    from harness.weights.published import WeightsFile

_MIB = 2**20


def add(commands: Commands) -> None:
    """Declare the command."""
    weights = commands.add_parser(
        "weights",
        help="list, fetch or verify published weights",
        description="torchvision's published weights in torch's cache, $TORCH_HOME/hub/checkpoints. To bring them to a "
        "machine without internet, fetch them elsewhere, copy that folder, and verify it there.",
    )
    actions = weights.add_subparsers(metavar="ACTION", required=True)
    about = {
        "list": "show size, sha256, whether each file is there, and its URL",
        "fetch": "download what is missing, and verify all; exit 1 if a file cannot be had",
        "verify": "compare each file with its sha256; exit 1 if one is missing or differs",
    }
    for name, effect in about.items():
        action = actions.add_parser(name, help=effect, description=f"{effect.capitalize()}.")
        models = "names, globs or ids of models, comma-separated, or 'all' (default: %(default)s)"
        action.add_argument("--models", metavar="LIST", default="core", help=models)
        expected = "file of expected accuracies (default: %(default)s)"
        action.add_argument("--expected", metavar="FILE", type=Path, default=default_file(Path()), help=expected)
        action.set_defaults(run=_list if name == "list" else _check, fetch=name == "fetch")


def _files(options: argparse.Namespace) -> Iterator[tuple[WeightsFile, float]]:
    """Yield the file of each model with published weights, and its size in MiB."""
    from harness.models import preset_and_weights  # imports torch
    from harness.weights.published import weights_file

    cases = select_cases(read_expected(options.expected), listed(options.models), [DEFAULT], synthetic=False)
    for spec in (case.spec for case in cases):
        if (weights := preset_and_weights(spec)[1]) is not None:  # a builder brings its own
            yield weights_file(spec, weights), weights.meta["_file_size"]


def _list(options: argparse.Namespace) -> int:
    total = 0.0
    for file, size in _files(options):
        total += size
        there = "there" if file.path.is_file() else "missing"
        print(f"{file.model:<44} {size:7.1f} MiB  {file.sha256}  {there:<7}  {file.url}")
    print(f"{total:,.1f} MiB in all")
    return 0


def _check(options: argparse.Namespace) -> int:
    status = 0
    for file, _ in _files(options):
        try:
            if options.fetch:
                file.fetch()
            file.verify()
        except WeightsError as error:
            print(error)
            status = 1
        else:
            print(
                f"{file.model}: {file.path.name} has the published sha256, {file.path.stat().st_size / _MIB:,.1f} MiB"
            )
    return status
