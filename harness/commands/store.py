"""``python -m harness store``: decoded images that are kept from run to run."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.options import folder, positive
from harness.data.decoder import DECODERS
from harness.data.inventory import Kept, damaged_images, default_store, kept_in, prune
from harness.data.layouts import EMBEDDED
from harness.errors import StoreError
from harness.evaluation.place import available_cores
from harness.evaluation.setting import Setting
from harness.gate.cases import select_cases
from harness.gate.expected_file import DEFAULT_FILE, read_expected
from harness.reporting.progress import progress_on_stderr

if TYPE_CHECKING:
    from harness.commands import Commands

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_AGES = {"h": 3600, "d": 86400, "w": 7 * 86400}


def add(commands: Commands) -> None:
    """Declare the command."""
    store = commands.add_parser(
        "store",
        help="build, list, verify or prune decoded images that are kept",
        description="Decoded images that are kept from run to run.",
    )
    actions = store.add_subparsers(metavar="ACTION", required=True)

    build = actions.add_parser(
        "build",
        help="decode an image set ahead of a run",
        description="Decode an image set as the models need it, so that a later run finds it decoded.",
    )
    build.add_argument("split", metavar="SPLIT", help="folder or archive of the image set, or 'embedded'")
    build.add_argument(
        "--models",
        metavar="LIST",
        default="core",
        help="names, globs or ids of models, comma-separated, or 'all' (default: %(default)s)",
    )
    build.add_argument(
        "--expected",
        metavar="FILE",
        type=Path,
        default=DEFAULT_FILE,
        help="file of expected accuracies (default: %(default)s)",
    )
    build.add_argument(
        "--decoder",
        metavar="DECODER",
        choices=DECODERS,
        default=DECODERS[0],
        help="pillow (what the published values used), torchvision or nvjpeg (default: %(default)s)",
    )
    build.add_argument(
        "--device",
        metavar="DEVICE",
        default="auto",
        help="where nvjpeg decodes: auto, cpu, cuda or cuda:N (default: %(default)s)",
    )
    build.add_argument(
        "--workers",
        metavar="N",
        type=positive,
        default=available_cores(),
        help="decoding processes (default: one for each CPU core that may be used, %(default)s here)",
    )
    build.set_defaults(run=_build)

    listing = actions.add_parser(
        "list",
        help="show what is kept",
        description="Show what is kept, for what, how large, and when it was last used.",
    )
    listing.set_defaults(run=_list)

    verify = actions.add_parser(
        "verify",
        help="compare all pixels with their hashes; exit 1 if any differ",
        description="Compare all pixels with their hashes. Images that differ are named, and the next run that needs "
        "them decodes them again. Exit 1 if there are any.",
    )
    verify.set_defaults(run=_verify)

    pruning = actions.add_parser(
        "prune",
        help="remove what has not been used for long, or is too much",
        description="Remove what has not been used for long, or is too much. Give one of the options or both.",
    )
    pruning.add_argument(
        "--older-than", metavar="AGE", type=_age, help="remove what was not used for so long, such as 12h, 30d or 8w"
    )
    pruning.add_argument(
        "--max-size",
        metavar="SIZE",
        type=_size,
        help="remove the least recently used until so much is left, such as 50GB",
    )
    pruning.set_defaults(run=_prune, usage=pruning.error)

    for action in (build, listing, verify, pruning):
        action.add_argument(
            "--store",
            metavar="DIR",
            type=folder,
            default=Path(os.environ.get("IMAGENET_STORE") or default_store()),
            help="folder that keeps decoded images (default: $IMAGENET_STORE, else the user's cache; %(default)s here)",
        )


def _build(options: argparse.Namespace) -> int:
    cases = select_cases(
        read_expected(options.expected),
        [name.strip() for name in options.models.split(",")],
        [Setting()],
        embedded=options.split == EMBEDDED,
    )
    from harness.decode_ahead import decode_ahead  # imports torch

    with progress_on_stderr("decoding") as progress:
        for geometry, seconds in decode_ahead(
            options.split,
            cases,
            device=options.device,
            decoder=options.decoder,
            workers=options.workers,
            store=options.store,
            progress=progress,
        ):
            print(f"{geometry}: there after {seconds:.1f} s")
    return 0


def _list(options: argparse.Namespace) -> int:
    stores = kept_in(options.store)
    for kept in stores:
        print(_describe(kept))
    total = sum(kept.size for kept in stores)
    print(f"{options.store}: {len(stores)} store{'' if len(stores) == 1 else 's'}, {_shown(total)}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    status = 0
    stores = kept_in(options.store)
    if not stores:
        print(f"{options.store}: nothing to verify")
    for kept in stores:
        started = time.perf_counter()
        try:
            with progress_on_stderr("verifying") as progress:
                damaged = damaged_images(kept, progress)
        except StoreError as error:
            print(error)
            status = 1
            continue
        seconds = time.perf_counter() - started
        name = f"{kept.folder.name} ({kept.split}, {kept.geometry})"
        if damaged:
            status = 1
            more = f" and {len(damaged) - 5:,} more" if len(damaged) > 5 else ""
            print(
                f"{name}: {len(damaged):,} of {kept.there:,} images differ from their hashes: "
                f"{', '.join(damaged[:5])}{more}; they will be decoded again"
            )
        else:
            print(f"{name}: {kept.there:,} images are as they were decoded ({seconds:.1f} s)")
    return status


def _prune(options: argparse.Namespace) -> int:
    if options.older_than is None and options.max_size is None:
        options.usage("give --older-than or --max-size, or both; nothing is removed without")
    stores = kept_in(options.store)
    freed = 0
    for kept, removed in prune(stores, older_than=options.older_than, max_size=options.max_size):
        freed += kept.size if removed else 0
        print(f"{'removed' if removed else 'kept, being built'}: {_describe(kept)}")
    print(f"{options.store}: {_shown(freed)} freed, {_shown(sum(kept.size for kept in stores) - freed)} left")
    return 0


def _describe(kept: Kept) -> str:
    there = f"{kept.images:,}" if kept.there == kept.images else f"{kept.there:,} of {kept.images:,}"
    return (
        f"{kept.folder.name}  {_shown(kept.size):>8}  used {_ago(time.time() - kept.used)}  "
        f"{kept.split}, {there} images, {kept.geometry}\n    of {kept.root} by {kept.decoder}"
    )


def _shown(size: int) -> str:
    for unit, factor in reversed(_UNITS.items()):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def _parsed(units: dict[str, int], what: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        match = re.fullmatch(rf"(\d+)\s*({'|'.join(units)})", text, re.IGNORECASE)
        if match is None:
            raise argparse.ArgumentTypeError(f"expected {what}, found {text!r}")
        known = {unit.lower(): factor for unit, factor in units.items()}
        return int(match[1]) * known[match[2].lower()]

    return parse


_size = _parsed(_UNITS, "a size such as 500MB or 50GB")
_age = _parsed(_AGES, "an age such as 12h, 30d or 8w")
