"""Tests of harness.decoding.store: images that are decoded, shared, changed, or cannot be had."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import xxhash
from filelock import FileLock
from numpy.typing import NDArray

from harness.dataset import ImageDataset, open_dataset
from harness.decoding import decoders
from harness.decoding import store as module
from harness.decoding.decoders import Decoded, crop_image
from harness.decoding.folder import Files
from harness.decoding.store import DecodedImages, Job, decode_rows, describe
from harness.errors import DatasetError, StoreError
from harness.formats.sources import FileSource, ParquetSource
from harness.options import Decoder
from tests.images import noise, save
from tests.unit.decoding.conftest import GEOMETRY, Opened

ROW = 28 * 28 * 3
ALL = slice(0, 37)

Unreadable = list[tuple[int, str]]


def crops(dataset: ImageDataset) -> NDArray[np.uint8]:
    """Return what the dataset's pixels have to be."""
    return np.stack([crop_image(source.read(), GEOMETRY) for source in dataset.sources])


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """Another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def missing(key: Path) -> list[int]:
    """Return the rows that were not written."""
    return np.flatnonzero(~np.fromfile(key / "hashes", np.uint8).reshape(38, 16)[1:].any(axis=1)).tolist()


def begin(decoded: DecodedImages, key: Path) -> None:
    """Begin to decode in the background, and wait for the first image."""
    decoded.begin()
    deadline = time.monotonic() + 30
    hashes = key / "hashes"
    while not hashes.exists() or hashes.stat().st_size < 38 * 16 or 0 in missing(key):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_images_are_read_in_order(dataset: ImageDataset, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any rows, also into a buffer, and also in a run that decodes nothing.

    The hashes are XXH3 of the crops, which anybody can compute; they and the samples are zeros of images not read.
    """
    read = crops(dataset)[:36]
    hashes = b"".join(xxhash.xxh3_128_digest(crop.tobytes()) for crop in read)
    for _ in range(2):
        decoded, buffer = opened(), np.zeros((6, 28, 28, 3), np.uint8)

        batches = [decoded.read(slice(first, first + 10)) for first in (0, 10, 20)]
        returned = decoded.read(slice(30, 36), buffer)

        assert returned is buffer
        assert np.array_equal(np.concatenate([*batches, buffer]), read)
        assert decoded.ids == dataset.ids
        assert decoded.hashes.tobytes() == hashes + bytes(16)
        assert np.array_equal(decoded.samples[:36], read[:, 3::7, 3::7])
        assert not decoded.samples[36].any()
        monkeypatch.setattr(module, "decode_rows", None)


def test_a_subset_is_part_of_the_whole(dataset: ImageDataset, opened: Opened, key: Path) -> None:
    """Ten images decode ten rows; the whole dataset decodes the other 27 and no more, and reads all.

    Progress is shown from its start, also where all was decoded before somebody waits; once, and not without decoding.
    """
    part = dataset.subset(10)
    shown: list[tuple[int, ...]] = []
    again: list[tuple[int, ...]] = []

    few = opened(part).read(slice(0, 10))
    rows = missing(key)
    whole = opened(progress=lambda *numbers: shown.append(numbers))
    whole.begin().result()
    whole.finish()
    everything = whole.read(ALL)
    opened(progress=lambda *numbers: again.append(numbers)).finish()

    assert np.array_equal(few, crops(part))
    assert sorted({*range(37)} - {*rows}) == part.rows.tolist()
    assert np.array_equal(everything, crops(dataset))
    assert shown == [(10, 37), (37, 37)]
    assert again == []


def test_another_sample_is_decoded_anew_in_each_run(
    opened: Opened, dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 of the images that were there before, and of those just decoded; said once, and nothing of a new store."""
    decode = Mock(wraps=decoders.decode)
    monkeypatch.setattr(decoders, "decode", decode)  # in this process, not in those that fill the store
    notes = []
    for part in (dataset.subset(10), dataset, dataset, dataset):
        decoded = opened(part)
        decoded.read(slice(0, len(part)))
        notes.append([*decoded.notes(), *decoded.notes()])

    anew = [set(call.args[0]) for call in decode.call_args_list]
    assert list(map(len, anew)) == [10, 10, 22, 32, 32]
    assert anew[3] != anew[4]
    assert notes == [[], *([f"{images} stored images decoded again: identical"] for images in (10, 32, 32))]


def hold_all(jobs: list[Job], files: Files, *others: Any) -> Unreadable:
    """Decode as ever, but nothing after the first image before there is a file called ``go``."""
    while jobs[0][0] and not (files.folder / "go").exists():
        time.sleep(0.01)
    return decode_rows(jobs, files, *others)


def test_what_another_process_decodes_meanwhile_is_checked_too(
    opened: Opened, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor did it itself decode what its workers did: what changes decoding here, such as a conftest.py, is found."""
    monkeypatch.setattr(module, "decode_rows", hold_all)
    first, second = opened(), opened()
    begin(first, key)
    second.begin()
    time.sleep(0.3)
    monkeypatch.setattr(decoders, "crop_image", lambda *_: np.zeros((28, 28, 3), np.uint8))
    (key / "go").touch()

    message = r" images in the store .* differ from the stored pixels, .*conftest.py, ch"
    for one in (first, second):
        with pytest.raises(StoreError, match=message):
            one.finish()


def rows_of(key: Path, name: str) -> NDArray[np.uint8]:
    """Return the rows of a file of the store, which can be changed: images' pixels, or a mark and their hashes."""
    return np.memmap(key / name, np.uint8, "r+").reshape(-1, {"pixels": ROW, "hashes": 16}[name])


def flip(key: Path, *rows: int) -> None:
    """Flip the lowest bit of a byte in the pixels of each row."""
    rows_of(key, "pixels")[list(rows), 100] ^= 1


def swap(key: Path, *rows: int) -> None:
    """Swap the pixels of two images, and their hashes."""
    for name, first in (("pixels", 0), ("hashes", 1)):
        data = rows_of(key, name)[first:]
        data[list(rows)] = data[list(rows[::-1])]


@pytest.mark.parametrize("change", [flip, swap])
def test_changed_rows_are_found_named_and_repaired(
    dataset: ImageDataset, opened: Opened, key: Path, change: Callable[..., None]
) -> None:
    """Images that changed in the store are decoded again, named, and right in the next run."""
    first = opened()
    first.read(ALL)
    change(key, 7, 8)

    damaged, mended = opened(), opened()
    again = damaged.read(ALL)
    mended.read(ALL)

    assert np.array_equal(again, crops(dataset))
    assert sorted(damaged.repaired) == ["07.JPEG", "08.JPEG"]
    note = "changed in the store and decoded again: 2 of 37 images, the first of them 07.JPEG"
    assert damaged.notes()[1:] == [note]
    assert np.array_equal(damaged.hashes, first.hashes)
    assert np.array_equal(mended.hashes, first.hashes)
    assert mended.repaired == []


@pytest.mark.parametrize("left", [0, 20 * ROW, 20 * ROW + 5])
def test_pixels_that_are_cut_short_are_completed(dataset: ImageDataset, opened: Opened, key: Path, left: int) -> None:
    """While they are read, those that are gone are decoded again one by one; before that, by the workers."""
    reading = opened()
    reading.finish()
    os.truncate(key / "pixels", left)

    assert np.array_equal(reading.read(ALL), crops(dataset))
    assert sorted(reading.repaired) == [f"{row:02}.JPEG" for row in range(left // ROW, 37)]
    os.truncate(key / "pixels", left)
    later = opened()
    assert np.array_equal(later.read(ALL), crops(dataset))
    assert later.repaired == []


def test_rows_on_a_disk_that_fails_are_decoded_again(
    dataset: ImageDataset, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like those that differ, and also where they cannot be kept; with the image gone as well, that is an error."""
    opened().finish()
    failing = Mock(side_effect=OSError(errno.EIO, "Input/output error"))
    monkeypatch.setattr(io, "FileIO", type("Failing", (io.FileIO,), {"readinto": failing, "write": failing}))
    damaged = opened()

    assert np.array_equal(damaged.read(ALL), crops(dataset))
    assert len(damaged.repaired) == 37
    Path(str(dataset.sources[7])).unlink()
    message = r"^07.JPEG has changed in the store .* cannot be decoded again \(No such file"
    with pytest.raises(DatasetError, match=message):
        opened().read(slice(7, 8))


def test_the_folder_of_another_store_is_not_adopted(
    dataset: ImageDataset, opened: Opened, key: Path, tmp_path: Path
) -> None:
    """Moved to this one's folder it loses its rows, whatever its description says; the pool decodes them again."""
    opened().finish()
    for path in dataset.root.rglob("*.JPEG"):
        save(noise(int(path.stem) + 100), path)
    other = open_dataset(dataset.root)
    where = tmp_path / "store" / describe(other, GEOMETRY, Decoder()).key
    shutil.copytree(key, where)
    described = opened(other)
    first = described.read(ALL)
    shutil.copytree(key, where, dirs_exist_ok=True, ignore=shutil.ignore_patterns("store.json"))
    in_disguise = opened(other)

    assert np.array_equal(first, crops(other))
    assert np.array_equal(in_disguise.read(ALL), crops(other))
    assert described.repaired == in_disguise.repaired == []


@pytest.mark.parametrize("name", ["pixels", "hashes", "store.json"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_special_files_in_a_store_are_no_store(
    opened: Opened, key: Path, name: str, make: Callable[[Path], None]
) -> None:
    """One sentence rather than a wait without end or a full memory."""
    opened().finish()
    (key / name).unlink()
    make(key / name)

    with pytest.raises(
        StoreError, match=rf"^decoded images cannot be kept in .*: {key / name}; point --store at a folder that "
    ):
        opened().finish()


@pytest.mark.parametrize(("rows", "more"), [(range(3, 4), ""), (range(3, 8), ""), (range(3, 10), "; and 2 more")])
def test_unreadable_images_are_named_and_fail_every_model(
    dataset: ImageDataset, opened: Opened, key: Path, monkeypatch: pytest.MonkeyPatch, rows: range, more: str
) -> None:
    """All are counted, the first are named, and the others decoded; the second model fails at once like the first."""
    sources = list(dataset.sources)
    for row in rows:
        Path(str(sources[row])).write_bytes(b"no image")
        sources[row] = FileSource.of(str(sources[row]))
    decoded = opened(replace(dataset, sources=tuple(sources)))

    with pytest.raises(DatasetError) as first:
        decoded.finish()
    monkeypatch.setattr(module, "decode_rows", None)
    with pytest.raises(DatasetError) as second:
        decoded.read(slice(0, 1))

    names = "; ".join(f"{dataset.sources[row]} (not a JPEG, PNG or WEBP image)" for row in rows[:5])
    assert str(first.value) == (
        f"{len(rows)} of 37 images cannot be decoded: {names}{more}. Replace them; nothing is scored without them."
    )
    assert str(second.value) == str(first.value)
    assert missing(key) == list(rows)


def kill(*_: object) -> Unreadable:
    """Die as a worker does that the kernel kills."""
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def fill_the_disk(*_: object) -> Unreadable:
    """Fail as a write does."""
    raise OSError(errno.ENOSPC, "No space left on device", "/store/pixels")


def test_a_disk_that_gets_full_is_an_error(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding ends with a sentence, and not with a signal."""
    monkeypatch.setattr(module, "decode_rows", fill_the_disk)

    message = r"^decoded images cannot be kept in .*/store: No space left on device: /store/pixels; point --store at "
    with pytest.raises(StoreError, match=message):
        opened().finish()


@pytest.mark.parametrize(
    ("free", "number"), [(37 * ROW - 1, errno.ENOSPC), (10**9, errno.ENOSPC), (10**9, errno.EDQUOT)]
)
def test_a_full_disk_is_an_error_that_leaves_nothing(
    opened: Opened, key: Path, monkeypatch: pytest.MonkeyPatch, free: int, number: int
) -> None:
    """Without the space for all images, or the quota, none is decoded, every model fails, and no files stay."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    monkeypatch.setattr(os, "posix_fallocate", Mock(side_effect=OSError(number, os.strerror(number))))
    monkeypatch.setattr(module, "decode_rows", None)
    decoded = opened()

    reason = rf"\({os.strerror(number)}\): 87,024 bytes are needed and {free:,} are free; point --store at a larger"
    for _ in range(2):
        with pytest.raises(StoreError, match=f"^not enough disk space for decoded images in .*/store {reason}"):
            decoded.finish()

    assert not key.exists()


def test_a_build_whose_worker_is_killed_goes_on(
    dataset: ImageDataset, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends with a sentence; the next goes on, also where nothing is free any more or can be allocated ahead."""
    message = r"^a decoding process died after \d+ of 37 images .*; try fewer --workers than 2$"
    with monkeypatch.context() as patched:
        patched.setattr(module, "decode_rows", kill)
        with pytest.raises(DatasetError, match=message):
            opened().finish()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    monkeypatch.setattr(os, "posix_fallocate", Mock(side_effect=OSError(errno.EOPNOTSUPP, "Not supported")))

    assert np.array_equal(opened().read(ALL), crops(dataset))


def test_closing_cancels_what_has_not_begun(
    opened: Opened, key: Path, monkeypatch: pytest.MonkeyPatch, thread: ThreadPoolExecutor
) -> None:
    """A run that is interrupted waits for the images that are being decoded and for no others."""
    monkeypatch.setattr(module, "_CHUNK", 1)
    monkeypatch.setattr(module, "decode_rows", hold_all)
    decoded = opened()
    begin(decoded, key)

    closing = thread.submit(decoded.close)
    time.sleep(0.2)
    (key / "go").touch()
    closing.result(timeout=30)

    assert len(missing(key)) > 25


def report_late(jobs: list[Job], files: Files, *others: Any) -> Unreadable:
    """Decode as ever, note how many images, and return only a while after the last row was written."""
    with (files.folder / "decoded").open("a") as noted:
        noted.write("".join(f"{row}\n" for row, _ in jobs))
    unreadable = decode_rows(jobs, files, *others)
    time.sleep(0.3)
    return unreadable


def test_two_at_once_decode_once(
    dataset: ImageDataset, opened: Opened, key: Path, monkeypatch: pytest.MonkeyPatch, thread: ThreadPoolExecutor
) -> None:
    """Whoever comes second waits, gets the images once they are decoded, and decodes none; then the lock is free."""
    monkeypatch.setattr(module, "decode_rows", report_late)
    first, second = opened(), opened()
    begin(first, key)

    waiting = thread.submit(second.read, ALL)
    everything = first.read(ALL)
    with FileLock(f"{key}.lock").acquire(timeout=0):  # a run may compute for minutes after its last read
        pass

    assert np.array_equal(everything, crops(dataset))
    assert np.array_equal(waiting.result(timeout=30), everything)
    assert sorted(map(int, (key / "decoded").read_text().split())) == list(range(37))


def test_waiting_for_another_process(
    dataset: ImageDataset, opened: Opened, key: Path, thread: ThreadPoolExecutor
) -> None:
    """While it has the lock, nothing is decoded; how many images are is shown, and a run that is interrupted ends."""
    key.parent.mkdir()
    shown: list[tuple[int, ...]] = []
    interrupted, decoded = opened(), opened(progress=lambda *numbers: shown.append(numbers))

    with FileLock(f"{key}.lock"):
        interrupted.begin()
        thread.submit(interrupted.close).result(timeout=30)
        waiting = thread.submit(decoded.finish)
        deadline = time.monotonic() + 30
        while not shown and time.monotonic() < deadline:
            time.sleep(0.01)
        while_locked = set(shown)
    waiting.result(timeout=30)

    assert while_locked == {(0, 37)}
    assert (shown[-1], sorted(shown)) == ((37, 37), shown)
    assert np.array_equal(decoded.read(ALL), crops(dataset))


def test_one_that_stops_is_followed(
    dataset: ImageDataset, opened: Opened, key: Path, thread: ThreadPoolExecutor
) -> None:
    """If the process that decodes stops, the one that waits goes on with what is missing."""
    first, second = opened(workers=1), opened()
    begin(first, key)

    waiting = thread.submit(second.read, ALL)
    first.close()

    assert np.array_equal(waiting.result(timeout=30), crops(dataset))


@pytest.mark.usefixtures("in_this_process")  # as another would import torch
@pytest.mark.parametrize("kept", [True, False])
def test_images_decoded_by_pillow_are_reported(tmp_path: Path, opened: Opened, *, kept: bool) -> None:
    """A run in which Pillow replaced the decoder says so, also when it decodes nothing itself or keeps nothing."""
    for seed, kind in enumerate(("JPEG", "PNG", "PNG", "JPEG")):
        save(noise(seed), tmp_path / f"odd/n01440764/{seed}.JPEG", format=kind)
    odd = open_dataset(tmp_path / "odd")

    def notes(rows: slice) -> list[str]:
        part = replace(odd, ids=odd.ids[rows], sources=odd.sources[rows], targets=odd.targets[rows], whole=odd)
        decoded = opened(part, decoder=Decoder("torchvision"), folder=tmp_path / "store" if kept else None)
        decoded.finish()
        return [note for note in decoded.notes() if "Pillow" in note]

    by_pillow = "decoded by Pillow, since torchvision cannot:"
    assert notes(slice(0, 4)) == [f"{by_pillow} 2 of 4 images, the first of them 1.JPEG"]
    for torn in tmp_path.glob("store/*/by-pillow"):
        torn.write_bytes(torn.read_bytes() + b"\xff\xfe3\n0x")  # as a killed build can leave it
    assert notes(slice(2, 4)) == [f"{by_pillow} 1 of 2 images, the first of them 2.JPEG"]
    assert notes(slice(0, 1)) == []


@pytest.fixture
def decode(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """What decodes any images to black ones, in this process."""
    black = Decoded(np.zeros((28, 28, 3), np.uint8))
    decode = Mock(side_effect=lambda sources, *_: [black] * len(sources))
    monkeypatch.setattr(decoders, "decode", decode)
    monkeypatch.setattr(decoders, "versions", lambda _: {})
    return decode


@pytest.mark.usefixtures("in_this_process")
def test_what_is_read_as_a_whole_is_read_once(dataset: ImageDataset, opened: Opened, decode: Mock) -> None:
    """Rows of one row group are one piece of work, however they are scattered; files are split in their order."""
    table, files = FileSource("x.parquet", 0, 0), list(dataset.sources)
    rows = [ParquetSource(table, row % 3, row, "") for row in range(37)]

    opened(folder=None).finish()
    opened(replace(dataset, sources=tuple(rows)), folder=None).finish()

    together = [call.args[0] for call in decode.call_args_list]
    assert together[:3] == [files[:16], files[16:32], files[32:]]
    assert together[4:7] == [rows[::3], rows[1::3], rows[2::3]]  # after a sample of the files


def test_a_device_is_given_large_batches_in_this_process(dataset: ImageDataset, opened: Opened, decode: Mock) -> None:
    """NvJPEG decodes many at once, in a thread; the sample is decoded anew as well."""
    opened(decoder=Decoder("nvjpeg", "cuda:0")).finish()

    assert decode.call_args_list[0].args[0] == list(dataset.sources)
    assert [len(call.args[0]) for call in decode.call_args_list] == [37, 32]
