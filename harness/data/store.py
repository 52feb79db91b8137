"""Split + geometry -> uint8 crops in one memory map, decoded once for all models that share the geometry."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from harness.data.decode import crop_into, start_worker
from harness.data.preset import Geometry
from harness.data.split import Split
from harness.errors import SplitError

CHUNK = 16
_NAMED_FILES = 5

Progress = Callable[[int, int], None]
"""Called with the number of images done and the number of all."""


@dataclass(frozen=True, eq=False)
class DecodedSplit:
    """The pixels of a split, without its labels.

    Attributes:
        ids: N ids, in the split's order.
        images: (N, crop, crop, 3) uint8, RGB, memory-mapped.
        geometry: how they were made.
        seconds: what decoding took.
    """

    ids: tuple[str, ...]
    images: NDArray[np.uint8]
    geometry: Geometry
    seconds: float


class Store:
    """A temporary folder for the decoded split, in one geometry at a time; a context manager that removes it."""

    def __init__(self, split: Split, workers: int) -> None:
        self._split = split
        self._workers = workers
        self._geometry: Geometry | None = None
        self._decoded: DecodedSplit | SplitError | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="imagenet-gate-", ignore_cleanup_errors=True)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._decoded = None
        self._folder.cleanup()

    def decoded(self, geometry: Geometry, progress: Progress) -> DecodedSplit:
        """Return the split's pixels in this geometry, decoding them unless they are those of the last call.

        Another geometry's pixels are dropped first: 114 models have 27 geometries, 493 GB for 50,000 images.

        Raises:
            SplitError: files that cannot be decoded, no room on the disk, or a worker that died.
        """
        if geometry != self._geometry:
            self._geometry, self._decoded = geometry, None
            file = Path(self._folder.name) / "pixels"
            try:
                self._decoded = decode_split(self._split, geometry, file, self._workers, progress)
            except SplitError as error:
                # The next model would only find the same files unreadable, minutes later.
                self._decoded = error
        if isinstance(self._decoded, SplitError):
            raise self._decoded
        assert self._decoded is not None
        return self._decoded


def decode_split(split: Split, geometry: Geometry, store: Path, workers: int, progress: Progress) -> DecodedSplit:
    """Decode every image of ``split`` in worker processes, through a new file ``store``, which goes with the result.

    Raises:
        SplitError: files that cannot be decoded, no room on the disk, or a worker that died.
    """
    started = time.perf_counter()
    shape = (len(split), geometry.crop, geometry.crop, 3)
    try:
        _reserve(store, size=int(np.prod(shape)))
        unreadable = _decode_chunks(split.paths, geometry, store, shape, workers, progress)
        if unreadable:
            raise SplitError(_unreadable_message(unreadable, len(split)))
    except BaseException:
        store.unlink(missing_ok=True)
        raise
    images = np.memmap(store, dtype=np.uint8, mode="r", shape=shape)
    if os.name == "posix":
        store.unlink()  # the mapping keeps the pixels, and a run that is killed leaves none behind
    return DecodedSplit(split.ids, images, geometry, time.perf_counter() - started)


def _reserve(store: Path, size: int) -> None:
    """Claim the room before the first write, where the system can: a full disk met later would be a SIGBUS."""
    with store.open("xb") as file:
        file.truncate(size)
        if not hasattr(os, "posix_fallocate"):
            return
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                return  # a file system that cannot claim blocks
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise SplitError(
                f"no room to decode into {store.parent}: {size / 1e9:.2f} GB are needed and "
                f"{shutil.disk_usage(store.parent).free / 1e9:.2f} GB are free; point TMPDIR at a larger disk"
            ) from error


def _decode_chunks(
    paths: tuple[Path, ...],
    geometry: Geometry,
    store: Path,
    shape: tuple[int, ...],
    workers: int,
    progress: Progress,
) -> list[tuple[str, str]]:
    """Decode in chunks of consecutive rows; return the unreadable files in the split's order."""
    chunks = {first: paths[first : first + CHUNK] for first in range(0, len(paths), CHUNK)}
    context = _context()
    unreadable: dict[int, list[tuple[str, str]]] = {}
    done = 0
    progress(0, len(paths))

    with ProcessPoolExecutor(
        min(workers, len(chunks)), mp_context=context, initializer=start_worker, initargs=(store,)
    ) as pool:
        try:
            futures: dict[Future[list[tuple[str, str]]], int] = {
                pool.submit(crop_into, store, shape, first, chunk, geometry): first for first, chunk in chunks.items()
            }
            for future in as_completed(futures):
                first = futures[future]
                unreadable[first] = future.result()
                done += len(chunks[first])
                progress(done, len(paths))
        except BrokenProcessPool as error:
            raise SplitError(
                f"a decoding process died after {done:,} of {len(paths):,} images (killed, out of memory, or unable to "
                f"start?); try fewer --workers than {workers}"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return [failure for first in sorted(unreadable) for failure in unreadable[first]]


def _context() -> multiprocessing.context.BaseContext:
    """Prefer a forkserver: a worker starts at once, and no CUDA or OpenMP state of this process is forked."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harness.data.decode"])
    return context


def _unreadable_message(unreadable: list[tuple[str, str]], images: int) -> str:
    named = "; ".join(f"{path} ({reason})" for path, reason in unreadable[:_NAMED_FILES])
    more = f"; and {len(unreadable) - _NAMED_FILES} more" if len(unreadable) > _NAMED_FILES else ""
    return (
        f"{len(unreadable):,} of {images:,} images cannot be decoded: {named}{more}. "
        "Replace them; nothing is scored without them."
    )
