"""Tests of harness.data.pixels: rows that are there, missing, damaged, or have no room."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.data.pixels import Pixels
from harness.errors import StoreError

ROWS, SIDE = 5, 4
ROW_BYTES = SIDE * SIDE * 3


def crop(seed: int) -> NDArray[np.uint8]:
    """Return an image of noise."""
    return np.random.RandomState(seed).randint(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def rows(*numbers: int) -> NDArray[np.int64]:
    """Return the numbers as an array."""
    return np.array(numbers, dtype=np.int64)


@pytest.fixture
def pixels(tmp_path: Path) -> Iterator[Pixels]:
    """Five rows, of which 1 and 3 are there."""
    Pixels.prepare(tmp_path, ROWS, SIDE)
    with Pixels(tmp_path, ROWS, SIDE) as opened:
        opened.write(1, crop(1))
        opened.write(3, crop(3))
        yield opened


def holds(pixels: Pixels, row: int, image: NDArray[np.uint8]) -> bool:
    """Tell whether a row is read as it was written, and is this image."""
    found = np.empty((SIDE, SIDE, 3), np.uint8)
    return pixels.read(row, found) is not None and np.array_equal(found, image)


def readable(pixels: Pixels, row: int) -> bool:
    """Tell whether a row is read as it was written."""
    return pixels.read(row, np.empty((SIDE, SIDE, 3), np.uint8)) is not None


def test_what_was_written_is_read(pixels: Pixels, tmp_path: Path) -> None:
    """Rows come back bit for bit, and the file is a plain array that anything can read."""
    array = np.fromfile(tmp_path / "pixels", np.uint8).reshape(ROWS, SIDE, SIDE, 3)

    assert holds(pixels, 3, crop(3))
    assert np.array_equal(array[[1, 3]], [crop(1), crop(3)])
    assert not array[[0, 2, 4]].any()


def test_an_array_that_is_not_contiguous_is_written_in_its_order(pixels: Pixels) -> None:
    """A view is written as it looks."""
    pixels.write(0, crop(7)[:, ::-1])

    assert holds(pixels, 0, crop(7)[:, ::-1])


def test_missing_rows_are_known(pixels: Pixels) -> None:
    """Among any rows, those are missing that were never written or were forgotten."""
    assert pixels.missing(rows(0, 1, 2, 3, 4)).tolist() == [0, 2, 4]
    assert pixels.missing(rows(1, 3)).tolist() == []
    assert pixels.missing(rows(3, 4)).tolist() == [4]

    pixels.forget(3)

    assert pixels.missing(rows(1, 3)).tolist() == [3]
    assert not readable(pixels, 0)


@pytest.mark.parametrize("name", ["pixels", "hashes"])
@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_is_found(pixels: Pixels, name: str, bit: int, tmp_path: Path) -> None:
    """One bit of a row's pixels or of its hash, and the row is not what was written; the others are."""
    data = bytearray((tmp_path / name).read_bytes())
    data[3 * len(data) // ROWS + 5] ^= 1 << bit
    (tmp_path / name).write_bytes(data)

    assert not readable(pixels, 3)
    assert holds(pixels, 1, crop(1))


def test_a_disk_that_cannot_read_is_damage(pixels: Pixels) -> None:
    """A row that cannot be read is to be decoded again, like one that differs."""

    class Failing(io.FileIO):
        def readinto(self, _: object) -> int:
            raise OSError(errno.EIO, "Input/output error")

    failing = Failing(pixels.folder / "pixels")
    pixels._pixels.close()
    pixels._pixels = failing

    assert not readable(pixels, 3)


def test_a_hash_is_that_of_the_pixels_alone(pixels: Pixels) -> None:
    """The same image has the same hash in any row, so that two runs can be compared image by image."""
    pixels.write(0, crop(3))

    hashes = pixels.hashes()

    assert np.array_equal(hashes[0], hashes[3])
    assert not np.array_equal(hashes[1], hashes[3])
    assert hashes.shape == (ROWS, 16)


@pytest.mark.parametrize("left", [0, ROW_BYTES * 3 + 1, ROW_BYTES * 2])
def test_rows_that_were_cut_off_are_missing(pixels: Pixels, left: int, tmp_path: Path) -> None:
    """A file that was cut short is seen, brought to its length, and what was cut off is to be decoded again."""
    os.truncate(tmp_path / "pixels", left)

    was_prepared = Pixels.prepared(tmp_path, ROWS, SIDE)
    while_open = readable(pixels, 3)
    Pixels.prepare(tmp_path, ROWS, SIDE)

    assert not was_prepared
    assert not while_open
    assert Pixels.prepared(tmp_path, ROWS, SIDE)
    kept = [row for row in (1, 3) if (row + 1) * ROW_BYTES <= left]
    assert pixels.missing(rows(0, 1, 2, 3, 4)).tolist() == [row for row in range(ROWS) if row not in kept]
    assert all(holds(pixels, row, crop(row)) for row in kept)


def test_preparing_again_changes_nothing(pixels: Pixels, tmp_path: Path) -> None:
    """A store that is whole stays as it is."""
    before = (tmp_path / "pixels").read_bytes(), (tmp_path / "hashes").read_bytes()

    Pixels.prepare(tmp_path, ROWS, SIDE)

    assert before == ((tmp_path / "pixels").read_bytes(), (tmp_path / "hashes").read_bytes())
    assert pixels.missing(rows(1, 3)).tolist() == []


def test_nothing_there_is_not_prepared(tmp_path: Path) -> None:
    """An empty folder, or none, holds no pixels."""
    assert not Pixels.prepared(tmp_path, ROWS, SIDE)
    assert not Pixels.prepared(tmp_path / "missing", ROWS, SIDE)


@pytest.mark.usefixtures("pixels")
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_store_that_cannot_be_written_can_be_read(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without write permission the files are opened for reading."""
    plain = io.FileIO

    def guarded(path: Path, mode: str) -> io.FileIO:
        if mode != "r":
            raise OSError(number, os.strerror(number))
        return plain(path, mode)

    monkeypatch.setattr(io, "FileIO", guarded)

    with Pixels(tmp_path, ROWS, SIDE) as reading:
        assert holds(reading, 1, crop(1))
        with pytest.raises(OSError, match="not open for writing"):
            reading.write(0, crop(0))


def test_reserving_claims_the_blocks_of_the_missing_rows(tmp_path: Path) -> None:
    """Disk blocks are taken for the rows that are to come, and for no others."""
    Pixels.prepare(tmp_path, 100, 100)
    with Pixels(tmp_path, 100, 100) as pixels:
        before = (tmp_path / "pixels").stat().st_blocks * 512
        pixels.reserve(rows(*range(10), *range(50, 60)))
        after = (tmp_path / "pixels").stat().st_blocks * 512

    assert before == 0
    assert 20 * 30_000 <= after <= 20 * 30_000 + 4 * 4096
    assert (tmp_path / "pixels").stat().st_size == 100 * 30_000


def test_no_room_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed, what is free, and what to do."""
    Pixels.prepare(tmp_path, 100, 100)
    monkeypatch.setattr(Pixels, "_free", lambda _: 2_999_999)

    message = r"^no room to keep decoded images in .*: 0\.00 GB are needed and 0\.00 GB are free; point --store at "
    with Pixels(tmp_path, 100, 100) as pixels, pytest.raises(StoreError, match=message):
        pixels.reserve(rows(*range(100)))


def test_what_an_earlier_build_has_claimed_is_not_needed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that was killed goes on, also where nothing is free any more."""
    Pixels.prepare(tmp_path, 100, 100)
    with Pixels(tmp_path, 100, 100) as pixels:
        pixels.reserve(rows(*range(100)))
        monkeypatch.setattr(Pixels, "_free", lambda _: 0)

        pixels.reserve(rows(*range(100)))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_after_all_is_told_too(pixels: Pixels, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota shows only when blocks are claimed."""

    def refuse(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)

    with pytest.raises(StoreError, match=r"^no room to keep decoded images"):
        pixels.reserve(rows(0, 2, 4))


def test_a_file_system_that_cannot_claim_blocks_will_do(pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a full disk is met when it is."""

    def refuse(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)

    pixels.reserve(rows(0, 2, 4))
