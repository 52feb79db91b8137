"""Decodes the rows of a split that are not in the store yet, in worker processes that write them in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from harness.data.decode import decode
from harness.data.decoder import Decoder
from harness.data.pixels import Pixels
from harness.data.preset import Geometry
from harness.data.source import Source
from harness.data.workers import process_pool
from harness.errors import SplitError, StoreError

_CHUNK = 16
_CHUNK_ON_DEVICE = 64
_NAMED_FILES = 5
_BY_PILLOW = "by-pillow"

Job = tuple[int, Source]
"""A row and the image that belongs there."""


@dataclass(frozen=True)
class Target:
    """Where decoded rows go, and how they are made.

    Attributes:
        folder: of ``Pixels``.
        rows: number of rows there.
        geometry: of the crops.
        decoder: what makes them.
    """

    folder: Path
    rows: int
    geometry: Geometry
    decoder: Decoder

    def open(self) -> Pixels:
        """Open the files, see ``Pixels``."""
        return Pixels(self.folder, self.rows, self.geometry.crop)

    def prepare(self) -> None:
        """Make the files, see ``Pixels.prepare``."""
        Pixels.prepare(self.folder, self.rows, self.geometry.crop)

    def is_prepared(self) -> bool:
        """Tell whether the files are there, see ``Pixels.prepared``."""
        return Pixels.prepared(self.folder, self.rows, self.geometry.crop)

    def rows_by_pillow(self) -> list[int]:
        """Return the rows that Pillow decoded because ``decoder`` could not, sorted."""
        noted = self.folder / _BY_PILLOW
        lines = noted.read_text(errors="replace").split() if noted.exists() else []
        return sorted({int(line) for line in lines if line.isdecimal()})

    def note_by_pillow(self, row: int) -> None:
        """Add to those rows; several processes may do so at once."""
        with (self.folder / _BY_PILLOW).open("a") as noted:
            noted.write(f"{row}\n")

    def unlink(self) -> None:
        """Remove the files of pixels, which live on while they are open."""
        for name in Pixels.FILES:
            (self.folder / name).unlink()


class Unreadable(NamedTuple):
    """An image that could not be decoded.

    Attributes:
        row: its place.
        name: its source.
        reason: why.
    """

    row: int
    name: str
    reason: str


class Build:
    """The decoding of some rows, going on in the background from its beginning until ``close``."""

    def __init__(self, jobs: Sequence[Job], target: Target, workers: int, *, scratch: bool) -> None:
        """Begin.

        Args:
            jobs: what to decode, in the order in which it is wanted.
            target: where to.
            workers: number of processes.
            scratch: the folder is not to outlive this process, however that ends.
        """
        self.done = 0
        self._unreadable: list[Unreadable] = []
        self._jobs = len(jobs)
        self._workers = workers
        chunks = list(_chunks(jobs, _CHUNK if target.decoder.device is None else _CHUNK_ON_DEVICE))
        self._executor = _executor(target, min(workers, len(chunks)), scratch=scratch)
        self._pending: dict[Future[list[Unreadable]], int] = {
            self._executor.submit(decode_rows, chunk, target): len(chunk) for chunk in chunks
        }

    def step(self) -> None:
        """Wait until more rows are decoded; rows that have been decoded meanwhile are counted without waiting.

        Raises:
            SplitError: a worker died.
            StoreError: the rows cannot be written.
        """
        finished, _ = wait(self._pending, return_when=FIRST_COMPLETED)
        for future in finished:
            images = self._pending.pop(future)
            try:
                self._unreadable += future.result()
            except BrokenProcessPool as error:
                raise SplitError(
                    f"a decoding process died after {self.done:,} of {self._jobs:,} images (killed, out of memory, or "
                    f"unable to start?); try fewer --workers than {self._workers}"
                ) from error
            except OSError as error:
                raise StoreError(
                    f"decoded images cannot be written to {error.filename or 'the store'}: {error.strerror or error}; "
                    "make room, point --store elsewhere, or give --no-store"
                ) from error
            self.done += images

    @property
    def ended(self) -> bool:
        """Whether every row has been tried."""
        return not self._pending

    def failure(self, images: int) -> SplitError | None:
        """Return what is to be said of files that cannot be decoded, of so many images."""
        unreadable = sorted(self._unreadable)
        if not unreadable:
            return None
        named = "; ".join(f"{image.name} ({image.reason})" for image in unreadable[:_NAMED_FILES])
        more = f"; and {len(unreadable) - _NAMED_FILES} more" if len(unreadable) > _NAMED_FILES else ""
        return SplitError(
            f"{len(unreadable):,} of {images:,} images cannot be decoded: {named}{more}. "
            "Replace them; nothing is scored without them."
        )

    def close(self) -> None:
        """Give up what has not begun; what has, ends by itself."""
        # Idle workers are waited for: they end at once, and a process that exits meanwhile could wait for ever.
        self._executor.shutdown(wait=self.ended, cancel_futures=True)


def decode_rows(jobs: Sequence[Job], target: Target) -> list[Unreadable]:
    """Decode images and write them to their rows; those that cannot be decoded are returned, not raised.

    Raises:
        OSError: a row cannot be written.
    """
    unreadable = []
    decoded = decode([source for _, source in jobs], target.geometry, target.decoder)
    with target.open() as pixels:
        for (row, source), image in zip(jobs, decoded, strict=True):
            if image.crop is None:
                unreadable.append(Unreadable(row, str(source), image.reason))
                continue
            if image.by_pillow:
                target.note_by_pillow(row)  # first, so that a build that is killed does not lose it
            pixels.write(row, image.crop)
    return unreadable


def _chunks(jobs: Sequence[Job], size: int) -> Iterator[list[Job]]:
    """Part the jobs so that what has to be read as a whole is read once."""

    def neighbourhood(job: Job) -> tuple[str, int]:
        return job[1].neighbourhood or ("", 0)

    for place, group in groupby(sorted(jobs, key=neighbourhood), key=neighbourhood):
        together = list(group)
        step = len(together) if place[0] else size
        yield from (together[first : first + step] for first in range(0, len(together), step))


def _executor(target: Target, workers: int, *, scratch: bool) -> Executor:
    if target.decoder.device is not None:
        return ThreadPoolExecutor(1, thread_name_prefix="decoding")  # the device decodes; a process could not share it
    return process_pool(workers, target.folder if scratch else None)
