"""Lists tar archives, which are read in place and never unpacked."""

from __future__ import annotations

import stat
import tarfile
from pathlib import Path
from typing import NamedTuple

from harness.data.forms.index import indexed
from harness.data.source import ArchiveSource, FileSource
from harness.errors import SplitError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")

_COMPRESSIONS = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}
# Tar programs fill the last record with zeros, of 10 KiB by default.
_PADDING = 2**20


class Member(NamedTuple):
    """A regular file in a tar archive.

    Attributes:
        name: its path, without ``.`` parts.
        offset: of its first byte in the archive.
        size: bytes.
    """

    name: str
    offset: int
    size: int

    def source(self, archive: FileSource) -> ArchiveSource:
        """Return where its bytes are."""
        return ArchiveSource(archive, self.name, self.offset, self.size)


def is_archive(path: Path) -> bool:
    """Tell by its name whether a path is a tar archive, compressed or not, and whether it is a file."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file()


def list_members(archive: FileSource) -> list[Member]:
    """Return the regular files in a tar archive, in its order, from its index where there is one.

    Raises:
        SplitError: it is compressed or damaged, ends early, or holds what an archive of images does not: links,
            devices, sparse files, and paths that lead out of it.
    """
    return indexed(archive, "tar", Member, _find_members)


def _find_members(archive: FileSource) -> list[Member]:
    path = archive.path
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise SplitError(f"{path}: expected a tar archive, found no regular file")
    _refuse_compressed(path)
    members = []
    try:
        with tarfile.open(path, "r:") as headers:
            for header in headers:
                if (found := _what_is_wrong(header, archive.size)) is not None:
                    raise SplitError(f"{path}: member {header.name!r} {found}")
                if header.isreg():
                    name = "/".join(part for part in header.name.split("/") if part not in ("", "."))
                    members.append(Member(name, header.offset_data, header.size))
            end = headers.offset
    except tarfile.TarError as error:
        raise SplitError(f"{path} cannot be read as a tar archive: {error}; download or make it again") from None
    _check_end(path, end)
    return members


def _refuse_compressed(path: str) -> None:
    with Path(path).open("rb") as file:
        start = file.read(6)
    for magic, (compression, program) in _COMPRESSIONS.items():
        if start.startswith(magic):
            raise SplitError(
                f"{path} is compressed with {compression}, so that images cannot be read in place; "
                f"unpack it by {program} first"
            )


def _what_is_wrong(header: tarfile.TarInfo, size: int) -> str | None:
    if header.name.startswith("/"):
        return "has an absolute path; make the archive again with relative ones"
    if ".." in header.name.split("/"):
        return "has a path with '..', which leads out of the archive; make the archive again without"
    if header.issparse():
        return "is a sparse file; make the archive again without --sparse"
    if not (header.isreg() or header.isdir()):
        kind = _KINDS.get(header.type, f"of unknown type {header.type!r}")
        return f"is {kind}; make the archive again from regular files (tar --dereference)"
    if header.size < 0:
        return f"has a size of {header.size}; download or make the archive again"
    if header.offset_data + header.size > size:
        return f"ends at byte {header.offset_data + header.size:,}, but the archive at {size:,}; download it again"
    return None


def _check_end(path: str, end: int) -> None:
    """Refuse an archive without the end-of-archive marker at ``end``, which tarfile does not miss."""
    with Path(path).open("rb") as file:
        file.seek(end)
        rest = file.read(_PADDING)
    marker = 2 * tarfile.BLOCKSIZE
    if len(rest) < marker and not rest.strip(b"\0"):
        raise SplitError(
            f"{path} ends early: expected {marker:,} zero bytes as its end marker at byte {end:,}, "
            f"found {len(rest):,}; download it again"
        )
    if rest.strip(b"\0"):
        raise SplitError(
            f"{path}: expected nothing but zeros from its end at byte {end:,} on, found other bytes; it is damaged, "
            "or several archives were joined; download or make it again"
        )
