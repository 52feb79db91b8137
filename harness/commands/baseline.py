"""``python -m harness baseline fetch``: public per-image predictions as a baseline; imports no torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.options import folder
from harness.data import imagenet
from harness.errors import RecordError
from harness.reporting import study

if TYPE_CHECKING:
    from harness.commands import Commands


def add(commands: Commands) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "baseline",
        help="fetch a baseline that others have published",
        description="Baselines that others have published. Your own is a run: pytest -m imagenet --baseline DIR "
        "--baseline-update.",
    )
    actions = command.add_subparsers(metavar="ACTION", required=True)
    fetch = actions.add_parser(
        "fetch",
        help="download predictions, check them, and write a run folder",
        description=f"Fetch the five best classes of 21 torchvision models for each of the 50,000 images, as the "
        f"ImageNetV2 study published them, from {study.SOURCE}; check them, and write them as a run folder for "
        "--baseline and compare. They hold no logits, weights or pixels.",
    )
    fetch.add_argument("name", metavar="NAME", choices=(study.NAME,), help=f"what to fetch: {study.NAME}")
    fetch.add_argument(
        "--to", metavar="DIR", type=folder, default=Path(study.NAME), help="folder for the run (default: %(default)s)"
    )
    fetch.add_argument(
        "--from",
        dest="source",
        metavar="SOURCE",
        default=study.SOURCE,
        help="a mirror, or a copy of the data folder (default: the address above)",
    )
    fetch.add_argument(
        "--models", metavar="LIST", default="all", help="names of models, comma-separated, or 'all' (default: all 21)"
    )
    fetch.set_defaults(run=_fetch)


def _fetch(options: argparse.Namespace) -> int:
    models = list(study.HITS)
    if options.models != "all":
        models = list(dict.fromkeys(name.strip() for name in options.models.split(",")))
    if unknown := [name for name in models if name not in study.HITS]:
        raise RecordError(f"--models: {unknown[0]!r} is not among the study's: {', '.join(study.HITS)}")
    record = study.fetch(options.source, options.to, models, lambda name: print(f"fetching {name}", file=sys.stderr))
    print(f"{options.to}: {len(record.cases)} models on {imagenet.NAME}, 50,000 images, classes without logits")
    return 0
