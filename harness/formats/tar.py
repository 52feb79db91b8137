"""Tar archives, read in place: the validation set's ``ILSVRC2012_img_val.tar``, or one of class folders."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from harness.dataset import ImageDataset, Row
from harness.errors import DatasetError
from harness.formats import imagenet
from harness.formats.folders import dataset_name, dataset_of, is_image, is_system
from harness.formats.listings import choose_members, indexed
from harness.formats.sources import ArchiveSource, FileSource

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
LABELS = ("cls", "json")
"""Suffixes of WebDataset's labels, which lie beside the images."""

# Each compression's first bytes, its name, and the program that unpacks it.
_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\xfd7zXZ\0", "xz", "unxz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
)
_HEADER_LIMIT = 2**20


def read(path: Path) -> ImageDataset | None:
    """Read an archive of the validation set's files, or of folders named by wnid."""
    if (root := _find_archive(path)) is None:
        return None
    members = list_members(FileSource.of(root))
    kept = [member for member in members if not any(map(is_system, member.name.split("/")[:-1]))]
    if any(split_key(member.name)[1] in LABELS for member in kept):
        return None
    if not any(is_image(member.name.rpartition("/")[2]) for member in kept):
        first = next((f", but archives such as {each.name!r}" for each in kept if each.name.endswith(SUFFIXES)), "")
        todo = ": it is no validation set; point --imagenet at ILSVRC2012_img_val.tar" if first else ""
        raise DatasetError(f"{root}: expected images, found none among its {len(members):,} members{first}{todo}")
    indices, ignored = choose_members(root, [member.name for member in members])
    rows = []
    labels = " of class folders"
    for member in (members[index] for index in indices):
        name = member.name.rpartition("/")[2]
        if not is_image(name):
            ignored.append(member.name)
        elif inside := _from_class_folder(member.name):
            rows.append(Row(inside, member, imagenet.class_indices()[inside.partition("/")[0]]))
        elif (known := imagenet.label_by_name(name, str(member))) is not None:
            rows.append(Row(name, member, known))
            labels = ""
        else:
            raise DatasetError(
                f"{root}: expected images in class folders named by wnid, or named ILSVRC2012_val_*.JPEG, found "
                f"{member.name!r}; if it is another dataset format, unpack it and point --imagenet at the folder"
            )
    if not rows:
        raise DatasetError(f"{root}: expected images of the validation set, found none; point --imagenet at it")
    labels = labels or f", {imagenet.check_devkit(root.absolute().parents[:2])}"
    return dataset_of(rows, root, f"tar archive{labels}", name=dataset_name(path), ignored=ignored)


def _find_archive(path: Path) -> Path | None:
    if not path.is_dir():
        return path if is_archive(path) else None
    for name in ("ILSVRC2012_img_val.tar", "ILSVRC2012_img_val.tar.gz"):
        if is_archive(path / name):
            return path / name
    archives = [file for file in path.glob("*.tar") if is_archive(file)]
    return archives[0] if len(archives) == 1 else None


def _from_class_folder(path: str) -> str | None:
    """Return the part of a path that begins with a class folder; None if it has none."""
    parts = path.split("/")
    starts = (i for i, part in enumerate(parts[:-1]) if part in imagenet.class_indices())
    return next(("/".join(parts[i:]) for i in starts), None)


def is_archive(path: Path) -> bool:
    """Return whether a path is a file named like a tar archive, compressed or not."""
    name = path.name
    return name.lower().endswith(SUFFIXES) and not name.startswith(".") and path.exists() and not path.is_dir()


def split_key(path: str) -> tuple[str, str]:
    """Split a path at the first dot of its file name, as WebDataset does; a hidden file has no suffix."""
    folder, slash, name = path.rpartition("/")
    key, _, suffix = name.partition(".")
    return (folder + slash + key, suffix.lower()) if key else (path, "")


def list_members(archive: FileSource) -> list[ArchiveSource]:
    """Return the regular files in a tar archive, in its order, from its index if there is one."""
    return [ArchiveSource(archive, *row) for row in indexed(archive, "tar", _find_members)]


def _find_members(archive: FileSource) -> list[tuple[str, int, int]]:
    """Return each regular file's path without ``.`` parts, its first byte's offset, and its size in bytes."""
    path = Path(archive.path)
    members = []
    with _HeaderFile(io.FileIO(path)) as file:
        start = file.read(6)
        for magic, kind, program in _COMPRESSIONS:
            if start.startswith(magic):
                raise DatasetError(f"{path}: expected an uncompressed archive, found {kind}; unpack it by {program}")
        file.seek(0)
        for header in _headers(path, file):
            if (error := _member_error(header, archive.size)) is not None:
                raise DatasetError(f"{path}: member {header.name!r} {error}")
            if header.isreg():
                name = "/".join(part for part in header.name.split("/") if part not in ("", "."))
                members.append((name, header.offset_data, header.size))
    return members


class _HeaderFile(io.BufferedReader):
    """A file of which tarfile reads no more at once than a header needs, whatever size the header claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most ``size`` bytes."""
        if size is None or not 0 <= size <= _HEADER_LIMIT:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)


def _headers(path: Path, file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(fileobj=file, mode="r:") as headers:
            yield from headers
    except imagenet.DAMAGED_TAR as error:
        reason = str(error) or type(error).__name__
        raise DatasetError(f"{path} cannot be read as a tar archive: {reason}; download or recreate it") from None
    _check_end(path, file, headers.offset)


def _member_error(header: tarfile.TarInfo, size: int) -> str | None:
    if header.name.startswith("/") or ".." in header.name.split("/"):
        return "has a path that leads out of the archive; make the archive again without"
    if header.issparse():
        return "is a sparse file; make the archive again without --sparse"
    if not (header.isreg() or header.isdir()):
        return "is a link, a device or a pipe; make the archive again from regular files (tar --dereference)"
    if header.size < 0:
        return f"has a size of {header.size}; download or make the archive again"
    if header.offset_data + header.size > size:
        return f"ends at byte {header.offset_data + header.size:,}, but the archive at {size:,}; download it again"
    return None


def _check_end(path: Path, file: BinaryIO, end: int) -> None:
    """Require an end-of-archive marker at ``end`` and nothing behind it; tarfile takes archives without."""
    file.seek(end)
    rest = file.read(2**20)  # tar programs fill the last record with zeros, of 10 KiB by default
    if rest.strip(b"\0"):
        raise DatasetError(
            f"{path}: expected nothing but zeros from its end at byte {end:,} on, found other bytes; it is damaged, "
            "or several archives were joined; download or recreate it"
        )
    if len(rest) < (marker := 2 * tarfile.BLOCKSIZE):
        raise DatasetError(
            f"{path} ends early: expected {marker:,} zero bytes as its end marker at byte {end:,}, "
            f"found {len(rest):,}; download it again"
        )
