"""Tests of the listing of archives in harness.formats.tar."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import tarfile
from pathlib import Path

import pytest

from harness.errors import DatasetError
from harness.formats.sources import ArchiveSource, FileSource
from harness.formats.tar import list_members
from tests.archives import write_tar

FILES = {"a.JPEG": b"first", "val/b.JPEG": b"x" * 1000}


def error_of(path: Path) -> str:
    """Return the error's message, after its name."""
    with pytest.raises(DatasetError) as raised:
        list_members(FileSource.of(path))
    assert str(raised.value).startswith(str(path))
    return str(raised.value)[len(str(path)) :]


def header(name: str, kind: bytes, **fields: object) -> tarfile.TarInfo:
    """Return a member that is only a header."""
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_read_in_place(tmp_path: Path, format_: int) -> None:
    """Offset and size give the bytes of each file, also behind long names, and folders are left out."""
    files = {**FILES, f"{'f' * 90}/{'n' * 90}.JPEG": b"long name"}
    with tarfile.open(tmp_path / "x.tar", "w:", format=format_) as archive:
        archive.addfile(header("./val", tarfile.DIRTYPE))
        for name, data in files.items():
            (tmp_path / "file").write_bytes(data)
            archive.add(tmp_path / "file", f"./{name}")

    members = list_members(FileSource.of(tmp_path / "x.tar"))

    assert {member.name: member.read() for member in members} == files


def test_a_listing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time the archive is not opened as one."""
    archive = FileSource.of(write_tar(tmp_path / "x.tar", FILES))
    first = list_members(archive)
    monkeypatch.delattr(tarfile, "open")

    second = list_members(archive)

    assert first == second
    assert second == [ArchiveSource(archive, "a.JPEG", 512, 5), ArchiveSource(archive, "val/b.JPEG", 1536, 1000)]


@pytest.mark.parametrize(
    ("pack", "message"),
    [
        (gzip.compress, ": expected an uncompressed archive, found gzip; unpack it by gunzip"),
        (bz2.compress, ": expected an uncompressed archive, found bzip2; unpack it by bunzip2"),
        (lzma.compress, ": expected an uncompressed archive, found xz; unpack it by unxz"),
    ],
)
def test_a_compressed_archive_is_an_error(tmp_path: Path, pack: type, message: str) -> None:
    """The sentence says with what, and which program unpacks it, whatever the file is called."""
    path = write_tar(tmp_path / "x.tar", FILES)
    path.write_bytes(pack(path.read_bytes()))

    assert error_of(path) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/etc/passwd", "has a path that leads out of the archive; make the archive again without"),
        ("../a.JPEG", "has a path that leads out of the archive; make the archive again without"),
        ("val/../../a.JPEG", "has a path that leads out of the archive; make the archive again without"),
    ],
)
def test_a_path_that_leads_out_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    """The sentence names the member."""
    assert error_of(write_tar(tmp_path / "x.tar", {**FILES, name: b""})) == f": member {name!r} {message}"


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"]
)
def test_what_is_no_regular_file_is_an_error(tmp_path: Path, kind: bytes) -> None:
    """Links and devices are not followed."""
    path = write_tar(tmp_path / "x.tar", FILES, header("c.JPEG", kind, linkname="/etc/passwd"))

    message = "a link, a device or a pipe; make the archive again from regular files (tar --dereference)"
    assert error_of(path) == f": member 'c.JPEG' is {message}"


def test_a_sparse_file_is_an_error(tmp_path: Path) -> None:
    """Its bytes do not lie in one piece."""
    path = write_tar(tmp_path / "x.tar", FILES, header("c.JPEG", tarfile.GNUTYPE_SPARSE))

    assert error_of(path) == ": member 'c.JPEG' is a sparse file; make the archive again without --sparse"


def test_a_sparse_file_in_pax_form_is_an_error(tmp_path: Path) -> None:
    """Neither do they in the newer form."""
    fields = {"GNU.sparse.map": "0,5", "GNU.sparse.size": "5"}
    path = write_tar(tmp_path / "x.tar", FILES, header("c.JPEG", tarfile.REGTYPE, pax_headers=fields))

    assert error_of(path) == ": member 'c.JPEG' is a sparse file; make the archive again without --sparse"


def test_an_archive_that_ends_in_a_member_is_an_error(tmp_path: Path) -> None:
    """An interrupted download is recognized by its last member's size."""
    path = write_tar(tmp_path / "x.tar", FILES)
    os.truncate(path, 2000)

    message = ": member 'val/b.JPEG' ends at byte 2,536, but the archive at 2,000; download it again"
    assert error_of(path) == message


@pytest.mark.parametrize(("length", "zeros"), [(1024, 0), (2560, 0), (3072, 512)])
def test_an_archive_that_ends_between_members_is_an_error(tmp_path: Path, length: int, zeros: int) -> None:
    """Without its end marker an archive may lack members, which tarfile does not say."""
    path = write_tar(tmp_path / "x.tar", FILES)
    os.truncate(path, length)

    assert error_of(path) == (
        f" ends early: expected 1,024 zero bytes as its end marker at byte {length - zeros:,}, found {zeros}; "
        "download it again"
    )


def test_an_archive_that_ends_in_a_header_is_an_error(tmp_path: Path) -> None:
    """Part of a header is no end marker either."""
    path = write_tar(tmp_path / "x.tar", FILES)
    os.truncate(path, 1100)

    assert "expected nothing but zeros from its end at byte 1,024 on, found other bytes" in error_of(path)


def test_a_damaged_header_is_an_error(tmp_path: Path) -> None:
    """Tarfile takes a header with a wrong checksum for the end."""
    path = write_tar(tmp_path / "x.tar", FILES)
    data = bytearray(path.read_bytes())
    data[1024] ^= 1
    path.write_bytes(data)

    assert "expected nothing but zeros from its end at byte 1,024 on, found other bytes" in error_of(path)


def test_joined_archives_are_errors(tmp_path: Path) -> None:
    """What follows an archive's end would be left out."""
    path = write_tar(tmp_path / "x.tar", FILES)
    path.write_bytes(2 * path.read_bytes())

    assert "or several archives were joined; download or recreate it" in error_of(path)


@pytest.mark.parametrize("data", [b"", b"no archive" * 100])
def test_what_is_no_archive_is_an_error(tmp_path: Path, data: bytes) -> None:
    """A file that is only called so is named."""
    (tmp_path / "x.tar").write_bytes(data)

    message = error_of(tmp_path / "x.tar")

    assert re.fullmatch(r" cannot be read as a tar archive: .*; download or recreate it", message)


def test_a_negative_size_is_an_error(tmp_path: Path) -> None:
    """It would lead back to an earlier member, for ever."""
    path = write_tar(tmp_path / "x.tar", FILES)
    data = bytearray(path.read_bytes())
    data[124:136] = b"\xff" * 10 + (-1024).to_bytes(2, "big", signed=True)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)

    with pytest.raises(DatasetError, match=str(path)):
        list_members(FileSource.of(path))


@pytest.mark.parametrize("size", [2**40, -1024])
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_long_header_of_an_impossible_size_is_not_read(tmp_path: Path, size: int, kind: bytes) -> None:
    """It would take all the memory, or the whole archive."""
    block = header("name", kind, size=size).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "x.tar").write_bytes(block + write_tar(tmp_path / "sound.tar", FILES).read_bytes())

    message = f" cannot be read as a tar archive: a header of {size} bytes; download or recreate it"
    assert error_of(tmp_path / "x.tar") == message


def test_long_headers_without_end_are_an_error(tmp_path: Path) -> None:
    """Each long name may be followed by another."""
    block = header("name", tarfile.GNUTYPE_LONGNAME, size=4).tobuf() + b"name".ljust(512, b"\0")
    (tmp_path / "x.tar").write_bytes(block * 3000)

    assert " cannot be read as a tar archive: maximum recursion depth exceeded" in error_of(tmp_path / "x.tar")


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    """To open a pipe would wait for ever."""
    os.mkfifo(tmp_path / "x.tar")

    assert error_of(tmp_path / "x.tar") == ": expected a regular file, found a pipe; remove it"
