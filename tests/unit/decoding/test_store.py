"""Tests of harness.decoding.store: images that are decoded, shared, changed, or cannot be had."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import xxhash
from filelock import FileLock
from numpy.typing import NDArray

from harness.dataset import ImageDataset, open_dataset
from harness.decoding import decoders
from harness.decoding import store as module
from harness.decoding.decoders import Decoded, crop_image
from harness.decoding.folder import Files, Pixels
from harness.decoding.store import DecodedImages, Job, Progress, decode_rows, describe
from harness.errors import DatasetError, StoreError
from harness.formats.sources import FileSource, Source
from harness.options import Decoder
from harness.preset import Geometry
from tests.faults.planted import FAULTS, Fault
from tests.images import noise, save

GEOMETRY = Geometry(resize=32, crop=28, interpolation="bilinear")
ROW = 28 * 28 * 3

Opened = Callable[..., DecodedImages]


def crops(dataset: ImageDataset) -> NDArray[np.uint8]:
    """Return what the dataset's pixels have to be."""
    return np.stack([crop_image(source.read(), GEOMETRY) for source in dataset.sources])


@pytest.fixture
def opened(dataset: ImageDataset, tmp_path: Path) -> Iterator[Opened]:
    """Open the dataset, or a part of it, in the same store as often as wanted; None stands for no store."""
    everything: list[DecodedImages] = []

    def open_again(
        part: ImageDataset | None = None,
        *,
        folder: Path | None = tmp_path / "store",
        decoder: Decoder = Decoder(),  # noqa: B008
        workers: int = 2,
        progress: Progress = lambda *_: None,
    ) -> DecodedImages:
        everything.append(DecodedImages(part or dataset, GEOMETRY, decoder, folder, workers))
        everything[-1].progress = progress
        return everything[-1]

    yield open_again
    for decoded in everything:
        decoded.close()


@pytest.fixture
def key(dataset: ImageDataset, tmp_path: Path) -> Path:
    """The folder of the store, with or without its files."""
    return tmp_path / "store" / describe(dataset, GEOMETRY, Decoder()).key


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, decoding anything fails the test."""

    def forbid() -> None:
        monkeypatch.setattr(module, "decode_rows", None)
        monkeypatch.setattr(decoders, "decode", None)

    return forbid


def missing(key: Path) -> list[int]:
    """Return the rows that were not written."""
    return np.flatnonzero(~np.fromfile(key / "hashes", np.uint8).reshape(38, 16)[1:].any(axis=1)).tolist()


def begin(decoded: DecodedImages, key: Path) -> None:
    """Begin to decode, and wait for the first image."""
    decoded.begin()
    deadline = time.monotonic() + 30
    while not (key / "hashes").exists() or (key / "hashes").stat().st_size < 38 * 16 or 0 in missing(key):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_images_are_read_in_order(dataset: ImageDataset, opened: Opened) -> None:
    """Any rows can be read; the pixels are those that torchvision makes of the files."""
    seen: list[tuple[int, int]] = []
    decoded = opened(progress=lambda *numbers: seen.append(numbers))

    batches = [decoded.read(slice(first, min(first + 10, 37))) for first in range(0, 37, 10)]

    assert decoded.ids == dataset.ids
    assert np.array_equal(np.concatenate(batches), crops(dataset))
    assert (seen[-1], sorted(seen)) == ((37, 37), seen)
    assert decoded.notes() == []


def test_progress_is_shown_from_its_start_whenever_somebody_waits(opened: Opened) -> None:
    """Also where all images were decoded before that; once, and not by those who read what is in the store."""
    seen: list[tuple[int, int]] = []
    decoded = opened(progress=lambda *numbers: seen.append(numbers))

    decoded.begin().result()
    decoded.finish()
    decoded.read(slice(0, 37))
    again: list[tuple[int, int]] = []
    opened(progress=lambda *numbers: again.append(numbers)).finish()

    assert seen == [(0, 37), (37, 37)]
    assert again == []


Unreadable = list[tuple[int, str]]


def test_decoding_goes_on_in_the_background(dataset: ImageDataset, opened: Opened, key: Path) -> None:
    """Once begun, images are decoded while this process does something else; beginning again changes nothing."""
    decoded = opened()
    decoded.begin()
    decoded.begin()

    deadline = time.monotonic() + 30
    while not (key / "hashes").exists() or not (key / "hashes").stat().st_size or missing(key):
        assert time.monotonic() < deadline
        time.sleep(0.02)

    assert np.array_equal(decoded.read(slice(0, 37)), crops(dataset))


def test_images_are_read_into_a_buffer(dataset: ImageDataset, opened: Opened) -> None:
    """A buffer that is given is filled and returned."""
    buffer = np.zeros((5, 28, 28, 3), np.uint8)

    returned = opened().read(slice(30, 35), buffer)

    assert returned is buffer
    assert np.array_equal(buffer, crops(dataset)[30:35])


def test_a_second_run_decodes_only_a_sample(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the store is read, with the same hashes and samples, and no progress is shown."""
    first = opened()
    before = first.read(slice(0, 37))
    first.close()
    monkeypatch.setattr(module, "decode_rows", None)
    shown: list[int] = []

    second = opened(progress=lambda done, _: shown.append(done))

    assert np.array_equal(second.read(slice(0, 37)), before)
    assert shown == []
    assert np.array_equal(first.hashes, second.hashes)
    assert np.array_equal(first.samples, second.samples)


def test_a_subset_is_part_of_the_whole(dataset: ImageDataset, opened: Opened, key: Path) -> None:
    """Ten images decode ten rows; the whole dataset decodes the other 27 and no more, and reads all."""
    part = dataset.subset(10)
    numbers: list[tuple[int, int]] = []

    few = opened(part).read(slice(0, 10))
    rows = missing(key)
    everything = opened(progress=lambda *given: numbers.append(given)).read(slice(0, 37))

    assert np.array_equal(few, crops(part))
    assert sorted({*range(37)} - {*rows}) == part.rows.tolist()
    assert numbers[0][0] >= 10
    assert numbers[-1] == (37, 37)
    assert np.array_equal(everything, crops(dataset))


def test_hashes_and_samples_are_those_of_the_pixels(dataset: ImageDataset, opened: Opened) -> None:
    """XXH3 of the crops, which anybody can compute from the images; images that were not read have zeros."""
    decoded = opened()
    decoded.read(slice(0, 36))

    hashes = b"".join(xxhash.xxh3_128_digest(crop.tobytes()) for crop in crops(dataset)[:36])
    assert hashes + bytes(16) == decoded.hashes.tobytes()
    assert np.array_equal(crops(dataset)[:36, 3::7, 3::7], decoded.samples[:36])
    assert not decoded.samples[36].any()


DECODING_FAULTS = [
    fault
    for fault in FAULTS
    # The others are of another package, of large images, and of one class.
    if fault.target.startswith("harness.decoding") and not fault.needs and fault.name[:7] not in ("decoded", "one cla")
]


@pytest.mark.parametrize("fault", DECODING_FAULTS, ids=lambda fault: fault.name)
def test_a_fault_in_decoding_is_not_hidden_by_the_store(
    fault: Fault, opened: Opened, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels that the sound code decoded are not given to code that would decode others."""
    opened().finish()
    _, _, name = fault.target.partition(":")
    monkeypatch.setattr(decoders, name, fault.replace(getattr(decoders, name)))
    monkeypatch.setattr(module, "_SAMPLE", 37)

    message = (
        rf"^37 of 37 images in the store {key}, decoded anew by pillow, differ from the stored pixels, "
        r"such as .*/00\.JPEG; give --no-store "
    )
    with pytest.raises(StoreError, match=message):
        opened().read(slice(0, 1))


def test_another_sample_is_decoded_anew_in_each_run(
    opened: Opened, dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 of the images that were there before, and of those just decoded; said once, and nothing of a new store."""
    anew: list[list[str]] = []

    def decode(sources: Sequence[Source], geometry: Geometry, decoder: Decoder) -> list[Decoded]:
        anew.append([str(source) for source in sources])
        return decoders_decode(sources, geometry, decoder)

    decoders_decode = decoders.decode
    monkeypatch.setattr(decoders, "decode", decode)  # in this process, not in those that fill the store
    notes = []
    for part in (dataset.subset(10), dataset, dataset, dataset):
        decoded = opened(part)
        decoded.read(slice(0, len(part)))
        notes.append([*decoded.notes(), *decoded.notes()])

    assert list(map(len, anew)) == [10, 10, 22, 32, 32]
    assert len(set(anew[3])) == 32
    assert set(anew[3]) != set(anew[4])
    assert notes == [[], *([f"pixels from the store, {images} decoded anew: equal"] for images in (10, 32, 32))]


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

    for one in (first, second):
        with pytest.raises(
            StoreError, match=r" images in the store .* differ from the stored pixels, .*conftest.py, ch"
        ):
            one.finish()


def flip(key: Path, *rows: int) -> None:
    """Flip a byte in the pixels of each row."""
    with (key / "pixels").open("r+b") as file:
        for row in rows:
            file.seek(row * ROW + 100)
            byte = file.read(1)[0]
            file.seek(row * ROW + 100)
            file.write(bytes([byte ^ 0xFF]))


def test_a_flipped_byte_is_found_named_and_repaired(dataset: ImageDataset, opened: Opened, key: Path) -> None:
    """Images that changed in the store are decoded again, named, and right in the next run."""
    first = opened()
    first.read(slice(0, 37))
    flip(key, 7, 30)

    damaged = opened()
    again = damaged.read(slice(0, 37))
    mended = opened()
    mended.read(slice(0, 37))

    assert np.array_equal(again, crops(dataset))
    assert sorted(damaged.repaired) == ["07.JPEG", "30.JPEG"]
    assert damaged.notes()[1:] == [
        "2 of 37 images had changed in the store and were decoded again, the first of them 07.JPEG"
    ]
    assert np.array_equal(damaged.hashes, first.hashes)
    assert np.array_equal(mended.hashes, first.hashes)
    assert mended.repaired == []


def test_a_flipped_byte_in_a_store_that_cannot_be_written(
    dataset: ImageDataset, opened: Opened, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run gets the right pixels all the same."""
    opened().read(slice(0, 37))
    flip(key, 7)

    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Pixels, "write", fail)
    damaged = opened()

    assert np.array_equal(damaged.read(slice(0, 37)), crops(dataset))
    assert damaged.repaired == ["07.JPEG"]


def test_a_flipped_byte_without_the_image(dataset: ImageDataset, opened: Opened, key: Path) -> None:
    """If the image itself is gone, that is an error."""
    opened().read(slice(0, 37))
    flip(key, 7)
    Path(str(dataset.sources[7])).unlink()

    with pytest.raises(
        DatasetError, match=r"^07.JPEG has changed in the store .* cannot be decoded again \(No such file"
    ):
        opened().read(slice(0, 37))


def test_a_store_that_was_cut_short_is_completed(dataset: ImageDataset, opened: Opened, key: Path) -> None:
    """The rows that are left are kept, and the others decoded again by the workers."""
    opened().read(slice(0, 37))
    os.truncate(key / "pixels", 20 * ROW + 5)
    numbers: list[tuple[int, int]] = []

    cut = opened(progress=lambda *given: numbers.append(given))

    assert np.array_equal(cut.read(slice(0, 37)), crops(dataset))
    assert numbers[-1] == (37, 37)
    assert cut.repaired == []


def test_the_folder_of_another_store_is_not_adopted(
    dataset: ImageDataset, opened: Opened, key: Path, tmp_path: Path
) -> None:
    """Put in this one's place it loses its rows, whatever its description says; they are decoded again, by the pool."""
    opened().finish()
    for path in dataset.root.rglob("*.JPEG"):
        save(noise(int(path.stem) + 100), path)
    other = open_dataset(str(dataset.root))
    where = tmp_path / "store" / describe(other, GEOMETRY, Decoder()).key
    shutil.copytree(key, where)
    described = opened(other)
    first = described.read(slice(0, 37))
    shutil.copytree(key, where, dirs_exist_ok=True, ignore=shutil.ignore_patterns("store.json"))
    in_disguise = opened(other)

    assert np.array_equal(first, crops(other))
    assert np.array_equal(in_disguise.read(slice(0, 37)), crops(other))
    assert described.repaired == in_disguise.repaired == []


def test_swapped_rows_are_found_and_repaired(dataset: ImageDataset, opened: Opened, key: Path) -> None:
    """The pixels of two images with their hashes, each in the other's row."""
    opened().finish()
    for name, size, first in (("pixels", ROW, 0), ("hashes", 16, 16)):
        data = np.fromfile(key / name, np.uint8)
        rows = data[first:].reshape(37, size)
        rows[[3, 4]] = rows[[4, 3]]
        data.tofile(key / name)

    swapped = opened()

    assert np.array_equal(swapped.read(slice(0, 37)), crops(dataset))
    assert swapped.repaired == ["03.JPEG", "04.JPEG"]


@pytest.mark.parametrize("name", ["pixels", "hashes", "store.json"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_special_files_in_a_store_are_no_store(
    opened: Opened, key: Path, name: str, make: Callable[[Path], None]
) -> None:
    """One sentence rather than a wait without end or a full memory."""
    opened().finish()
    (key / name).unlink(missing_ok=True)
    make(key / name)
    decoded = opened()

    with pytest.raises(StoreError, match=rf"^decoded images cannot be kept in .*: {key / name}; point --store at "):
        decoded.finish()


def broken(dataset: ImageDataset, *rows: int) -> ImageDataset:
    """Return the dataset with text instead of these images."""
    sources = list(dataset.sources)
    for row in rows:
        path = str(sources[row])
        Path(path).write_bytes(b"no image")
        sources[row] = FileSource.of(path)
    return replace(dataset, sources=tuple(sources))


def test_unreadable_images_fail_every_model(
    dataset: ImageDataset, opened: Opened, no_decoding: Callable[[], None]
) -> None:
    """The second model fails at once with the first one's sentence; no image of the dataset can be read."""
    decoded = opened(broken(dataset, 36))
    with pytest.raises(DatasetError) as first:
        decoded.finish()
    no_decoding()

    with pytest.raises(DatasetError) as second:
        decoded.read(slice(0, 1))

    assert str(first.value).startswith(
        f"1 of 37 images cannot be decoded: {dataset.sources[36]} (not a JPEG, PNG or WEBP image). "
    )
    assert str(second.value) == str(first.value)


def test_unreadable_images_are_named(dataset: ImageDataset, opened: Opened, key: Path) -> None:
    """All unreadable images are counted, the first are named with their reasons, and the others are decoded."""
    with pytest.raises(DatasetError) as failure:
        opened(broken(dataset, *range(3, 10))).finish()

    assert str(failure.value).startswith(
        f"7 of 37 images cannot be decoded: {dataset.sources[3]} (not a JPEG, PNG or WEBP image); "
    )
    assert str(failure.value).endswith("; and 2 more. Replace them; nothing is scored without them.")
    assert missing(key) == list(range(3, 10))


def kill(*_: object) -> Unreadable:
    """Die as a worker does that the kernel kills."""
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_a_worker_that_dies_is_an_error(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed worker ends decoding with a sentence."""
    monkeypatch.setattr(module, "decode_rows", kill)

    message = r"^a decoding process died after \d+ of 37 images .*; try fewer --workers than 2$"
    with pytest.raises(DatasetError, match=message):
        opened().finish()


def fill_the_disk(*_: object) -> Unreadable:
    """Fail as a write does."""
    raise OSError(28, "No space left on device", "/store/pixels")


def test_a_disk_that_gets_full_is_an_error(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that cannot be written ends decoding with a sentence, and not with a signal."""
    monkeypatch.setattr(module, "decode_rows", fill_the_disk)

    message = r"^decoded images cannot be kept in .*/store: No space left on device: /store/pixels; point --store at "
    with pytest.raises(StoreError, match=message):
        opened().finish()


def test_a_full_disk_is_an_error_that_leaves_nothing(
    opened: Opened, key: Path, monkeypatch: pytest.MonkeyPatch, no_decoding: Callable[[], None]
) -> None:
    """Without the space for all images, none is decoded, every model fails, and no files stay."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    no_decoding()
    decoded = opened()

    for _ in range(2):
        with pytest.raises(StoreError, match=r"^not enough disk space for decoded images in .*/store \("):
            decoded.finish()

    assert not key.exists()


def hold_all(jobs: list[Job], files: Files, geometry: Geometry, decoder: Decoder) -> Unreadable:
    """Decode as ever, but nothing after the first image before there is a file called ``go``."""
    while jobs[0][0] and not (files.folder / "go").exists():
        time.sleep(0.01)
    return decode_rows(jobs, files, geometry, decoder)


def test_closing_cancels_what_has_not_begun(opened: Opened, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is interrupted waits for the images that are being decoded and for no others."""
    monkeypatch.setattr(module, "_CHUNK", 1)
    monkeypatch.setattr(module, "decode_rows", hold_all)
    decoded = opened()
    begin(decoded, key)
    closing = threading.Thread(target=decoded.close)

    closing.start()
    time.sleep(0.2)
    (key / "go").touch()
    closing.join(timeout=30)

    assert not closing.is_alive()
    assert len(missing(key)) > 25


def report_late(jobs: list[Job], files: Files, geometry: Geometry, decoder: Decoder) -> Unreadable:
    """Decode as ever, but return only a while after the last row was written."""
    unreadable = decode_rows(jobs, files, geometry, decoder)
    time.sleep(0.3)
    return unreadable


def test_the_lock_is_free_once_all_images_are_read(opened: Opened, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that computes for minutes after its last read does not keep others from decoding what they need."""
    monkeypatch.setattr(module, "decode_rows", report_late)

    opened().read(slice(0, 37))

    with FileLock(f"{key}.lock").acquire(timeout=0):
        pass


def count_jobs(jobs: list[Job], files: Files, geometry: Geometry, decoder: Decoder) -> Unreadable:
    """Decode as ever, and note how many images."""
    with (files.folder / "decoded").open("a") as noted:
        noted.write("".join(f"{row}\n" for row, _ in jobs))
    return decode_rows(jobs, files, geometry, decoder)


def test_two_at_once_decode_once(
    dataset: ImageDataset, opened: Opened, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second waits, gets the images once they are decoded, and decodes none."""
    monkeypatch.setattr(module, "decode_rows", count_jobs)
    first, second = opened(), opened()
    begin(first, key)
    results: list[NDArray[np.uint8]] = []
    waiting = threading.Thread(target=lambda: results.append(second.read(slice(0, 37))))

    waiting.start()
    everything = first.read(slice(0, 37))
    waiting.join(timeout=30)

    assert np.array_equal(everything, crops(dataset))
    assert np.array_equal(results[0], everything)
    assert sorted(map(int, (key / "decoded").read_text().split())) == list(range(37))


def test_waiting_for_another_process_is_shown(dataset: ImageDataset, opened: Opened, key: Path) -> None:
    """While another process has the lock, the number of decoded images is shown, and nothing is decoded."""
    lock = FileLock(f"{key}.lock")
    key.parent.mkdir()
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
    assert np.array_equal(decoded.read(slice(0, 37)), crops(dataset))


def test_closing_does_not_wait_for_another_process(opened: Opened, key: Path) -> None:
    """Interrupted while another process decodes, a run ends at once."""
    key.parent.mkdir()
    with FileLock(f"{key}.lock"):
        decoded = opened()
        decoded.begin()

        started = time.monotonic()
        decoded.close()

        assert time.monotonic() - started < 5


def test_one_that_stops_is_followed(dataset: ImageDataset, opened: Opened, key: Path) -> None:
    """If the process that decodes stops, the one that waits goes on with what is missing."""
    first, second = opened(workers=1), opened()
    begin(first, key)
    results: list[NDArray[np.uint8]] = []
    waiting = threading.Thread(target=lambda: results.append(second.read(slice(0, 37))))

    waiting.start()
    first.close()
    waiting.join(timeout=30)

    assert np.array_equal(results[0], crops(dataset))


def test_nothing_is_left_without_a_store(
    dataset: ImageDataset, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels that are not to be kept are no longer files once they are decoded, and can be read all the same."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    decoded = opened(folder=None)
    decoded.finish()

    pixels = [*(tmp_path / "tmp").glob("*/*/pixels"), *(tmp_path / "tmp").glob("*/*/hashes")]
    everything = decoded.read(slice(0, 37))
    decoded.close()

    assert pixels == []
    assert np.array_equal(everything, crops(dataset))
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("kept", [True, False])
def test_images_decoded_by_pillow_are_reported(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch, *, kept: bool
) -> None:
    """A run in which Pillow replaced the decoder says so, also when it decodes nothing itself or keeps nothing."""
    # In this process: each of others would import torch.
    monkeypatch.setattr(module, "process_pool", lambda *_, **__: ThreadPoolExecutor(1))
    for seed, kind in enumerate(("JPEG", "PNG", "PNG", "JPEG")):
        save(noise(seed), tmp_path / f"odd/n01440764/{seed}.JPEG", format=kind)
    odd = open_dataset(str(tmp_path / "odd"))
    first, last = (
        replace(odd, ids=odd.ids[rows], sources=odd.sources[rows], targets=odd.targets[rows], whole=odd)
        for rows in (slice(1), slice(2, 4))
    )

    def notes(part: ImageDataset) -> list[str]:
        decoder, folder = Decoder("torchvision"), tmp_path / "store" if kept else None
        decoded = opened(part, decoder=decoder, folder=folder)
        decoded.finish()
        return [note for note in decoded.notes() if "Pillow" in note]

    assert notes(odd) == ["2 of 4 images were decoded by Pillow, since torchvision cannot, the first of them 1.JPEG"]
    assert notes(last) == ["1 of 2 images were decoded by Pillow, since torchvision cannot, the first of them 2.JPEG"]
    assert notes(first) == []


def test_a_folder_that_cannot_be_written_is_named(opened: Opened, tmp_path: Path) -> None:
    """When images are read, so that a model is loaded all the same: where, why, and what to do; for each model."""
    (tmp_path / "store").write_text("a file in the way")
    decoded = opened()
    decoded.begin()

    message = (
        r"^decoded images cannot be kept in .*store: .*; point --store at a folder that can be written, or give --no-"
    )
    for _ in range(2):
        with pytest.raises(StoreError, match=message):
            decoded.read(slice(0, 1))


@dataclass(frozen=True)
class InGroup:
    """A source that must be read with its neighbours."""

    group: int
    identity: str = ""

    @property
    def neighbourhood(self) -> tuple[str, int]:
        """The group."""
        return "file", self.group

    def read(self) -> bytes:
        """Return nothing."""
        return b""


def test_what_is_read_as_a_whole_is_read_once(dataset: ImageDataset) -> None:
    """Rows of one row group are one piece of work, however they are scattered; files are split in their order."""
    grouped: list[Job] = [(row, InGroup(row % 3)) for row in range(50)]
    files: list[Job] = list(enumerate(dataset.sources))

    by_group = [[row for row, _ in chunk] for chunk in module._chunks(grouped, 16)]
    by_count = [[row for row, _ in chunk] for chunk in module._chunks(files, 16)]

    assert by_group == [list(range(first, 50, 3)) for first in range(3)]
    assert by_count == [list(range(16)), list(range(16, 32)), list(range(32, 37))]


def test_a_device_is_given_large_batches_in_this_process(
    dataset: ImageDataset, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NvJPEG decodes many at once, in a thread; the images that it leaves to Pillow are reported."""
    calls = []

    def decode(sources: Sequence[Source], geometry: Geometry, decoder: Decoder) -> list[Decoded]:
        calls.append((len(sources), geometry, decoder.device, os.getpid()))
        return [
            Decoded(crop_image(source.read(), geometry), by_pillow=source == dataset.sources[5]) for source in sources
        ]

    monkeypatch.setattr(decoders, "decode", decode)
    monkeypatch.setattr("harness.decoding.decoders.versions", lambda _: {})

    decoded = opened(decoder=Decoder("nvjpeg", "cuda:0"))

    assert np.array_equal(decoded.read(slice(0, 37)), crops(dataset))
    assert decoded.notes() == ["1 of 37 images were decoded by Pillow, since nvjpeg cannot, the first of them 05.JPEG"]
    assert calls == [(images, GEOMETRY, "cuda:0", os.getpid()) for images in (37, 32)]
