"""The folder of a store of decoded images: made, listed, verified and pruned, without torch.

A store has its description, its images' ids, their pixels, and a hash of each row of pixels, which is written last and
compared on every read. So a killed build can be resumed, and changed pixels are found. Nothing is mapped into memory: a
full disk or a file that was cut short is then an error and not a signal.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import platformdirs
import xxhash
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from harness.errors import StoreError
from harness.predictions import HASH_BYTES
from harness.preset import Geometry
from harness.records.run_folder import write_whole

_DESCRIPTION, _IDS = "store.json", "ids.json"


class Description(msgspec.Struct, frozen=True):
    """What a store is for, as ``store.json`` says; ``versions`` are those of all that determines the pixels."""

    dataset: str
    dataset_format: str
    root: str
    images: int
    fingerprint: str
    geometry: Geometry
    decoder: str
    versions: dict[str, str]
    format: Literal[2] = 2  # raise it when decoders.py changes a pixel, or stores keep what the old code decoded

    @property
    def key(self) -> str:
        """Name of the store's folder: a digest of all that can change a pixel, so not of the dataset's name or root."""
        facts = (self.format, self.fingerprint, self.geometry, self.decoder, sorted(self.versions.items()))
        return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:16]

    def files(self, folder: Path) -> Files:
        """Return the files of the store in its own folder."""
        return Files(folder, self.images, 3 * self.geometry.crop**2)


class Files(NamedTuple):
    """The files of a store, whether they exist or not: ``rows`` images of ``row_bytes`` each."""

    folder: Path
    rows: int
    row_bytes: int

    def prepare(self) -> None:
        """Make the files, or bring them to their length, in one process at a time; rows cut off become missing."""
        with (self.folder / "pixels").open("ab") as pixels, (self.folder / "hashes").open("ab") as hashes:
            hashes.truncate(min(hashes.tell(), pixels.tell() // self.row_bytes * HASH_BYTES))
            hashes.truncate(self.rows * HASH_BYTES)
            pixels.truncate(self.rows * self.row_bytes)

    def are_prepared(self) -> bool:
        """Return whether the files exist and have their length."""
        try:
            pixels, hashes = ((self.folder / name).stat().st_size for name in ("pixels", "hashes"))
        except FileNotFoundError:
            return False
        return (pixels, hashes) == (self.rows * self.row_bytes, self.rows * HASH_BYTES)

    def rows_by_pillow(self) -> list[int]:
        """Return the rows that Pillow decoded because the decoder could not, sorted."""
        noted = self.folder / "by-pillow"
        lines = noted.read_text(errors="replace").split() if noted.exists() else []
        return sorted({int(line) for line in lines if line.isdecimal()})


class Pixels(ExitStack):
    """The opened files: (N, S, S, 3) uint8 in ``pixels`` and N hashes (XXH3, 128 bits) in ``hashes``."""

    def __init__(self, files: Files) -> None:
        """Open the files, for reading only where writing is not allowed."""
        super().__init__()
        self.files = files
        self._pixels = self.enter_context(_open(files.folder / "pixels"))
        self._hashes = self.enter_context(_open(files.folder / "hashes"))

    def present(self) -> NDArray[np.bool_]:
        """Return for each of the N rows whether its hash was written."""
        size = self.files.rows * HASH_BYTES
        self._hashes.seek(0)
        hashes = self._hashes.readall()[:size].ljust(size, b"\0")
        return np.asarray(np.frombuffer(hashes, np.uint8).reshape(-1, HASH_BYTES).any(axis=1))

    def missing(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of ``rows`` that are not present."""
        return rows[~self.present()[rows]]

    def read(self, row: int, into: NDArray[np.uint8]) -> bytes | None:
        """Read a row into a C-contiguous array; return its hash, or None if the pixels are not those written."""
        try:
            self._pixels.seek(row * self.files.row_bytes)
            if self._pixels.readinto(into.data.cast("B")) != self.files.row_bytes:
                return None
            self._hashes.seek(row * HASH_BYTES)
            expected = self._hashes.read(HASH_BYTES)
        except OSError:  # a damaged disk is treated as changed pixels
            return None
        found = hash_of(into)
        return found if found == expected else None

    def write(self, row: int, crop: NDArray[np.uint8]) -> None:
        """Write a row, and then its hash."""
        crop = np.ascontiguousarray(crop)
        _write(self._pixels, row * self.files.row_bytes, crop.data.cast("B"))
        _write(self._hashes, row * HASH_BYTES, memoryview(hash_of(crop)))

    def forget(self, row: int) -> None:
        """Make a row missing."""
        _write(self._hashes, row * HASH_BYTES, memoryview(bytes(HASH_BYTES)))

    def reserve(self, rows: NDArray[np.int64]) -> None:
        """Allocate the disk blocks of ``rows``, sorted, where the file system can; a full disk is a StoreError."""
        folder, row_bytes, file = self.files.folder, self.files.row_bytes, self._pixels.fileno()
        present = int(self.present().sum())
        allocated = getattr(os.fstat(file), "st_blocks", 0) * 512  # by an earlier build, too
        needed, free = (present + len(rows)) * row_bytes - allocated, shutil.disk_usage(folder).free
        try:
            if needed > free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if hasattr(os, "posix_fallocate") else ():
                os.posix_fallocate(file, int(run[0]) * row_bytes, len(run) * row_bytes)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                return  # the file system cannot allocate blocks ahead
            if not present:
                shutil.rmtree(folder)  # it was made for nothing
            raise StoreError(
                f"no room to keep decoded images in {folder.parent}: {needed / 1e9:.2f} GB are needed and "
                f"{free / 1e9:.2f} GB are free; point --store at a larger disk (or TMPDIR), make room by "
                "`imagenet-gate store prune`, or keep nothing by --no-store, one geometry at a time"
            ) from error


class StoreInfo(NamedTuple):
    """A store: its folder, how many images it holds, its bytes on disk, and when it was last used (Unix time)."""

    folder: Path
    description: Description
    decoded: int
    size: int
    used: float


def default_store() -> Path:
    """Return the folder in the user's cache."""
    return platformdirs.user_cache_path("imagenet-gate") / "store"


def make_store(folder: Path, description: Description, ids: Sequence[str]) -> Path:
    """Return a store's own folder in ``folder``, which is made if it is new; the time of its last use is now."""
    store = folder / description.key
    if (found := _read(store)) is None or found.description.key != store.name or not (store / _IDS).exists():
        store.mkdir(parents=True, exist_ok=True)
        write_whole(store / _IDS, msgspec.json.encode(ids))
        write_whole(store / _DESCRIPTION, msgspec.json.format(msgspec.json.encode(description)) + b"\n")
    with suppress(OSError):  # a store of another user, or on a read-only file system, can still be read
        os.utime(store / _DESCRIPTION)
    return store


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
        ids = msgspec.json.decode((store.folder / _IDS).read_bytes(), type=list[str])
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
        description = msgspec.json.decode((folder / _DESCRIPTION).read_bytes(), type=Description)
        decoded, files = 0, description.files(folder)
        if files.are_prepared():
            with Pixels(files) as pixels:
                decoded = int(pixels.present().sum())
        found = [file.stat() for file in folder.iterdir()]
        size = sum(getattr(file, "st_blocks", -(-file.st_size // 512)) for file in found) * 512
        return StoreInfo(folder, description, decoded, size, (folder / _DESCRIPTION).stat().st_mtime)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def hash_of(crop: NDArray[np.uint8]) -> bytes:
    """Return the 16 bytes of XXH3 of one image's pixels, C-contiguous."""
    return xxhash.xxh3_128_digest(crop.data)


def _open(path: Path) -> io.FileIO:
    try:
        return io.FileIO(path, "r+")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return io.FileIO(path, "r")


def _write(file: io.FileIO, offset: int, data: memoryview) -> None:
    file.seek(offset)
    while data:
        data = data[file.write(data) :]
