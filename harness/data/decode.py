"""One image file -> one uint8 crop, with torchvision's own transforms, so that they are under test as well.

Importing this module imports torchvision; the forkserver of ``store.py`` does so once for all workers.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import stat
import threading
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from harness.data.preset import Geometry

# What Pillow raises for files that it cannot decode: OSError (truncated, not an image), SyntaxError (broken PNG),
# ValueError (nonsense in a header), and a refusal of images that claim an absurd number of pixels.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def open_image(path: Path) -> Image.Image:
    """Open a file as ``torchvision.datasets.folder.pil_loader`` does.

    By content, whatever its name says; grayscale and CMYK become RGB; an EXIF orientation is not applied.

    Raises:
        OSError: it is not there, or no regular file; opening a pipe would wait for ever.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    with path.open("rb") as file:
        return Image.open(file).convert("RGB")


def crop_image(path: Path, geometry: Geometry) -> NDArray[np.uint8]:
    """Return what torchvision's preset makes of the file before it converts to float: (crop, crop, 3) RGB."""
    image = F.resize(open_image(path), [geometry.resize], InterpolationMode(geometry.interpolation), antialias=True)
    return np.asarray(F.center_crop(image, [geometry.crop]))


def start_worker(store: Path) -> None:
    """Keep a worker to one thread, since there is one worker a core, and leave Ctrl-C to the process that waits.

    Should that process be killed, the worker takes the unfinished file ``store`` with it and ends.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(store,), daemon=True).start()


def _end_with_parent(store: Path) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        store.unlink(missing_ok=True)
        os._exit(1)


def crop_into(
    store: Path, shape: tuple[int, ...], first: int, paths: tuple[Path, ...], geometry: Geometry
) -> list[tuple[str, str]]:
    """Decode ``paths`` into rows ``first`` and following of the memory map; the unreadable are returned, not raised.

    Args:
        store: file of a C-contiguous uint8 array.
        shape: the array's, (N, crop, crop, 3).

    Returns:
        A path and a reason for each file that could not be decoded.
    """
    rows = np.memmap(store, dtype=np.uint8, mode="r+", shape=shape)
    unreadable = []
    for row, path in enumerate(paths, start=first):
        try:
            rows[row] = crop_image(path, geometry)
        except _UNREADABLE as error:
            unreadable.append((str(path), _reason(error)))
    return unreadable


def _reason(error: Exception) -> str:
    """Return why, without the path that stands beside it."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return getattr(error, "strerror", None) or str(error)
