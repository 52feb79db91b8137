"""Tests of the index that harness.formats.listings keeps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness.formats import listings
from harness.formats.listings import indexed
from harness.formats.sources import FileSource

ENTRIES = [["a", 512], ["\xe4", 2**40]]


class Finder:
    """Finds the entries, and counts how often it had to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, archive: FileSource) -> list[list[Any]]:
        """Return the entries of any archive."""
        assert archive.size >= 0
        self.calls += 1
        return list(ENTRIES)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A file to be listed."""
    path = tmp_path / "some.tar"
    path.write_bytes(b"contents")
    return path


def index_of(cache: Path) -> Path:
    """Return the one index that is kept."""
    [kept] = (cache / "indexes").iterdir()
    return kept


def test_a_listing_is_kept(archive: Path) -> None:
    """The second time the archive is not listed again, and the entries are equal."""
    find = Finder()

    first = indexed(FileSource.of(archive), "tar", find)
    second = indexed(FileSource.of(archive), "tar", find)

    assert (first, second, find.calls) == (ENTRIES, ENTRIES, 1)


def test_a_relative_path_has_the_index_of_the_absolute_one(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the run is started does not matter."""
    find = Finder()
    indexed(FileSource.of(archive), "tar", find)
    monkeypatch.chdir(archive.parent)

    indexed(FileSource.of(archive.name), "tar", find)

    assert find.calls == 1


def test_an_archive_of_another_size_is_listed_again(archive: Path) -> None:
    """The same time does not hide another size."""
    find = Finder()
    indexed(FileSource.of(archive), "tar", find)
    modified = archive.stat().st_mtime_ns
    archive.write_bytes(b"longer contents")
    os.utime(archive, ns=(modified, modified))

    indexed(FileSource.of(archive), "tar", find)

    assert find.calls == 2


def test_an_archive_of_another_time_is_listed_again(archive: Path) -> None:
    """The same size does not hide another time."""
    find = Finder()
    indexed(FileSource.of(archive), "tar", find)
    os.utime(archive, ns=(1, 1))

    indexed(FileSource.of(archive), "tar", find)

    assert find.calls == 2


def test_two_kinds_of_listing_do_not_meet(archive: Path) -> None:
    """One archive may be listed in two ways, and both listings are kept."""
    find = Finder()

    for kind in ("tar", "webdataset", "tar", "webdataset"):
        indexed(FileSource.of(archive), kind, find)

    assert find.calls == 2


def test_another_format_is_made_anew(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of another version of the module is not used."""
    find = Finder()
    indexed(FileSource.of(archive), "tar", find)
    monkeypatch.setattr(listings, "FORMAT", listings.FORMAT + 1)

    indexed(FileSource.of(archive), "tar", find)

    assert find.calls == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "head", "nested", "no UTF-8"])
def test_a_damaged_index_is_made_anew(archive: Path, cache: Path, damage: str) -> None:
    """Whatever is wrong with it, the archive is listed again and a right index takes its place."""
    find = Finder()
    indexed(FileSource.of(archive), "tar", find)
    path = index_of(cache)
    right = path.read_bytes()
    path.write_bytes(
        {
            "cut": right[:-5],
            "changed": right.replace(b"512", b"513"),
            "empty": b"",
            "head": b"[1, 2]\n" + right,
            "nested": b"[" * 100_000,
            "no UTF-8": b"\xff\xfe" + right,
        }[damage]
    )

    again = indexed(FileSource.of(archive), "tar", find)

    assert (again, find.calls) == (ENTRIES, 2)
    assert index_of(cache).read_bytes() == right


def test_a_cache_that_cannot_be_written_does_not_stop_the_run(archive: Path, cache: Path) -> None:
    """A file where the folder should be costs time, nothing else."""
    (cache / "indexes").write_text("in the way")
    find = Finder()

    entries = indexed(FileSource.of(archive), "tar", find)

    assert (entries, find.calls) == (ENTRIES, 1)


def test_a_disk_that_is_full_leaves_nothing_behind(archive: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be moved into place is removed."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)

    assert indexed(FileSource.of(archive), "tar", Finder()) == ENTRIES
    assert list((cache / "indexes").iterdir()) == []
