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


def test_a_file_is_read_whole(file: Path) -> None:
    """The bytes are the file's."""
    assert FileSource.of(file).read() == b"0123456789"


def test_a_member_is_read_in_place(file: Path) -> None:
    """The bytes are those from the offset on."""
    assert ArchiveSource(FileSource.of(file), "member", offset=3, size=4).read() == b"3456"


def test_the_end_of_an_archive_is_no_image(file: Path) -> None:
    """A member that should be longer than the archive is an error, and not a short image."""
    with pytest.raises(OSError, match=r"^\[Errno 5\] it ends after 2 of 4 bytes$"):
        ArchiveSource(FileSource.of(file), "member", offset=8, size=4).read()


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_file_that_changes_is_not_read(file: Path, change: str) -> None:
    """Another size or another time than when the dataset was opened: the bytes would be kept under a false name."""
    source = FileSource.of(file)
    if change == "size":
        file.write_bytes(b"x")
        os.utime(file, ns=(source.modified, source.modified))
    else:
        os.utime(file, ns=(source.modified + 1, source.modified + 1))

    with pytest.raises(OSError, match="it has changed since the dataset was opened"):
        source.read()


def test_a_file_that_is_missing_can_be_listed_but_not_read(tmp_path: Path) -> None:
    """A dangling link is found when it is read."""
    source = FileSource.of(tmp_path / "missing")

    with pytest.raises(FileNotFoundError):
        source.read()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """What is no regular file is an error before it is opened."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(DatasetError, match="pipe: expected a regular file, found a pipe; remove it"):
        FileSource.of(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        FileSource(str(tmp_path / "pipe"), 0, 0).read()


def test_identity_is_free_of_the_place(file: Path) -> None:
    """A set that is moved keeps its identity; one that is written anew, or lies elsewhere in an archive, does not."""
    before = FileSource.of(file)
    moved = file.rename(file.with_name("moved"))
    after = FileSource.of(moved)

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
