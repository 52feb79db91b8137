"""Tests of harness.reporting.run_folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.data.fingerprints import Fingerprints
from harness.errors import RecordError, ResultsError
from harness.gate.answers import Answers
from harness.reporting.case_record import CaseRecord
from harness.reporting.record import Unmeasured
from harness.reporting.run_folder import NewRun, benchmark_json, read_run, write_answers, write_inputs
from tests.records import case_record, run_record, timing_record

CASE, TIMING = case_record(correct=np.array([True, False]), top5=2), timing_record(seconds=(0.25, 0.5))
RECORD = run_record([CASE, Unmeasured("vgg16-fp32", "error", "no weights")], [TIMING, Unmeasured("vgg16-b32")])
ANSWERS = Answers(
    ids=np.array(["n01440764/a.JPEG", "n01443537/ü.JPEG"]),
    targets=np.array([0, 6], np.int16),
    top5=np.array([[0, 1, 2, 3, 4], [9, 8, 7, 6, 5]], np.int16),
    logits=np.array([[5, 4, 3, 2, 1], [9, 8, 7, 6, 5.5]], np.float32),
)


def _write(folder: Path) -> Path:
    """Write the run, and return its folder."""
    run = NewRun(folder)
    write_answers(run.staging, CASE.id, ANSWERS)
    run.finish(RECORD)
    return folder


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Record and answers come back as they went in, in folders that did not exist."""
    folder = _write(tmp_path / "new" / "run")

    run = read_run(folder)

    answers = run.answers(CASE.id)
    assert answers is not None
    assert run.record.to_json() == RECORD.to_json()
    for name, array in vars(ANSWERS).items():
        np.testing.assert_array_equal(getattr(answers, name), array, strict=True)
    assert answers.hits == CASE.measured


def test_each_images_answers_come_back_if_they_are_asked_for(tmp_path: Path) -> None:
    """What is right and the best class, packed as they were; a JSON file has none to give."""
    run = read_run(_write(tmp_path / "run"))

    case = run.with_answers().record.cases[0]

    assert isinstance(case, CaseRecord)
    assert (case.correct_bits().tolist(), case.best_classes().tolist()) == ([True, False], [0, 9])
    alone = read_run(tmp_path / "run" / "record.json")
    assert alone.with_answers() == alone


def test_a_run_folder_holds_what_is_documented(tmp_path: Path) -> None:
    """``record.json`` and ``predictions/<id>.npz``, and nothing beside the folder."""
    _write(tmp_path / "run")

    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())

    assert found == ["run/predictions/resnet18-IMAGENET1K_V1-fp32.npz", "run/record.json"]


def test_an_id_is_no_path(tmp_path: Path) -> None:
    """A team's model may be called anything; its answers stay in the run's folder."""
    run = NewRun(tmp_path / "run")

    write_answers(run.staging, "../../own/net-fp32", ANSWERS)
    run.finish(RECORD)

    assert [path.name for path in (tmp_path / "run" / "predictions").iterdir()] == ["..%2F..%2Fown%2Fnet-fp32.npz"]


def test_a_run_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    """Nothing of the earlier run is left, and nothing beside it."""
    folder = _write(tmp_path / "run")
    (folder / "predictions" / "old.npz").touch()

    _write(folder)

    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not (folder / "predictions" / "old.npz").exists()


def test_until_the_end_the_earlier_run_is_there(tmp_path: Path) -> None:
    """A run that is not finished changes nothing, and once discarded leaves nothing."""
    folder = _write(tmp_path / "run")
    before = (folder / "record.json").read_bytes()

    run = NewRun(folder)
    write_answers(run.staging, CASE.id, ANSWERS)
    assert (folder / "record.json").read_bytes() == before
    run.discard()

    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The run takes the place of what the link points to, as a job does that links its latest run."""
    _write(tmp_path / "first")
    (tmp_path / "latest").symlink_to("first")

    _write(tmp_path / "latest")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "latest"]
    assert (tmp_path / "latest").is_symlink()


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    """As a CI job makes it beforehand."""
    (tmp_path / "run").mkdir()

    assert read_run(_write(tmp_path / "run")).record.to_json() == RECORD.to_json()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """It is named by what is in it, and stays."""
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(ResultsError, match=r"or an earlier run to be replaced; found .* in it: thesis\.tex$"):
        NewRun(tmp_path)

    assert (tmp_path / "thesis.tex").exists()


def _notes_beside(folder: Path) -> None:
    (_write(folder) / "notes.txt").write_text("mine")


def _notes_among_the_answers(folder: Path) -> None:
    (_write(folder) / "predictions" / "notes.txt").write_text("mine")


def _another_record(folder: Path) -> None:
    folder.mkdir()
    (folder / "record.json").write_text('{"mine": 1}')


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (_notes_beside, "notes.txt"),
        (_notes_among_the_answers, "predictions/notes.txt"),
        (_another_record, "a record.json of another kind"),
    ],
)
def test_what_a_user_put_beside_a_run_is_not_replaced(make: Callable[[Path], None], named: str, tmp_path: Path) -> None:
    """A run is replaced only where there is nothing else."""
    make(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(ResultsError, match=f"something else in it: {named}$"):
        NewRun(tmp_path / "run")

    assert sorted(tmp_path.rglob("*")) == before


def test_a_mount_point_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be moved; better told before hours of evaluation than after."""
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)

    with pytest.raises(ResultsError, match=r"mount point; name a folder in it$"):
        NewRun(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """A path to a file is refused before anything is evaluated."""
    (tmp_path / "run").touch()

    with pytest.raises(ResultsError, match=r"expected a folder, found a file$"):
        NewRun(tmp_path / "run")


def test_a_place_where_nothing_can_be_written_is_told_at_once(tmp_path: Path) -> None:
    """Before the evaluation, not after it."""
    (tmp_path / "file").touch()

    with pytest.raises(ResultsError, match=r"^the run cannot be written to .*file/run: Not a directory$"):
        NewRun(tmp_path / "file" / "run")


def test_a_run_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    """As when the disk is full at the end."""
    folder = _write(tmp_path / "run")
    run = NewRun(folder)
    shutil.rmtree(run.staging)

    with pytest.raises(ResultsError, match="No such file or directory"):
        run.finish(RECORD)

    assert read_run(folder).record.to_json() == RECORD.to_json()


def test_a_run_that_cannot_be_moved_gives_the_earlier_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the very last step, when the earlier run has made room already."""
    folder = _write(tmp_path / "run")
    run = NewRun(folder)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path == run.staging:
            raise OSError(30, "Read-only file system")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(ResultsError, match="Read-only file system"):
        run.finish(RECORD)
    run.discard()

    assert read_run(folder).record.to_json() == RECORD.to_json()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def _benchmark_file(path: Path, **changes: Any) -> Path:
    """Write what pytest-benchmark writes of the run, with ``changes`` to our part of it."""
    info = {**TIMING.info(), "environment": RECORD.to_json()["environment"]}
    benchmarks = [
        {
            "fullname": "tests/test_throughput.py::test_throughput[x]",
            "extra_info": info,
            "stats": {"data": [0.25, 0.5]},
        },
        {"fullname": "tests/test_other.py::test_other", "extra_info": {}, "stats": {"data": [1.0]}},
    ]
    values = {"machine_info": {}, "benchmarks": benchmarks, "imagenet_gate": {**benchmark_json(RECORD), **changes}}
    path.write_text(json.dumps(values))
    return path


def test_a_benchmark_file_tells_the_same(tmp_path: Path) -> None:
    """The JSON of pytest-benchmark gives the same record, others' benchmarks left out; it holds no answers."""
    run = read_run(_benchmark_file(tmp_path / "benchmark.json"))

    expected = {**RECORD.to_json()}
    expected["timings"] = expected["timings"][::-1]  # those without values stand in our part, the others are benchmarks
    assert run.record.to_json() == expected
    assert run.answers(CASE.id) is None


def test_our_part_of_a_benchmark_file_is_small() -> None:
    """It holds no call's seconds, which stand in the benchmarks, and no image's answers."""
    values = benchmark_json(RECORD)

    assert values["timings"] == [{"id": "vgg16-b32", "outcome": "not run", "detail": ""}]
    assert "correct" not in values["cases"][0]


def _changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        values = json.loads((_write(folder) / "record.json").read_text())
        change(values)
        (folder / "record.json").write_text(json.dumps(values))
        return folder

    return write


def _cut_off(folder: Path) -> Path:
    record = _write(folder) / "record.json"
    record.write_bytes(record.read_bytes()[:1000])
    return folder


def _text(text: str) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_text(text)
        return path

    return write


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path, r"run: expected a run folder \(--results\) or its JSON \(--benchmark-json\), found not"),
        (_empty, r"run: expected a run folder, found no record\.json in it; a run that was killed leaves such"),
        (_cut_off, r"record\.json: not whole JSON \(.* line \d+ column \d+ .*\); it may have been cut off"),
        (_text(""), r"run: not whole JSON \(Expecting value: line 1 column 1 \(char 0\)\); it may have been cut off"),
        (_text("\x80"), r"run: expected a record of this harness, found other JSON|not whole JSON"),
        (_text("[1]"), r"run: expected a record of this harness, found other JSON"),
        (_text('{"a": 1}'), r"run: expected a record of this harness, found other JSON"),
        (_text('{"benchmarks": []}'), r"run: a file of pytest-benchmark, but not of this harness: .* 'imagenet_gate'"),
        (
            _changed(lambda values: values.update(schema_version=0)),
            r"record\.json: schema_version is 0, this harness reads 2: read it with the version that wrote it, or run",
        ),
        (
            _changed(lambda values: values["timings"][0].update(seconds=[float("nan")])),
            r"record\.json: holds NaN, which is no measurement; the run that wrote it is not to be used",
        ),
        (
            _changed(lambda values: values["environment"].pop("torch")),
            r"record\.json: not as this harness writes it: KeyError 'torch'",
        ),
        (
            _changed(lambda values: values["cases"][0].pop("top1")),
            r"record\.json: not as this harness writes it: KeyError 'top1'",
        ),
        (
            _changed(lambda values: values["cases"][0].update(top1="many")),
            r"record\.json: not as this harness writes it: ValueError .*'many'",
        ),
        (
            _changed(lambda values: values["cases"][0].update(weights_sha256=5)),
            r"record\.json: not as this harness writes it: ValueError weights_sha256 should be str, and is 5",
        ),
        (
            _changed(lambda values: values["cases"][0].update(parameters=True)),
            r"record\.json: not as this harness writes it: ValueError parameters should be int, and is True",
        ),
        (
            _changed(lambda values: values["cases"][0].update(gflops="1")),
            r"record\.json: not as this harness writes it: ValueError gflops should be int or float, and is '1'",
        ),
        (
            _changed(lambda values: values["cases"][0].update(precision="fp99")),
            r"record\.json: not as this harness writes it: ValueError precision should be one of fp32, .*'fp99'",
        ),
        (
            _changed(lambda values: values["cases"][0].update(first_input={"id": "a"})),
            r"record\.json: not as this harness writes it: KeyError 'sha256'",
        ),
        (
            _changed(lambda values: values["split"].update(total="500")),
            r"record\.json: not as this harness writes it: ValueError total should be int, and is '500'",
        ),
        (
            _changed(lambda values: values["timings"][0].update(seconds=[])),
            r"record\.json: not as this harness writes it: ValueError .*-b32: no calls$",
        ),
        (
            _changed(lambda values: values["timings"][0].update(seconds=[0.25, 0])),
            r"record\.json: .*: ValueError .*-b32: call 1 should be between 1e-09 and 1e\+15, and is 0",
        ),
        (
            _changed(lambda values: values["timings"][0].update(peak_tflops="1")),
            r"record\.json: not as this harness writes it: ValueError peak_tflops should be int or float, and is '1'",
        ),
        (
            _changed(lambda values: values["cases"][0].update(images_per_second=-1)),
            r"record\.json: .*: ValueError images_per_second should be between 0 and 1e\+15, and is -1",
        ),
        (
            _changed(lambda values: values["cases"][0].update(gflops=1e308)),
            r"record\.json: .*: ValueError gflops should be between 0 and 1e\+15, and is 1e\+308",
        ),
        (
            _changed(lambda values: values["cases"][0].update(model="a\x1b[1m")),
            r"record\.json: .*: ValueError model should be text that can be shown, and is 'a\\x1b\[1m'",
        ),
        (
            _changed(lambda values: values["timings"][0].update(weights=7)),
            r"record\.json: .*: ValueError weights should be str, and is 7",
        ),
        (
            _changed(lambda values: values["environment"].update(numpy=2)),
            r"record\.json: .*: ValueError numpy should be str, and is 2",
        ),
        (
            _changed(lambda values: values.update(commands=["a", 1])),
            r"record\.json: .*: ValueError expected a list of texts, found \['a', 1\]",
        ),
        (
            _changed(lambda values: values["cases"][0].update(top1=1000)),
            r"record\.json: not as this harness writes it: ValueError 1000 and 2 hits of 2 images",
        ),
        (
            _changed(lambda values: values["timings"].append(values["timings"][0])),
            r"record\.json: not as this harness writes it: ValueError two results are called resnet18.*-b32",
        ),
        (
            _changed(lambda values: values.update(split=None)),
            r"record\.json: not as this harness writes it: ValueError cases without a split",
        ),
        (
            _changed(lambda values: values.update(cases=None)),
            r"record\.json: not as this harness writes it: TypeError",
        ),
    ],
    ids=[
        "nothing", "empty folder", "cut off", "empty file", "binary", "a list", "other JSON", "another benchmark",
        "older schema", "NaN", "no torch", "no hits", "hits in words", "weights", "parameters", "gflops", "precision",
        "first input", "total", "no calls", "no time", "peak in words",
        "negative speed", "too large", "escape", "no name",
        "a version as a number", "commands", "too many hits",
        "twice", "no split", "no cases",
    ],
)  # fmt: skip
def test_what_is_no_run_is_told_in_one_sentence(make: Callable[[Path], Path], sentence: str, tmp_path: Path) -> None:
    """What was expected, what was found, and where."""
    path = make(tmp_path / "run")

    with pytest.raises(RecordError, match=sentence) as caught:
        read_run(path)

    assert "\n" not in str(caught.value)


def test_answers_that_are_missing_are_told(tmp_path: Path) -> None:
    """A record without its answers is not compared as if there were none."""
    folder = _write(tmp_path / "run")
    (folder / "predictions" / f"{CASE.id}.npz").unlink()

    with pytest.raises(RecordError, match=r"resnet18.*\.npz: missing, though record\.json tells of it"):
        read_run(folder).answers(CASE.id)


@pytest.mark.parametrize(
    "changes",
    [
        {"top5": np.zeros((3, 5), np.int16)},
        {"top5": np.zeros(2, np.int16)},
        {"targets": np.zeros(1, np.int16)},
        {"logits": np.full((2, 5), np.nan, np.float32)},
        {"logits": np.array([[1, 2, 3, 4, 5]] * 2, np.float32)},
        {"logits": np.array([["5", "4", "3", "2", "1"]] * 2)},
        {"top5": np.zeros((2, 5), np.float32)},
        {"ids": np.array(["b", "a"])},
        {"ids": np.array([1, 2])},
        {"ids": np.array("a")},
        {
            "ids": np.array([], "U1"),
            "targets": np.zeros(0, np.int16),
            "top5": np.zeros((0, 5), np.int16),
            "logits": np.zeros((0, 5), np.float32),
        },
    ],
)
def test_answers_of_another_shape_are_told(changes: dict[str, NDArray[Any]], tmp_path: Path) -> None:
    """Before they are compared with anything."""
    folder = _write(tmp_path / "run")
    file = folder / "predictions" / f"{CASE.id}.npz"
    with np.load(file) as arrays:
        values = {**arrays, **changes}
    np.savez(file, **values)

    with pytest.raises(RecordError, match=r"not as this harness writes it: (\w+ should be|expected )"):
        read_run(folder).answers(CASE.id)


PIXELS = Fingerprints(np.ones((2, 16), np.uint8), np.ones((2, 4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hashes": np.zeros((2, 16), np.uint8)}, "damaged: its digest should be "),
        ({"hashes": np.ones(32, np.uint8)}, "hashes should be u1"),
        ({"samples": np.ones((1, 4, 4, 3), np.uint8)}, "samples should be u1"),
        ({"samples": np.ones((2, 4, 4, 3), np.float32)}, "samples should be u1"),
    ],
)
def test_pixels_that_are_not_those_of_the_record_are_told(
    changes: dict[str, NDArray[Any]], sentence: str, tmp_path: Path
) -> None:
    """What models were shown is compared with its digest, and looked at before it is compared with anything."""
    run = NewRun(tmp_path / "run")
    write_inputs(run.staging, PIXELS)
    run.finish(RECORD)
    [file] = (tmp_path / "run" / "inputs").iterdir()
    np.savez(file, **{**vars(PIXELS), **changes})

    with pytest.raises(RecordError, match=sentence):
        read_run(tmp_path / "run").fingerprints(PIXELS.digest)


def test_models_that_were_shown_the_same_share_it(tmp_path: Path) -> None:
    """One file for each geometry; a record that tells of none has none."""
    run = NewRun(tmp_path / "run")
    write_inputs(run.staging, PIXELS)
    write_inputs(run.staging, PIXELS)
    run.finish(RECORD)

    found = read_run(tmp_path / "run").fingerprints(PIXELS.digest)

    assert len(list((tmp_path / "run" / "inputs").iterdir())) == 1
    assert found is not None
    np.testing.assert_array_equal(found.samples, PIXELS.samples)
    assert read_run(tmp_path / "run").fingerprints("") is None


@pytest.mark.parametrize("size", [0, 100, 500])
def test_answers_that_were_cut_off_are_told(size: int, tmp_path: Path) -> None:
    """So are damaged ones."""
    folder = _write(tmp_path / "run")
    file = folder / "predictions" / f"{CASE.id}.npz"
    file.write_bytes(file.read_bytes()[:size])

    with pytest.raises(
        RecordError, match=r"resnet18.*\.npz: damaged \(.*\); the run cannot be compared image by image"
    ):
        read_run(folder).answers(CASE.id)
