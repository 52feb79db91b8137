"""Tests of the index of an archive's contents, which harness.formats.listings keeps in the cache folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.dataset import open_dataset
from harness.errors import DatasetError
from harness.formats import listings
from tests.archives import write_parquet, write_tar

WNID = "n01440764"
IDS = ("a.JPEG", "\xe4.JPEG")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of two images."""
    return write_tar(tmp_path / "some.tar", {f"{WNID}/{name}": b"" for name in IDS})


def garble(archive: Path, *, more: int = 0, later: int = 0) -> None:
    """Overwrite an archive, so that it cannot be listed, with its size and time as they were or so much more."""
    before = archive.stat()
    archive.write_bytes(b"?" * (before.st_size + more))
    os.utime(archive, ns=(before.st_atime_ns, before.st_mtime_ns + later))


def write_table(root: Path) -> Path:
    """Write a Parquet shard, if that is possible."""
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    return write_parquet(root / "x.parquet", [(b"", "a.JPEG", 7)])


KINDS: dict[str, Callable[[Path], Path]] = {
    "tar": lambda root: write_tar(root / "x.tar", {f"{WNID}/a.JPEG": b""}),
    "WebDataset": lambda root: write_tar(root / "x.tar", {"a.jpeg": b"", "a.cls": b"7"}),
    "Parquet": write_table,
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_listed_once(tmp_path: Path, kind: str) -> None:
    """Afterwards neither its members nor their labels are read."""
    path = KINDS[kind](tmp_path)
    first = open_dataset(path)
    garble(path)

    second = open_dataset(path)

    assert (first.ids, first.sources, first.digest) == (second.ids, second.sources, second.digest)


def test_a_relative_path_has_the_index_of_the_absolute_one(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the run is started does not matter."""
    open_dataset(archive)
    garble(archive)
    monkeypatch.chdir(archive.parent)

    assert open_dataset(archive.name).ids == IDS


@pytest.mark.parametrize(("more", "later", "version"), [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_an_archive_of_another_size_or_time_is_listed_again(
    archive: Path, monkeypatch: pytest.MonkeyPatch, more: int, later: int, version: int
) -> None:
    """Neither hides the other; nor is an index of another version of the module used."""
    open_dataset(archive)
    garble(archive, more=more, later=later)
    monkeypatch.setattr(listings, "FORMAT", listings.FORMAT + version)

    with pytest.raises(DatasetError, match="cannot be read as a tar archive"):
        open_dataset(archive)


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda right: right[:-5],
    "changed": lambda right: right.replace(b"512", b"513"),
    "empty": lambda _right: b"",
    "head": lambda right: b"[1, 2]\n" + right,
    "nested": lambda _right: b"[" * 100_000,
    "no UTF-8": lambda right: b"\xff\xfe" + right,
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_index_is_made_anew(archive: Path, cache: Path, damage: str) -> None:
    """Whatever is wrong with it, the archive is listed again and a right index takes its place."""
    first = open_dataset(archive)
    [index] = (cache / "indexes").iterdir()
    right = index.read_bytes()
    index.write_bytes(DAMAGED[damage](right))

    second = open_dataset(archive)

    assert first.sources == second.sources
    assert index.read_bytes() == right


def test_a_cache_that_cannot_be_written_does_not_stop_the_run(archive: Path, cache: Path) -> None:
    """A file where the folder should be costs time, nothing else."""
    (cache / "indexes").write_text("in the way")

    assert open_dataset(archive).ids == IDS


def test_a_disk_that_is_full_leaves_nothing_behind(archive: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be moved into place is removed."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)

    assert open_dataset(archive).ids == IDS
    assert list((cache / "indexes").iterdir()) == []
