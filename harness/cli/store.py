"""``imagenet-gate store``: build, list, verify and prune stores of decoded images."""

from __future__ import annotations

import argparse
import re
import sys
import time
from functools import partial

from harness.cli import Commands, add_dataset, add_models
from harness.dataset import SYNTHETIC, open_dataset
from harness.decoding.folder import FORMAT, default_store
from harness.decoding.upkeep import BEING_BUILT, StoreInfo, list_stores, prune, verify
from harness.errors import StoreError
from harness.expected import select_cases
from harness.options import DECODERS, NVJPEG, folder, listed
from harness.precision import DEFAULT
from harness.records.accuracy_file import read_expected
from harness.records.evidence import wrapped
from harness.report.progress import progress_on_stderr
from harness.report.sections import counted

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_AGES = {"h": 3600, "d": 86400, "w": 7 * 86400}


def add(commands: Commands) -> None:
    """Declare the command."""
    store = commands.add_parser(
        "store",
        help="build, list, verify or prune stores of decoded images",
        description="Stores of decoded images, which are kept between runs.",
    )
    actions = store.add_subparsers(metavar="ACTION", required=True)

    about = "Decode a dataset as the models need it, so that a later run finds it decoded."
    build = actions.add_parser("build", help="decode a dataset ahead of a run", description=about)
    add_dataset(build)
    add_models(build)
    decoders = "pillow (used for the published values), torchvision or nvjpeg (default: %(default)s)"
    build.add_argument("--decoder", metavar="DECODER", choices=DECODERS, default=DECODERS[0], help=decoders)
    device = "device that nvjpeg decodes on: auto, cuda or cuda:N (default: %(default)s)"
    build.add_argument("--device", metavar="DEVICE", default="auto", help=device)

    about = "Show all stores: of which images, how large, and when each was last used."
    listing = actions.add_parser("list", help="show all stores", description=about)
    verifying = actions.add_parser(
        "verify",
        help="compare all pixels with their hashes; exit 1 if any differ",
        description="Compare all pixels with their hashes. Images that differ are named, and the next run that needs "
        "them decodes them again. Exit 1 if there are any.",
    )
    pruning = actions.add_parser(
        "prune",
        help="remove stores by age or total size",
        description="Remove stores that were not used for a time, or the least recently used above a total size. Give "
        "one of the options or both.",
    )
    age = "remove stores not used for this long, such as 12h, 30d or 8w"
    pruning.add_argument("--older-than", metavar="AGE", type=_age, help=age)
    size = "remove the least recently used until this much is left, such as 50GB"
    pruning.add_argument("--max-size", metavar="SIZE", type=_size, help=size)

    kept = default_store()
    where = "folder that keeps decoded images (default: $IMAGENET_STORE, else the user's cache; %(default)s here)"
    for action, run in ((build, _build), (listing, _list), (verifying, _verify), (pruning, _prune)):
        action.add_argument("--store", metavar="DIR", type=folder, default=kept, help=where)
        action.set_defaults(run=run, usage=action.error)


def _build(options: argparse.Namespace) -> int:
    synthetic = options.dataset == SYNTHETIC
    cases = select_cases(read_expected(options.expected), listed(options.models), [DEFAULT], synthetic=synthetic)
    import torch

    from harness.decoding.decoders import decoder_on
    from harness.decoding.store import Store
    from harness.device import resolve_device
    from harness.models import geometry_of

    device = resolve_device(options.device) if options.decoder == NVJPEG else torch.device("cpu")
    decoder, dataset = decoder_on(options.decoder, device), open_dataset(options.dataset, "DATASET")
    with Store(dataset, decoder, options.store, options.workers) as store, progress_on_stderr("decoding") as progress:
        for geometry in dict.fromkeys(geometry_of(case.spec) for case in cases):
            started = time.perf_counter()
            store.decoded(geometry, progress).finish()
            print(f"{geometry}: decoded after {time.perf_counter() - started:.1f} s")
    return 0


def _list(options: argparse.Namespace) -> int:
    stores = list_stores(options.store, _to_stderr)
    for store in stores:
        print(_describe(store))
    print(f"{options.store}: {counted(len(stores), 'store')}, {_as_size(sum(store.size for store in stores))}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    unreadable: list[str] = []
    stores = list_stores(options.store, unreadable.append)
    status = 1 if unreadable else 0
    if not stores:
        print(f"{options.store}: nothing to verify")
    for store in stores:
        started = time.perf_counter()
        try:
            with progress_on_stderr("verifying") as progress:
                damaged = verify(store, progress)
        except StoreError as error:
            print(error)
            status = 1
            continue
        found = f"{store.decoded:,} images match their hashes ({time.perf_counter() - started:.1f} s)"
        if damaged:
            status = 1
            named = ", ".join(damaged[:5]) + (f" and {len(damaged) - 5:,} more" if len(damaged) > 5 else "")
            found = f"{len(damaged):,} of {store.decoded:,} images differ from their hashes: {named}"
            found += "; they will be decoded again"
        print(f"{store.folder.name} ({store.description.dataset}, {store.description.geometry}): {found}")
    _to_stderr(*unreadable)
    return status


def _prune(options: argparse.Namespace) -> int:
    if options.older_than is None and options.max_size is None:
        options.usage("give --older-than or --max-size, or both; without them nothing is removed")
    stores = list_stores(options.store, _to_stderr)
    freed, status = 0, 0
    for store, kept in prune(stores, older_than=options.older_than, max_size=options.max_size):
        freed += 0 if kept else store.size
        status = 1 if kept not in ("", BEING_BUILT) else status
        print(f"{f'kept, {kept}' if kept else 'removed'}: {_describe(store)}")
    print(f"{options.store}: {_as_size(freed)} freed, {_as_size(sum(store.size for store in stores) - freed)} left")
    return status


def _to_stderr(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)


def _describe(store: StoreInfo) -> str:
    about = store.description
    images = f"{about.images:,}" if store.decoded == about.images else f"{store.decoded:,} of {about.images:,}"
    older = ", unusable since an older version wrote it" if about.format != FORMAT else ""
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    return (
        f"{store.folder.name}  {_as_size(store.size):>8}  used {_ago(time.time() - store.used)}\n"
        f"    {about.dataset}, {images} images, {about.geometry}{older}\n"
        f"    source: {about.root}\n"
        f"{wrapped(f'    decoder: {about.decoder} ({versions})')}"
    )


def _as_size(size: int) -> str:
    for unit, factor in reversed(_UNITS.items()):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def _parsed(text: str, units: dict[str, int], what: str) -> int:
    for unit, factor in units.items():
        if match := re.fullmatch(rf"(\d+)\s*{unit}", text, re.IGNORECASE):
            return int(match[1]) * factor
    raise argparse.ArgumentTypeError(f"expected {what}, found {text!r}")


_size = partial(_parsed, units=_UNITS, what="a size such as 500MB or 50GB")
_age = partial(_parsed, units=_AGES, what="an age such as 12h, 30d or 8w")
