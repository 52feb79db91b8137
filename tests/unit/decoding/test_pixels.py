"""Tests of harness.decoding.folder: rows that are present, missing or damaged, and full disks."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xxhash
from numpy.typing import NDArray

from harness.decoding.folder import Files, Pixels
from harness.errors import StoreError

ROWS, SIDE = 5, 4
ROW_BYTES = SIDE * SIDE * 3
EVERY = np.arange(ROWS)


def crop(seed: int) -> NDArray[np.uint8]:
    """Return an image of noise."""
    return np.random.RandomState(seed).randint(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def hash_of(seed: int) -> bytes:
    """Return the hash of its pixels."""
    return xxhash.xxh3_128_digest(crop(seed).tobytes())


def read(pixels: Pixels, first: int = 0, rows: int = ROWS) -> tuple[list[bytes | None], NDArray[np.uint8]]:
    """Return the hashes of rows that were read together, and the rows."""
    into = np.empty((rows, SIDE, SIDE, 3), np.uint8)
    return pixels.read(first, into), into


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Five small rows."""
    return Files(tmp_path, ROWS, ROW_BYTES)


@pytest.fixture
def pixels(files: Files) -> Iterator[Pixels]:
    """Five rows, of which 1 and 3 are present."""
    files.prepare()
    with Pixels(files) as opened:
        opened.write(1, crop(1))
        opened.write(3, crop(3))
        yield opened


def test_what_was_written_is_read(pixels: Pixels, tmp_path: Path) -> None:
    """Rows come back bit for bit, a view as it looks; the file is a plain array that anything can read."""
    pixels.write(0, crop(0)[:, ::-1])

    hashes, images = read(pixels)

    array = np.fromfile(tmp_path / "pixels", np.uint8).reshape(ROWS, SIDE, SIDE, 3)
    assert hashes[1:] == [hash_of(1), None, hash_of(3), None]
    assert np.array_equal(images[[0, 1, 3]], [crop(0)[:, ::-1], crop(1), crop(3)])
    assert np.array_equal(images, array)
    assert not array[[2, 4]].any()


def test_missing_rows_are_known(pixels: Pixels) -> None:
    """Among any rows, those are missing that were never written or were forgotten."""
    assert pixels.missing(EVERY).tolist() == [0, 2, 4]
    assert pixels.missing(np.array([3, 4])).tolist() == [4]

    pixels.forget(3)

    assert pixels.missing(EVERY).tolist() == [0, 2, 3, 4]


@pytest.mark.parametrize("name", ["pixels", "hashes"])
@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_is_found(pixels: Pixels, name: str, bit: int, tmp_path: Path) -> None:
    """One bit of a row's pixels or of its hash, and the row is not what was written; the others are."""
    data = bytearray((tmp_path / name).read_bytes())
    data[-2 * len(data) // (ROWS + (name == "hashes")) + 5] ^= 1 << bit
    (tmp_path / name).write_bytes(data)

    hashes, _ = read(pixels)
    assert hashes == [None, hash_of(1), None, None, None]


def test_of_rows_read_together_only_the_damaged_one_is(pixels: Pixels, tmp_path: Path) -> None:
    """A file that ends within a row, or a disk that cannot read one, does not make those before it damaged."""
    pixels.write(2, crop(2))
    os.truncate(tmp_path / "pixels", ROW_BYTES * 3 + 1)

    hashes, images = read(pixels, first=1, rows=3)
    assert hashes == [hash_of(1), hash_of(2), None]
    assert np.array_equal(images[:2], [crop(1), crop(2)])


def test_a_disk_that_cannot_read_is_damage(pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that cannot be read is to be decoded again, like one that differs."""

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(pixels, "_pixels", SimpleNamespace(seek=fail))

    assert read(pixels)[0] == [None] * ROWS


@pytest.mark.parametrize("left", [0, ROW_BYTES * 3 + 1, ROW_BYTES * 2])
def test_rows_that_were_cut_off_are_missing(pixels: Pixels, files: Files, left: int) -> None:
    """A file that was cut short is seen, brought to its length, and what was cut off is to be decoded again."""
    os.truncate(files.folder / "pixels", left)

    was_prepared = files.are_prepared()
    files.prepare()

    kept = [row for row in (1, 3) if (row + 1) * ROW_BYTES <= left]
    assert (was_prepared, files.are_prepared()) == (False, True)
    assert read(pixels)[0] == [hash_of(row) if row in kept else None for row in range(ROWS)]
    assert pixels.missing(EVERY).tolist() == [row for row in range(ROWS) if row not in kept]


@pytest.mark.usefixtures("pixels")
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_store_that_cannot_be_written_can_be_read(number: int, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without write permission the files are opened for reading."""
    plain = os.open

    def guarded(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(number, os.strerror(number))
        return plain(path, flags, *mode)

    monkeypatch.setattr(os, "open", guarded)

    with Pixels(files) as reading:
        assert read(reading)[0][1] == hash_of(1)
        with pytest.raises(OSError, match="not open for writing"):
            reading.write(0, crop(0))


def test_reserving_allocates_the_blocks_of_the_missing_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of no others, and only once: a build that was killed goes on, also where nothing is free any more."""
    files = Files(tmp_path, 100, 30_000)
    files.prepare()
    with Pixels(files) as pixels:
        before = (tmp_path / "pixels").stat()
        pixels.reserve(np.r_[0:10, 50:60])
        after = (tmp_path / "pixels").stat()
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
        pixels.reserve(np.r_[0:10, 50:60])

    assert before.st_blocks == 0
    assert 20 * 30_000 <= after.st_blocks * 512 <= 20 * 30_000 + 4 * 4096
    assert before.st_size == after.st_size == 100 * 30_000


FULL = pytest.raises(StoreError, match=r"^not enough disk space for decoded images")


@pytest.mark.parametrize(
    ("number", "outcome"), [(errno.ENOSPC, FULL), (errno.EDQUOT, FULL), (errno.EOPNOTSUPP, nullcontext())]
)
def test_a_quota_is_reported_too(
    pixels: Pixels, number: int, outcome: AbstractContextManager[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows only when blocks are allocated; a file system that cannot do that is used all the same."""

    def fail(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", fail)

    with outcome:
        pixels.reserve(np.array([0, 2, 4]))


def test_rows_by_pillow_are_read_sorted_and_once(files: Files) -> None:
    """A torn line, as a killed build can leave, is no row; without the file there are none."""
    before = files.rows_by_pillow()
    (files.folder / "by-pillow").write_bytes(b"30\n4\n5\n4\n\xff\xfe7\n1x")

    assert (before, files.rows_by_pillow()) == ([], [4, 5, 30])
