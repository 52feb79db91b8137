"""``imagenet-gate doctor``: what this machine has for the gate, what is missing, and what would be slow."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli import Commands
from harness.decoding.folder import default_store
from harness.errors import DeviceError
from harness.options import available_cores
from harness.precision import PRECISIONS, Setting, applied, require_supported
from harness.records.environment import describe_versions, driver_version, libjpeg_turbo_version

if TYPE_CHECKING:
    import torch

OK, SLOW, FIX = "ok", "slow", "FIX"
Finding = tuple[str, str]
"""One of the three, and a sentence: what was found and, unless that is fine, what to do."""

_STORE_BYTES = 50_000 * 3 * 224**2
_SLOW_TIMES = 2.0  # as long as fp32
_CALLS = 5


def add(commands: Commands) -> None:
    """Declare the command."""
    about = "Check versions, devices, decoders, caches and disk. Exit 1 if a line says FIX."
    command = commands.add_parser("doctor", help="check what this machine has for the gate", description=about)
    command.set_defaults(run=_run)


def _run(_options: argparse.Namespace) -> int:
    status = 0
    for kind, sentence in findings():
        print(f"{kind:<4}  {sentence}", flush=True)
        status = 1 if kind == FIX else status
    return status


def findings() -> Iterator[Finding]:
    """Yield what is found, as it is found."""
    try:
        import torchvision  # noqa: F401 (a torchvision of another torch cannot be imported)
    except (ImportError, RuntimeError, OSError) as error:
        yield FIX, f"torchvision cannot be imported ({error}); install the torchvision that belongs to your torch"
        return
    from harness.device import describe_device, resolve_device

    yield OK, f"versions: {describe_versions()}, Python {sys.version.partition(' ')[0]}"
    device = resolve_device("auto")
    if device.type == "cpu" and (driver := driver_version()):
        yield FIX, f"device: no GPU can be used, though NVIDIA's driver {driver} is here; install torch built for CUDA"
    else:
        yield OK, f"device: {describe_device(device)}"
    yield from _precisions(device)
    yield from _decoders(device)
    yield _folder("decoded images", default_store(), _STORE_BYTES, "set IMAGENET_STORE, or give --no-store")
    yield _weights()
    yield _dataset()


def _precisions(device: torch.device) -> Iterator[Finding]:
    import torch

    threads, cores = torch.get_num_threads(), available_cores()
    if device.type == "cpu" and 2 * threads <= cores:
        yield SLOW, f"torch uses {threads} of {cores} cores; unset OMP_NUM_THREADS"
    for name in PRECISIONS:
        try:
            require_supported([name], device)
        except DeviceError:
            yield OK, f"precision {name}: not supported by {device}"
            continue
        times = slowdown(name, device) if device.type == "cpu" else 1.0
        found = f"precision {name}"
        if times < _SLOW_TIMES:
            yield OK, found
            continue
        yield SLOW, f"{found}: a convolution takes {times:.0f} times as long as in fp32 on this CPU; leave it to a GPU"


def slowdown(precision: str, device: torch.device) -> float:
    """Return how many times as long as in fp32 a convolution takes on a CPU; one without instructions is slow."""
    import torch

    images, kernel = (
        torch.ones(shape).to(memory_format=torch.channels_last) for shape in ((8, 64, 56, 56), (64, 64, 3, 3))
    )

    def shortest(name: str) -> float:
        taken = []
        with applied(PRECISIONS[name], device), torch.inference_mode():
            for _ in range(_CALLS):
                started = time.perf_counter()
                torch.nn.functional.conv2d(images, kernel)
                taken.append(time.perf_counter() - started)
        return min(taken)

    return shortest(precision) / shortest(Setting().precision)


def _decoders(device: torch.device) -> Iterator[Finding]:
    from PIL import features

    codecs = {"jpg": "JPEG", "zlib": "PNG", "webp": "WEBP"}
    missing = [name for codec, name in codecs.items() if codec not in features.get_supported()]
    turbo = libjpeg_turbo_version()
    if missing:
        yield FIX, f"decoder pillow: cannot read {' and '.join(missing)}; install Pillow from its wheel"
    elif turbo == "none":
        yield SLOW, "decoder pillow: has no libjpeg-turbo; install Pillow from its wheel"
    else:
        yield OK, f"decoder pillow: {', '.join(codecs.values())}, libjpeg-turbo {turbo}"
    yield OK, f"decoder nvjpeg: {'there is' if device.type == 'cuda' else 'needs'} a CUDA device"


def _folder(what: str, folder: Path, needed: int, advice: str) -> Finding:
    """Check that files can be written there, or its parents if it is not there yet, and that they have room."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    found = f"{what}: {folder}, {free / 1e9:.1f} GB free"
    if not (there.is_dir() and os.access(there, os.W_OK)):
        return FIX, f"{found}; {there} cannot be written: {advice}"
    if free < needed:
        return FIX, f"{found}, {needed / 1e9:.1f} GB needed for ImageNet at 224 x 224: {advice}"
    return OK, found


def _weights() -> Finding:
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    kind, found = _folder("weights", folder, 0, "set TORCH_HOME")
    number = len(list(folder.glob("*.pth")))
    return (
        kind,
        f"{found}, {number} files; imagenet-gate weights fetch downloads what is missing" if kind == OK else found,
    )


def _dataset() -> Finding:
    given = os.environ.get("IMAGENET_DIR")
    if not given:
        return OK, "dataset: $IMAGENET_DIR is not set; give --imagenet DIR, or --imagenet synthetic"
    if given != "synthetic" and not Path(given).exists():
        return FIX, f"dataset: $IMAGENET_DIR is {given}, which does not exist; correct it"
    return OK, f"dataset: {given}"
