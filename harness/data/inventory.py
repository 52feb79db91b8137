"""What a folder of stores holds, without decoding anything and without torch: look at it, verify it, prune it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from filelock import FileLock, Timeout

from harness.data.pixels import Pixels
from harness.errors import StoreError

ABOUT = "store.json"
"""What a store is for."""
IDS = "ids.json"
"""The ids of its rows, a list."""


def default_store() -> Path:
    """Return the folder in the user's cache."""
    return platformdirs.user_cache_path("imagenet-gate") / "store"


@dataclass(frozen=True)
class Kept:
    """One store: a split in one geometry by one decoder.

    Attributes:
        folder: where it is.
        split: name of the split.
        root: where that was, when the store was begun.
        geometry: such as ``256/224 bilinear``.
        side: of a crop, in pixels.
        decoder: its name, and the versions of all that decides the pixels.
        images: of the split.
        there: how many of them have been decoded.
        size: bytes on the disk.
        used: time of the last use, in seconds since the epoch.
    """

    folder: Path
    split: str
    root: str
    geometry: str
    side: int
    decoder: str
    images: int
    there: int
    size: int
    used: float


def kept_in(folder: Path) -> list[Kept]:
    """Return the stores in a folder, the last used first; what is no store is left out.

    Raises:
        StoreError: the folder cannot be read.
    """
    try:
        stores = [kept for path in folder.iterdir() if (kept := _kept(path)) is not None] if folder.exists() else []
    except OSError as error:
        raise StoreError(f"the store {folder} cannot be read: {error.strerror}: {error.filename}") from error
    return sorted(stores, key=lambda kept: -kept.used)


def damaged_images(kept: Kept, progress: Callable[[int, int], None]) -> list[str]:
    """Compare the pixels of every decoded image with their hash, and have those decoded again that differ.

    Returns:
        The ids of the images that differ; the next run that needs them decodes them.

    Raises:
        StoreError: the store cannot be read, or not be written where that is needed.
    """
    try:
        ids = json.loads((kept.folder / IDS).read_text())
        with Pixels(kept.folder, kept.images, kept.side) as pixels:
            rows = np.flatnonzero(pixels.hashes().any(axis=1)).tolist()
            crop = np.empty((kept.side, kept.side, 3), np.uint8)
            damaged = []
            for done, row in enumerate(rows, start=1):
                if pixels.read(row, crop) is None:
                    pixels.forget(row)
                    damaged.append(ids[row])
                progress(done, len(rows))
    except (OSError, ValueError, IndexError) as error:
        raise StoreError(f"the store {kept.folder} cannot be verified: {error}; remove that folder") from error
    return damaged


def prune(stores: list[Kept], *, older_than: float | None, max_size: int | None) -> Iterator[tuple[Kept, bool]]:
    """Remove stores; yield each that was to go, and whether it went: one that is being built stays.

    Args:
        stores: the last used first.
        older_than: seconds since the last use, above which a store goes; None for any age.
        max_size: bytes of all stores together, above which the least recently used go; None for any size.

    Raises:
        StoreError: a store cannot be removed.
    """
    total = 0
    for kept in stores:
        total += kept.size
        old = older_than is not None and time.time() - kept.used > older_than
        large = max_size is not None and total > max_size
        if old or large:
            total -= kept.size
            yield kept, _remove(kept)


def _remove(kept: Kept) -> bool:
    lock = FileLock(f"{kept.folder}.lock")
    try:
        with lock.acquire(timeout=0):
            shutil.rmtree(kept.folder)
    except Timeout:
        return False
    except OSError as error:
        raise StoreError(f"the store {kept.folder} cannot be removed: {error.strerror}: {error.filename}") from error
    Path(lock.lock_file).unlink(missing_ok=True)
    return True


def _kept(folder: Path) -> Kept | None:
    try:
        about = json.loads((folder / ABOUT).read_text())
        geometry, split = about["geometry"], about["split"]
        images, side = int(split["images"]), int(geometry["crop"])
        there = 0
        if Pixels.prepared(folder, images, side):
            with Pixels(folder, images, side) as pixels:
                there = int(pixels.hashes().any(axis=1).sum())
        return Kept(
            folder=folder,
            split=split["name"],
            root=split["root"],
            geometry=f"{geometry['resize']}/{side} {geometry['interpolation']}",
            side=side,
            decoder=f"{about['decoder']} (" + ", ".join(f"{k} {v}" for k, v in about["versions"].items()) + ")",
            images=images,
            there=there,
            size=sum(_on_disk(file) for file in folder.iterdir()),
            used=(folder / ABOUT).stat().st_mtime,
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def _on_disk(file: Path) -> int:
    found = file.stat()
    return int(getattr(found, "st_blocks", -(-found.st_size // 512))) * 512
