"""Tests of harness.parallel.merge."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from harness.errors import RecordError
from harness.parallel.merge import merge
from harness.predictions import HASH_BYTES, Predictions
from harness.records.results import Missing, Record, plain
from harness.records.run_folder import CROP_SIDE, CROPS, NewRun, Run, array_file, read_run, write_arrays
from tests import records
from tests.records import case_result, counted, expected, predictions_of, run_record, timing_result, write_run

RESNET, VGG = case_result("resnet18"), case_result("vgg16")
TIMING, VGG_TIMING = timing_result(seconds=(0.25, 0.5, 0.75)), timing_result("vgg16")
STATES: list[list[Any]] = [
    [Missing(RESNET.id), Missing(RESNET.id, "error", why), RESNET] for why in ("first", "second")
]
PREDICTIONS = predictions_of(RESNET)


def _pair(tmp_path: Path, first: Record, second: Record, **predictions: Predictions) -> list[Run]:
    """Return two runs; predictions are of the second, by model."""
    return [write_run(tmp_path / "a", first), write_run(tmp_path / "b", second, **predictions)]


def _merged(runs: list[Run]) -> Run:
    """Return the merged run, beside the runs."""
    new = NewRun(runs[0].path.parent / "merged")
    new.finish(merge(runs, new.staging))
    return read_run(runs[0].path.parent / "merged")


def _error(runs: list[Run]) -> str:
    """Return why runs are not merged, with ``TMP`` for the folder that they are in."""
    folder = runs[0].path.parent
    (folder / "staging").mkdir()
    with pytest.raises(RecordError) as caught:
        merge(runs, folder / "staging")
    return str(caught.value).replace(str(folder), "TMP")


def test_runs_of_one_model_each_become_one_run(tmp_path: Path) -> None:
    """Cases and timings are in the order of the runs, dated as the first that was made."""
    later = "2026-11-24T21:00:00+00:00"
    timed = replace(run_record([], [VGG_TIMING]), created=later, commands=("second",))
    first = replace(run_record([VGG], [TIMING]), created=later, commands=("first", "second"))
    runs = [write_run(tmp_path / "c", timed), *_pair(tmp_path, first, run_record([RESNET]))]

    record, of_timings_alone = _merged(runs).record, _merged(runs[:1]).record

    assert [VGG.id, RESNET.id] == [case.id for case in record.cases]
    assert (VGG_TIMING, TIMING) == record.timings
    assert (records.ENVIRONMENT, runs[1].record.dataset) == (record.environment, record.dataset)
    assert of_timings_alone.dataset is None
    assert ("2026-11-24T20:00:00+00:00", ("second", "first")) == (record.created, record.commands)


def test_predictions_and_pictures_are_those_of_the_runs(tmp_path: Path) -> None:
    """Of each case those of its run, which need not have pictures; pixels that models share are there once."""
    other = case_result("vgg16", (1000, 600, 800))
    predictions = predictions_of(other, np.arange(1000) >= 400)
    second = run_record([other, Missing("alexnet-fp32")])
    runs = _pair(tmp_path, run_record([RESNET]), second, vgg16=predictions)
    pictures = {"ids": np.array(["0005.JPEG"]), "pixels": np.ones((1, CROP_SIDE, CROP_SIDE, 3), np.uint8)}
    write_arrays(array_file(runs[0].path, CROPS, RESNET.id), pictures)

    run = _merged(runs)

    for case, whole in zip(run.record.cases, (PREDICTIONS, predictions), strict=True):
        for name, array in vars(run.predictions(case)).items():
            np.testing.assert_array_equal(getattr(whole, name), array, strict=True)
    assert 1 == len(list((run.path / "inputs").iterdir()))
    [crops] = (run.path / CROPS).iterdir()
    for name, array in run.arrays(CROPS, crops).items():
        np.testing.assert_array_equal(pictures[name], array, strict=True)
    assert f"crops/{RESNET.id}.npz" in run.record.files


def test_of_two_results_that_agree_the_first_is_taken(tmp_path: Path) -> None:
    """The last digits of logits may differ, and how long it took; so a run that is named twice counts once."""
    assert PREDICTIONS.logits is not None
    moved = dataclasses.replace(PREDICTIONS, logits=PREDICTIONS.logits + np.float32(1e-5))
    slower = run_record([replace(RESNET, images_per_second=1.0)])
    runs = _pair(tmp_path, run_record([RESNET]), slower, resnet18=moved)

    for first, second in (runs, runs[::-1], runs[:1] * 2):
        merged = _merged([first, second])
        [case] = merged.record.cases
        assert first.record.cases == merged.record.cases
        np.testing.assert_array_equal(first.predictions(case).logits, merged.predictions(case).logits)


@pytest.mark.parametrize("second", range(3))
@pytest.mark.parametrize("first", range(3))
def test_a_job_that_was_run_again_replaces_one_without_a_result(first: int, second: int, tmp_path: Path) -> None:
    """A result is preferred to an error, and that to a case that was not run; timings alike."""
    one, other = STATES[0][first], STATES[1][second]
    runs = _pair(tmp_path, run_record([one, VGG], [Missing(TIMING.id)]), run_record([other], [TIMING]))

    record = _merged(runs).record

    taken = one if first >= second else other
    assert {VGG.id, *([RESNET.id] if taken is RESNET else [])} == {case.id for case in record.cases}
    assert (() if taken is RESNET else (taken,)) == record.missing_cases
    assert ((TIMING,), ()) == (record.timings, record.missing_timings)


def test_how_a_machine_was_shared_matters_to_timings_only(tmp_path: Path) -> None:
    """A model that torchrun spread over GPUs is merged with those that had one each; its speed is another matter."""
    runs = _pair(tmp_path, run_record([RESNET]), run_record([VGG], threads=8, processes=2))

    assert [RESNET.id, VGG.id] == [case.id for case in _merged(runs).record.cases]
    timed = write_run(tmp_path / "timed", run_record([], [TIMING]))
    assert "in different environments: threads 16 and 8, processes 1 and 2; compare" in _error([timed, runs[1]])


CASE = replace(RESNET, expected=expected(1000, 700, 900), preparation={"decoder": "pillow", "crop": 224})
OTHER_DATASET = replace(records.DATASET, total=50_000, name="mine")
DIFFERENCES: list[tuple[dict[str, Any], str]] = [
    ({"weights_sha256": "0ther"}, "weights 5ha256 and 0ther"),
    ({"preparation": {"decoder": "pillow", "crop": 200}}, "crop 224 and 200"),
    ({"preparation": {"decoder": "pillow"}}, "crop 224 and none"),
    (
        {"expected": None},
        "expected counts 1000, 700, 900 and none, origin published and none, tolerance 0.05 and none, "
        "outcome passed and failed",
    ),
]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            run_record([VGG], torch="2.14.1", cudnn=None, driver="575"),
            "were made in different environments: torch 2.9.1 and 2.14.1, cudnn 91300 and none, driver 580.65.06 and "
            "575; compare them instead: imagenet-gate compare TMP/a TMP/b",
        ),
        (
            replace(run_record([VGG]), dataset=OTHER_DATASET),
            "evaluated different datasets and cannot be merged: 1,000 of 1,000 images of imagenet-1k (digest "
            "D1GEST), and 1,000 of 50,000 images of mine (digest D1GEST)",
        ),
        (
            run_record([], [timing_result(seconds=(0.25, 0.625, 0.75))]),
            f"disagree on {TIMING.id}: different times per call, with medians of 500.00 and 625.00 ms; leave one of "
            "the runs out",
        ),
        *(
            (run_record([replace(CASE, **changes)]), f"disagree on {RESNET.id}: {differ}; leave one of the runs out")
            for changes, differ in DIFFERENCES
        ),
    ],
)
def test_runs_of_different_things_are_an_error(second: Record, message: str, tmp_path: Path) -> None:
    """Whatever differs is named with both values, in the third run as well."""
    first, other = _pair(tmp_path, run_record([CASE], [TIMING]), second)
    assert first.record.dataset is not None

    error = _error([first, first, other])

    assert f"TMP/a and TMP/b {message}" == error.replace(first.record.dataset.digest[:8], "D1GEST")


def _other_fifth() -> Predictions:
    top = PREDICTIONS.top.copy()
    top[3:5, 4] = 999
    return dataclasses.replace(PREDICTIONS, top=top)


@pytest.mark.parametrize(
    ("predictions", "differ"),
    [
        (
            predictions_of(case_result(counts=(1000, 690, 880))),
            "correct top-1 predictions 700 and 690, correct top-5 .*",
        ),
        (
            dataclasses.replace(PREDICTIONS, hashes=np.zeros((1000, HASH_BYTES), np.uint8)),
            "pixels [0-9a-f]{64} and [0-9a-f]{64}",
        ),
        (_other_fifth(), "different top-5 sets of 2 of 1,000 images, such as 0003.JPEG"),
    ],
)
def test_other_predictions_are_an_error(predictions: Predictions, differ: str, tmp_path: Path) -> None:
    """Equal counts prove little; pixels and predictions are compared image by image."""
    second = run_record([counted(predictions, expected=RESNET.expected)])

    error = _error(_pair(tmp_path, run_record([RESNET]), second, resnet18=predictions))

    assert re.fullmatch(f"TMP/a and TMP/b disagree on {RESNET.id}: {differ}; leave one of the runs out", error)


def test_a_run_without_predictions_is_an_error(tmp_path: Path) -> None:
    """A JSON file holds counts, and not which images they are."""
    (tmp_path / "a.json").write_text(json.dumps(plain(run_record([RESNET]))))

    error = _error([read_run(tmp_path / "a.json")])

    expected = "expected a run folder, found a file, which holds no predictions; name a folder that --results wrote"
    assert f"TMP/a.json: {expected}" == error


def test_predictions_that_do_not_give_the_counts_are_an_error(tmp_path: Path) -> None:
    """One of the files was changed, as by hand."""
    run = write_run(tmp_path / "a", run_record([RESNET]), resnet18=predictions_of(case_result(counts=(1000, 700, 899))))

    message = f"TMP/a: its predictions of {RESNET.id} do not give the counts in its record; one of them was modified"
    assert message == _error([run])
