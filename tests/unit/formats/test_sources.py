"""Tests of harness.formats.sources: bytes of files and of members of archives; ParquetSource in test_parquet.py."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from harness.errors import DatasetError
from harness.formats.sources import ArchiveSource, FileSource, Source


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of ten bytes."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


def test_a_file_is_read_whole_and_a_member_in_place(file: Path) -> None:
    """A member that should be longer than the archive is an error, and not a short image."""
    source = FileSource.of(file)

    assert source.read() == b"0123456789"
    assert ArchiveSource(source, "member", offset=3, size=4).read() == b"3456"
    with pytest.raises(OSError, match=r"^\[Errno 5\] it ends after 2 of 4 bytes$"):
        ArchiveSource(source, "member", offset=8, size=4).read()


@pytest.mark.parametrize(("data", "later"), [(b"x", 0), (b"0123456789", 1)], ids=["size", "time"])
def test_a_file_that_changes_is_not_read(file: Path, data: bytes, later: int) -> None:
    """Another size or another time than when the dataset was opened: the bytes would be kept under a false name."""
    source = FileSource.of(file)
    file.write_bytes(data)
    os.utime(file, ns=(source.modified, source.modified + later))

    with pytest.raises(OSError, match="it has changed since the dataset was opened"):
        source.read()


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A dangling link is found when it is read; a pipe is an error before it is opened, or it would be waited for."""
    os.mkfifo(tmp_path / "pipe")
    missing = FileSource.of(tmp_path / "missing")

    with pytest.raises(FileNotFoundError):
        missing.read()
    with pytest.raises(DatasetError, match="pipe: expected a regular file, found a pipe; remove it"):
        FileSource.of(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        FileSource(str(tmp_path / "pipe"), 0, 0).read()


def test_identity_is_free_of_the_path(file: Path) -> None:
    """A set that is moved keeps its identity; one that is written anew, or lies elsewhere in an archive, does not."""
    before = FileSource.of(file)
    after = FileSource.of(file.rename(file.with_name("moved")))

    assert before.identity == after.identity
    assert ArchiveSource(before, "a", 1, 2).identity == ArchiveSource(after, "b", 1, 2).identity
    assert ArchiveSource(before, "a", 1, 2).identity != ArchiveSource(before, "a", 2, 2).identity
    assert before.identity != FileSource(before.path, before.size, before.modified + 1).identity
    assert before.identity != FileSource(before.path, before.size + 1, before.modified).identity


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (FileSource("a/b.JPEG", 1, 2), "a/b.JPEG"),
        (ArchiveSource(FileSource("val.tar", 1, 2), "b.JPEG", 3, 4), "val.tar: b.JPEG"),
    ],
    ids=["file", "archive"],
)
def test_sources_travel_and_have_names(source: Source, name: str) -> None:
    """A worker process gets what was sent, and messages can name it; it is read by itself."""
    assert pickle.loads(pickle.dumps(source)) == source
    assert str(source) == name
    assert source.neighbourhood is None
