"""The folder of a store of decoded images: made, read and written, without torch.

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
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import platformdirs
import xxhash
from numpy.typing import NDArray

from harness.errors import StoreError
from harness.predictions import HASH_BYTES
from harness.preset import Geometry
from harness.records.evidence import Name
from harness.records.run_folder import read_whole, write_whole

DESCRIPTION, IDS = "store.json", "ids.json"
FORMAT: Literal[3] = 3


class Description(msgspec.Struct, frozen=True):
    """What a store is for, as ``store.json`` says; ``versions`` are those of all that determines the pixels."""

    dataset: Name
    dataset_format: Name
    root: Name
    images: int
    fingerprint: str
    geometry: Geometry
    decoder: Name
    versions: dict[Name, Name]
    format: Literal[2, 3] = FORMAT  # of the files

    def __post_init__(self) -> None:
        """Check the sizes, which files are read by."""
        if not (0 < self.images <= 20_000_000 and 0 < self.geometry.crop <= 10_000):
            raise ValueError(f"{self.images} images of {self.geometry.crop} pixels")

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

    @property
    def mark(self) -> bytes:
        """The first bytes of ``hashes``: rows after those of another store are none of this one's."""
        return xxhash.xxh3_128_digest(self.folder.name.encode())

    def prepare(self) -> None:
        """Make the files, or bring them to their length, in one process at a time; rows cut off become missing."""
        with _open(self.folder / "pixels", os.O_CREAT) as pixels, _open(self.folder / "hashes", os.O_CREAT) as hashes:
            if hashes.read(HASH_BYTES) != self.mark:
                hashes.truncate(0)
                _write(hashes, 0, memoryview(self.mark))
            whole = pixels.seek(0, os.SEEK_END) // self.row_bytes
            hashes.truncate(min(hashes.seek(0, os.SEEK_END), (1 + whole) * HASH_BYTES))
            hashes.truncate((1 + self.rows) * HASH_BYTES)
            pixels.truncate(self.rows * self.row_bytes)

    def are_prepared(self) -> bool:
        """Return whether the files exist, have their length, and are this store's."""
        sizes = self.rows * self.row_bytes, (1 + self.rows) * HASH_BYTES
        with suppress(FileNotFoundError):
            if tuple((self.folder / name).stat().st_size for name in ("pixels", "hashes")) == sizes:
                with _open(self.folder / "hashes") as hashes:
                    return hashes.read(HASH_BYTES) == self.mark
        return False

    def note_by_pillow(self, row: int) -> None:
        """Note that Pillow decodes a row."""
        with _open(self.folder / "by-pillow", os.O_CREAT | os.O_APPEND) as noted:
            noted.write(b"%d\n" % row)

    def rows_by_pillow(self) -> list[int]:
        """Return the rows that Pillow decoded because the decoder could not, sorted."""
        with suppress(OSError):
            lines = read_whole(self.folder / "by-pillow").split()
            return sorted({int(line) for line in lines if line.isdigit() and len(line) < 20})
        return []


class Pixels(ExitStack):
    """The opened files: (N, S, S, 3) uint8 in ``pixels`` and, after the mark, N hashes of 128 bits in ``hashes``."""

    def __init__(self, files: Files) -> None:
        """Open the files, for reading only where writing is not allowed."""
        super().__init__()
        self.files, self._mark = files, files.mark
        self._pixels = self.enter_context(_open(files.folder / "pixels"))
        self._hashes = self.enter_context(_open(files.folder / "hashes"))

    def present(self) -> NDArray[np.bool_]:
        """Return for each of the N rows whether its hash was written."""
        size = self.files.rows * HASH_BYTES
        self._hashes.seek(HASH_BYTES)
        hashes = self._hashes.read(size).ljust(size, b"\0")
        return np.asarray(np.frombuffer(hashes, np.uint8).reshape(-1, HASH_BYTES).any(axis=1))

    def missing(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of ``rows`` that are not present."""
        return rows[~self.present()[rows]]

    def read(self, first: int, into: NDArray[np.uint8]) -> list[bytes | None]:
        """Read the rows from ``first`` on into a C-contiguous array, (rows, S, S, 3).

        Returns:
            The hash of each row, or None where the pixels are not those written.
        """
        try:
            self._pixels.seek(first * self.files.row_bytes)
            is_whole = self._pixels.readinto(into.data.cast("B")) == into.nbytes
            self._hashes.seek((1 + first) * HASH_BYTES)
            expected = self._hashes.read(len(into) * HASH_BYTES)
        except OSError:  # a damaged disk is treated as changed pixels
            is_whole = False
        if not is_whole and len(into) == 1:
            return [None]
        if not is_whole:  # which of them are not?
            return [self.read(first + index, into[index : index + 1])[0] for index in range(len(into))]
        found = [hash_of(image) for image in into]
        written = [expected[start : start + HASH_BYTES] for start in range(0, len(into) * HASH_BYTES, HASH_BYTES)]
        pairs = enumerate(zip(found, written, strict=True), first)
        return [pixel_hash if self._bound(pixel_hash, row) == there else None for row, (pixel_hash, there) in pairs]

    def write(self, row: int, crop: NDArray[np.uint8]) -> None:
        """Write a row, and then its hash."""
        crop = np.ascontiguousarray(crop)
        _write(self._pixels, row * self.files.row_bytes, crop.data.cast("B"))
        _write(self._hashes, (1 + row) * HASH_BYTES, memoryview(self._bound(hash_of(crop), row)))

    def forget(self, row: int) -> None:
        """Make a row missing."""
        _write(self._hashes, (1 + row) * HASH_BYTES, memoryview(bytes(HASH_BYTES)))

    def _bound(self, found: bytes, row: int) -> bytes:
        """Return what is written of a hash of pixels: the key holds all ids, so this row of it is one image."""
        return xxhash.xxh3_128_digest(b"%b %b %d" % (self._mark, found, row))

    def reserve(self, rows: NDArray[np.int64]) -> None:
        """Allocate the disk blocks of ``rows``, sorted, where the file system can; a full disk is a StoreError."""
        folder, row_bytes, file = self.files.folder, self.files.row_bytes, self._pixels.fileno()
        present = int(self.present().sum())
        allocated = getattr(os.fstat(file), "st_blocks", 0) * 512  # by an earlier build, too
        needed, free = (present + len(rows)) * row_bytes - allocated, shutil.disk_usage(folder).free
        try:
            if needed > free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            for run in runs(rows) if hasattr(os, "posix_fallocate") else ():
                os.posix_fallocate(file, int(rows[run.start]) * row_bytes, (run.stop - run.start) * row_bytes)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                return  # the file system cannot allocate blocks ahead
            if not present:
                shutil.rmtree(folder)  # it was made for nothing
            raise StoreError(
                f"not enough disk space for decoded images in {folder.parent} ({os.strerror(error.errno)}): "
                f"{needed:,} bytes are needed and {free:,} are free; point --store at a larger disk (or "
                "TMPDIR), free space with `imagenet-gate store prune`, or give --no-store"
            ) from error


def default_store() -> Path:
    """Return the folder in ``IMAGENET_STORE``, or else in the user's cache."""
    given = os.environ.get("IMAGENET_STORE")
    return Path(given).expanduser() if given else platformdirs.user_cache_path("imagenet-gate") / "store"


def make_store(folder: Path, description: Description, ids: Sequence[str]) -> Path:
    """Return a store's own folder in ``folder``, which is made if it is new; the time of its last use is now."""
    store, is_described = folder / description.key, False
    with suppress(FileNotFoundError, ValueError):
        is_described = read_description(store).key == store.name
    if not is_described or not (store / IDS).is_file():
        store.mkdir(parents=True, exist_ok=True)
        write_whole(store / IDS, msgspec.json.encode(ids))
        write_whole(store / DESCRIPTION, msgspec.json.format(msgspec.json.encode(description)) + b"\n")
    with suppress(OSError):  # a store of another user, or on a read-only file system, can still be read
        os.utime(store / DESCRIPTION)
    return store


def read_description(store: Path) -> Description:
    """Return the description in a store's folder; a ValueError if it is not a valid one."""
    try:
        return msgspec.json.decode(read_whole(store / DESCRIPTION), type=Description)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def runs(rows: NDArray[np.int64], longest: int | None = None) -> Iterator[slice]:
    """Yield the slices of ``rows`` that are consecutive numbers, each of at most so many."""
    ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    for start, end in zip([0, *ends], ends, strict=False):
        step = longest or max(end - start, 1)
        yield from (slice(first, min(first + step, end)) for first in range(start, end, step))


def hash_of(crop: NDArray[np.uint8]) -> bytes:
    """Return the 16 bytes of XXH3 of one image's pixels, C-contiguous."""
    return xxhash.xxh3_128_digest(crop.data)


def _open(path: Path, flags: int = 0) -> io.FileIO:
    """Open a regular file, for reading only where writing is not allowed; opening a pipe would wait for ever."""
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = io.FileIO(os.open(path, flags | os.O_RDWR, 0o666), "r+")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or flags & os.O_CREAT:
            raise
        file = io.FileIO(os.open(path, flags), "r")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def _write(file: io.FileIO, offset: int, data: memoryview) -> None:
    file.seek(offset)
    while data:
        data = data[file.write(data) :]
