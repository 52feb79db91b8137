"""``imagenet-gate weights``: list, fetch and verify published weights, as for a machine without internet."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from harness.cli import Commands, add_models
from harness.errors import WeightsError
from harness.expected import select_cases
from harness.options import listed
from harness.precision import DEFAULT
from harness.records.accuracy_file import read_expected

_ACTIONS = {
    "list": "show size, sha256, whether each file is there, and its URL",
    "fetch": "download what is missing, and verify all; exit 1 if a file cannot be obtained",
    "verify": "compare each file with its sha256; exit 1 if one is missing or differs",
}


def add(commands: Commands) -> None:
    """Declare the command."""
    about = "torchvision's published weights in torch's cache, $TORCH_HOME/hub/checkpoints."
    weights = commands.add_parser("weights", help="list, fetch or verify published weights", description=about)
    actions = weights.add_subparsers(metavar="ACTION", required=True, dest="action")
    for name, effect in _ACTIONS.items():
        action = actions.add_parser(name, help=effect, description=f"{effect[0].upper()}{effect[1:]}.")
        add_models(action)
        action.set_defaults(run=_list if name == "list" else _check)


def _chosen(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Yield the name of each model with published weights, and torchvision's member that names them."""
    from harness.models import preset_and_weights  # imports torch

    for case in select_cases(read_expected(options.expected), listed(options.models), [DEFAULT], synthetic=False):
        if (weights := preset_and_weights(case.spec)[1]) is not None:
            yield str(case.spec), weights
        else:
            print(f"{case.spec}: not checked, since its builder brings its weights")


def _list(options: argparse.Namespace) -> int:
    from harness.weights.published import weights_file

    for name, weights in _chosen(options):
        path, sha256 = weights_file(weights.url, name)
        state = "present" if path.is_file() else "missing"
        print(f"{name:<44} {weights.meta['_file_size']:7.1f} MiB  {sha256}  {state:<7}  {weights.url}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from harness.weights.published import ensure_published

    status = 0
    for name, weights in _chosen(options):
        try:
            ensure_published(weights.url, name, download=options.action == "fetch")
            print(f"{name}: has the published sha256")
        except WeightsError as error:
            print(error)
            status = 1
    return status
