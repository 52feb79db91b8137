"""Tests of harness.reporting.merge."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import RecordError
from harness.gate.answers import Answers
from harness.reporting.merge import merge, write_files
from harness.reporting.record import Record, Unmeasured
from harness.reporting.run_folder import NewRun, Run, read_run
from tests.records import (
    ENVIRONMENT,
    FAILED,
    PIXELS,
    SPLIT,
    answers_of,
    case_record,
    expected,
    run_record,
    timing_record,
    write_run,
)

RESNET, VGG = case_record("resnet18"), case_record("vgg16")
TIMING = timing_record(seconds=(0.25, 0.5, 0.75))
ERROR, OTHER_ERROR = Unmeasured(RESNET.id, "error", "no weights"), Unmeasured(RESNET.id, "error", "no room")
NOT_RUN = Unmeasured(RESNET.id)


def _pair(tmp_path: Path, first: Record, second: Record) -> list[Run]:
    return [write_run(tmp_path / "a", first), write_run(tmp_path / "b", second)]


def _refusal(runs: list[Run]) -> str:
    """Return why runs are not merged, with ``TMP`` for the folder that they are in."""
    with pytest.raises(RecordError) as caught:
        merge(runs)
    return str(caught.value).replace(str(runs[0].path.parent), "TMP")


def test_runs_of_one_model_each_become_one_run(tmp_path: Path) -> None:
    """Cases and timings stand in the order given, on what all ran on, as of the time when the first was made."""
    later = replace(run_record([VGG], [TIMING]), created="2026-11-24T21:00:00+00:00", commands=("first", "second"))
    without_split = replace(
        run_record([], [timing_record("vgg16")]), created="2026-11-24T22:00:00+00:00", commands=("second",)
    )
    runs = [write_run(tmp_path / "c", without_split), *_pair(tmp_path, later, run_record([RESNET]))]

    merged = merge(runs)

    assert [case.id for case in merged.record.cases] == [VGG.id, RESNET.id]
    assert merged.record.timings == (timing_record("vgg16"), TIMING)
    assert (merged.record.environment, merged.record.split) == (ENVIRONMENT, SPLIT)
    assert merged.record.created == "2026-11-24T20:00:00+00:00"
    assert merged.record.commands == ("second", "first")
    assert merged.sources == {VGG.id: runs[1], RESNET.id: runs[2]}


def test_runs_of_timings_alone_have_no_split(tmp_path: Path) -> None:
    """As throughput is measured without images."""
    runs = _pair(tmp_path, run_record([], [TIMING]), run_record([], [timing_record("vgg16")]))

    assert merge(runs).record.split is None


def test_the_files_are_those_of_the_runs(tmp_path: Path) -> None:
    """What each model answered comes from its run, and what models were shown alike stands there once."""
    right = np.arange(1000) >= 400
    other = case_record("vgg16", right, top5=800)
    runs = _pair(tmp_path, run_record([RESNET]), run_record([other, Unmeasured("alexnet-fp32")]))
    new = NewRun(tmp_path / "merged")

    new.finish(write_files(merge(runs), new.staging))

    run = read_run(tmp_path / "merged")
    found = sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())
    assert found == [
        f"inputs/{PIXELS.digest[:32]}.npz",
        f"predictions/{RESNET.id}.npz",
        f"predictions/{other.id}.npz",
        "record.json",
    ]
    assert run.record.to_json() == merge(runs).record.to_json()
    for case in (RESNET, other):
        answers = run.answers(case.id)
        assert answers is not None
        for name, array in vars(answers_of(case)).items():
            np.testing.assert_array_equal(getattr(answers, name), array, strict=True)


def test_the_record_that_is_returned_tells_which_answers_are_right(tmp_path: Path) -> None:
    """``record.json`` does not, nor what the best classes are; the table's ties and changes rest on them."""
    right = np.arange(1000) >= 400
    runs = _pair(tmp_path, run_record([RESNET]), run_record([case_record("vgg16", right, top5=800)]))

    record = write_files(merge(runs), NewRun(tmp_path / "merged").staging)

    first, second = record.cases
    assert not isinstance(first, Unmeasured)
    assert not isinstance(second, Unmeasured)
    np.testing.assert_array_equal(first.correct_bits(), np.arange(1000) < 700)
    np.testing.assert_array_equal(second.correct_bits(), right)
    for case, run in zip((first, second), runs, strict=True):
        answers = run.answers(case.id)
        assert answers is not None
        np.testing.assert_array_equal(case.best_classes(), answers.top5[:, 0])


def test_a_run_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    """It agrees with itself."""
    run = write_run(tmp_path / "a", run_record([RESNET, VGG], [TIMING, Unmeasured("vgg16-b32")]))

    assert merge([run, run]).record == run.record


def test_of_two_evaluations_that_agree_the_first_is_taken(tmp_path: Path) -> None:
    """The last digits of logits may differ, and how long it took."""
    answers = answers_of(RESNET)
    assert answers.logits is not None
    moved = replace(answers, logits=answers.logits + np.float32(1e-5))
    runs = [
        write_run(tmp_path / "a", run_record([RESNET])),
        write_run(tmp_path / "b", run_record([replace(RESNET, images_per_second=1.0)]), resnet18=moved),
    ]

    for first, second in (runs, runs[::-1]):
        merged = merge([first, second])
        assert merged.record.cases == first.record.cases
        assert merged.sources == {RESNET.id: first}


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
def test_a_job_that_was_run_again_makes_up_for_one_without_values(
    first: Any, second: Any, taken: Any, tmp_path: Path
) -> None:
    """Values win over an error, and that over a case that was not run; the place is that of the first."""
    merged = merge(_pair(tmp_path, run_record([first, VGG]), run_record([second])))

    same = taken if isinstance(taken, Unmeasured) else replace(taken, inputs_digest=PIXELS.digest, correct="")
    assert merged.record.cases[0] == same
    assert (RESNET.id in merged.sources) == (taken is RESNET)
    assert [case.id for case in merged.record.cases] == [RESNET.id, VGG.id]


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        (Unmeasured(TIMING.id, "error", "no room"), TIMING, TIMING),
        (Unmeasured(TIMING.id), Unmeasured(TIMING.id, "error"), Unmeasured(TIMING.id, "error")),
    ],
)
def test_timings_without_values_are_made_up_for(first: Any, second: Any, taken: Any, tmp_path: Path) -> None:
    """As cases are."""
    merged = merge(_pair(tmp_path, run_record([], [first]), run_record([], [second])))

    assert merged.record.timings == (taken,)


def test_a_run_without_answers_is_refused(tmp_path: Path) -> None:
    """A JSON file tells of hits, and not which images they are."""
    (tmp_path / "a.json").write_text(json.dumps(run_record([RESNET]).to_json()))

    actual = _refusal([read_run(tmp_path / "a.json")])

    expected = "TMP/a.json: expected a run folder, found a file, which holds no answers; name what --results wrote"
    assert expected == actual


def test_runs_of_different_environments_are_refused(tmp_path: Path) -> None:
    """Every fact that differs is named, with both values, and what is done with such runs."""
    runs = _pair(tmp_path, run_record([RESNET]), run_record([VGG], torch="2.14.1", cudnn=None, driver="575"))

    actual = _refusal(runs)

    expected = (
        "TMP/a and TMP/b were made in different environments: torch 2.9.1 and 2.14.1, cudnn 91300 and none, driver "
        "580.65.06 and 575; such runs are compared, not merged: python -m harness compare TMP/a TMP/b"
    )
    assert expected == actual


def test_how_a_machine_was_shared_out_parts_timings_alone(tmp_path: Path) -> None:
    """A model that torchrun spread over GPUs is merged with those that had one each; its speed is another matter."""
    shared = run_record([VGG], threads=8, processes=2)

    merged = merge(_pair(tmp_path, run_record([RESNET]), shared)).record

    assert [RESNET.id, VGG.id] == [case.id for case in merged.cases]
    timed = [write_run(tmp_path / "timed", run_record([], [TIMING])), write_run(tmp_path / "shared", shared)]
    assert "in different environments: threads 16 and 8, processes 1 and 2; such runs are compared" in _refusal(timed)


@pytest.mark.parametrize(
    ("changes", "described"),
    [
        ({"digest": "0ther1abels"}, "1,000 of 1,000 images of imagenet-1k with labels 0ther1ab"),
        ({"total": 50_000}, "1,000 of 50,000 images of imagenet-1k with labels d1ge57"),
        ({"name": "mine"}, "1,000 of 1,000 images of mine with labels d1ge57"),
    ],
)
def test_runs_of_different_splits_are_refused(changes: dict[str, Any], described: str, tmp_path: Path) -> None:
    """Their hits would stand in one table as if they could be ranked; a run without a split is of none."""
    other = replace(run_record([VGG]), split=replace(SPLIT, **changes))
    timed = write_run(tmp_path / "timed", run_record([], [TIMING]))

    actual = _refusal([timed, *_pair(tmp_path, run_record([RESNET]), other)])

    expected = (
        "TMP/a and TMP/b evaluated different splits and cannot be merged: 1,000 of 1,000 images of imagenet-1k with "
        f"labels d1ge57, and {described}"
    )
    assert expected == actual


KNOWN = expected(1000, 700, 900)


@pytest.mark.parametrize(
    ("changes", "differ"),
    [
        ({"weights_sha256": "0ther"}, "weights 5ha256 and 0ther"),
        ({"preparation": {"decoder": "pillow", "crop": 200}}, "crop 224 and 200"),
        ({"preparation": {"decoder": "pillow"}}, "crop 224 and none"),
        ({"expected": None}, "expected top-1 hits 700 and none, expected top-5 hits 900 and none, expected images 1000 "
         "and none, expected origin published and none, tolerance 0.05 and none"),
        ({"expected": expected(1000, 700, 900, tolerance="0.5")}, "tolerance 0.05 and 0.5"),
        ({"expected": expected(1000, 700, 900, origin="recorded")}, "expected origin published and recorded"),
        ({"expected": expected(1000, 701, 900)}, "expected top-1 hits 700 and 701"),
        ({"verdict": FAILED}, "verdict held and failed"),
    ],
)  # fmt: skip
def test_two_evaluations_of_other_things_are_refused(changes: dict[str, Any], differ: str, tmp_path: Path) -> None:
    """The facts that differ are named with both values, though the answers are equal."""
    case = replace(RESNET, expected=KNOWN, preparation={"decoder": "pillow", "crop": 224})
    runs = _pair(tmp_path, run_record([VGG, case]), run_record([replace(case, **changes)]))

    actual = _refusal(runs)

    assert actual == f"TMP/a and TMP/b disagree on {case.id}: {differ}; leave one of the runs out"


def test_two_evaluations_of_other_pixels_are_refused(tmp_path: Path) -> None:
    """The digest of what was shown is compared, whatever the answers."""
    run, other = _pair(tmp_path, run_record([RESNET]), run_record([RESNET]))
    unknown = replace(other.record, cases=(replace(RESNET, inputs_digest="0ther"),))

    actual = _refusal([run, replace(other, record=unknown)])

    expected = f"disagree on {RESNET.id}: pixels {PIXELS.digest} and 0ther; leave one of the runs out"
    assert actual == f"TMP/a and TMP/b {expected}"


def test_two_evaluations_of_other_hits_are_refused(tmp_path: Path) -> None:
    """They are the gate's result."""
    fewer = case_record("resnet18", np.arange(1000) < 690, top5=880)

    actual = _refusal(_pair(tmp_path, run_record([RESNET]), run_record([fewer])))

    expected = "top-1 hits 700 and 690, top-5 hits 900 and 880; leave one of the runs out"
    assert actual == f"TMP/a and TMP/b disagree on {RESNET.id}: {expected}"


def _other_images(answers: Answers) -> Answers:
    return replace(answers, ids=np.char.add("x", answers.ids))


def _other_labels(answers: Answers) -> Answers:
    """Return answers that are right of other images, as often."""
    targets, top5 = answers.targets.copy(), answers.top5.copy()
    targets[[5, 6]] = 7
    top5[[5, 6], 0] = 7
    return replace(answers, targets=targets, top5=top5)


def _other_fifth_best(answers: Answers) -> Answers:
    top5 = answers.top5.copy()
    top5[3:5, 4] = 999
    return replace(answers, top5=top5)


@pytest.mark.parametrize(
    ("change", "differ"),
    [
        (_other_images, "other images"),
        (
            _other_labels,
            "other labels of 2 of 1,000 images, such as 0005.JPEG, "
            "other five best classes of 2 of 1,000 images, such as 0005.JPEG",
        ),
        (_other_fifth_best, "other five best classes of 2 of 1,000 images, such as 0003.JPEG"),
    ],
)
def test_other_answers_with_the_same_hits_are_refused(
    change: Callable[[Answers], Answers], differ: str, tmp_path: Path
) -> None:
    """As many hits say little of two evaluations; their answers are compared image by image."""
    runs = [
        write_run(tmp_path / "a", run_record([RESNET])),
        write_run(tmp_path / "b", run_record([RESNET]), resnet18=change(answers_of(RESNET))),
    ]

    actual = _refusal(runs)

    assert actual == f"TMP/a and TMP/b disagree on {RESNET.id}: {differ}; leave one of the runs out"


def test_a_third_run_is_compared_too(tmp_path: Path) -> None:
    """An overlap is not over with the first two."""
    agreeing = _pair(tmp_path, run_record([RESNET]), run_record([RESNET]))
    third = write_run(tmp_path / "c", run_record([replace(RESNET, weights_sha256="0ther")]))

    assert _refusal([*agreeing, third]).startswith("TMP/a and TMP/c disagree on ")


def test_two_timings_are_refused(tmp_path: Path) -> None:
    """Seconds that are measured twice never agree, and neither is better."""
    other = replace(TIMING, seconds=(0.25, 0.625, 0.75))

    actual = _refusal(_pair(tmp_path, run_record([], [TIMING]), run_record([], [other])))

    expected = "other seconds, with medians of 500.00 and 625.00 ms; leave one of the runs out"
    assert actual == f"TMP/a and TMP/b disagree on {TIMING.id}: {expected}"


def test_answers_that_are_not_those_of_the_record_are_not_written(tmp_path: Path) -> None:
    """A damaged run is told, as it is when runs are compared."""
    run = write_run(tmp_path / "a", run_record([RESNET]), resnet18=answers_of(case_record(top5=899)))

    with pytest.raises(RecordError, match=r"a: the answers of resnet18.* are not those that its record tells of$"):
        write_files(merge([run]), NewRun(tmp_path / "merged").staging)
