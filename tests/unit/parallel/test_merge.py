"""Tests of harness.parallel.merge."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.errors import RecordError
from harness.parallel.merge import merge
from harness.predictions import Predictions
from harness.records.results import CaseResult, Missing, Record, plain
from harness.records.run_folder import CROP_SIDE, CROPS, NewRun, Run, array_file, read_run, write_arrays
from tests.records import (
    DATASET,
    ENVIRONMENT,
    case_result,
    expected,
    predictions_of,
    run_record,
    timing_result,
    write_run,
)

RESNET, VGG = case_result("resnet18"), case_result("vgg16")
TIMING = timing_result(seconds=(0.25, 0.5, 0.75))
ERROR, OTHER_ERROR = Missing(RESNET.id, "error", "no weights"), Missing(RESNET.id, "error", "no room")
NOT_RUN = Missing(RESNET.id)


def _pair(tmp_path: Path, first: Record, second: Record) -> list[Run]:
    return [write_run(tmp_path / "a", first), write_run(tmp_path / "b", second)]


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
    later = msgspec.structs.replace(
        run_record([VGG], [TIMING]), created="2026-11-24T21:00:00+00:00", commands=("first", "second")
    )
    timed = msgspec.structs.replace(
        run_record([], [timing_result("vgg16")]), created="2026-11-24T22:00:00+00:00", commands=("second",)
    )
    runs = [write_run(tmp_path / "c", timed), *_pair(tmp_path, later, run_record([RESNET]))]

    record = _merged(runs).record

    assert [VGG.id, RESNET.id] == [case.id for case in record.cases]
    assert (timing_result("vgg16"), TIMING) == record.timings
    assert (ENVIRONMENT, runs[1].record.dataset) == (record.environment, record.dataset)
    assert "2026-11-24T20:00:00+00:00" == record.created
    assert ("second", "first") == record.commands


def test_runs_of_timings_alone_have_no_dataset(tmp_path: Path) -> None:
    """Throughput is measured without images."""
    runs = _pair(tmp_path, run_record([], [TIMING]), run_record([], [timing_result("vgg16")]))

    assert _merged(runs).record.dataset is None


def test_the_predictions_are_those_of_the_runs(tmp_path: Path) -> None:
    """Each model's predictions come from its run; pixels that models share are there once."""
    other = case_result("vgg16", (1000, 600, 800))
    predictions = predictions_of(other, np.arange(1000) >= 400)
    runs = [
        write_run(tmp_path / "a", run_record([RESNET])),
        write_run(tmp_path / "b", run_record([other, Missing("alexnet-fp32")]), vgg16=predictions),
    ]

    run = _merged(runs)

    found = sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())
    assert found == [
        f"inputs/{predictions.inputs_digest[:32]}.npz",
        "labels.npz",
        f"predictions/{RESNET.id}.npz",
        f"predictions/{other.id}.npz",
        "record.json",
    ]
    for case, whole in zip(run.record.cases, (predictions_of(RESNET), predictions), strict=True):
        for name, array in vars(run.predictions(case)).items():
            np.testing.assert_array_equal(getattr(whole, name), array, strict=True)


def test_the_pictures_of_the_runs_are_kept(tmp_path: Path) -> None:
    """Of each case those of its run, as its predictions are; a run need not have any."""
    runs = _pair(tmp_path, run_record([RESNET]), run_record([VGG]))
    pictures = {"ids": np.array(["0005.JPEG"]), "pixels": np.ones((1, CROP_SIDE, CROP_SIDE, 3), np.uint8)}
    write_arrays(array_file(runs[0].path, CROPS, RESNET.id), pictures)

    merged = _merged(runs)

    [(ids, pixels)] = [merged.arrays(CROPS, path).values() for path in (merged.path / CROPS).iterdir()]
    assert (["0005.JPEG"], True) == (ids.tolist(), bool((pixels == 1).all()))
    assert f"crops/{RESNET.id}.npz" in merged.record.files


def test_a_run_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    """It agrees with itself; so does a run alone, which is how ci/nightly keeps one."""
    run = write_run(tmp_path / "a", run_record([RESNET, VGG], [TIMING, Missing("vgg16-b32")]))

    assert run.record == _merged([run, run]).record == _merged([run]).record


def test_of_two_results_that_agree_the_first_is_taken(tmp_path: Path) -> None:
    """The last digits of logits may differ, and how long it took."""
    predictions = predictions_of(RESNET)
    assert predictions.logits is not None
    moved = replace(predictions, logits=predictions.logits + np.float32(1e-5))
    runs = [
        write_run(tmp_path / "a", run_record([RESNET])),
        write_run(tmp_path / "b", run_record([msgspec.structs.replace(RESNET, images_per_second=1.0)]), resnet18=moved),
    ]

    for first, second in (runs, runs[::-1]):
        merged = _merged([first, second])
        [case] = merged.record.cases
        assert first.record.cases == merged.record.cases
        np.testing.assert_array_equal(first.predictions(case).logits, merged.predictions(case).logits)


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        (ERROR, RESNET, RESNET),
        (RESNET, ERROR, RESNET),
        (NOT_RUN, RESNET, RESNET),
        (NOT_RUN, ERROR, ERROR),
        (ERROR, NOT_RUN, ERROR),
        (ERROR, OTHER_ERROR, ERROR),
        (NOT_RUN, NOT_RUN, NOT_RUN),
    ],
)
def test_a_job_that_was_run_again_replaces_one_without_a_result(
    first: Any, second: Any, taken: Any, tmp_path: Path
) -> None:
    """A result is preferred to an error, and that to a case that was not run."""
    record = _merged(_pair(tmp_path, run_record([first, VGG]), run_record([second]))).record

    measured = isinstance(taken, CaseResult)
    assert {VGG.id, *([RESNET.id] if measured else [])} == {case.id for case in record.cases}
    assert (() if measured else (taken,)) == record.missing_cases


@pytest.mark.parametrize("missing", [Missing(TIMING.id), Missing(TIMING.id, "error", "no room")])
def test_timings_without_a_result_are_replaced(missing: Missing, tmp_path: Path) -> None:
    """As cases are."""
    record = _merged(_pair(tmp_path, run_record([], [missing]), run_record([], [TIMING]))).record

    assert ((TIMING,), ()) == (record.timings, record.missing_timings)


def test_a_run_without_predictions_is_an_error(tmp_path: Path) -> None:
    """A JSON file holds counts, and not which images they are."""
    (tmp_path / "a.json").write_text(json.dumps(plain(run_record([RESNET]))))

    message = (
        "TMP/a.json: expected a run folder, found a file, which holds no predictions; name a folder that --results"
    )
    assert f"{message} wrote" == _error([read_run(tmp_path / "a.json")])


def test_runs_of_different_environments_are_an_error(tmp_path: Path) -> None:
    """Every fact that differs is named, with both values, and what is done with such runs."""
    runs = _pair(tmp_path, run_record([RESNET]), run_record([VGG], torch="2.14.1", cudnn=None, driver="575"))

    message = (
        "TMP/a and TMP/b were made in different environments: torch 2.9.1 and 2.14.1, cudnn 91300 and none, driver "
        "580.65.06 and 575; compare them instead: imagenet-gate compare TMP/a TMP/b"
    )
    assert message == _error(runs)


def test_how_a_machine_was_shared_matters_to_timings_only(tmp_path: Path) -> None:
    """A model that torchrun spread over GPUs is merged with those that had one each; its speed is another matter."""
    shared = run_record([VGG], threads=8, processes=2)

    record = _merged(_pair(tmp_path, run_record([RESNET]), shared)).record

    assert [RESNET.id, VGG.id] == [case.id for case in record.cases]
    timed = [write_run(tmp_path / "timed", run_record([], [TIMING])), write_run(tmp_path / "shared", shared)]
    assert "in different environments: threads 16 and 8, processes 1 and 2; compare them instead" in _error(timed)


@pytest.mark.parametrize(
    ("changes", "described"),
    [({"total": 50_000}, "1,000 of 50,000 images of imagenet-1k"), ({"name": "mine"}, "1,000 of 1,000 images of mine")],
)
def test_runs_of_different_datasets_are_an_error(changes: dict[str, Any], described: str, tmp_path: Path) -> None:
    """Their counts would be in one table as if they could be ranked; a run without a dataset goes with any."""
    other = msgspec.structs.replace(run_record([VGG]), dataset=msgspec.structs.replace(DATASET, **changes))
    runs = _pair(tmp_path, run_record([RESNET]), other)
    timed = write_run(tmp_path / "timed", run_record([], [TIMING]))

    message = (
        "TMP/a and TMP/b evaluated different datasets and cannot be merged: 1,000 of 1,000 images of imagenet-1k with "
        "labels {0}, and {1} with labels {0}"
    )
    labels = runs[0].record.dataset.digest[:8]  # type: ignore[union-attr]
    assert message.format(labels, described) == _error([timed, *runs])


PUBLISHED = expected(1000, 700, 900)


@pytest.mark.parametrize(
    ("changes", "differ"),
    [
        ({"weights_sha256": "0ther"}, "weights 5ha256 and 0ther"),
        ({"preparation": {"decoder": "pillow", "crop": 200}}, "crop 224 and 200"),
        ({"preparation": {"decoder": "pillow"}}, "crop 224 and none"),
        ({"expected": expected(1000, 700, 900, tolerance="0.5")}, "tolerance 0.05 and 0.5"),
        ({"expected": expected(1000, 700, 900, origin="recorded")}, "origin published and recorded"),
        (
            {"expected": None},
            "expected counts 1000, 700, 900 and none, origin published and none, tolerance 0.05 and none, "
            "outcome passed and failed",
        ),
        (
            {"expected": expected(1000, 800, 900)},
            "expected counts 1000, 700, 900 and 1000, 800, 900, outcome passed and failed",
        ),
    ],
)
def test_results_of_different_things_are_an_error(changes: dict[str, Any], differ: str, tmp_path: Path) -> None:
    """The facts that differ are named with both values, though the predictions are equal."""
    case = msgspec.structs.replace(RESNET, expected=PUBLISHED, preparation={"decoder": "pillow", "crop": 224})
    runs = _pair(tmp_path, run_record([VGG, case]), run_record([msgspec.structs.replace(case, **changes)]))

    assert f"TMP/a and TMP/b disagree on {case.id}: {differ}; leave one of the runs out" == _error(runs)


def test_other_counts_are_an_error(tmp_path: Path) -> None:
    """Two evaluations of one case may not disagree in what they counted."""
    other = case_result("resnet18", (1000, 690, 880), expected=RESNET.expected)

    message = _error(_pair(tmp_path, run_record([RESNET]), run_record([other])))

    counts = "correct top-1 predictions 700 and 690, correct top-5 predictions 900 and 880"
    assert message.startswith(f"TMP/a and TMP/b disagree on {RESNET.id}: {counts}")


def _other_pixels(predictions: Predictions) -> Predictions:
    assert predictions.hashes is not None
    return replace(predictions, hashes=predictions.hashes + np.uint8(1))


def _other_fifth(predictions: Predictions) -> Predictions:
    top = predictions.top.copy()
    top[3:5, 4] = 999
    return replace(predictions, top=top)


@pytest.mark.parametrize(
    ("change", "differ"),
    [
        (_other_pixels, "pixels [0-9a-f]{64} and [0-9a-f]{64}"),
        (_other_fifth, "other five highest classes of 2 of 1,000 images, such as 0003.JPEG"),
    ],
)
def test_other_predictions_with_the_same_counts_are_an_error(
    change: Callable[[Predictions], Predictions], differ: str, tmp_path: Path
) -> None:
    """Equal counts prove little; pixels and predictions are compared image by image."""
    first = write_run(tmp_path / "a", run_record([RESNET]))
    second = write_run(tmp_path / "b", run_record([RESNET]), resnet18=change(predictions_of(RESNET)))
    (tmp_path / "staging").mkdir()

    with pytest.raises(RecordError, match=rf"disagree on {RESNET.id}: {differ}; leave one of the runs out$"):
        merge([first, second], tmp_path / "staging")


def test_a_third_run_is_compared_too(tmp_path: Path) -> None:
    """The first two may agree."""
    agreeing = _pair(tmp_path, run_record([RESNET]), run_record([RESNET]))
    third = write_run(tmp_path / "c", run_record([msgspec.structs.replace(RESNET, weights_sha256="0ther")]))

    assert _error([*agreeing, third]).startswith("TMP/a and TMP/c disagree on ")


def test_two_measurements_of_a_timing_are_an_error(tmp_path: Path) -> None:
    """They never agree, and neither is better."""
    other = msgspec.structs.replace(TIMING, seconds=(0.25, 0.625, 0.75))

    found = _error(_pair(tmp_path, run_record([], [TIMING]), run_record([], [other])))

    message = "other seconds, with medians of 500.00 and 625.00 ms; leave one of the runs out"
    assert f"TMP/a and TMP/b disagree on {TIMING.id}: {message}" == found


def test_predictions_that_do_not_give_the_counts_are_an_error(tmp_path: Path) -> None:
    """One of the files was changed, as by hand."""
    run = write_run(tmp_path / "a", run_record([RESNET]), resnet18=predictions_of(case_result(counts=(1000, 700, 899))))

    message = f"TMP/a: its predictions of {RESNET.id} do not give the counts in its record; one of them was modified"
    assert message == _error([run])
