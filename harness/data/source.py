"""Where the bytes of one image are: a file, a part of an archive, or a row of a table.

A source knows what it was when the split was opened, and refuses to read anything else: pixels are kept under what
the sources were, so a file that changes during a run must not pass for the one that was listed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol


class Source(Protocol):
    """One image's bytes; ``str`` names it for a person, and it travels between processes."""

    @property
    def identity(self) -> str:
        """What changes when the bytes may have changed; free of the place, so that a set can be moved."""

    @property
    def neighbourhood(self) -> tuple[str, int] | None:
        """What has to be read as a whole to get at the image, or None if the image can be read by itself."""

    def read(self) -> bytes:
        """Return the encoded image.

        Raises:
            OSError: it is not there, is no regular file, ends early, or has changed since the split was opened.
        """


@dataclass(frozen=True)
class FileSource:
    """A file of its own.

    Attributes:
        path: absolute or relative to the working folder.
        size: bytes; -1 if there was no such file.
        modified: time of the last change, in nanoseconds since the epoch.
    """

    path: str
    size: int
    modified: int

    @classmethod
    def of(cls, path: str | os.PathLike[str], found: os.stat_result | None = None) -> FileSource:
        """Return the file as it is now, of which ``found`` may be known already."""
        try:
            found = found or Path(path).stat()
        except OSError:
            return cls(os.fspath(path), -1, -1)
        return cls(os.fspath(path), found.st_size, found.st_mtime_ns)

    def __str__(self) -> str:
        return self.path

    @property
    def identity(self) -> str:
        """Its size and time."""
        return f"{self.size} {self.modified}"

    @property
    def neighbourhood(self) -> None:
        """None: it is read by itself."""

    def read(self) -> bytes:
        """Return the whole file."""
        return self.read_part(0, self.size)

    def read_part(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset`` on."""
        # Before it is opened: opening a pipe would wait for ever.
        if not stat.S_ISREG(Path(self.path).stat().st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        with Path(self.path).open("rb") as file:
            found = os.fstat(file.fileno())
            if (found.st_size, found.st_mtime_ns) != (self.size, self.modified):
                raise OSError(errno.ESTALE, "it has changed since the image set was opened")
            file.seek(offset)
            data = file.read(size)
        if len(data) < size:
            raise OSError(errno.EIO, f"it ends after {len(data):,} of {size:,} bytes")
        return data


@dataclass(frozen=True)
class ArchiveSource:
    """A member of an uncompressed tar archive, read in place.

    Attributes:
        archive: the archive.
        member: the member's name.
        offset: of its first byte in the archive.
        size: bytes.
    """

    archive: FileSource
    member: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.archive}: {self.member}"

    @property
    def identity(self) -> str:
        """Its place in the archive, and the archive's identity."""
        return f"{self.offset} {self.size} {self.archive.identity}"

    @property
    def neighbourhood(self) -> None:
        """None: it is read by itself."""

    def read(self) -> bytes:
        """Return the member's bytes."""
        return self.archive.read_part(self.offset, self.size)


@dataclass(frozen=True)
class ParquetSource:
    """A row of a Parquet file with a column ``image`` of structs that hold ``bytes``.

    Attributes:
        file: the Parquet file.
        group: index of the row group, which is read as a whole.
        row: index in the row group.
        name: what the row says that the image is called.
    """

    file: FileSource
    group: int
    row: int
    name: str

    def __str__(self) -> str:
        return f"{self.file}: {self.name} (row group {self.group}, row {self.row})"

    @property
    def identity(self) -> str:
        """Its place in the file, and the file's identity."""
        return f"{self.group} {self.row} {self.file.identity}"

    @property
    def neighbourhood(self) -> tuple[str, int]:
        """The row group."""
        return self.file.path, self.group

    def read(self) -> bytes:
        """Return the row's bytes."""
        rows = _row_group(self.file, self.group)
        if self.row >= len(rows):
            raise OSError(errno.EIO, f"row group {self.group} ends after {len(rows):,} rows")
        data = rows[self.row]
        if data is None:
            raise OSError(errno.ENODATA, "the row holds no bytes")
        return data


@lru_cache(maxsize=1)
def _row_group(file: FileSource, group: int) -> Sequence[bytes | None]:
    """Return the encoded images of a row group; kept, since the next image to read is mostly its neighbour."""
    import pyarrow
    from pyarrow import parquet

    if FileSource.of(file.path) != file:
        raise OSError(errno.ESTALE, "it has changed since the image set was opened")
    try:
        with parquet.ParquetFile(file.path) as table:
            images = table.read_row_group(group, columns=["image.bytes"])
    # pyarrow decodes the names of a damaged file's columns before it checks them.
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise OSError(errno.EIO, str(error)) from error
    # More than 2 GiB of bytes come in several chunks.
    return [data for chunk in images.column("image").chunks for data in chunk.field("bytes").to_pylist()]
