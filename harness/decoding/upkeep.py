"""Stores of decoded images are listed, verified and pruned, without torch."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from filelock import FileLock, Timeout

from harness.decoding.folder import DESCRIPTION, IDS, Description, Pixels
from harness.errors import StoreError


class StoreInfo(NamedTuple):
    """A store: its folder, how many images it holds, its bytes on disk, and when it was last used (Unix time)."""

    folder: Path
    description: Description
    decoded: int
    size: int
    used: float


def list_stores(folder: Path) -> list[StoreInfo]:
    """Return the stores in a folder, the last used first; anything else in it is left out."""
    try:
        stores = [store for path in folder.iterdir() if (store := _read(path)) is not None] if folder.exists() else []
    except OSError as error:
        raise StoreError(f"the store {folder} cannot be read: {error.strerror}: {error.filename}") from error
    return sorted(stores, key=lambda store: -store.used)


def verify(store: StoreInfo, progress: Callable[[int, int], None]) -> list[str]:
    """Compare all decoded images with their hashes; return the ids of those that differ, which become missing."""
    files = store.description.files(store.folder)
    crop, damaged = np.empty(files.row_bytes, np.uint8), []
    try:
        ids = msgspec.json.decode((store.folder / IDS).read_bytes(), type=list[str])
        with Pixels(files) as pixels:
            for done, row in enumerate(rows := np.flatnonzero(pixels.present()).tolist(), start=1):
                if pixels.read(row, crop) is None:
                    pixels.forget(row)
                    damaged.append(ids[row])
                progress(done, len(rows))
    except (OSError, msgspec.DecodeError, IndexError) as error:
        raise StoreError(f"the store {store.folder} cannot be verified: {error}; remove that folder") from error
    return damaged


def prune(
    stores: Sequence[StoreInfo], *, older_than: float | None, max_size: int | None
) -> Iterator[tuple[StoreInfo, bool]]:
    """Remove stores not used for ``older_than`` seconds, and the least recently used beyond ``max_size`` bytes in all.

    Takes the last used first; yields each store to remove, and whether it was removed: not one that is being built.
    """
    total = 0
    for store in stores:
        total += store.size
        old = older_than is not None and time.time() - store.used > older_than
        if old or (max_size is not None and total > max_size):
            total -= store.size
            yield store, _remove(store.folder)


def _remove(folder: Path) -> bool:
    lock = FileLock(f"{folder}.lock")
    try:
        with lock.acquire(timeout=0):
            shutil.rmtree(folder)
    except Timeout:
        return False
    except OSError as error:
        raise StoreError(f"the store {folder} cannot be removed: {error.strerror}: {error.filename}") from error
    Path(lock.lock_file).unlink(missing_ok=True)
    return True


def _read(folder: Path) -> StoreInfo | None:
    """Return the store in this folder; None if there is none, or one of another version."""
    try:
        description = msgspec.json.decode((folder / DESCRIPTION).read_bytes(), type=Description)
        decoded, files = 0, description.files(folder)
        if files.are_prepared():
            with Pixels(files) as pixels:
                decoded = int(pixels.present().sum())
        found = [file.stat() for file in folder.iterdir()]
        size = sum(getattr(file, "st_blocks", -(-file.st_size // 512)) for file in found) * 512
        return StoreInfo(folder, description, decoded, size, (folder / DESCRIPTION).stat().st_mtime)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None
