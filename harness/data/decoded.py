"""A split's pixels in one geometry, read while they are still being decoded, and checked whenever they are read."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from harness.data.build import Build, Target
from harness.data.decode import decode
from harness.data.decoder import Decoder
from harness.data.fingerprints import Fingerprints, sampled
from harness.data.pixels import Pixels, hash_of
from harness.data.preset import Geometry
from harness.data.split import Split
from harness.errors import HarnessError, SplitError, StoreError

_POLL_SECONDS = 0.1

Progress = Callable[[int, int], None]
"""Called with the number of images decoded and the number of all."""


class DecodedSplit:
    """The pixels of a split, without its labels; ``close`` it.

    What is missing in ``folder`` is decoded in the background from the first read on, by this process or by another
    that has begun already. Images are read in the split's order as they land.

    Attributes:
        ids: N ids, in the split's order.
        geometry: how the pixels were made.
        repaired: ids of images whose pixels had changed in the store and were decoded again.
        seconds: time spent waiting for pixels.
        progress: told of images decoded, while this process waits for them; may be replaced.
    """

    def __init__(
        self,
        split: Split,
        geometry: Geometry,
        decoder: Decoder,
        folder: Path,
        *,
        workers: int,
        progress: Progress,
        scratch: bool = False,
    ) -> None:
        """Name the pixels; nothing is opened yet.

        Args:
            split: the images, a subset or a whole.
            geometry: of the crops.
            decoder: what makes them.
            folder: holds the pixels of the whole split, or will.
            workers: decoding processes.
            progress: told of images decoded.
            scratch: the folder is not to outlive this process.
        """
        self.ids = split.ids
        self.geometry = geometry
        self.repaired: list[str] = []
        self.seconds = 0.0
        self.progress = progress
        self._split = split
        self._target = Target(folder, split.total, geometry, decoder)
        self._workers = workers
        self._scratch = scratch
        self._lock = FileLock(f"{folder}.lock")
        self._pixels: Pixels | None = None
        self._build: Build | None = None
        self._complete = False
        self._failure: HarnessError | None = None
        self._seen = Fingerprints.room_for(len(split))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def decoder(self) -> Decoder:
        """What made the pixels."""
        return self._target.decoder

    @property
    def fingerprints(self) -> Fingerprints:
        """What was read of the N images, in the split's order; all of them must have been read."""
        assert self._seen.hashes.any(axis=1).all()
        return self._seen

    def notes(self) -> list[str]:
        """Return what a reader of the results should know of the pixels."""
        notes = []
        if self.repaired:
            notes.append(
                f"{len(self.repaired):,} of {len(self):,} images had changed in the store and were decoded again, "
                f"the first of them {self.repaired[0]}"
            )
        by_pillow = np.intersect1d(self._target.rows_by_pillow(), self._split.rows)
        if len(by_pillow):
            first = self.ids[int(np.searchsorted(self._split.rows, by_pillow[0]))]
            notes.append(
                f"{len(by_pillow):,} of {len(self):,} images were decoded by Pillow, since {self.decoder.name} cannot, "
                f"the first of them {first}"
            )
        return notes

    def read(self, rows: slice, into: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return the images at ``rows``, as soon as they are decoded.

        Args:
            rows: consecutive places in the split.
            into: (rows, crop, crop, 3) uint8 to fill; a new array if None.

        Raises:
            SplitError: files cannot be decoded, or a worker died.
            StoreError: the pixels cannot be kept or read.
        """
        places = self._split.rows[rows]
        if into is None:
            into = np.empty((len(places), self.geometry.crop, self.geometry.crop, 3), np.uint8)
        pixels = self._await(places)
        for row, place, image in zip(range(*rows.indices(len(self))), places.tolist(), into, strict=True):
            found = pixels.read(place, image) or self._repair(pixels, row, place, image)
            self._seen.hashes[row] = np.frombuffer(found, np.uint8)
            self._seen.samples[row] = sampled(image)
        return into

    def begin(self) -> None:
        """Have what is missing decoded in the background, unless another process does; what fails, fails on reading."""
        with suppress(HarnessError), self._remembering_failures():
            self._open()
            if not self._complete and self._build is None and self._take_lock():
                self._start_build()

    def finish(self) -> None:
        """Wait until all images are there.

        Raises:
            SplitError: files cannot be decoded, or a worker died.
            StoreError: the pixels cannot be kept or read.
        """
        self._await(self._split.rows)

    def close(self) -> None:
        """Stop decoding, close the files, and let others build."""
        if self._build is not None:
            self._build.close()
        if self._pixels is not None:
            self._pixels.close()
        self._lock.release()

    def _repair(self, pixels: Pixels, row: int, place: int, image: NDArray[np.uint8]) -> bytes:
        """Decode an image again whose pixels are not those that were written, and return their hash."""
        [decoded] = decode([self._split.sources[row]], self.geometry, self.decoder)
        if decoded.crop is None:
            raise SplitError(
                f"{self.ids[row]} has changed in the store {self._target.folder}, and {self._split.sources[row]} "
                f"cannot be decoded again ({decoded.reason})"
            )
        image[:] = decoded.crop
        self.repaired.append(self.ids[row])
        with suppress(OSError):  # a store that cannot be written is repaired in memory
            pixels.write(place, image)
        return hash_of(image)

    @contextmanager
    def _remembering_failures(self) -> Iterator[None]:
        """Let what has failed once fail again at once: the next model would only meet the same, minutes later."""
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except HarnessError as error:
            self._failure = error
            raise
        except OSError as error:
            self._failure = StoreError(
                f"decoded images cannot be kept in {error.filename or self._target.folder}: {error.strerror or error}; "
                "point --store at a folder that can be written, or give --no-store"
            )
            raise self._failure from error

    def _await(self, places: NDArray[np.int64]) -> Pixels:
        """Return the open files once they hold the images at ``places``."""
        started = time.perf_counter()
        with self._remembering_failures():
            while (pixels := self._open()) is None or not (self._complete or not len(pixels.missing(places))):
                self._advance()
            # A row is there a little before the worker that wrote it reports, and the lock must not outlive the build.
            while self._build is not None and not len(pixels.missing(self._split.rows)):
                self._advance()
        self.seconds += time.perf_counter() - started
        return pixels

    def _open(self) -> Pixels | None:
        """Return the open files, None as long as nobody has made them."""
        if self._pixels is None and self._target.is_prepared():
            self._pixels = self._target.open()
            self._complete = not len(self._pixels.missing(self._split.rows))
        return self._pixels

    def _advance(self) -> None:
        """Do what brings more images: begin to build, wait for what is being built, or for the process that builds."""
        if self._build is not None:
            self._build.step()
            self._show_progress()
            if self._build.ended:
                self._end_build(self._build)
        elif self._take_lock():
            self._start_build()
        else:
            time.sleep(_POLL_SECONDS)
            self._show_progress()

    def _take_lock(self) -> bool:
        """Become the one process that builds, unless another is."""
        self._target.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def _start_build(self) -> None:
        self._target.prepare()
        pixels = self._pixels = self._pixels or self._target.open()
        missing = pixels.missing(self._split.rows)
        self._complete = not len(missing)
        if self._complete:  # another process has ended meanwhile
            self._lock.release()
            return
        try:
            pixels.reserve(missing)
        except StoreError:
            if not pixels.hashes().any():
                shutil.rmtree(self._target.folder)  # begun for nothing
            raise
        whole = self._split.whole or self._split
        jobs = [(row, whole.sources[row]) for row in missing.tolist()]
        self._build = Build(jobs, self._target, self._workers, scratch=self._scratch)
        self._show_progress()

    def _end_build(self, build: Build) -> None:
        build.close()
        self._build = None
        self._complete = True
        self._lock.release()
        if self._scratch and os.name == "posix":
            self._target.unlink()  # the open files keep the pixels, and a run that is killed leaves none behind
        if (failure := build.failure(len(self))) is not None:
            raise failure

    def _show_progress(self) -> None:
        missing = len(self) if self._pixels is None else len(self._pixels.missing(self._split.rows))
        self.progress(len(self) - missing, len(self))
