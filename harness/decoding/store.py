"""The store of decoded images: pixels are decoded once, kept from run to run, and checked whenever they are read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from harness.dataset import ImageDataset
from harness.decoding import decoders
from harness.decoding.folder import Description, Files, Pixels, hash_of, make_store, runs
from harness.decoding.workers import process_pool, temporary_folder
from harness.errors import DatasetError, StoreError
from harness.formats.sources import Source
from harness.options import PILLOW, Decoder, available_cores
from harness.predictions import GRID, HASH_BYTES, sampled
from harness.preset import Geometry

_POLL_SECONDS = 0.1
_CHUNK, _CHUNK_ON_DEVICE, _NAMED_IMAGES = 16, 64, 5
_SAMPLE = 32  # images of a store that each run decodes anew
_READERS, _TOGETHER = 4, 8  # threads at most, and images that each reads and then hashes, while they are in its cache
_STORED = "give --no-store to evaluate what is decoded now, or remove that store (`imagenet-gate store prune`)"
_DECODED = "something, such as a conftest.py, changes how this process decodes, or its decoding processes"

Progress = Callable[[int, int], None]  # called with the number of images decoded so far and of all images
Job = tuple[int, Source]  # a row of the store and the image that belongs there


class Store(ExitStack):
    """The decoded images of one dataset, in one geometry at a time; a context manager."""

    def __init__(self, dataset: ImageDataset, decoder: Decoder, folder: Path | None, workers: int) -> None:
        """Prepare to decode in so many processes into a folder; None is a temporary one, for one geometry at a time."""
        super().__init__()
        self._dataset, self._decoder, self._folder, self._workers = dataset, decoder, folder, workers
        self._decoded: DecodedImages | None = None

    def decoded(self, geometry: Geometry, progress: Progress) -> DecodedImages:
        """Return the images in this geometry, and close those in another: 27 geometries of ImageNet take 493 GB."""
        if self._decoded is None or self._decoded.geometry != geometry:
            self.close()
            self._decoded = DecodedImages(self._dataset, geometry, self._decoder, self._folder, self._workers)
            self.callback(self._decoded.close)
        self._decoded.progress = progress
        return self._decoded


class DecodedImages:
    """The decoded images of a dataset in one geometry.

    A thread finds what is in the store and has the rest decoded, or waits for another process that does. If that
    fails, every read raises the same error: another try, for the next model, would fail in the same way minutes later.
    """

    def __init__(
        self, dataset: ImageDataset, geometry: Geometry, decoder: Decoder, folder: Path | None, workers: int
    ) -> None:
        """Set what is to be decoded, as for ``Store``; nothing is opened yet."""
        self.ids, self.geometry, self.decoder = dataset.ids, geometry, decoder
        self.repaired: list[str] = []  # ids of images whose pixels had changed in the store and were decoded again
        # As in Predictions; zeros where an image was not read.
        self.hashes = np.zeros((len(dataset), HASH_BYTES), np.uint8)
        self.samples = np.zeros((len(dataset), GRID, GRID, 3), np.uint8)
        self.progress: Progress = lambda _done, _images: None  # called while this process waits; can be replaced
        self._dataset, self._workers = dataset, workers
        self._resources, self._is_scratch = ExitStack(), folder is None
        if folder is None:
            temporary = tempfile.TemporaryDirectory(dir=temporary_folder(), ignore_cleanup_errors=True)
            folder = Path(self._resources.enter_context(temporary))
        self._root, self._description = folder, describe(dataset, geometry, decoder)
        self._files = self._description.files(folder / self._description.key)
        self._pool: Executor
        if decoder.device is None:
            self._pool = process_pool(workers, with_torch=decoder.name != PILLOW)
        else:
            self._pool = ThreadPoolExecutor(1)  # as only this process can use the device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._task: Future[None] | None = None
        self._parallel = min(_READERS, available_cores())
        self._readers = ThreadPoolExecutor(self._parallel, thread_name_prefix="reader")
        self._pixels: SimpleQueue[Pixels] = SimpleQueue()  # one for each reader, opened once all is decoded
        self._repairing, self._closed = Lock(), False
        self._lacking = self._left = 0  # images that were missing when decoding began, and that are now
        self._shown = len(dataset) + 1  # those that were missing when progress was last shown
        self._anew = self._anew_noted = 0  # images decoded anew to compare them with the store; those already noted

    def begin(self) -> Future[None]:
        """Start to decode what is missing in the background; an error is raised on reading."""
        if self._task is None:
            self._task = self._thread.submit(self._provide)
        return self._task

    def read(self, rows: slice, into: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return the images at ``rows`` as (rows, S, S, 3) uint8, in ``into`` if given; ``finish`` comes first."""
        self.finish()
        first, end, _ = rows.indices(len(self.ids))
        if into is None:
            into = np.empty((end - first, self.geometry.crop, self.geometry.crop, 3), np.uint8)
        assert len(into) == end - first
        size = -(-len(into) // self._parallel)
        starts = range(0, len(into), size or 1)
        list(self._readers.map(self._read, [first + start for start in starts], [into[s : s + size] for s in starts]))
        return into

    def _read(self, first: int, into: NDArray[np.uint8]) -> None:
        """In a reader: read the images from index ``first`` on."""
        indices = slice(first, first + len(into))
        rows, hashes = self._dataset.rows[indices], list[bytes]()
        pixels = self._pixels.get()
        try:
            for run in runs(rows, _TOGETHER):
                found = pixels.read(int(rows[run.start]), into[run])
                for index, pixel_hash in enumerate(found, run.start):
                    hashes.append(pixel_hash or self._repair(pixels, first + index, int(rows[index]), into[index]))
        finally:
            self._pixels.put(pixels)
        self.hashes[indices] = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, HASH_BYTES)
        self.samples[indices] = sampled(into)

    def finish(self) -> None:
        """Wait until all images are decoded, by this process or another, and the lock has been released.

        Raises:
            DatasetError: images cannot be decoded, or a worker died.
            StoreError: the pixels cannot be written or read.
        """
        task = self.begin()
        while wait([task], _POLL_SECONDS).not_done:
            self._show(self._left)
        task.result()
        self._show(0)

    def close(self) -> None:
        """Stop decoding, which another process can then continue, and close the files."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._thread.shutdown()
        self._readers.shutdown()
        self._resources.close()

    def notes(self) -> list[str]:
        """Return what a reader of the results should know about the pixels; of those decoded anew, once."""
        anew, self._anew_noted = self._anew - self._anew_noted, self._anew
        by_pillow = np.flatnonzero(np.isin(self._dataset.rows, self._files.rows_by_pillow()))
        notes = {
            "changed in the store and decoded again": sorted(self.repaired),
            f"decoded by Pillow, since {self.decoder.name} cannot": [self.ids[index] for index in by_pillow],
        }
        equal = [f"{anew:,} stored images decoded again: identical"] if anew else []
        of = f"of {len(self.ids):,} images, the first of them"
        return equal + [f"{what}: {len(ids):,} {of} {ids[0]}" for what, ids in notes.items() if ids]

    def _show(self, missing: int) -> None:
        """Show the progress of decoding, from its start, also if all was decoded before anybody waited."""
        for left in (self._lacking, missing) if self._lacking else ():
            if left < self._shown:
                self._shown = left
                self.progress(len(self.ids) - left, len(self.ids))

    def _repair(self, pixels: Pixels, index: int, row: int, image: NDArray[np.uint8]) -> bytes:
        """Decode an image again whose pixels are not those that were written, and return their hash."""
        source = self._dataset.sources[index]
        with self._repairing:
            [decoded] = decoders.decode([source], self.geometry, self.decoder)
        if decoded.crop is None:
            again = f"{source} cannot be decoded again ({decoded.reason})"
            raise DatasetError(f"{self.ids[index]} has changed in the store {self._files.folder}, and {again}")
        image[:] = decoded.crop
        self.repaired.append(self.ids[index])
        with suppress(OSError):  # in a store that cannot be written, only what was read is repaired
            pixels.write(row, image)
        return hash_of(image)

    def _provide(self) -> None:
        """In the thread: return when all images are decoded, by whichever process holds the lock."""
        whole = self._dataset.whole or self._dataset
        try:
            make_store(self._root, self._description, whole.ids)
            lacking = lacked = self._missing()
            self._anew = self._compare_sample(np.setdiff1d(self._dataset.rows, lacked), _STORED)
            while len(lacking) and not self._closed:
                self._left = len(lacking)
                self._lacking = self._lacking or self._left
                with suppress(Timeout), FileLock(f"{self._files.folder}.lock").acquire(timeout=_POLL_SECONDS):
                    self._files.prepare()
                    if len(missing := self._missing()):
                        self._decode([(row, whole.sources[row]) for row in missing.tolist()])
                    break
                lacking = self._missing()
            self._compare_sample(lacked, _DECODED)  # decoded by other processes, which import no conftest.py
            for _ in range(self._parallel):
                self._pixels.put(self._resources.enter_context(Pixels(self._files)))
            # Open files keep the pixels, and a killed run leaves none behind.
            if self._is_scratch and os.name == "posix":
                (self._files.folder / "pixels").unlink()
                (self._files.folder / "hashes").unlink()
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(
                f"decoded images cannot be kept in {self._root}: {error.strerror or error}"
                f"{f': {error.filename}' if error.filename else ''}; "
                "point --store at a folder that can be written, or give --no-store"
            ) from error

    def _missing(self) -> NDArray[np.int64]:
        """Return the rows that the files lack."""
        if not self._files.are_prepared():
            return self._dataset.rows
        with Pixels(self._files) as pixels:
            return pixels.missing(self._dataset.rows)

    def _compare_sample(self, rows: NDArray[np.int64], advice: str) -> int:
        """Decode again some rows that this process did not (what the key lacks can change pixels); return how many."""
        if self._closed or not len(rows):
            return 0
        sample = np.random.default_rng().choice(rows, min(len(rows), _SAMPLE - self._anew), replace=False)
        sources = [self._dataset.sources[index] for index in np.searchsorted(self._dataset.rows, sample)]
        found = np.empty((1, self.geometry.crop, self.geometry.crop, 3), np.uint8)
        decoded = decoders.decode(sources, self.geometry, self.decoder)
        different, compared = list[str](), 0
        with Pixels(self._files) as pixels:
            for row, source, (crop, reason, _) in zip(sample.tolist(), sources, decoded, strict=True):
                if pixels.read(row, found) == [None]:
                    continue  # its pixels have changed since, and will be decoded again
                compared += 1
                if crop is None or not np.array_equal(crop, found[0]):
                    different.append(f"{source} ({reason})" if reason else str(source))
        if different:
            raise StoreError(
                f"{len(different)} of {len(sample)} images in the store {self._files.folder}, decoded anew by "
                f"{self.decoder.name}, differ from the stored pixels, such as {min(different)}; {advice}"
            )
        return compared

    def _decode(self, jobs: list[Job]) -> None:
        with Pixels(self._files) as pixels:
            pixels.reserve(np.array([row for row, _ in jobs]))
        chunks = _chunks(jobs, _CHUNK_ON_DEVICE if self.decoder.device else _CHUNK)
        common = self._files, self.geometry, self.decoder
        unreadable = []
        try:
            futures = [self._pool.submit(decode_rows, chunk, *common) for chunk in chunks]
            for chunk, future in zip(chunks, futures, strict=True):
                unreadable += future.result()  # raises if close has cancelled it
                self._left -= len(chunk)
        except BrokenProcessPool as error:
            done = f"{len(jobs) - len(self._missing()):,} of {len(jobs):,} images"
            what = f"a decoding process died after {done} (killed, or out of memory?)"
            raise DatasetError(f"{what}; try fewer --workers than {self._workers}") from error
        finally:
            self._pool.shutdown(cancel_futures=True)
        if unreadable:
            texts = [text for _, text in sorted(unreadable)]
            more = [f"and {len(texts) - _NAMED_IMAGES} more"] if len(texts) > _NAMED_IMAGES else []
            raise DatasetError(
                f"{len(texts):,} of {len(self.ids):,} images cannot be decoded: "
                f"{'; '.join(texts[:_NAMED_IMAGES] + more)}. Replace them; nothing is scored without them."
            )


def decode_rows(jobs: Sequence[Job], files: Files, geometry: Geometry, decoder: Decoder) -> list[tuple[int, str]]:
    """Decode images and write them to their rows; return the rows that cannot be decoded, with file and reason."""
    unreadable = []
    results = decoders.decode([source for _, source in jobs], geometry, decoder)
    with Pixels(files) as pixels:
        for (row, source), decoded in zip(jobs, results, strict=True):
            if decoded.crop is None:
                unreadable.append((row, f"{source} ({decoded.reason})"))
                continue
            if decoded.by_pillow:
                files.note_by_pillow(row)  # first, so that a killed build does not lose it
            pixels.write(row, decoded.crop)
    return unreadable


def describe(dataset: ImageDataset, geometry: Geometry, decoder: Decoder) -> Description:
    """Return what a store of these images is for."""
    whole = dataset.whole or dataset
    facts = whole.name, whole.format, str(whole.root.resolve()), len(whole), whole.fingerprint
    return Description(*facts, geometry, decoder.name, decoders.versions(decoder))


def _chunks(jobs: Sequence[Job], size: int) -> list[list[Job]]:
    """Split the jobs so that what must be read as a whole, such as a Parquet row group, is read once."""
    chunks: dict[tuple[str, int], list[Job]] = {}
    for index, job in enumerate(jobs):
        chunks.setdefault(job[1].neighborhood or ("", index // size), []).append(job)
    return list(chunks.values())
