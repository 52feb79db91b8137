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
from dataclasses import replace
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
from harness.records.results import DatasetFacts, Missing, Record, plain, record_json
from harness.records.run_folder import NewRun, read_run, write_predictions, write_whole
from tests.records import case_result, random_predictions, run_record, timing_result

TARGETS = np.array([0, 6], np.int16)
PREDICTIONS = replace(random_predictions(0, 2, 10), ids=np.array(["n01440764/a.JPEG", "n01443537/ü.JPEG"]))
CASE = case_result(counts=(2, 1, 2), inputs_digest=PREDICTIONS.inputs_digest)
TIMING = timing_result(seconds=(0.25, 0.5))
DIGEST = digest_of(PREDICTIONS.ids.tolist(), TARGETS)
RECORD = msgspec.structs.replace(
    run_record([CASE, Missing("vgg16-fp32", "error", "no weights")], [TIMING, Missing("vgg16-b32")]),
    dataset=DatasetFacts("imagenet-1k", DIGEST, images=2, total=2, classes=2, class_names=tuple("abcdefghij")),
)
FILES = {
    "inputs": f"inputs/{CASE.inputs_digest[:32]}.npz",
    "labels": "labels.npz",
    "predictions": f"predictions/{CASE.id}.npz",
}


def _begun(folder: Path, predictions: Predictions = PREDICTIONS) -> NewRun:
    run = NewRun(folder)
    write_predictions(run.staging, CASE.id, predictions, TARGETS)
    return run


def _write(folder: Path, predictions: Predictions = PREDICTIONS) -> Path:
    """Write the run, and return its folder."""
    _begun(folder, predictions).finish(RECORD)
    return folder


def _record(folder: Path) -> Record:
    """Return what is read, without the files' digests."""
    return msgspec.structs.replace(read_run(folder).record, files={})


def _names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("known", [FILES, ["labels", "predictions"]], ids=["all is known", "five classes alone"])
def test_a_run_is_read_as_it_was_written(known: Any, tmp_path: Path) -> None:
    """Record, labels and predictions, in folders that did not exist; others have published classes alone."""
    written = PREDICTIONS if "inputs" in known else Predictions(PREDICTIONS.ids, PREDICTIONS.top5)
    run = read_run(_write(tmp_path / "new" / "run", written))

    found = run.predictions(msgspec.structs.replace(CASE, inputs_digest=written.inputs_digest))

    assert RECORD == _record(run.path)
    assert [FILES[kind] for kind in known] == list(run.record.files)
    assert run.holds_predictions
    for name, array in vars(written).items():
        np.testing.assert_array_equal(array, getattr(found, name), strict=array is not None)
    np.testing.assert_array_equal(TARGETS, run.labels[1], strict=True)


def test_models_of_one_geometry_share_their_inputs(tmp_path: Path) -> None:
    """A folder holds what is documented, and there is nothing beside it."""
    other = replace(random_predictions(1, 2, 10), ids=PREDICTIONS.ids)
    run = NewRun(tmp_path / "run")
    for case, predictions in (("a", PREDICTIONS), ("b", PREDICTIONS), ("../../own/net", other)):
        write_predictions(run.staging, case, predictions, TARGETS)
    run.finish(RECORD)

    inputs = sorted(f"run/inputs/{predictions.inputs_digest[:32]}.npz" for predictions in (PREDICTIONS, other))
    predictions_of = [f"run/predictions/{name}.npz" for name in ("..%2F..%2Fown%2Fnet", "a", "b")]
    assert [*inputs, "run/labels.npz", *predictions_of, "run/record.json"] == _names(tmp_path)


@pytest.mark.parametrize("link", [False, True], ids=["a folder", "a link to it"])
def test_an_earlier_run_stays_until_the_new_one_is_whole(link: bool, tmp_path: Path) -> None:
    """A run that is discarded changes nothing; one that is finished leaves nothing of the earlier one, but a link."""
    folder = _write(tmp_path / "run")
    (folder / "predictions" / "old.npz").touch()
    (folder / "imagenet-gate.lock").touch()  # of one that was killed after it had been moved
    latest = tmp_path / ("latest" if link else "run")
    if link:
        latest.symlink_to("run")
    before = _names(tmp_path)

    run = _begun(latest)
    assert before == [name for name in _names(tmp_path) if ".partial-" not in name]
    run.discard()
    assert before == _names(tmp_path)
    _write(latest)

    assert {folder, latest} == set(tmp_path.iterdir())
    assert link == latest.is_symlink()
    assert ["inputs", "labels.npz", "predictions", "record.json"] == [n.partition("/")[0] for n in _names(folder)]


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
    going_on = _begun(folder)
    for killed in (folder, tmp_path / "other"):
        subprocess.run([sys.executable, "-c", KILLED, str(killed)], check=False)
    [of_other] = tmp_path.glob("other.partial-*")
    assert 5 == len(list(tmp_path.iterdir()))

    _write(folder)

    assert {folder, *foreign, going_on.staging, of_other} == set(tmp_path.iterdir())
    going_on.finish(RECORD)
    assert RECORD == _record(folder)
    assert "imagenet-gate.lock" not in _names(folder)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are known on Linux")
def test_no_open_file_is_moved_or_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows rejects both."""

    def rejecting(change: Callable[..., Any]) -> Callable[..., Any]:
        def reject(path: Path, *arguments: Any, **options: Any) -> Any:
            opened = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
            if any(Path(name).is_relative_to(path) for name in opened):
                raise PermissionError(errno.EACCES, "used by another process", str(path))
            return change(path, *arguments, **options)

        return reject

    for name in ("rename", "unlink"):
        monkeypatch.setattr(Path, name, rejecting(getattr(Path, name)))
    monkeypatch.setattr("shutil.rmtree", rejecting(shutil.rmtree))

    folder = _write(_write(tmp_path / "run"))

    assert RECORD == _record(folder)
    assert [folder] == list(tmp_path.iterdir())


FOREIGN = "--baseline .*: expected a new or empty folder, or a run; found {} in it$"


@pytest.mark.parametrize(
    ("path", "file", "text", "sentence"),
    [
        ("run", "run/notes.txt", "", FOREIGN.format("notes.txt")),
        ("run", "run/predictions/notes.txt", "", FOREIGN.format("predictions/notes.txt")),
        ("mine", "mine/thesis.tex", "", FOREIGN.format("thesis.tex")),
        ("mine", "mine/record.json", '{"mine": 1}', FOREIGN.format("a record.json of another kind")),
        ("mine", "mine/record.json", "mine", FOREIGN.format("a record.json of another kind")),
        ("mine", "mine/predictions/a.npz", "", FOREIGN.format("predictions")),
        ("mine", "mine", "", "--baseline .*/mine: expected a folder, found a file$"),
        ("mine/run", "mine", "", "the run cannot be written to .*/mine/run: Not a directory$"),
        ("loop", "mine", "", "--baseline .*/loop: expected a folder, found a file$"),
        ("loop/run", "mine", "", "the run cannot be written to .*/loop/run: "),
        # It could not be replaced any more.
        ("run/deep/sub", "mine", "", "--baseline .*/sub: expected a folder of its own, found one in the run .*/run$"),
        ("/", "mine", "", "--baseline /: a mount point cannot be replaced; name a folder in it$"),
    ],
)
def test_a_destination_that_cannot_work_is_an_error_at_once(
    path: str, file: str, text: str, sentence: str, tmp_path: Path
) -> None:
    """Before hours of evaluation, not after them; a folder that holds something else as well stays as it is."""
    (tmp_path / "loop").symlink_to("loop")
    _write(tmp_path / "run")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    before = _names(tmp_path)

    with pytest.raises(ResultsError, match=rf"^{sentence}"):
        NewRun(tmp_path / path, "--baseline")

    assert before == _names(tmp_path)


@pytest.mark.parametrize("elsewhere", [True, False], ids=["kept elsewhere", "kept where it is"])
def test_a_run_that_cannot_be_written(elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a full disk at the end; what was measured is kept, elsewhere as a whole run, and the error says where."""
    temporary = tmp_path / "tmp"
    monkeypatch.setattr("tempfile.tempdir", str(temporary) if elsewhere else "/dev/null")
    temporary.mkdir()
    folder = _write(tmp_path / "run")
    run = _begun(folder)
    (run.staging / "record.json").mkdir()

    with pytest.raises(ResultsError, match=r"the run cannot be written to .*; what was measured is in ") as raised:
        run.finish(RECORD)
    run.discard()

    kept = Path(str(raised.value).rpartition(" is in ")[2])
    assert RECORD == _record(folder)
    if elsewhere:
        assert RECORD == _record(kept)
        np.testing.assert_array_equal(PREDICTIONS.top, read_run(kept).predictions(CASE).top)
    _write(folder)  # which takes nothing of it for a killed run's
    assert (kept / FILES["predictions"]).exists()


def test_a_run_without_results_that_cannot_be_written_is_not_kept(tmp_path: Path) -> None:
    """Nothing is left that looks like a run."""
    run = NewRun(tmp_path / "run")
    (run.staging / "record.json").mkdir()

    with pytest.raises(ResultsError, match=r"written to .*/run: something other than a file is there\Z"):
        run.finish(run_record([Missing(CASE.id, "error", "no weights")]))
    run.discard()

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), KeyboardInterrupt()])
def test_a_run_that_cannot_be_moved(error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the very last step, when the earlier run has been moved away already; after a signal too."""
    folder = _write(tmp_path / "run")
    run = _begun(folder)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path == run.staging:
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises((ResultsError, KeyboardInterrupt), match=r"Read-only file system|^$"):
        run.finish(RECORD)
    run.discard()

    assert RECORD == _record(folder)
    assert [folder] == list(tmp_path.iterdir())


def _benchmarks(**changes: Any) -> bytes:
    """Return what pytest-benchmark writes of the run, with ``changes`` to the harness's part of it."""
    benchmarks = [
        {"fullname": "test_throughput[x]", "extra_info": TIMING.info(), "stats": {"data": [0.25, 0.5]}},
        {"fullname": "test_other", "extra_info": {}, "stats": {"data": [1.0]}},
    ]
    record = {**plain(RECORD), "timings": [], **changes}
    return json.dumps({"machine_info": {}, "benchmarks": benchmarks, "imagenet_gate": record}).encode()


def test_a_benchmark_file_gives_the_same_record(tmp_path: Path) -> None:
    """With the timings among its benchmarks, others' left out; it holds no predictions."""
    (tmp_path / "benchmark.json").write_bytes(_benchmarks())

    run = read_run(tmp_path / "benchmark.json")

    assert RECORD == run.record
    assert not run.holds_predictions


OTHER_SCHEMA = r"schema_version must be 3\.x, found {}: read it with the version that wrote it, or run again"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"expected a run folder \(--results\) or its JSON \(--benchmark-json\), found nothing"),
        (Path.mkdir, r"expected a run folder \(--results\), found no record\.json; a killed run leaves none"),
        (os.mkfifo, "cannot be read: expected a regular file, found a pipe, socket or device"),
        (record_json(RECORD)[:1000], r"expected JSON \(Input data was truncated\); it may have been cut short"),
        (b"\x80\x81", r"expected JSON \(.*"),
        (b'{"schema_version": NaN}', r"expected JSON \(.*"),  # Python's own reader would take it
        (b"[1]", "expected a record of this harness, found other JSON"),
        (b'{"a": 1}', "expected a record of this harness, found other JSON"),
        (b'{"benchmarks": []}', "a file of pytest-benchmark, but not of this harness: .* 'imagenet_gate'"),
        (b'{"benchmarks": [{}], "imagenet_gate": {}}', "not a valid file of pytest-benchmark: KeyError 'extra_info'"),
        (_benchmarks(schema_version="2.0"), OTHER_SCHEMA.format("'2.0'")),
        *((json.dumps({"schema_version": v}).encode(), OTHER_SCHEMA.format(repr(v))) for v in ("2", "4.0", 3, None)),
    ],
)
def test_what_is_no_run_is_an_error_in_one_sentence(content: Any, sentence: str, tmp_path: Path) -> None:
    """What was expected, what was found, and where."""
    path = tmp_path / "run"
    if callable(content):
        content(path)
    elif content is not None:
        path.write_bytes(content)

    with pytest.raises(RecordError, match=rf"^{path}: {sentence}\Z"):
        read_run(path)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(
    ("put", "reason"),
    [
        (lambda _file, _content: None, r"missing, though record\.json refers to it"),
        (lambda file, _content: os.mkfifo(file), r"damaged \(.* found a pipe, socket or device"),
        *(
            (lambda file, content, size=size: file.write_bytes(content[:size]), r"damaged \(.*\); the run cannot be")
            for size in (0, 100, 300)
        ),
    ],
)
def test_a_file_that_is_missing_or_damaged_is_an_error(kind: str, put: Any, reason: str, tmp_path: Path) -> None:
    """It is named; a run is not compared as if it had none. A pipe is not waited for."""
    file = _write(tmp_path / "run") / FILES[kind]
    content = file.read_bytes()
    file.unlink()
    put(file, content)

    with pytest.raises(RecordError, match=rf"{file.name}: {reason}"):
        read_run(tmp_path / "run").predictions(CASE)


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("predictions", {"top": np.zeros((3, 6), np.int16)}, "expected top of type i2 for 2 images"),
        ("predictions", {"top": np.zeros((2, 4), np.int16)}, "expected top of type i2 for 2 images"),
        # Pickled objects could run code.
        ("predictions", {"top": np.array([[{}] * 6] * 2)}, "expected top of type i2 for 2 images, found object of sh"),
        ("predictions", {"top": np.full((2, 6), 3, np.int16)}, "expected different classes of each image, 0 to 9"),
        ("predictions", {"top": np.array([[0, 1, 2, 3, 4, -1]] * 2, np.int16)}, "expected different classes of each"),
        ("predictions", {"top": np.array([[0, 1, 2, 3, 4, 10]] * 2, np.int16)}, "expected different classes of each"),
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
        ("inputs", {"samples": np.ones((2, 4, 4, 3), np.uint8)}, ""),
    ],
)
def test_arrays_of_no_run(kind: str, changes: dict[str, NDArray[Any]], reason: str, tmp_path: Path) -> None:
    """Before they are compared with anything; also by an earlier version, without digests, where they make no sense."""
    file = _write(tmp_path / "run") / FILES[kind]
    with np.load(file) as arrays:
        values = {**arrays, **changes}
    np.savez(file, **values)
    run = read_run(tmp_path / "run")

    with pytest.raises(RecordError, match=rf"{file.name}: (its sha256 differs from that in record\.json|expected)"):
        run.predictions(CASE)
    if reason:
        with pytest.raises(RecordError, match=rf"{file.name}: {reason}"):
            replace(run, record=_record(run.path)).predictions(CASE)


def test_an_array_is_not_inflated_beyond_what_a_run_holds(tmp_path: Path) -> None:
    """Three gigabytes of ids fit into a file of three megabytes."""
    run = read_run(_write(tmp_path / "run"))
    header = f"{{'descr': '<U{2**28}', 'fortran_order': False, 'shape': (2,), }}".ljust(117) + "\n"
    with zipfile.ZipFile(run.path / "labels.npz", "w") as packed:
        packed.writestr("ids.npy", b"\x93NUMPY\x01\x00\x76\x00" + header.encode())

    with pytest.raises(RecordError, match="expected ids of at most 536,870,912 bytes, found 2,147,483,648"):
        run.labels  # noqa: B018


def test_a_path_that_is_not_utf8_is_written_as_an_escape(tmp_path: Path) -> None:
    """Neither a run nor a report is lost for it."""
    record = msgspec.structs.replace(run_record(), commands=("pytest --imagenet /data/\udcff",))

    NewRun(tmp_path / "run").finish(record)
    write_text("--markdown", tmp_path / "report.md", "a/\udcff")

    assert (r"pytest --imagenet /data/\udcff",) == _record(tmp_path / "run").commands
    assert r"a/\udcff" == (tmp_path / "report.md").read_text()


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """The new content is readable to others, and nothing else is left; what is no file stays."""
    (tmp_path / "file").write_bytes(b"old and long")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    before = set(tmp_path.iterdir())

    write_whole(tmp_path / "file", b"new")
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", b"new")
    with pytest.raises(ResultsError, match=r"-o .*/loop: cannot be written: something other than a file is there"):
        write_text("-o", tmp_path / "loop", "")

    assert b"new" == (tmp_path / "file").read_bytes()
    assert 0o644 == (tmp_path / "file").stat().st_mode & 0o777
    assert before == set(tmp_path.iterdir())
