"""Tests of harness.data.decoded: pixels that land, are shared, change, or never come."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from filelock import FileLock
from numpy.typing import NDArray

from harness.data import decoded as module
from harness.data.build import Build, Job, Target, Unreadable, decode_rows
from harness.data.decode import crop_image
from harness.data.decoded import DecodedSplit
from harness.data.decoder import Decoder
from harness.data.layouts import open_split
from harness.data.pixels import Pixels
from harness.data.preset import Geometry
from harness.data.source import FileSource
from harness.data.split import Split
from harness.errors import SplitError, StoreError
from tests.images import noise, save

GEOMETRY = Geometry(resize=32, crop=28, interpolation="bilinear")
ROW = 28 * 28 * 3

Opened = Callable[..., DecodedSplit]


def crops(split: Split) -> NDArray[np.uint8]:
    """Return what the split's pixels have to be."""
    return np.stack([crop_image(source.read(), GEOMETRY) for source in split.sources])


@pytest.fixture
def opened(split: Split, tmp_path: Path) -> Iterator[Opened]:
    """Open the split, or a part of it, on the same folder as often as wanted."""
    everything: list[DecodedSplit] = []

    def open_again(part: Split | None = None, **options: Any) -> DecodedSplit:
        given = {"workers": 2, "progress": lambda *_: None, **options}
        everything.append(DecodedSplit(part or split, GEOMETRY, Decoder(), tmp_path / "store" / "key", **given))
        return everything[-1]

    yield open_again
    for decoded in everything:
        decoded.close()


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, decoding anything fails the test."""

    def forbid() -> None:
        monkeypatch.setattr(module, "Build", None)
        monkeypatch.setattr(module, "decode", None)

    return forbid


def test_images_are_read_in_order_while_others_are_decoded(split: Split, opened: Opened) -> None:
    """Any rows can be asked for from the start; what was read is what torchvision makes of the files."""
    seen: list[tuple[int, int]] = []
    decoded = opened(progress=lambda *numbers: seen.append(numbers))

    batches = [decoded.read(slice(first, min(first + 10, 37))) for first in range(0, 37, 10)]

    assert decoded.ids == split.ids
    assert np.array_equal(np.concatenate(batches), crops(split))
    assert (seen[-1], sorted(seen)) == ((37, 37), seen)
    assert decoded.notes() == []


def hold_the_last(jobs: list[Job], target: Target) -> list[Unreadable]:
    """Decode as ever, but the last chunk only once there is a file called ``go``."""
    while jobs[-1][0] == 36 and not (target.folder / "go").exists():
        time.sleep(0.01)
    return decode_rows(jobs, target)


def test_the_first_images_do_not_wait_for_the_last(
    opened: Opened, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images can be read while later ones are not there; reading those waits."""
    monkeypatch.setattr("harness.data.build.decode_rows", hold_the_last)
    decoded = opened()

    first = decoded.read(slice(0, 32))
    assert decoded._pixels is not None
    missing = decoded._pixels.missing(split.rows)
    (tmp_path / "store/key/go").touch()
    last = decoded.read(slice(32, 37))

    assert missing.tolist() == list(range(32, 37))
    assert np.array_equal(np.concatenate([first, last]), crops(split))


def test_decoding_goes_on_in_the_background(opened: Opened) -> None:
    """Once begun, images land while this process does something else, and beginning again changes nothing."""
    decoded = opened()
    decoded.begin()
    decoded.begin()
    assert decoded._pixels is not None

    deadline = time.monotonic() + 30
    while len(decoded._pixels.missing(decoded._split.rows)):
        assert time.monotonic() < deadline
        time.sleep(0.02)

    assert decoded.seconds == 0.0


def test_what_fails_at_the_beginning_fails_on_reading(opened: Opened, tmp_path: Path) -> None:
    """Beginning raises nothing, so that a model is loaded all the same; the first read does."""
    (tmp_path / "store").write_text("a file in the way")
    decoded = opened()

    decoded.begin()

    with pytest.raises(StoreError, match="decoded images cannot be kept"):
        decoded.read(slice(0, 1))


def test_images_are_read_into_a_buffer(split: Split, opened: Opened) -> None:
    """A buffer that is given is filled and returned."""
    buffer = np.zeros((5, 28, 28, 3), np.uint8)

    returned = opened().read(slice(30, 35), buffer)

    assert returned is buffer
    assert np.array_equal(buffer, crops(split)[30:35])


def test_a_second_run_decodes_nothing(opened: Opened, no_decoding: Callable[[], None]) -> None:
    """What is kept is read, and has the same digest."""
    first = opened()
    before = first.read(slice(0, 37))
    first.close()
    no_decoding()

    second = opened()

    assert np.array_equal(second.read(slice(0, 37)), before)
    assert first.fingerprints.digest == second.fingerprints.digest


def test_a_subset_is_part_of_the_whole(split: Split, opened: Opened, tmp_path: Path) -> None:
    """Ten images decode ten rows; the whole split decodes the other 27 and no more, and reads all."""
    part = split.subset(10)
    numbers: list[tuple[int, int]] = []

    few = opened(part).read(slice(0, 10))
    on_disk = np.fromfile(tmp_path / "store/key/hashes", np.uint8).reshape(37, 16).any(axis=1)
    everything = opened(progress=lambda *given: numbers.append(given)).read(slice(0, 37))

    assert np.array_equal(few, crops(part))
    assert np.flatnonzero(on_disk).tolist() == part.rows.tolist()
    assert numbers[0][0] >= 10
    assert numbers[-1] == (37, 37)
    assert np.array_equal(everything, crops(split))


def test_the_digest_is_that_of_the_pixels_in_order(split: Split, opened: Opened) -> None:
    """The sha256 of the XXH3 hashes of the crops, which anybody can compute from the images."""
    decoded = opened()
    decoded.read(slice(0, 37))

    expected = hashlib.sha256(b"".join(xxhash.xxh3_128_digest(crop.tobytes()) for crop in crops(split))).hexdigest()
    assert expected == decoded.fingerprints.digest


def flip(tmp_path: Path, *rows: int) -> None:
    """Flip a byte in the pixels of each row."""
    with (tmp_path / "store/key/pixels").open("r+b") as file:
        for row in rows:
            file.seek(row * ROW + 100)
            byte = file.read(1)[0]
            file.seek(row * ROW + 100)
            file.write(bytes([byte ^ 0xFF]))


def test_a_flipped_byte_is_found_named_and_put_right(split: Split, opened: Opened, tmp_path: Path) -> None:
    """Images that changed in the store are decoded again, told by id, and right on the next run."""
    first = opened()
    first.read(slice(0, 37))
    flip(tmp_path, 7, 30)

    damaged = opened()
    again = damaged.read(slice(0, 37))
    mended = opened()
    mended.read(slice(0, 37))

    assert np.array_equal(again, crops(split))
    assert damaged.repaired == ["07.JPEG", "30.JPEG"]
    assert damaged.notes() == [
        "2 of 37 images had changed in the store and were decoded again, the first of them 07.JPEG"
    ]
    assert damaged.fingerprints.digest == first.fingerprints.digest == mended.fingerprints.digest
    assert mended.repaired == []


def test_a_flipped_byte_in_a_store_that_cannot_be_written(
    split: Split, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run sees the right pixels all the same."""
    opened().read(slice(0, 37))
    flip(tmp_path, 7)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Pixels, "write", refuse)
    damaged = opened()

    assert np.array_equal(damaged.read(slice(0, 37)), crops(split))
    assert damaged.repaired == ["07.JPEG"]


def test_a_flipped_byte_without_the_image(split: Split, opened: Opened, tmp_path: Path) -> None:
    """If the image itself is gone, nothing is made up."""
    opened().read(slice(0, 37))
    flip(tmp_path, 7)
    Path(str(split.sources[7])).unlink()

    with pytest.raises(
        SplitError, match=r"^07.JPEG has changed in the store .* cannot be decoded again \(No such file"
    ):
        opened().read(slice(0, 37))


def test_a_store_that_was_cut_short_is_completed(split: Split, opened: Opened, tmp_path: Path) -> None:
    """The rows that are left are kept, and the others decoded again by the workers."""
    opened().read(slice(0, 37))
    os.truncate(tmp_path / "store/key/pixels", 20 * ROW + 5)
    numbers: list[tuple[int, int]] = []

    cut = opened(progress=lambda *given: numbers.append(given))

    assert np.array_equal(cut.read(slice(0, 37)), crops(split))
    assert numbers[0] == (20, 37)
    assert cut.repaired == []


def test_unreadable_files_are_told_to_every_model(
    split: Split, opened: Opened, no_decoding: Callable[[], None]
) -> None:
    """The second model is refused at once with the first one's sentence; no image of the split is handed out."""
    Path(str(split.sources[36])).write_bytes(b"no image")
    changed = (*split.sources[:36], FileSource.of(str(split.sources[36])))
    decoded = opened(Split(**{**vars(split), "sources": changed}))
    with pytest.raises(SplitError) as first:
        decoded.finish()
    no_decoding()

    with pytest.raises(SplitError) as second:
        decoded.read(slice(0, 1))

    assert str(first.value).startswith(f"1 of 37 images cannot be decoded: {split.sources[36]} (not an image). ")
    assert str(second.value) == str(first.value)


def test_others_can_build_what_one_has_not(split: Split, opened: Opened) -> None:
    """A run that was refused, or closed in the middle, leaves the lock and its rows to the next."""
    first = opened(workers=1)
    first.read(slice(0, 1))
    first.close()

    assert np.array_equal(opened().read(slice(0, 37)), crops(split))


def report_late(jobs: list[Job], target: Target) -> list[Unreadable]:
    """Decode as ever, but tell only a while after the last row was written."""
    unreadable = decode_rows(jobs, target)
    time.sleep(0.3)
    return unreadable


def test_the_lock_is_free_once_all_images_are_read(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that computes for minutes after its last read does not keep others from building what they need."""
    monkeypatch.setattr("harness.data.build.decode_rows", report_late)

    opened().read(slice(0, 37))

    with FileLock(tmp_path / "store/key.lock").acquire(timeout=0):
        pass


def test_two_at_once_build_once(split: Split, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second waits, sees the images as they land, and decodes none."""
    jobs: list[list[Job]] = []

    class Counted(Build):
        def __init__(self, work: list[Job], *given: Any, **options: Any) -> None:
            jobs.append(work)
            super().__init__(work, *given, **options)

    monkeypatch.setattr(module, "Build", Counted)
    first, second = opened(), opened()
    first.read(slice(0, 1))
    results: list[NDArray[np.uint8]] = []
    waiting = threading.Thread(target=lambda: results.append(second.read(slice(0, 37))))

    waiting.start()
    everything = first.read(slice(0, 37))
    waiting.join(timeout=30)

    assert np.array_equal(everything, crops(split))
    assert np.array_equal(results[0], everything)
    assert [len(work) for work in jobs] == [37]


def test_waiting_for_another_builder_is_shown(split: Split, opened: Opened, tmp_path: Path) -> None:
    """While somebody else has the lock, the images that are there are shown, and nothing is decoded."""
    lock = FileLock(tmp_path / "store/key.lock")
    (tmp_path / "store").mkdir()
    lock.acquire()
    shown: list[tuple[int, int]] = []
    waited = threading.Event()

    def progress(*numbers: int) -> None:
        shown.append((numbers[0], numbers[1]))
        waited.set()

    decoded = opened(progress=progress)
    waiting = threading.Thread(target=decoded.finish)
    waiting.start()
    assert waited.wait(timeout=30)
    while_locked = list(shown)
    lock.release()
    waiting.join(timeout=30)

    assert set(while_locked) == {(0, 37)}
    assert shown[-1] == (37, 37)
    assert np.array_equal(decoded.read(slice(0, 37)), crops(split))


def test_a_builder_that_gives_up_is_followed(split: Split, opened: Opened) -> None:
    """If the one that builds is closed, the one that waits goes on with what is missing."""
    first, second = opened(workers=1), opened()
    first.read(slice(0, 1))
    results: list[NDArray[np.uint8]] = []
    waiting = threading.Thread(target=lambda: results.append(second.read(slice(0, 37))))

    waiting.start()
    first.close()
    waiting.join(timeout=30)

    assert np.array_equal(results[0], crops(split))


def test_nothing_is_left_of_scratch(split: Split, opened: Opened, tmp_path: Path) -> None:
    """Pixels that are not to be kept are no longer files once they are decoded, and can be read all the same."""
    decoded = opened(scratch=True)
    decoded.finish()

    held = [file for file in (tmp_path / "store/key").iterdir() if file.is_file()]

    assert held == []
    assert np.array_equal(decoded.read(slice(0, 37)), crops(split))


def test_what_pillow_decoded_is_said_of_scratch_too(tmp_path: Path) -> None:
    """Also when nothing is kept, the images that Pillow stood in for are told."""
    for seed, kind in enumerate(("JPEG", "PNG")):
        save(noise(seed), tmp_path / f"images/n01440764/{seed}.JPEG", format=kind)
    part, decoder = open_split(str(tmp_path / "images")), Decoder("torchvision")
    (tmp_path / "key").mkdir()

    decoded = DecodedSplit(part, GEOMETRY, decoder, tmp_path / "key", workers=1, progress=lambda *_: None, scratch=True)
    decoded.finish()
    decoded.close()

    expected = ["1 of 2 images were decoded by Pillow, since torchvision cannot, the first of them 1.JPEG"]
    assert expected == decoded.notes()


def test_a_folder_that_cannot_be_written_is_named(opened: Opened, tmp_path: Path) -> None:
    """The sentence says where, why, and what to do; again for the next model."""
    (tmp_path / "store").write_text("a file in the way")
    decoded = opened()

    message = (
        r"^decoded images cannot be kept in .*store.*; point --store at a folder that can be written, or give --no-"
    )
    for _ in range(2):
        with pytest.raises(StoreError, match=message):
            decoded.finish()


def test_what_pillow_decoded_is_said(split: Split, tmp_path: Path) -> None:
    """A run on a store in which Pillow stood in says so, also when it decodes nothing itself."""
    target = Target(tmp_path / "key", 37, GEOMETRY, Decoder("torchvision"))
    target.folder.mkdir()
    target.note_by_pillow(5)
    target.note_by_pillow(9)

    def notes(part: Split) -> list[str]:
        decoder = Decoder("torchvision")
        return DecodedSplit(part, GEOMETRY, decoder, target.folder, workers=1, progress=lambda *_: None).notes()

    both, one, none = (replace(split, ids=split.ids[rows], whole=split) for rows in (slice(37), slice(6, 37), slice(5)))
    assert notes(both) == ["2 of 37 images were decoded by Pillow, since torchvision cannot, the first of them 05.JPEG"]
    assert notes(one) == ["1 of 31 images were decoded by Pillow, since torchvision cannot, the first of them 09.JPEG"]
    assert notes(none) == []
