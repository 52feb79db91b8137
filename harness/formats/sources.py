"""Where the bytes of one image are: a file, a part of an archive, or a row of a table.

A source keeps its file's size and time from when the dataset was opened, and rejects a file that has changed since:
decoded images are stored under the sources' identities.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from PIL import Image

from harness.errors import DatasetError

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP")
"""What ImageNet and its copies hold, by content; for some others Pillow would start a program, such as Ghostscript."""
MOST_PIXELS = 89_478_485
"""Pixels that an image is decoded or resized to at most: Pillow warns above that."""


def open_bounded(data: bytes) -> Image.Image:
    """Open an encoded image without decoding it; an UnidentifiedImageError if it is in no format of ImageNet."""
    image = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
    check_pixels(*image.size)
    return image


def check_pixels(width: int, height: int) -> None:
    """Raise a DecompressionBombError if an image of this size would take too much memory."""
    if width * height > MOST_PIXELS:
        size = f"{width:,} x {height:,} pixels"
        raise Image.DecompressionBombError(f"{size}, more than the {MOST_PIXELS:,} that are decoded or resized")


def kind_of(mode: int) -> str:
    """Return what is no regular file, in words."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


class Source(Protocol):
    """Where one image's bytes are; ``str`` names it for a person, and it can be sent to other processes."""

    @property
    def identity(self) -> str:
        """Text that changes when the bytes may have changed; independent of the path, so that a dataset can move."""

    @property
    def neighborhood(self) -> tuple[str, int] | None:
        """What must be read as a whole to get at the image; None if the image can be read by itself."""

    def read(self) -> bytes:
        """Return the encoded image; an OSError if it is no regular file, cut short, or changed since it was listed."""


@dataclass(frozen=True)
class FileSource:
    """A file, with its size in bytes (-1: there was none) and its modification time in nanoseconds since the epoch."""

    path: str
    size: int
    modified: int
    neighborhood = None

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> FileSource:
        """Return the file as it is now; what is there must be a regular file."""
        try:
            found = os.stat(path)  # noqa: PTH116 -- 50,000 Path objects would take 0.2 s
        except OSError:
            return cls(os.fspath(path), -1, -1)
        if not stat.S_ISREG(found.st_mode):
            raise DatasetError(f"{path}: expected a regular file, found {kind_of(found.st_mode)}; remove it")
        return cls(os.fspath(path), found.st_size, found.st_mtime_ns)

    def __str__(self) -> str:
        return self.path

    @property
    def identity(self) -> str:
        """Its size and time."""
        return f"{self.size} {self.modified}"

    def read(self) -> bytes:
        """Return the whole file."""
        return self.read_part(0, self.size)

    def read_part(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset`` on."""
        # Before it is opened: opening a pipe would wait for ever.
        if not stat.S_ISREG(Path(self.path).stat().st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        with Path(self.path).open("rb") as file:
            self.check_unchanged(os.fstat(file.fileno()))
            file.seek(offset)
            data = file.read(size)
        if len(data) < size:
            raise OSError(errno.EIO, f"it ends after {len(data):,} of {size:,} bytes")
        return data

    def check_unchanged(self, found: os.stat_result) -> None:
        """Raise an OSError if the file has changed since the dataset was opened."""
        if (found.st_size, found.st_mtime_ns) != (self.size, self.modified):
            raise OSError(errno.ESTALE, "it has changed since the dataset was opened")


@dataclass(frozen=True)
class ArchiveSource:
    """A member of an uncompressed tar archive, read in place: ``size`` bytes from byte ``offset`` on."""

    archive: FileSource
    name: str
    offset: int
    size: int
    neighborhood = None

    def __str__(self) -> str:
        return f"{self.archive}: {self.name}"

    @property
    def identity(self) -> str:
        """Its position in the archive, and the archive's identity."""
        return f"{self.offset} {self.size} {self.archive.identity}"

    def read(self) -> bytes:
        """Return the member's bytes."""
        return self.archive.read_part(self.offset, self.size)


@dataclass(frozen=True)
class ParquetSource:
    """A row of a Parquet file, by row group and index in it; the column ``image`` holds structs with ``bytes``."""

    file: FileSource
    group: int
    row: int
    name: str

    def __str__(self) -> str:
        return f"{self.file}: {self.name} (row group {self.group}, row {self.row})"

    @property
    def identity(self) -> str:
        """Its position in the file, and the file's identity."""
        return f"{self.group} {self.row} {self.file.identity}"

    @property
    def neighborhood(self) -> tuple[str, int]:
        """The row group."""
        return self.file.path, self.group

    def read(self) -> bytes:
        """Return the row's bytes."""
        rows = _row_group(self.file, self.group)
        if self.row >= len(rows):
            raise OSError(errno.EIO, f"row group {self.group} ends after {len(rows):,} rows")
        if (data := rows[self.row]) is None:
            raise OSError(errno.ENODATA, "the row holds no bytes")
        return data


@lru_cache(maxsize=1)
def _row_group(file: FileSource, group: int) -> Sequence[bytes | None]:
    """Return the encoded images of a row group; cached, since the next image to read is mostly its neighbor."""
    import pyarrow
    from pyarrow import parquet

    file.check_unchanged(Path(file.path).stat())
    try:
        with parquet.ParquetFile(file.path) as table:
            images = table.read_row_group(group, columns=["image.bytes"])
    # pyarrow decodes the names of a damaged file's columns before it checks them.
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise OSError(errno.EIO, str(error)) from error
    # More than 2 GiB of bytes come in several chunks.
    return [data for chunk in images.column("image").chunks for data in chunk.field("bytes").to_pylist()]
