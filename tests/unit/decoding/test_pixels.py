"""Tests of harness.decoding.folder: rows that are present, missing or damaged, and full disks."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xxhash
from numpy.typing import NDArray

from harness.decoding.folder import Files, Pixels, runs
from harness.errors import StoreError

ROWS, SIDE = 5, 4
ROW_BYTES = SIDE * SIDE * 3


def crop(seed: int) -> NDArray[np.uint8]:
    """Return an image of noise."""
    return np.random.RandomState(seed).randint(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def files(folder: Path) -> Files:
    """Return five small rows."""
    return Files(folder, ROWS, ROW_BYTES)


def large(folder: Path) -> Files:
    """Return 100 rows of 30 kB."""
    return Files(folder, 100, 30_000)


def rows(*numbers: int) -> NDArray[np.int64]:
    """Return the numbers as an array."""
    return np.array(numbers, dtype=np.int64)


@pytest.fixture
def pixels(tmp_path: Path) -> Iterator[Pixels]:
    """Five rows, of which 1 and 3 are present."""
    files(tmp_path).prepare()
    with Pixels(files(tmp_path)) as opened:
        opened.write(1, crop(1))
        opened.write(3, crop(3))
        yield opened


def holds(pixels: Pixels, row: int, image: NDArray[np.uint8]) -> bool:
    """Return whether a row is read as it was written, and is this image."""
    found = np.empty((1, SIDE, SIDE, 3), np.uint8)
    return pixels.read(row, found) != [None] and np.array_equal(found[0], image)


def readable(pixels: Pixels, row: int) -> bool:
    """Return whether a row is read as it was written."""
    return pixels.read(row, np.empty((1, SIDE, SIDE, 3), np.uint8)) != [None]


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
    data[-2 * len(data) // (ROWS + (name == "hashes")) + 5] ^= 1 << bit
    (tmp_path / name).write_bytes(data)

    assert not readable(pixels, 3)
    assert holds(pixels, 1, crop(1))


def test_a_disk_that_cannot_read_is_damage(pixels: Pixels) -> None:
    """A row that cannot be read is to be decoded again, like one that differs."""

    class Failing(io.FileIO):
        def readinto(self, _: object) -> int:
            raise OSError(errno.EIO, "Input/output error")

    failing = Failing(pixels.files.folder / "pixels")
    pixels._pixels.close()
    pixels._pixels = failing

    assert pixels.read(1, np.empty((3, SIDE, SIDE, 3), np.uint8)) == [None, None, None]
    failing.close()


def test_of_rows_read_together_only_the_damaged_one_is(pixels: Pixels, tmp_path: Path) -> None:
    """A file that ends within a row, or a disk that cannot read one, does not make those before it damaged."""
    pixels.write(2, crop(2))
    os.truncate(tmp_path / "pixels", ROW_BYTES * 3 + 1)
    into = np.empty((3, SIDE, SIDE, 3), np.uint8)

    hashes = pixels.read(1, into)

    assert hashes[:2] == [xxhash.xxh3_128_digest(crop(row).tobytes()) for row in (1, 2)]
    assert hashes[2] is None
    assert np.array_equal(into[:2], [crop(1), crop(2)])


@pytest.mark.parametrize(
    ("numbers", "longest", "expected"),
    [
        ([], None, []),
        ([3, 4, 5, 9, 11, 12], None, [[3, 4, 5], [9], [11, 12]]),
        ([3, 4, 5, 9, 11, 12], 2, [[3, 4], [5], [9], [11, 12]]),
    ],
)
def test_runs(numbers: list[int], longest: int | None, expected: list[list[int]]) -> None:
    """Consecutive numbers belong together."""
    assert expected == [rows(*numbers)[run].tolist() for run in runs(rows(*numbers), longest)]


def test_a_hash_is_that_of_the_pixels_alone(pixels: Pixels) -> None:
    """The same image has the same hash in any row, so that two runs can be compared image by image."""
    pixels.write(0, crop(3))

    hashes = pixels.read(0, np.empty((4, SIDE, SIDE, 3), np.uint8))

    assert hashes[2] is None
    assert hashes[0] == hashes[3] == xxhash.xxh3_128_digest(crop(3).tobytes())
    assert hashes[1] != hashes[3]


@pytest.mark.parametrize("left", [0, ROW_BYTES * 3 + 1, ROW_BYTES * 2])
def test_rows_that_were_cut_off_are_missing(pixels: Pixels, left: int, tmp_path: Path) -> None:
    """A file that was cut short is seen, brought to its length, and what was cut off is to be decoded again."""
    os.truncate(tmp_path / "pixels", left)

    was_prepared = files(tmp_path).are_prepared()
    while_open = readable(pixels, 3)
    files(tmp_path).prepare()

    assert not was_prepared
    assert not while_open
    assert files(tmp_path).are_prepared()
    kept = [row for row in (1, 3) if (row + 1) * ROW_BYTES <= left]
    assert pixels.missing(rows(0, 1, 2, 3, 4)).tolist() == [row for row in range(ROWS) if row not in kept]
    assert all(holds(pixels, row, crop(row)) for row in kept)


def test_preparing_again_changes_nothing(pixels: Pixels, tmp_path: Path) -> None:
    """A store that is whole stays as it is."""
    before = (tmp_path / "pixels").read_bytes(), (tmp_path / "hashes").read_bytes()

    files(tmp_path).prepare()

    assert before == ((tmp_path / "pixels").read_bytes(), (tmp_path / "hashes").read_bytes())
    assert pixels.missing(rows(1, 3)).tolist() == []


def test_nothing_there_is_not_prepared(tmp_path: Path) -> None:
    """An empty folder, or none, holds no pixels."""
    assert not files(tmp_path).are_prepared()
    assert not files(tmp_path / "missing").are_prepared()


@pytest.mark.usefixtures("pixels")
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_store_that_cannot_be_written_can_be_read(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without write permission the files are opened for reading."""
    plain = os.open

    def guarded(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(number, os.strerror(number))
        return plain(path, flags, *mode)

    monkeypatch.setattr(os, "open", guarded)

    with Pixels(files(tmp_path)) as reading:
        assert holds(reading, 1, crop(1))
        with pytest.raises(OSError, match="not open for writing"):
            reading.write(0, crop(0))


def test_reserving_allocates_the_blocks_of_the_missing_rows(tmp_path: Path) -> None:
    """Disk blocks are taken for the rows that are to come, and for no others."""
    large(tmp_path).prepare()
    with Pixels(large(tmp_path)) as pixels:
        before = (tmp_path / "pixels").stat().st_blocks * 512
        pixels.reserve(rows(*range(10), *range(50, 60)))
        after = (tmp_path / "pixels").stat().st_blocks * 512

    assert before == 0
    assert 20 * 30_000 <= after <= 20 * 30_000 + 4 * 4096
    assert (tmp_path / "pixels").stat().st_size == 100 * 30_000


def disk_is_left(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk have so many bytes free."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))


def test_a_full_disk_is_reported_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed, what is free, and what to do."""
    large(tmp_path).prepare()
    disk_is_left(2_999_999, monkeypatch)

    message = r"^not enough disk space .* \(No space left on device\): 3,000,000 bytes are needed and 2,999,999 are"
    with Pixels(large(tmp_path)) as pixels, pytest.raises(StoreError, match=message):
        pixels.reserve(rows(*range(100)))
    assert not tmp_path.exists()


def test_what_an_earlier_build_has_allocated_is_not_needed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that was killed goes on, also where nothing is free any more."""
    large(tmp_path).prepare()
    with Pixels(large(tmp_path)) as pixels:
        pixels.reserve(rows(*range(100)))
        disk_is_left(0, monkeypatch)

        pixels.reserve(rows(*range(100)))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_quota_is_reported_too(pixels: Pixels, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota shows only when blocks are allocated."""

    def fail(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", fail)

    with pytest.raises(StoreError, match=r"^not enough disk space for decoded images"):
        pixels.reserve(rows(0, 2, 4))


def test_a_file_system_that_cannot_allocate_ahead_is_used(pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is then an error of a later write."""

    def fail(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", fail)

    pixels.reserve(rows(0, 2, 4))


def test_rows_by_pillow_are_read_sorted_and_once(tmp_path: Path) -> None:
    """A torn line, as a killed build can leave, is no row; without the file there are none."""
    before = files(tmp_path).rows_by_pillow()
    (tmp_path / "by-pillow").write_bytes(b"30\n4\n5\n4\n\xff\xfe7\n1x")

    assert (before, files(tmp_path).rows_by_pillow()) == ([], [4, 5, 30])
