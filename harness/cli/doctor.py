"""``imagenet-gate doctor``: what this machine has for the gate, what is missing, and what would be slow."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import timeit
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import features

from harness.cli import Commands
from harness.decoding.folder import default_store
from harness.errors import DeviceError
from harness.options import available_cores
from harness.precision import DEFAULT, PRECISIONS, applied, require_supported
from harness.records.environment import describe_versions, driver_version, libjpeg_turbo_version
from harness.records.evidence import wrapped

if TYPE_CHECKING:
    import torch

OK, NONE, SLOW, FIX = "ok", "none", "slow", "FIX"
_CODECS = {"jpg": "JPEG", "zlib": "PNG", "webp": "WEBP"}  # Pillow's names, and those of the formats
_STORE_BYTES = 50_000 * 3 * 224**2


def add(commands: Commands) -> None:
    """Declare the command."""
    about = "Check versions, device, precisions, decoder, folders and disk. Exit 1 if a line says FIX."
    command = commands.add_parser("doctor", help="check whether this machine is ready for the gate", description=about)
    command.set_defaults(run=_run)


def _run(_options: argparse.Namespace) -> int:
    status = 0
    for kind, sentence in findings():
        print(wrapped(f"{kind:<4}  {sentence}"), flush=True)
        status = 1 if kind == FIX else status
    return status


def findings() -> Iterator[tuple[str, str]]:
    """Yield OK, NONE, SLOW or FIX, and a sentence: what was found and, unless that is fine, what to do."""
    try:
        import torch
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        yield FIX, f"torchvision cannot be imported ({error}); install the torchvision that belongs to your torch"
        return
    from harness.device import describe_device, resolve_device

    yield OK, f"versions: {describe_versions()}, Python {platform.python_version()}"
    device, threads, cores = resolve_device("auto"), torch.get_num_threads(), available_cores()
    if device.type == "cpu" and (driver := driver_version()):
        yield FIX, f"device: no GPU can be used, though NVIDIA's driver {driver} is here; install torch built for CUDA"
    else:
        yield OK, f"device: {describe_device(device)}"
    if device.type == "cpu" and 2 * threads <= cores:
        yield SLOW, f"torch uses {threads} of {cores} cores; unset OMP_NUM_THREADS"
    yield from (_precision(name, device) for name in PRECISIONS)
    turbo, missing = libjpeg_turbo_version(), [_CODECS[name] for name in _CODECS if not features.check(name)]
    if missing:
        yield FIX, f"decoder pillow: cannot read {' and '.join(missing)}; install Pillow from its wheel"
    elif turbo == "none":
        yield SLOW, "decoder pillow: has no libjpeg-turbo; install Pillow from its wheel"
    else:
        yield OK, f"decoder pillow: {', '.join(_CODECS.values())}, libjpeg-turbo {turbo}"
    yield _folder("decoded images", default_store(), _STORE_BYTES, "set IMAGENET_STORE, or give --no-store")
    yield _folder("weights", Path(torch.hub.get_dir()) / "checkpoints", 0, "set TORCH_HOME")


def _precision(name: str, device: torch.device) -> tuple[str, str]:
    try:
        require_supported([name], device)
    except DeviceError:
        return NONE, f"precision {name}: not supported by {device}"
    times = slowdown(name, device) if device.type == "cpu" and name != DEFAULT.precision else 1.0
    if times < 2:
        return OK, f"precision {name}"
    return SLOW, f"precision {name}: a convolution takes {times:.0f} times as long as in fp32; leave it to a GPU"


def slowdown(precision: str, device: torch.device) -> float:
    """Return how many times as long as in fp32 a convolution takes: a CPU may have no instructions for it."""
    from torch import channels_last, inference_mode, ones
    from torch.nn.functional import conv2d

    shapes, seconds = ((8, 64, 56, 56), (64, 64, 3, 3)), []
    images, kernel = (ones(shape, device=device).to(memory_format=channels_last) for shape in shapes)
    for name in (precision, DEFAULT.precision):
        with applied(PRECISIONS[name], device), inference_mode():
            seconds.append(min(timeit.repeat(lambda: conv2d(images, kernel), number=1, repeat=5)))
    return seconds[0] / seconds[1]


def _folder(what: str, folder: Path, needed: int, advice: str) -> tuple[str, str]:
    """Check that files can be written there, or where it would be made, and that they have room."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    found = f"{what}: {folder}, {free / 1e9:.1f} GB free"
    if not (there.is_dir() and os.access(there, os.W_OK)):
        return FIX, f"{found}; {there} cannot be written: {advice}"
    if free < needed:
        return FIX, f"{found}, {needed / 1e9:.1f} GB needed for ImageNet at 224 x 224: {advice}"
    return OK, found
