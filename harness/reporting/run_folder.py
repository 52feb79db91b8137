"""A run on disk, written whole or not at all.

``record.json``, what each model answered in ``predictions/<id>.npz``, and what it was shown in
``inputs/<digest>.npz``, which models of one geometry share.
"""

from __future__ import annotations

import io
import json
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import numpy as np

from harness.data.files import write_whole
from harness.data.fingerprints import GRID, HASH_BYTES, Fingerprints
from harness.errors import RecordError, ResultsError
from harness.gate.answers import Answers
from harness.reporting.case_record import CaseRecord, pack, pack_classes
from harness.reporting.record import SCHEMA_VERSION, Record, Unmeasured

RECORD = "record.json"
PREDICTIONS = "predictions"
INPUTS = "inputs"
BENCHMARK_KEY = "imagenet_gate"
"""Of a pytest-benchmark JSON file: the record, but for the timings, which are its benchmarks."""


class NewRun:
    """A run folder being made beside its place, into which it is moved when it is whole."""

    def __init__(self, folder: Path, option: str = "--results") -> None:
        """Begin; what is at ``folder`` stays as it is until ``finish``.

        Args:
            folder: to be made, or replaced.
            option: that names it, for messages.

        Raises:
            ResultsError: something is there that is no run, or nothing can be written there.
        """
        self.folder = folder.resolve()
        self.staging = self.folder.with_name(f"{self.folder.name}.partial-{secrets.token_hex(4)}")
        if self.folder.exists() and not self.folder.is_dir():
            raise ResultsError(f"{option} {folder}: expected a folder, found a file")
        if self.folder.is_mount():
            raise ResultsError(f"{option} {folder}: nothing can take the place of a mount point; name a folder in it")
        if self.folder.is_dir() and (foreign := _foreign(self.folder)):
            raise ResultsError(
                f"{option} {folder}: expected a new or empty folder, or an earlier run to be replaced; found a folder "
                f"with something else in it: {foreign}"
            )
        with _as_results_error(self.folder):
            for part in (PREDICTIONS, INPUTS):
                (self.staging / part).mkdir(parents=True)

    def finish(self, record: Record) -> None:
        """Write the record and move the folder into its place; an earlier run there is removed.

        Raises:
            ResultsError: it cannot be written; what was there before still is.
        """
        before = self.folder.with_name(f"{self.folder.name}.replaced-{secrets.token_hex(4)}")
        with _as_results_error(self.folder):
            write_whole(self.staging / RECORD, _json(record.to_json()))
            try:
                if self.folder.exists():
                    self.folder.rename(before)
                self.staging.rename(self.folder)
            except BaseException:  # also a signal's
                if before.exists() and not self.folder.exists():
                    before.rename(self.folder)
                raise
        shutil.rmtree(before, ignore_errors=True)

    def discard(self) -> None:
        """Leave nothing of a run that was not finished."""
        shutil.rmtree(self.staging, ignore_errors=True)


def write_answers(staging: Path, case: str, answers: Answers) -> None:
    """Write a model's answers into the folder of a run that is being made.

    Raises:
        ResultsError: they cannot be written.
    """
    _write_arrays(_predictions_path(staging, case), vars(answers))


def write_inputs(staging: Path, fingerprints: Fingerprints) -> None:
    """Write there what a model was shown, unless another has been shown the same.

    Raises:
        ResultsError: it cannot be written.
    """
    path = _inputs_path(staging, fingerprints.digest)
    if not path.exists():
        _write_arrays(path, vars(fingerprints))


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: array for name, array in arrays.items() if array is not None})
    with _as_results_error(path):
        write_whole(path, buffer.getvalue())


@dataclass(frozen=True)
class Run:
    """An earlier run: where it was read from, its record, and its answers where it has them."""

    path: Path
    record: Record

    def with_answers(self) -> Run:
        """Return the run with ``correct`` and ``best`` in each case; unchanged if it is a JSON file, which holds none.

        Raises:
            RecordError: a case's answers cannot be read.
        """

        def filled(case: CaseRecord | Unmeasured) -> CaseRecord | Unmeasured:
            answers = self.answers(case.id) if isinstance(case, CaseRecord) else None
            if answers is None or isinstance(case, Unmeasured):
                return case
            return replace(case, correct=pack(answers.correct), best=pack_classes(answers.top5[:, 0]))

        return replace(self, record=replace(self.record, cases=tuple(map(filled, self.record.cases))))

    def answers(self, case: str) -> Answers | None:
        """Return a case's answers; None if the run is a JSON file, which holds none.

        Raises:
            RecordError: their file is missing or damaged.
        """
        if not self.path.is_dir():
            return None
        path = _predictions_path(self.path, case)
        arrays = _read_arrays(path)
        n = len(arrays["ids"]) if arrays.get("ids", np.empty(())).ndim else 0
        expected = {"ids": ("U", (n,)), "targets": ("i2", (n,)), "top5": ("i2", (n, 5)), "logits": ("f4", (n, 5))}
        if "logits" not in arrays:  # as in predictions that others published
            del expected["logits"]
        _check_arrays(path, arrays, expected)
        answers = Answers(arrays["ids"], arrays["targets"], arrays["top5"], arrays.get("logits"))
        if not n or (answers.ids[1:] <= answers.ids[:-1]).any():
            raise RecordError(f"{path}: not as this harness writes it: expected ids, each once and sorted")
        if answers.logits is not None and not (np.diff(answers.logits, axis=1) <= 0).all():
            raise RecordError(f"{path}: not as this harness writes it: expected finite logits, best first")
        return answers

    def fingerprints(self, digest: str) -> Fingerprints | None:
        """Return what models were shown, by the digest in their record; None if the record tells of none.

        Raises:
            RecordError: the file is missing or damaged.
        """
        if not digest or not self.path.is_dir():
            return None
        path = _inputs_path(self.path, digest)
        arrays = _read_arrays(path)
        n = len(arrays["hashes"]) if arrays.get("hashes", np.empty(())).ndim else 0
        _check_arrays(path, arrays, {"hashes": ("u1", (n, HASH_BYTES)), "samples": ("u1", (n, GRID, GRID, 3))})
        fingerprints = Fingerprints(arrays["hashes"], arrays["samples"])
        if fingerprints.digest != digest:
            raise RecordError(f"{path}: damaged: its digest should be {digest}, and is {fingerprints.digest}")
        return fingerprints


def read_run(path: Path) -> Run:
    """Read a run folder, or the JSON file of pytest-benchmark that tells of a run.

    Raises:
        RecordError: there is none, it is damaged, or another schema than this harness writes.
    """
    if not path.exists():
        raise RecordError(f"{path}: expected a run folder (--results) or its JSON (--benchmark-json), found nothing")
    file = path / RECORD if path.is_dir() else path
    if not file.exists():
        raise RecordError(
            f"{path}: expected a run folder, found no {RECORD} in it; a run that was killed leaves such a folder, "
            "which can be deleted"
        )
    values = _read_json(file)
    if not isinstance(values, dict) or not values.keys() & {"schema_version", "benchmarks"}:
        raise RecordError(f"{file}: expected a record of this harness, found other JSON")
    if "benchmarks" in values and BENCHMARK_KEY not in values:
        raise RecordError(f"{file}: a file of pytest-benchmark, but not of this harness: it has no {BENCHMARK_KEY!r}")
    record = values[BENCHMARK_KEY] if "benchmarks" in values else values
    found = record.get("schema_version") if isinstance(record, dict) else None
    if found != SCHEMA_VERSION:
        raise RecordError(
            f"{file}: schema_version is {found!r}, this harness reads {SCHEMA_VERSION}: "
            "read it with the version that wrote it, or run again"
        )
    try:
        if "benchmarks" in values:
            record = {**record, "timings": [*record["timings"], *map(_timing, _ours(values["benchmarks"]))]}
        return Run(path, Record.from_json(record))
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise RecordError(f"{file}: not as this harness writes it: {type(error).__name__} {error}") from error


def benchmark_json(record: Record) -> dict[str, Any]:
    """Return what goes into a pytest-benchmark JSON file under ``BENCHMARK_KEY``: timings only if they are none."""
    values = record.to_json()
    return {**values, "timings": [timing for timing in values["timings"] if "seconds" not in timing]}


def _foreign(folder: Path) -> str:
    """Return the name of something that no run has in its folder; empty if there is nothing."""
    parts = [folder / PREDICTIONS, folder / INPUTS]
    ours = {folder / RECORD, *parts, *(array for part in parts for array in part.glob("*.npz"))}
    if foreign := sorted(set(folder.rglob("*")) - ours):
        return str(foreign[0].relative_to(folder))
    if not (folder / RECORD).exists():
        return PREDICTIONS if (folder / PREDICTIONS).exists() else ""
    try:
        values = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        values = None
    return "" if isinstance(values, dict) and "schema_version" in values else f"a {RECORD} of another kind"


def _ours(benchmarks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [benchmark for benchmark in benchmarks if "peak_tflops" in benchmark["extra_info"]]


def _timing(benchmark: dict[str, Any]) -> dict[str, Any]:
    info = {name: value for name, value in benchmark["extra_info"].items() if name != "environment"}
    return {**info, "seconds": benchmark["stats"]["data"]}


def _read_arrays(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise RecordError(f"{path}: missing, though {RECORD} tells of it; the run is not whole") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RecordError(f"{path}: damaged ({error}); the run cannot be compared image by image") from error


def _check_arrays(path: Path, arrays: dict[str, Any], expected: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    for name, (kind, shape) in expected.items():
        array = arrays.get(name)
        if array is None or array.shape != shape or not array.dtype.str[1:].startswith(kind):
            found = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
            raise RecordError(f"{path}: not as this harness writes it: {name} should be {kind} {shape}, found {found}")


def _inputs_path(folder: Path, digest: str) -> Path:
    return folder / INPUTS / f"{quote(digest[:32], safe='')}.npz"


def _predictions_path(folder: Path, case: str) -> Path:
    return folder / PREDICTIONS / f"{quote(case, safe='')}.npz"


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _read_json(file: Path) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise RecordError(f"{file}: holds {constant}, which is no measurement; the run that wrote it is not to be used")

    try:
        return json.loads(file.read_bytes(), parse_constant=refuse)
    except RecordError:
        raise
    except ValueError as error:
        raise RecordError(f"{file}: not whole JSON ({error}); it may have been cut off") from error
    except OSError as error:
        raise RecordError(f"{file}: cannot be read: {error.strerror}") from error


@contextmanager
def _as_results_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResultsError(f"the run cannot be written to {path}: {error.strerror or error}") from error
