"""A run on disk, written as a whole or not at all, and read back.

``record.json``; ``labels.npz``, the ids and targets of the evaluated images; ``predictions/<case id>.npz``; and
``inputs/<digest>.npz``, the hashes and samples of the pixels that models were shown, shared by models of one geometry.
"""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.dataset import digest_of
from harness.errors import RecordError, ResultsError
from harness.predictions import GRID, HASH_BYTES, Predictions
from harness.records.results import SCHEMA_VERSION, CaseResult, Record, plain

RECORD, LABELS, PREDICTIONS, INPUTS = "record.json", "labels.npz", "predictions", "inputs"
BENCHMARK_KEY = "imagenet_gate"
"""Key of a pytest-benchmark JSON file that holds the record; its timings are the file's benchmarks."""
# What each file of arrays holds: their types, and the shapes that they may have after the first dimension.
_ARRAYS: dict[str, dict[str, tuple[str, list[tuple[int, ...]]]]] = {
    LABELS: {"ids": ("U", [()]), "targets": ("i2", [()])},
    INPUTS: {"hashes": ("u1", [(HASH_BYTES,)]), "samples": ("u1", [(GRID, GRID, 3)])},
    PREDICTIONS: {"top": ("i2", [(5,), (6,)]), "logits": ("f4", [(5,), (6,)]), "logsumexp": ("f4", [()])},
}


class NewRun:
    """A run folder in the making, beside its destination, to which it is moved once it is whole."""

    def __init__(self, folder: Path | None, option: str = "--results") -> None:
        """Make the staging folder, a temporary one for a run that is not kept; ``finish`` changes the destination.

        A ResultsError says that something that is not a run is there, or that nothing can be written there.
        """
        if folder is None:
            self.folder = None
            self.staging = Path(tempfile.mkdtemp(prefix="imagenet-gate-run-"))
            return
        self.folder = folder.resolve()
        self.staging = self.folder.with_name(f"{self.folder.name}.partial-{secrets.token_hex(4)}")
        if self.folder.exists() and not self.folder.is_dir():
            raise ResultsError(f"{option} {folder}: expected a folder, found a file")
        if self.folder.is_mount():
            raise ResultsError(f"{option} {folder}: a mount point cannot be replaced; name a folder in it")
        if self.folder.is_dir() and (foreign := _foreign(self.folder)):
            raise ResultsError(
                f"{option} {folder}: expected a new or empty folder, or an earlier run to be replaced; found a folder "
                f"with something else in it: {foreign}"
            )
        with _as_results_error(self.folder):
            self.staging.mkdir(parents=True)

    def finish(self, record: Record) -> None:
        """Write the record and move the folder to its destination; only a ResultsError leaves an earlier run there."""
        assert self.folder is not None
        before = self.folder.with_name(f"{self.folder.name}.replaced-{secrets.token_hex(4)}")
        with _as_results_error(self.folder):
            write_whole(self.staging / RECORD, record_json(record))
            try:
                if self.folder.exists():
                    self.folder.rename(before)
                self.staging.rename(self.folder)
            except BaseException:  # including KeyboardInterrupt
                if before.exists() and not self.folder.exists():
                    before.rename(self.folder)
                raise
        shutil.rmtree(before, ignore_errors=True)

    def discard(self) -> None:
        """Remove a run that was not finished."""
        shutil.rmtree(self.staging, ignore_errors=True)


def write_predictions(staging: Path, case: str, predictions: Predictions, targets: NDArray[np.int16]) -> None:
    """Write a model's predictions into the staging folder of a run, or raise a ResultsError."""
    values: dict[str, Any] = {**vars(predictions), "targets": targets}
    for kind, path in _paths(staging, case, predictions.inputs_digest).items():
        known = {name: values[name] for name in _ARRAYS[kind] if values[name] is not None}
        # Labels and inputs are the same for all cases that share them.
        if known and (kind == PREDICTIONS or not path.exists()):
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **known)
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
        path = self.path / LABELS
        ids, targets = _read_arrays(LABELS, path).values()
        if (ids[1:] <= ids[:-1]).any():
            raise RecordError(
                f"{path}: expected ids sorted and unique, found others; it was not written by this harness"
            )
        dataset = self.record.dataset
        if dataset is not None and digest_of(ids.tolist(), targets) != dataset.digest:
            raise RecordError(f"{path}: its digest differs from that in {RECORD}: one of them was changed")
        return ids, targets

    def predictions(self, case: CaseResult) -> Predictions:
        """Return a case's predictions, or raise a RecordError if a file is missing, damaged, or not the record's."""
        ids, _ = self.labels
        paths = _paths(self.path, case.id, case.inputs_digest)
        path, inputs = paths[PREDICTIONS], paths[INPUTS]
        arrays = _read_arrays(PREDICTIONS, path, len(ids))
        if case.inputs_digest:
            arrays |= _read_arrays(INPUTS, inputs, len(ids))
        predictions = Predictions(ids, **arrays)
        if predictions.inputs_digest != case.inputs_digest:
            raise RecordError(f"{inputs}: its digest differs from that in {RECORD}: one of them was changed")
        logits = predictions.logits
        if logits is not None and not (np.isfinite(logits).all() and (np.diff(logits, axis=1) <= 0).all()):
            raise RecordError(f"{path}: expected finite logits, highest first, found others; it may be damaged")
        return predictions


def read_run(path: Path) -> Run:
    """Read a run folder, or a JSON file of pytest-benchmark that holds a run, or raise a RecordError."""
    if not path.exists():
        raise RecordError(f"{path}: expected a run folder (--results) or its JSON (--benchmark-json), found nothing")
    file = path / RECORD if path.is_dir() else path
    if not file.exists():
        raise RecordError(
            f"{path}: expected a run folder, found no {RECORD} in it; a run that was killed leaves such a folder, "
            "which can be deleted"
        )
    try:
        values = json.loads(file.read_bytes())
    except ValueError as error:
        raise RecordError(f"{file}: expected JSON ({error}); it may have been cut short") from error
    except OSError as error:
        raise RecordError(f"{file}: cannot be read: {error.strerror}") from error
    if not isinstance(values, dict) or not values.keys() & {"schema_version", "benchmarks"}:
        raise RecordError(f"{file}: expected a record of this harness, found other JSON")
    if "benchmarks" in values:
        values = _from_benchmarks(values, file)
    found = values.get("schema_version")
    if not isinstance(found, str) or found.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise RecordError(
            f"{file}: schema_version must be 3.x, found {found!r}: read it with the version that wrote it, or run again"
        )
    try:
        return Run(path, msgspec.convert(values, Record))
    except msgspec.ValidationError as error:
        raise RecordError(f"{file}: not a valid record: {error}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and move it into place; an OSError leaves nothing of it. A link stays one."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "something else than a file is there", str(path))
    file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False)  # noqa: SIM115
    temporary = Path(file.name)
    try:
        with file:
            file.write(data)
        temporary.chmod(0o644)  # caches are shared between users
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def record_json(record: Record) -> bytes:
    """Return the content of ``record.json``."""
    return (json.dumps(plain(record), indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _from_benchmarks(values: dict[str, Any], file: Path) -> dict[str, Any]:
    if not isinstance(record := values.get(BENCHMARK_KEY), dict):
        raise RecordError(f"{file}: a file of pytest-benchmark, but not of this harness: it has no {BENCHMARK_KEY!r}")
    try:
        timings = [
            {**benchmark["extra_info"], "seconds": benchmark["stats"]["data"]}
            for benchmark in values["benchmarks"]
            if "peak_tflops" in benchmark["extra_info"]
        ]
    except (KeyError, TypeError) as error:
        raise RecordError(f"{file}: not a valid file of pytest-benchmark: {type(error).__name__} {error}") from error
    return {**record, "timings": timings}


def _foreign(folder: Path) -> str:
    """Return the name of something that no run has in its folder; empty if there is nothing."""
    parts = [folder / PREDICTIONS, folder / INPUTS]
    ours = {folder / RECORD, folder / LABELS, *parts, *(array for part in parts for array in part.glob("*.npz"))}
    if foreign := sorted(set(folder.rglob("*")) - ours):
        return str(foreign[0].relative_to(folder))
    if not (folder / RECORD).exists():
        return PREDICTIONS if (folder / PREDICTIONS).exists() else ""
    try:
        values = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        values = None
    return "" if isinstance(values, dict) and "schema_version" in values else f"a {RECORD} of another kind"


def _paths(folder: Path, case: str, inputs_digest: str) -> dict[str, Path]:
    """Return the file of each kind in which a run keeps what it knows about a case."""
    names = {INPUTS: inputs_digest[:32], PREDICTIONS: case}
    files = {kind: folder / kind / f"{quote(name, safe='')}.npz" for kind, name in names.items()}
    return {LABELS: folder / LABELS, **files}


def _read_arrays(kind: str, path: Path, n: int | None = None) -> dict[str, Any]:
    """Return the arrays of a file by name; ``n`` is the number of images, where that is known."""
    expected = _ARRAYS[kind]
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in expected if name in stored.files}
    except FileNotFoundError:
        raise RecordError(f"{path}: missing, though {RECORD} refers to it; the run is incomplete") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RecordError(f"{path}: damaged ({error}); the run cannot be compared image by image") from error
    n = arrays["ids"].size if "ids" in arrays else n
    for name, (dtype, shapes) in expected.items():
        array = arrays.get(name)
        if array is None and "top" in arrays:
            continue  # predictions published by others have no logits
        allowed = [(n, *rest) for rest in shapes if n]
        if array is None or array.shape not in allowed or not array.dtype.str[1:].startswith(dtype):
            found = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
            raise RecordError(
                f"{path}: expected {name} of type {dtype} for {n} images, found {found}; it may be damaged"
            )
    return arrays


@contextmanager
def _as_results_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResultsError(
            f"the run cannot be written to {path}: {os.strerror(error.errno) if error.errno else error}"
        ) from error
