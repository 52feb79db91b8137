"""Lists, verifies and prunes stores of decoded images, without torch."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from filelock import FileLock, Timeout

from harness.decoding.folder import DESCRIPTION, FORMAT, IDS, Description, Pixels, read_description
from harness.errors import StoreError
from harness.predictions import HASH_BYTES
from harness.records.run_folder import read_whole

BEING_BUILT = "being built"


class StoreInfo(NamedTuple):
    """A store: its folder, how many images it holds, its bytes on disk, and when it was last used (Unix time)."""

    folder: Path
    description: Description
    decoded: int
    size: int
    used: float


def list_stores(folder: Path, name_damaged: Callable[[str], object] = lambda _: None) -> list[StoreInfo]:
    """Return the stores in a folder, the last used first.

    One whose description cannot be read is left out, and named to ``name_damaged`` in a sentence.
    """
    stores = []
    try:
        for path in sorted(folder.iterdir()) if folder.exists() else ():
            if not os.path.lexists(about := path / DESCRIPTION):
                continue
            try:
                stores.append(_read(path))
            except FileNotFoundError:
                continue  # another process is removing it
            except (OSError, ValueError) as error:
                name_damaged(f"{about} is not a store's description ({_reason(error):.200}); remove it, if it was one")
    except OSError as error:
        raise StoreError(f"the store {folder} cannot be read: {_reason(error)}") from error
    return sorted(stores, key=lambda store: -store.used)


def verify(store: StoreInfo, progress: Callable[[int, int], None]) -> list[str]:
    """Compare all decoded images with their hashes; return the ids of those that differ, which become missing."""
    files = store.description.files(store.folder)
    damaged = []
    try:
        if store.description.format != FORMAT:
            raise ValueError("it is of an older version")
        if store.description.key != store.folder.name:
            raise ValueError(f"{DESCRIPTION} is of another store")
        if read_whole(store.folder / "hashes")[:HASH_BYTES] not in (b"", files.mark):
            raise ValueError("hashes is of another store")
        ids = msgspec.json.decode(read_whole(store.folder / IDS), type=list[str])
        crop = np.empty((1, files.row_bytes), np.uint8)
        with Pixels(files) as pixels:
            for done, row in enumerate(rows := np.flatnonzero(pixels.present()).tolist(), start=1):
                if pixels.read(row, crop) == [None]:
                    pixels.forget(row)
                    damaged.append(ids[row])
                progress(done, len(rows))
    except (OSError, ValueError, IndexError, RecursionError) as error:
        raise StoreError(
            f"the store {store.folder} cannot be verified: {_reason(error)}; remove that folder"
        ) from error
    return damaged


def prune(
    stores: Sequence[StoreInfo], *, older_than: float | None, max_size: int | None
) -> Iterator[tuple[StoreInfo, str]]:
    """Remove stores not used for ``older_than`` seconds, and the least recently used until ``max_size`` bytes are left.

    Takes the last used first; yields each store to remove, beginning with the least recently used, and why it was kept,
    which is empty if it was removed.
    """
    left = sum(store.size for store in stores)
    for store in reversed(stores):
        old = older_than is not None and time.time() - store.used > older_than
        if old or (max_size is not None and left > max_size):
            kept = _remove(store.folder)
            left -= 0 if kept else store.size
            yield store, kept


def _remove(folder: Path) -> str:
    """Remove a store, and return why it cannot be removed."""
    try:
        lock = FileLock(f"{folder}.lock")
        with lock.acquire(timeout=0):
            shutil.rmtree(folder)
        Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout:
        return BEING_BUILT
    except OSError as error:
        return _reason(error)
    return ""


def _read(folder: Path) -> StoreInfo:
    description, decoded = read_description(folder), 0
    files = description.files(folder)
    with suppress(OSError):  # no image of a damaged file can be read
        if description.format == FORMAT and files.are_prepared():
            with Pixels(files) as pixels:
                decoded = int(pixels.present().sum())
    found = [file.lstat() for file in folder.iterdir()]
    size = sum(getattr(file, "st_blocks", -(-file.st_size // 512)) for file in found) * 512
    return StoreInfo(folder, description, decoded, size, (folder / DESCRIPTION).stat().st_mtime)


def _reason(error: Exception) -> str:
    """Return what an error says; a system error, without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)
