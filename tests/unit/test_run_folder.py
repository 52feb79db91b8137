"""Tests of harness.records.run_folder: what is on disk, that it is whole or not at all, and what is no run."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.cli import write_text
from harness.dataset import digest_of
from harness.errors import RecordError, ResultsError
from harness.predictions import Predictions
from harness.records.results import DatasetFacts, Missing, Record, plain
from harness.records.run_folder import NewRun, read_run, write_predictions
from tests.records import case_result, run_record, timing_result

TARGETS = np.array([0, 6], np.int16)
PREDICTIONS = Predictions(
    ids=np.array(["n01440764/a.JPEG", "n01443537/ü.JPEG"]),
    top=np.array([[0, 1, 2, 3, 4, 5], [9, 8, 7, 6, 5, 4]], np.int16),
    logits=np.array([[5, 4, 3, 2, 1, 1], [9, 8, 7, 6, 5.5, -1]], np.float32),
    logsumexp=np.array([5.5, 9.5], np.float32),
    hashes=np.arange(32, dtype=np.uint8).reshape(2, 16),
    samples=np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3),
)
DIGEST = digest_of(PREDICTIONS.ids.tolist(), TARGETS)
CASE = case_result(counts=(2, 1, 2), inputs_digest=PREDICTIONS.inputs_digest)
TIMING = timing_result(seconds=(0.25, 0.5))
RECORD = msgspec.structs.replace(
    run_record([CASE, Missing("vgg16-fp32", "error", "no weights")], [TIMING, Missing("vgg16-b32")]),
    dataset=DatasetFacts("imagenet-1k", DIGEST, images=2, total=2, classes=2),
)


def _write(folder: Path, predictions: Predictions = PREDICTIONS, case: str = CASE.id) -> Path:
    """Write the run, and return its folder."""
    run = NewRun(folder)
    write_predictions(run.staging, case, predictions, TARGETS)
    run.finish(RECORD)
    return folder


def _without_digests(record: Record) -> Record:
    return msgspec.structs.replace(record, files={})


def _names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Record, labels and predictions, in folders that did not exist."""
    run = read_run(_write(tmp_path / "new" / "run"))

    found = run.predictions(CASE)
    assert RECORD == _without_digests(run.record)
    assert ["inputs", "labels.npz", "predictions"] == [name.partition("/")[0] for name in run.record.files]
    assert run.holds_predictions
    for field in fields(Predictions):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(PREDICTIONS, field.name), strict=True)
    np.testing.assert_array_equal(run.labels[1], TARGETS, strict=True)


def test_predictions_without_logits_or_pixels_are_read(tmp_path: Path) -> None:
    """As others have published them: five classes, and nothing else."""
    published = Predictions(PREDICTIONS.ids, PREDICTIONS.top5)
    run = read_run(_write(tmp_path / "run", published))

    found = run.predictions(msgspec.structs.replace(CASE, inputs_digest=""))

    np.testing.assert_array_equal(found.top, published.top, strict=True)
    assert (found.logits, found.logsumexp, found.hashes, found.samples) == (None, None, None, None)
    assert _names(tmp_path / "run") == ["labels.npz", f"predictions/{CASE.id}.npz", "record.json"]


def test_models_of_one_geometry_share_their_inputs(tmp_path: Path) -> None:
    """A folder holds what is documented, and there is nothing beside it."""
    other = replace(PREDICTIONS, hashes=PREDICTIONS.hashes[::-1].copy())  # type: ignore[index]
    run = NewRun(tmp_path / "run")
    for case, predictions in (("a", PREDICTIONS), ("b", PREDICTIONS), ("../../own/net", other)):
        write_predictions(run.staging, case, predictions, TARGETS)
    run.finish(RECORD)

    inputs = sorted(f"run/inputs/{predictions.inputs_digest[:32]}.npz" for predictions in (PREDICTIONS, other))
    names = ["..%2F..%2Fown%2Fnet", "a", "b"]
    assert _names(tmp_path) == [
        *inputs,
        "run/labels.npz",
        *(f"run/predictions/{name}.npz" for name in names),
        "run/record.json",
    ]


def test_an_earlier_run_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    """A run that is discarded changes nothing; one that is finished leaves nothing of the earlier one."""
    folder = _write(tmp_path / "run")
    (folder / "predictions" / "old.npz").touch()
    (folder / "imagenet-gate.lock").touch()  # of one that was killed after it had been moved
    before = (folder / "record.json").read_bytes()

    run = NewRun(folder)
    write_predictions(run.staging, CASE.id, PREDICTIONS, TARGETS)
    assert (folder / "record.json").read_bytes() == before
    run.discard()
    assert (folder / "predictions" / "old.npz").exists()
    _write(folder)

    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not (folder / "predictions" / "old.npz").exists()


KILLED = """
import os, sys
from pathlib import Path
from harness.records.run_folder import NewRun
run = NewRun(Path(sys.argv[1]))
(run.staging / "predictions").mkdir()
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_run_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    """Of the same destination; not a run's that is going on, nor what has such a name and is no run in the making."""
    folder = tmp_path / "run[1]"
    foreign = [tmp_path / f"run[1].partial-{suffix}" for suffix in ("1234abcd", "of-mine")]
    for path in foreign:
        path.mkdir()
    (foreign[1] / "imagenet-gate.lock").touch()
    going_on = NewRun(folder)
    write_predictions(going_on.staging, CASE.id, PREDICTIONS, TARGETS)
    subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "other")], check=False)
    [of_other] = tmp_path.glob("other.partial-*")
    assert 5 == len(list(tmp_path.iterdir()))

    _write(folder)

    assert {folder, *foreign, going_on.staging, of_other} == set(tmp_path.iterdir())
    going_on.finish(RECORD)
    assert RECORD == _without_digests(read_run(folder).record)
    assert "imagenet-gate.lock" not in _names(folder)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are known on Linux")
def test_nothing_is_moved_or_removed_while_a_file_in_it_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses both."""

    def refusing(change: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
            opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
            if any(Path(name).is_relative_to(path) for name in opened):
                raise PermissionError(errno.EACCES, "used by another process", str(path))
            return change(path, *arguments, **options)

        return refuse

    for name in ("rename", "unlink"):
        monkeypatch.setattr(Path, name, refusing(getattr(Path, name)))
    monkeypatch.setattr("shutil.rmtree", refusing(shutil.rmtree))

    folder = _write(_write(tmp_path / "run"))

    assert RECORD == _without_digests(read_run(folder).record)
    assert [folder] == list(tmp_path.iterdir())


def test_what_could_not_be_moved_is_not_taken_for_a_killed_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing could be written elsewhere either, the run in the making is all that there is."""
    monkeypatch.setattr("tempfile.tempdir", "/dev/null")
    run = NewRun(tmp_path / "run")
    write_predictions(run.staging, CASE.id, PREDICTIONS, TARGETS)
    (run.staging / "record.json").mkdir()
    with pytest.raises(ResultsError, match="what was measured is in "):
        run.finish(RECORD)
    run.discard()
    kept = tmp_path.glob("run.partial-*/predictions/*.npz")

    _write(tmp_path / "run")

    assert 1 == len(list(kept))


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The run replaces what the link points to, as of a job that links its latest run."""
    _write(tmp_path / "first")
    (tmp_path / "latest").symlink_to("first")

    _write(tmp_path / "latest")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "latest"]
    assert (tmp_path / "latest").is_symlink()


def _beside(name: str) -> Callable[[Path], object]:
    return lambda folder: (_write(folder) / name).write_text("mine")


def _with(name: str, text: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)

    return make


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (_beside("notes.txt"), "notes.txt"),
        (_beside("predictions/notes.txt"), "predictions/notes.txt"),
        (_beside("inputs/notes.txt"), "inputs/notes.txt"),
        (_with("thesis.tex", ""), "thesis.tex"),
        (_with("record.json", '{"mine": 1}'), "a record.json of another kind"),
        (_with("record.json", "mine"), "a record.json of another kind"),
        (_with("predictions/a.npz", ""), "predictions"),
    ],
)
def test_only_runs_are_replaced(make: Callable[[Path], object], named: str, tmp_path: Path) -> None:
    """A folder that holds something else as well stays as it is."""
    make(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(ResultsError, match=rf"or a run; found {named} in it$"):
        NewRun(tmp_path / "run")

    assert sorted(tmp_path.rglob("*")) == before


def test_a_destination_that_cannot_work_is_an_error_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before hours of evaluation, not after them."""
    (tmp_path / "file").touch()

    with pytest.raises(ResultsError, match=r"^--results .*expected a folder, found a file$"):
        NewRun(tmp_path / "file")
    with pytest.raises(ResultsError, match=r"^the run cannot be written to .*file/run: Not a directory$"):
        NewRun(tmp_path / "file" / "run")
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    with pytest.raises(ResultsError, match=r"^--baseline .*mount point cannot be replaced; name a folder in it$"):
        NewRun(tmp_path, "--baseline")


def test_a_run_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a full disk at the end; what was measured is kept elsewhere as a whole run, and the error says where."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    folder = _write(tmp_path / "run")
    run = NewRun(folder)
    write_predictions(run.staging, CASE.id, PREDICTIONS, TARGETS)
    (run.staging / "record.json").mkdir()

    with pytest.raises(ResultsError, match=r"the run cannot be written to .*; what was measured is in ") as raised:
        run.finish(RECORD)
    run.discard()

    kept = read_run(Path(str(raised.value).rpartition(" is in ")[2]))
    assert RECORD == _without_digests(kept.record)
    np.testing.assert_array_equal(PREDICTIONS.top, kept.predictions(CASE).top)

    assert RECORD == _without_digests(read_run(folder).record)


def test_a_run_without_results_that_cannot_be_written_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left that looks like a run."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.records.run_folder.write_whole", fail)
    run = NewRun(tmp_path / "run")

    with pytest.raises(ResultsError, match=r"the run cannot be written to .*/run: No space left on device\Z"):
        run.finish(run_record([Missing(CASE.id, "error", "no weights")]))
    run.discard()

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), KeyboardInterrupt()])
def test_a_run_that_cannot_be_moved_gives_the_earlier_one_back(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the very last step, when the earlier run has been moved away already; after a signal too."""
    folder = _write(tmp_path / "run")
    run = NewRun(folder)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path == run.staging:
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises((ResultsError, KeyboardInterrupt), match=r"Read-only file system|^$"):
        run.finish(RECORD)
    run.discard()

    assert RECORD == _without_digests(read_run(folder).record)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def _benchmark_file(path: Path, **changes: Any) -> Path:
    """Write what pytest-benchmark writes of the run, with ``changes`` to the harness's part of it."""
    benchmarks = [
        {"fullname": "test_throughput[x]", "extra_info": TIMING.info(), "stats": {"data": [0.25, 0.5]}},
        {"fullname": "test_other", "extra_info": {}, "stats": {"data": [1.0]}},
    ]
    record = {**plain(RECORD), **changes}
    path.write_text(json.dumps({"machine_info": {}, "benchmarks": benchmarks, "imagenet_gate": record}))
    return path


def test_a_benchmark_file_gives_the_same_record(tmp_path: Path) -> None:
    """With the timings among its benchmarks, others' left out; it holds no predictions."""
    run = read_run(_benchmark_file(tmp_path / "benchmark.json", timings=[]))

    assert run.record == RECORD
    assert not run.holds_predictions


def _cut_short(folder: Path) -> Path:
    record = _write(folder) / "record.json"
    record.write_bytes(record.read_bytes()[:1000])
    return folder


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda _: None, r"run: expected a run folder \(--results\) or its JSON \(--benchmark-json\), found nothing"),
        (Path.mkdir, r"run: expected a run folder \(--results\), found no record\.json; a killed run"),
        (_cut_short, r"record\.json: expected JSON \(Input data was truncated\); it may have been cut short"),
        (_text(""), r"run: expected JSON \(Input data was truncated\); it may have been cut short"),
        (lambda path: path.write_bytes(b"\x80\x81"), r"run: expected JSON \("),
        (_text("[1]"), r"run: expected a record of this harness, found other JSON"),
        (_text('{"a": 1}'), r"run: expected a record of this harness, found other JSON"),
        (_text('{"benchmarks": []}'), r"run: a file of pytest-benchmark, but not of this harness: .* 'imagenet_gate'"),
        (
            _text('{"benchmarks": [{"extra_info": {"peak_tflops": 1}}], "imagenet_gate": {}}'),
            r"run: not a valid file of pytest-benchmark: KeyError 'stats'",
        ),
        (
            lambda path: _benchmark_file(path, schema_version="2.0"),
            r"run: schema_version must be 3\.x, found '2\.0': read it with the version that wrote it, or run again",
        ),
    ],
    ids=["nothing", "empty folder", "cut short", "empty file", "binary", "a list", "other JSON", "other benchmarks",
         "damaged benchmarks", "older benchmarks"],
)  # fmt: skip
def test_what_is_no_run_is_an_error_in_one_sentence(
    make: Callable[[Path], object], sentence: str, tmp_path: Path
) -> None:
    """What was expected, what was found, and where."""
    make(tmp_path / "run")

    with pytest.raises(RecordError, match=sentence) as raised:
        read_run(tmp_path / "run")

    assert "\n" not in str(raised.value)


def _file(folder: Path, kind: str) -> Path:
    return {
        "labels": folder / "labels.npz",
        "predictions": folder / "predictions" / f"{CASE.id}.npz",
        "inputs": folder / "inputs" / f"{CASE.inputs_digest[:32]}.npz",
    }[kind]


@pytest.mark.parametrize("kind", ["labels", "predictions", "inputs"])
@pytest.mark.parametrize("size", [None, 0, 100, 300])
def test_a_file_that_is_missing_or_damaged_is_an_error(kind: str, size: int | None, tmp_path: Path) -> None:
    """It is named; a run is not compared as if it had none."""
    file = _file(_write(tmp_path / "run"), kind)
    if size is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:size])
    reason = r"missing, though record\.json refers to it" if size is None else r"damaged \(.*\); the run cannot be"

    with pytest.raises(RecordError, match=rf"{file.name}: {reason}"):
        read_run(tmp_path / "run").predictions(CASE)


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("predictions", {"top": np.zeros((3, 6), np.int16)}, "expected top of type i2 for 2 images"),
        ("predictions", {"top": np.zeros((2, 4), np.int16)}, "expected top of type i2 for 2 images"),
        ("predictions", {"top": np.full((2, 6), 3, np.int16)}, "expected different classes of each image"),
        ("predictions", {"top": np.array([[0, 1, 2, 3, 4, -1]] * 2, np.int16)}, "expected different classes of each"),
        ("predictions", {"logsumexp": np.full(2, np.inf, np.float32)}, "expected finite values of logsumexp"),
        ("predictions", {"logits": np.full((2, 6), np.nan, np.float32)}, "expected finite logits, highest first"),
        ("predictions", {"logits": np.array([[1, 2, 3, 4, 5, 6]] * 2, np.float32)}, "expected finite logits, highest"),
        ("labels", {"targets": np.zeros(1, np.int16)}, "expected targets of type i2 for 2 images"),
        ("labels", {"targets": np.array([6, 0], np.int16)}, "its digest differs from that in record.json"),
        ("labels", {"ids": np.array(["b", "a"])}, "expected ids sorted and unique"),
        ("labels", {"ids": np.array(["a", "a"])}, "expected ids sorted and unique"),
        ("labels", {"ids": np.array(["a", "b"])}, "its digest differs from that in record.json"),
        ("labels", {"ids": np.array("a")}, "expected ids of type U"),
        ("labels", {"ids": np.array([], "U1"), "targets": np.zeros(0, np.int16)}, "expected ids of type U"),
        ("inputs", {"hashes": np.zeros((2, 16), np.uint8)}, "its digest differs from that in record.json"),
        ("inputs", {"samples": np.ones((1, 4, 4, 3), np.uint8)}, "expected samples of type u1"),
    ],
)
def test_arrays_that_no_run_has_written_are_an_error(
    kind: str, changes: dict[str, NDArray[Any]], reason: str, tmp_path: Path
) -> None:
    """Before they are compared with anything; with the file's name."""
    file = _file(_write(tmp_path / "run"), kind)
    with np.load(file) as arrays:
        values = {**arrays, **changes}
    np.savez(file, **values)
    run = read_run(tmp_path / "run")

    with pytest.raises(RecordError, match=rf"{file.name}: .*(its sha256 differs|expected)"):
        run.predictions(CASE)
    with pytest.raises(RecordError, match=rf"{file.name}: {reason}"):  # as one of an earlier version, without digests
        replace(run, record=_without_digests(run.record)).predictions(CASE)


def test_arrays_with_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    """They could run code."""
    file = _file(_write(tmp_path / "run"), "predictions")
    np.savez(file, top=np.array([[{}] * 6] * 2, object))

    with pytest.raises(RecordError, match=r"expected top of type i2 for 2 images, found object of shape"):
        read_run(tmp_path / "run").predictions(CASE)


def test_altered_samples_and_classes_that_do_not_exist_are_an_error(tmp_path: Path) -> None:
    """By the digest of the file, or by the number of classes, where the record has them."""
    run = read_run(_write(tmp_path / "run"))
    assert run.record.dataset is not None
    dataset = msgspec.structs.replace(run.record.dataset, class_names=tuple("abcdefghi"))
    with pytest.raises(RecordError, match="expected different classes of each image, 0 to 8, found others"):
        replace(run, record=msgspec.structs.replace(run.record, dataset=dataset)).predictions(CASE)
    file = _file(run.path, "inputs")
    with np.load(file) as arrays:
        np.savez(file, **{**arrays, "samples": arrays["samples"] + np.uint8(1)})

    with pytest.raises(RecordError, match=r"its sha256 differs from that in record\.json: one of them was modified"):
        read_run(run.path).predictions(CASE)


@pytest.mark.parametrize("name", ["record.json", "labels.npz", ""])
def test_a_pipe_is_refused(name: str, tmp_path: Path) -> None:
    """It is not waited for."""
    path = tmp_path / "pipe"
    if name:
        path = _write(tmp_path / "run") / name
        path.unlink()
    os.mkfifo(path)

    with pytest.raises(RecordError, match="expected a regular file, found a pipe, socket or device"):
        read_run(tmp_path / "run" if name else path).labels  # noqa: B018


def test_an_array_is_not_inflated_beyond_what_a_run_holds(tmp_path: Path) -> None:
    """Three gigabytes of ids fit into a file of three megabytes."""
    run = read_run(_write(tmp_path / "run"))
    header = f"{{'descr': '<U{2**28}', 'fortran_order': False, 'shape': (2,), }}".ljust(117) + "\n"
    with zipfile.ZipFile(_file(run.path, "labels"), "w") as packed:
        packed.writestr("ids.npy", b"\x93NUMPY\x01\x00\x76\x00" + header.encode())

    with pytest.raises(RecordError, match="expected ids of at most 536,870,912 bytes, found 2,147,483,648"):
        run.labels  # noqa: B018


def test_a_run_is_not_written_into_another_or_over_everything(tmp_path: Path) -> None:
    """The outer one could not be replaced any more."""
    _write(tmp_path / "run")

    with pytest.raises(ResultsError, match=rf"expected a folder of its own, found one in the run {tmp_path}/run"):
        NewRun(tmp_path / "run" / "deep" / "sub")
    (tmp_path / "loop").symlink_to("loop")
    for path in ("loop", "loop/run"):
        with pytest.raises(ResultsError):
            NewRun(tmp_path / path)
    with pytest.raises(ResultsError, match=r"-o .*/loop: cannot be written: something other than a file is there"):
        write_text("-o", tmp_path / "loop", "")
    with pytest.raises(ResultsError, match="--results /: a mount point cannot be replaced; name a folder in it"):
        NewRun(Path("/"))


def test_a_path_that_is_not_utf8_is_recorded(tmp_path: Path) -> None:
    """The byte is shown as an escape; the run is not lost for it."""
    run = NewRun(tmp_path / "run")
    run.finish(msgspec.structs.replace(run_record(), commands=("pytest -m imagenet --imagenet /data/\udcff",)))

    assert (r"pytest -m imagenet --imagenet /data/\udcff",) == read_run(tmp_path / "run").record.commands


def test_a_path_that_is_not_utf8_is_written_into_a_report(tmp_path: Path) -> None:
    """As an escape."""
    write_text("--markdown", tmp_path / "report.md", "a/\udcff")

    assert (tmp_path / "report.md").read_text() == r"a/\udcff"
