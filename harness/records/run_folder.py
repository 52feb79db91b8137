"""A run on disk, written as a whole or not at all, and read back.

``record.json``; ``labels.npz``, the ids and targets of the evaluated images; ``predictions/<case id>.npz``;
``inputs/<digest>.npz``, the hashes and samples of the pixels that models were shown, shared by models of one geometry;
and ``crops/<case id>.npz``, pictures of a few images.
"""

from __future__ import annotations

import errno
import hashlib
import io
import lzma
import math
import multiprocessing.util
import os
import secrets
import shutil
import stat
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.dataset import digest_of
from harness.decoding.workers import LOCK, LOCKED, own_folder
from harness.errors import RecordError, ResultsError
from harness.predictions import GRID, HASH_BYTES, Predictions
from harness.records.environment import shorten
from harness.records.results import CaseResult, Record, parse_record, record_json

RECORD, LABELS, PREDICTIONS, INPUTS, CROPS = "record.json", "labels.npz", "predictions", "inputs", "crops"
CROP_SIDE = 112  # pixels of a kept picture in each direction
# What each file of arrays holds: their types, and the shapes that they may have after the first dimension.
_ARRAYS: dict[str, dict[str, tuple[str, list[tuple[int, ...]]]]] = {
    LABELS: {"ids": ("U", [()]), "targets": ("i2", [()])},
    INPUTS: {"hashes": ("u1", [(HASH_BYTES,)]), "samples": ("u1", [(GRID, GRID, 3)])},
    CROPS: {"ids": ("U", [()]), "pixels": ("u1", [(CROP_SIDE, CROP_SIDE, 3)])},
    PREDICTIONS: {"top": ("i2", [(5,), (6,)]), "logits": ("f4", [(5,), (6,)]), "logsumexp": ("f4", [()])},
}
_NOT_WRITABLE = "the run cannot be written to"
_LARGEST = 2**29  # bytes of a file or an array that are read at most: ten times what a million images need
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# What zipfile and NumPy raise on bytes that neither has written.
_DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, SyntaxError, MemoryError, zipfile.BadZipFile)


class NewRun:
    """A run folder in the making, beside its destination, to which it is moved once it is whole."""

    def __init__(self, folder: Path | None, option: str = "--results") -> None:
        """Make the staging folder, or raise a ResultsError; a run that is not kept has a temporary one."""
        if folder is None:
            self.folder = None
            self.staging, self._lock = own_folder(Path(multiprocessing.util.get_temp_dir(), "run-"))
            return
        self.folder = Path(os.path.realpath(folder))  # without an error where links form a loop
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            raise ResultsError(f"{option} {folder}: expected a folder, found a file")
        if self.folder.is_mount():
            raise ResultsError(f"{option} {folder}: a mount point cannot be replaced; name a folder in it")
        if outer := [parent for parent in self.folder.parents if (parent / RECORD).exists()]:
            raise ResultsError(f"{option} {folder}: expected a folder of its own, found one in the run {outer[0]}")
        if self.folder.is_dir() and (foreign := _foreign(self.folder)):
            raise ResultsError(f"{option} {folder}: expected a new or empty folder, or a run; found {foreign} in it")
        with _as_results_error(self.folder):
            self.staging, self._lock = own_folder(self.folder.with_name(f"{self.folder.name}.partial-"))

    def finish(self, record: Record) -> None:
        """Write the record and move the folder to its destination; only a ResultsError leaves an earlier run there.

        What was measured is then kept elsewhere, and the error says where.
        """
        assert self.folder is not None
        measured = record.cases or record.timings
        if not measured and (full := [one.detail for one in record.missing if one.detail.startswith(_NOT_WRITABLE)]):
            raise ResultsError(full[0])
        before = self.folder.with_name(f"{self.folder.name}.replaced-{secrets.token_hex(4)}")
        files = {path.relative_to(self.staging).as_posix(): path for path in sorted(self.staging.rglob("*.npz"))}
        digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
        content = record_json(msgspec.structs.replace(record, files=digests))
        try:
            with _as_results_error(self.folder):
                write_whole(self.staging / RECORD, content)
                self._disown()
                try:
                    if self.folder.exists():
                        self.folder.rename(before)
                    self.staging.rename(self.folder)
                except BaseException:  # including KeyboardInterrupt
                    if before.exists() and not self.folder.exists():
                        before.rename(self.folder)
                    raise
        except ResultsError as error:
            kept = f"; what was measured is in {self._kept(content)}" if measured else ""
            raise ResultsError(f"{error}{kept}") from error
        shutil.rmtree(before, ignore_errors=True)

    def _disown(self) -> None:
        """Close and remove the lock, as Windows moves no folder with an open file; no other run removes the folder."""
        (self.staging / LOCKED).unlink(missing_ok=True)
        self._lock.release()
        (self.staging / LOCK).unlink(missing_ok=True)

    def _kept(self, content: bytes) -> Path:
        """Return where the run is kept: in a temporary folder, or where it is, as far as it could be written."""
        with suppress(OSError):
            self._disown()
        kept = Path(tempfile.gettempdir()) / f"imagenet-gate-kept-{secrets.token_hex(4)}"
        try:
            shutil.copytree(self.staging, kept, ignore=shutil.ignore_patterns(RECORD))
            write_whole(kept / RECORD, content)
        except OSError:
            shutil.rmtree(kept, ignore_errors=True)
            kept, self.staging = self.staging, kept
        return kept

    def discard(self) -> None:
        """Remove a run that was not finished."""
        self._lock.release()
        shutil.rmtree(self.staging, ignore_errors=True)


def write_predictions(staging: Path, case: str, predictions: Predictions, targets: NDArray[np.int16]) -> None:
    """Write a model's predictions into the staging folder of a run, or raise a ResultsError."""
    values: dict[str, Any] = {**vars(predictions), "targets": targets}
    inputs = array_file(staging, INPUTS, predictions.inputs_digest[:32])
    paths = {LABELS: staging / LABELS, INPUTS: inputs, PREDICTIONS: array_file(staging, PREDICTIONS, case)}
    for kind, path in paths.items():
        known = {name: values[name] for name in _ARRAYS[kind] if values[name] is not None}
        # Labels and inputs are the same for all cases that share them.
        if known and (kind == PREDICTIONS or not path.exists()):
            write_arrays(path, known)


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write a file of arrays into the staging folder of a run, or raise a ResultsError."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    with _as_results_error(path):
        path.parent.mkdir(exist_ok=True)
        write_whole(path, buffer.getvalue())


@dataclass(frozen=True)
class Run:
    """A run that was read: its path, its record, and its predictions where it holds them."""

    path: Path
    record: Record

    @property
    def holds_predictions(self) -> bool:
        """Whether the run has predictions: a folder has, a JSON file has none."""
        return self.path.is_dir()

    @cached_property
    def labels(self) -> tuple[NDArray[np.str_], NDArray[np.int16]]:
        """The (N,) ids and targets of the evaluated images, or a RecordError if their file is not the record's."""
        path, dataset = self.path / LABELS, self.record.dataset
        ids, targets = self.arrays(LABELS, path).values()
        if (ids[1:] <= ids[:-1]).any():
            raise RecordError(f"{path}: expected ids sorted and unique, found others; not written by this harness")
        if dataset is not None and digest_of(ids.tolist(), targets) != dataset.digest:
            raise RecordError(f"{path}: its digest differs from that in {RECORD}: one of them was modified")
        return ids, targets

    def predictions(self, case: CaseResult) -> Predictions:
        """Return a case's predictions, or raise a RecordError if a file is missing, damaged, or not the record's."""
        ids, _ = self.labels
        path = array_file(self.path, PREDICTIONS, case.id)
        inputs = array_file(self.path, INPUTS, case.inputs_digest[:32])
        arrays = self.arrays(PREDICTIONS, path)
        if case.inputs_digest:
            arrays |= self.arrays(INPUTS, inputs)
        predictions = Predictions(ids, **arrays)
        if predictions.inputs_digest != case.inputs_digest:
            raise RecordError(f"{inputs}: its digest differs from that in {RECORD}: one of them was modified")
        if wrong := predictions.wrong(len(self.record.dataset.class_names) if self.record.dataset else 0):
            raise RecordError(f"{path}: {wrong}; it may be damaged")
        return predictions

    def arrays(self, kind: str, path: Path) -> dict[str, Any]:
        """Return the arrays of one of its files by name, or raise a RecordError as ``predictions`` does."""
        n = self.record.dataset.images if self.record.dataset and kind != CROPS else None
        return _read_arrays(kind, path, n, self.record.files.get(path.relative_to(self.path).as_posix()))


def read_run(path: Path) -> Run:
    """Read a run folder, or a JSON file of pytest-benchmark that holds a run, or raise a RecordError."""
    if not path.exists():
        raise RecordError(f"{path}: expected a run folder (--results) or its JSON (--benchmark-json), found nothing")
    file = path / RECORD if path.is_dir() else path
    if not file.exists():
        raise RecordError(f"{path}: expected a run folder (--results), found no {RECORD}; a killed run leaves none")
    try:
        return Run(path, parse_record(read_whole(file)))
    except OSError as error:
        raise RecordError(f"{file}: cannot be read: {error.strerror}") from error
    except RecordError as error:
        raise RecordError(f"{file}: {error}") from error


def read_whole(path: Path) -> bytes:
    """Return the content of a file; an OSError says that it is too large, or something to wait for, such as a pipe."""
    found = path.stat()
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise OSError(errno.EINVAL, "expected a regular file, found a pipe, socket or device", str(path))
    if found.st_size > _LARGEST:
        raise OSError(errno.EFBIG, f"expected at most {_LARGEST:,} bytes, found {found.st_size:,}", str(path))
    return path.read_bytes()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and move it into place; an OSError leaves nothing of it. A link stays one."""
    path = Path(os.path.realpath(path))
    if os.path.lexists(path) and not path.is_file():
        raise OSError(errno.EEXIST, "something other than a file is there", str(path))
    file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False)  # noqa: SIM115
    temporary = Path(file.name)
    try:
        with file:
            file.write(data)
        temporary.chmod(0o644)  # caches are shared between users
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _foreign(folder: Path) -> str:
    """Return the name of something that no run has in its folder; empty if there is nothing."""
    arrays = (path for kind in (PREDICTIONS, INPUTS, CROPS) for path in (folder / kind).glob("*.npz"))
    ours = (folder / name for name in (RECORD, LABELS, LOCK, PREDICTIONS, INPUTS, CROPS))
    if foreign := sorted({*folder.rglob("*")} - {*ours, *arrays}):
        return str(foreign[0].relative_to(folder))
    if not (folder / RECORD).exists():
        return PREDICTIONS if (folder / PREDICTIONS).exists() else ""
    with suppress(OSError, ValueError):
        if "schema_version" in msgspec.json.decode(read_whole(folder / RECORD), type=dict[str, Any]):
            return ""
    return f"a {RECORD} of another kind"


def array_file(folder: Path, kind: str, name: str) -> Path:
    """Return the file of a run's arrays of one kind: of a case by its id, of inputs by their digest."""
    return folder / kind / f"{quote(name, safe='')}.npz"


def _read_arrays(kind: str, path: Path, n: int | None, sha256: str | None) -> dict[str, Any]:
    """Return the arrays of a file for ``n`` images by name; ``n`` and the file's digest are None if not known."""
    arrays: dict[str, Any] = {}
    try:
        data = read_whole(path)
        with zipfile.ZipFile(io.BytesIO(data)) as stored:
            for name, (dtype, shapes) in _ARRAYS[kind].items():
                if (member := f"{name}.npy") in stored.namelist():
                    with stored.open(member) as file:
                        shape, _, found = _HEADERS[np.lib.format.read_magic(file)](file)
                elif "top" in arrays:
                    continue  # predictions published by others have no logits
                else:
                    shape, found = (), None
                n = (shape or (None,))[0] if n is None else n
                expected = [(n, *rest) for rest in shapes if n]
                if found is None or shape not in expected or not found.str[1:].startswith(dtype):
                    seen = "nothing" if found is None else f"{found} of shape {shape}"
                    wanted = f"{name} of type {dtype} for {n} images"
                    raise RecordError(f"{path}: expected {wanted}, found {seen}; it may be damaged")
                if (size := math.prod(shape) * found.itemsize) > _LARGEST:  # before it is inflated
                    raise RecordError(f"{path}: expected {name} of at most {_LARGEST:,} bytes, found {size:,}")
                with stored.open(member) as file:
                    arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise RecordError(f"{path}: missing, though {RECORD} refers to it; the run is incomplete") from None
    except RecordError:
        raise
    except (*_DAMAGED, zlib.error, lzma.LZMAError, tokenize.TokenError) as error:
        raise RecordError(f"{path}: damaged ({shorten(error)}); the run cannot be compared image by image") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise RecordError(f"{path}: its sha256 differs from that in {RECORD}: one of them was modified")
    return arrays


@contextmanager
def _as_results_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResultsError(f"{_NOT_WRITABLE} {path}: {error.strerror or error}") from error
