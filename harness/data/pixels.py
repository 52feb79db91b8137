"""The file of decoded images, with a hash of each row in a file beside it.

A row counts as there once its hash is written, and the hash of what was read is compared with it on every read. So a
build that was killed goes on where it was, and pixels that a crash, a disk or a person has changed are found.
Plain reads and writes, no memory map: a disk that is full or a file that was cut short is then an error and no signal.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
from itertools import groupby
from pathlib import Path
from types import TracebackType

import numpy as np
import xxhash
from numpy.typing import NDArray

from harness.data.fingerprints import HASH_BYTES
from harness.errors import StoreError


class Pixels:
    """(N, S, S, 3) uint8 in ``<folder>/pixels`` and N hashes (XXH3, 128 bits) in ``<folder>/hashes``."""

    FILES = ("pixels", "hashes")

    def __init__(self, folder: Path, rows: int, side: int) -> None:
        """Open the two files, which ``prepare`` has made, for writing too if that is allowed.

        Raises:
            OSError: they cannot be opened.
        """
        self.folder = folder
        self.rows = rows
        self.row_bytes = side * side * 3
        self._pixels = _open(folder / "pixels")
        self._hashes = _open(folder / "hashes")

    @classmethod
    def prepare(cls, folder: Path, rows: int, side: int) -> None:
        """Make the two files, or bring them to their length; rows that were cut off count as missing.

        To be called by one process at a time.

        Raises:
            OSError: they cannot be written.
        """
        row_bytes = side * side * 3
        with (folder / "pixels").open("ab") as pixels, (folder / "hashes").open("ab") as hashes:
            hashes.truncate(min(hashes.tell(), pixels.tell() // row_bytes * HASH_BYTES))
            hashes.truncate(rows * HASH_BYTES)
            pixels.truncate(rows * row_bytes)

    @classmethod
    def prepared(cls, folder: Path, rows: int, side: int) -> bool:
        """Tell whether the two files are there, in their length."""
        sizes = {"pixels": rows * side * side * 3, "hashes": rows * HASH_BYTES}
        try:
            return all((folder / name).stat().st_size == size for name, size in sizes.items())
        except FileNotFoundError:
            return False

    def __enter__(self) -> Pixels:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._pixels.close()
        self._hashes.close()

    def hashes(self, first: int = 0, last: int | None = None) -> NDArray[np.uint8]:
        """Return (last - first, 16) hashes; all zeros where the row is not there."""
        last = self.rows if last is None else last
        self._hashes.seek(first * HASH_BYTES)
        found = self._hashes.read((last - first) * HASH_BYTES) or b""
        return np.frombuffer(found.ljust((last - first) * HASH_BYTES, b"\0"), np.uint8).reshape(-1, HASH_BYTES)

    def missing(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of ``rows``, sorted, that are not there."""
        first, last = int(rows[0]), int(rows[-1]) + 1
        return rows[~self.hashes(first, last)[rows - first].any(axis=1)]

    def read(self, row: int, into: NDArray[np.uint8]) -> bytes | None:
        """Read a row into ``into``, C-contiguous; return its hash, or None if these are not the pixels of ``write``."""
        try:
            self._pixels.seek(row * self.row_bytes)
            if self._pixels.readinto(into.data.cast("B")) != self.row_bytes:
                return None
            self._hashes.seek(row * HASH_BYTES)
            expected = self._hashes.read(HASH_BYTES)
        except OSError:  # the disk cannot read it any more
            return None
        found = hash_of(into)
        return found if found == expected else None

    def write(self, row: int, crop: NDArray[np.uint8]) -> None:
        """Write a row, and then its hash.

        Raises:
            OSError: the disk is full, or failed.
        """
        crop = np.ascontiguousarray(crop)
        self._pixels.seek(row * self.row_bytes)
        _write_all(self._pixels, crop.data.cast("B"))
        self._hashes.seek(row * HASH_BYTES)
        _write_all(self._hashes, hash_of(crop))

    def forget(self, row: int) -> None:
        """Let a row count as missing.

        Raises:
            OSError: the file cannot be written.
        """
        self._hashes.seek(row * HASH_BYTES)
        _write_all(self._hashes, bytes(HASH_BYTES))

    def reserve(self, rows: NDArray[np.int64]) -> None:
        """Claim the disk blocks of ``rows``, sorted, where the system can.

        Raises:
            StoreError: there is no room.
        """
        there = int(self.hashes().any(axis=1).sum())
        needed = (there + len(rows)) * self.row_bytes
        found = os.fstat(self._pixels.fileno())
        needed -= getattr(found, "st_blocks", 0) * 512  # what an earlier build has claimed
        if needed > self._free():
            raise self._no_room(needed)
        if not hasattr(os, "posix_fallocate"):
            return
        for _, group in groupby(enumerate(rows.tolist()), key=lambda pair: pair[1] - pair[0]):
            run = [row for _, row in group]
            try:
                os.posix_fallocate(self._pixels.fileno(), run[0] * self.row_bytes, len(run) * self.row_bytes)
            except OSError as error:
                if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                    return  # a file system that cannot claim blocks
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                raise self._no_room(needed) from error

    def _free(self) -> int:
        return shutil.disk_usage(self._pixels.name).free

    def _no_room(self, needed: int) -> StoreError:
        return StoreError(
            f"no room to keep decoded images in {Path(self._pixels.name).parent.parent}: {needed / 1e9:.2f} GB are "
            f"needed and {self._free() / 1e9:.2f} GB are free; point --store at a larger disk (or TMPDIR), "
            "make room by `python -m harness store prune`, or keep nothing by --no-store, one geometry at a time"
        )


def hash_of(crop: NDArray[np.uint8]) -> bytes:
    """Return the 16 bytes that stand for the pixels of one image."""
    return xxhash.xxh3_128_digest(crop.data)


def _open(path: Path) -> io.FileIO:
    try:
        return io.FileIO(path, "r+")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return io.FileIO(path, "r")


def _write_all(file: io.FileIO, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
