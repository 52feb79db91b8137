"""Tests of harness.formats.tar."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.dataset import open_dataset
from harness.formats.sources import ArchiveSource, FileSource
from tests.archives import tar_header, write_tar
from tests.unit.formats.conftest import error_of

FIRST, SECOND = "n01440764", "n01443537"
# The first header and file end at byte 1,024, the second file at 2,536, and the end marker begins at 2,560.
FILES = {f"{FIRST}/a.JPEG": b"first", f"{SECOND}/b.JPEG": b"x" * 1000}


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_in_class_folders_have_their_labels(tmp_path: Path, format_: int) -> None:
    """Any one archive of wnid folders is read, below whatever folder, and behind long names; other files are listed."""
    long = f"{'n' * 90}.JPEG"
    members = {
        "./x/val/n15075141/a.JPEG": b"first",
        f"./x/val/{FIRST}/{'f' * 90}/{long}": b"long name",
        f"./x/val/{SECOND}/b.png": b"x" * 1000,
        "./x/readme.md": b"",
    }
    write_tar(tmp_path / "any.tar", members, tar_header("./x", tarfile.DIRTYPE), format=format_)

    dataset = open_dataset(tmp_path)

    assert (dataset.ids, dataset.targets.tolist()) == (("a.JPEG", "b.png", long), [999, 1, 0])
    assert [source.read() for source in dataset.sources] == [b"first", b"x" * 1000, b"long name"]
    assert (dataset.format, dataset.ignored) == ("tar archive of class folders", ("x/readme.md",))


TWICE = "n01751748/ILSVRC2012_val_00000001"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"imagenetv2/0/a.jpeg": b""},
            "PATH: expected images in class folders named by wnid, or named ILSVRC2012_val_*.JPEG, found "
            "'imagenetv2/0/a.jpeg'; if it is another dataset format, unpack it and point --imagenet at the folder",
        ),
        ({"a.txt": b"", "b.txt": b""}, "PATH: expected images, found none among its 2 members"),
        (
            {f"{TWICE}.jpg": b"", f"{TWICE}.JPEG": b""},
            f"PATH: two images have the id '{TWICE}.JPEG': PATH: {TWICE}.jpg and PATH: {TWICE}.JPEG",
        ),
        (
            {f"{FIRST}.tar": b""},  # as in the training set's archive
            "PATH: expected images, found none among its 1 members, but archives such as 'n01440764.tar': it is no "
            "validation set; point --imagenet at ILSVRC2012_img_val.tar",
        ),
    ],
)
def test_an_archive_that_does_not_serve_is_an_error(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    """The sentence names the archive, and the member."""
    assert error_of(write_tar(tmp_path / "x.tar", members)) == message


LEADS_OUT = "has a path that leads out of the archive; make the archive again without"
LINK = "is a link, a device or a pipe; make the archive again from regular files (tar --dereference)"
SPARSE = "is a sparse file; make the archive again without --sparse"
NO_FILES = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"]


@pytest.mark.parametrize(
    ("member", "message"),
    [
        *[(tar_header(name), LEADS_OUT) for name in ("/etc/passwd", "../a.JPEG", "val/../../a.JPEG")],
        *[(tar_header("c.JPEG", kind, linkname="/etc/passwd"), LINK) for kind in NO_FILES],
        (tar_header("c.JPEG", tarfile.GNUTYPE_SPARSE), SPARSE),
        (tar_header("c.JPEG", pax_headers={"GNU.sparse.map": "0,5", "GNU.sparse.size": "5"}), SPARSE),
    ],
)
def test_a_member_that_cannot_be_read_in_place_is_an_error(
    tmp_path: Path, member: tarfile.TarInfo, message: str
) -> None:
    """Links are not followed, nothing outside is read, and the bytes of a sparse file do not lie in one piece."""
    assert error_of(write_tar(tmp_path / "x.tar", FILES, member)) == f"PATH: member {member.name!r} {message}"


def long_header(kind: bytes, size: int) -> Callable[[bytes], bytes]:
    """Return what puts a header before the archive that says that its text has an impossible size."""
    return lambda data: tar_header("name", kind, size=size).tobuf(tarfile.GNU_FORMAT) + data


UNREADABLE = "PATH cannot be read as a tar archive: "
OTHER_BYTES = "PATH: expected nothing but zeros from its end at byte {:,} on, found other bytes; it is damaged, or"
ENDS_EARLY = "PATH ends early: expected 1,024 zero bytes as its end marker at byte {:,}, found {}; download it again"
PACKED = "PATH: expected an uncompressed archive, found {}; unpack it by {}"
DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", UNREADABLE),
    "gzip": (gzip.compress, PACKED.format("gzip", "gunzip")),
    "bzip2": (bz2.compress, PACKED.format("bzip2", "bunzip2")),
    "xz": (lzma.compress, PACKED.format("xz", "unxz")),
    "zstd": (lambda data: b"\x28\xb5\x2f\xfd" + data, PACKED.format("zstd", "unzstd")),
    "ends in a header": (lambda data: data[:1100], OTHER_BYTES.format(1024)),
    "ends in a member": (
        lambda data: data[:2000],
        f"PATH: member '{SECOND}/b.JPEG' ends at byte 2,536, but the archive at 2,000; download it again",
    ),
    "ends behind a member": (lambda data: data[:2560], ENDS_EARLY.format(2560, 0)),
    "ends in the end marker": (lambda data: data[:3072], ENDS_EARLY.format(2560, 512)),
    "wrong checksum": (lambda data: data[:1024] + b"?" + data[1025:], OTHER_BYTES.format(1024)),
    "joined": (lambda data: 2 * data, OTHER_BYTES.format(2560)),
    "negative size": (long_header(tarfile.REGTYPE, -512), "PATH: member 'name' has a size of -512; download or make "),
    "large name": (long_header(tarfile.GNUTYPE_LONGNAME, 2**40), f"{UNREADABLE}a header of {2**40} bytes; download"),
    "negative pax header": (long_header(tarfile.XHDTYPE, -1024), f"{UNREADABLE}a header of -1024 bytes; download"),
    "names without end": (
        lambda data: long_header(tarfile.GNUTYPE_LONGNAME, 4)(b"name".ljust(512, b"\0")) * 3000 + data,
        f"{UNREADABLE}maximum recursion depth exceeded",
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_archive_is_an_error(tmp_path: Path, damage: str) -> None:
    """Whatever tarfile makes of it: it takes a wrong checksum for the end, and reads as much as a header says."""
    change, message = DAMAGED[damage]
    path = write_tar(tmp_path / "x.tar", FILES)
    path.write_bytes(change(path.read_bytes()))

    assert error_of(path).startswith(message)


def test_the_end_of_an_archive_is_no_image(tmp_path: Path) -> None:
    """A member that should be longer than the archive is an error, and not a short image."""
    archive = FileSource.of(write_tar(tmp_path / "x.tar", FILES))

    with pytest.raises(OSError, match=r"^\[Errno 5\] it ends after 2 of 4 bytes$"):
        ArchiveSource(archive, "a.JPEG", offset=archive.size - 2, size=4).read()
