"""Tests of harness.reporting.compare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.data.fingerprints import Fingerprints
from harness.errors import RecordError
from harness.gate.answers import Answers
from harness.gate.stats import mcnemar
from harness.gate.verdict import Verdict
from harness.reporting.case_record import CaseRecord
from harness.reporting.compare import FAILURES, Comparison, Missing, compare
from harness.reporting.record import Record, SplitFacts, Unmeasured
from harness.reporting.run_folder import NewRun, Run, read_run, write_answers, write_inputs
from tests.records import FAILED, SPLIT, case_record, expected, run_record, timing_record

IDS = tuple(f"{number:04}.JPEG" for number in range(1000))
PIXELS = Fingerprints(np.ones((1000, 16), np.uint8), np.ones((1000, 4, 4, 3), np.uint8))


def _answers(best: NDArray[np.int64], correct: NDArray[np.bool_]) -> Answers:
    """Return answers of 1000 images: class 1, 2 or so, then 100 to 103; right ones where that is wanted."""
    top5 = np.tile(np.arange(99, 104, dtype=np.int16), (len(best), 1))
    top5[:, 0] = best
    targets = np.where(correct, top5[:, 0], 500).astype(np.int16)
    return Answers(
        np.array(IDS[: len(best)]), targets, top5, np.tile(np.arange(5, 0, -1, dtype=np.float32), (len(best), 1))
    )


def _run(record: Record, path: str = "run.json") -> Run:
    """Return a run without answers."""
    return Run(Path(path), record)


def _compared(old: Record, new: Record, noise: float = 0.05) -> Comparison:
    return compare(_run(old, "old.json"), _run(new, "new.json"), noise)


def _failures(comparison: Comparison, *fail_on: str) -> list[tuple[str, str]]:
    return list(comparison.failures(fail_on or FAILURES, max_slowdown=0.05))


def test_equal_runs_have_nothing_to_tell() -> None:
    """No difference of environment, hits or speed, and no failure."""
    record = run_record([case_record()], [timing_record(seconds=(1.0, 1.1, 1.2) * 5)])

    comparison = _compared(record, record)

    assert (comparison.facts, comparison.missing, comparison.added) == ((), (), ())
    assert [pair.difference("top1") for pair in comparison.accuracy] == [0]
    assert [pair.significant for pair in comparison.speed] == [False]
    assert _failures(comparison) == []


def test_the_environments_differences_are_named() -> None:
    """Each fact that differs, old and new; what is alike is left out."""
    old, new = run_record(), run_record(torch="2.14.1", cudnn=None)

    assert _compared(old, new).facts == (("torch", "2.9.1", "2.14.1"), ("cudnn", "91300", None))


@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [
        ([case_record()], [], "is not in the new run"),
        ([case_record()], [Unmeasured(case_record().id, "error", "logits that are not finite")],
         "error in the new run: logits that are not finite"),
        ([case_record()], [Unmeasured(case_record().id)], "not run in the new run"),
        ([Unmeasured(case_record().id, "error", "no weights")], [case_record()], "error in the old run: no weights"),
        ([], [Unmeasured(case_record().id, "error", "no weights")], "error in the new run: no weights"),
    ],
    ids=["vanished", "NaN", "not run", "old failed", "new failed"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["cases", "timings"])
def test_what_has_no_values_is_a_failure(
    old: list[CaseRecord | Unmeasured], new: list[CaseRecord | Unmeasured], missing: str, kind: str
) -> None:
    """A case or timing that vanished, gave no numbers, or did not run, in either run, is never passed over."""
    if kind == "cases":
        comparison = _compared(run_record(old), run_record(new))
    else:
        timed = [[timing_record(id=r.id) if isinstance(r, CaseRecord) else r for r in side] for side in (old, new)]
        comparison = _compared(run_record([], timed[0]), run_record([], timed[1]))

    assert comparison.missing == (Missing("resnet18-IMAGENET1K_V1-fp32", missing),)
    assert comparison.added == ()
    assert _failures(comparison) == [("resnet18-IMAGENET1K_V1-fp32", missing)]
    assert _failures(comparison, "accuracy", "speed") == []


def test_what_is_new_is_no_failure() -> None:
    """A model that only the new run has is told."""
    comparison = _compared(run_record([case_record()]), run_record([case_record(), case_record("vgg16")]))

    assert comparison.added == ("vgg16-IMAGENET1K_V1-fp32",)
    assert _failures(comparison) == []


def test_a_case_that_failed_in_either_run_is_a_failure() -> None:
    """Also where both runs agree; a case with nothing to compare with is none."""
    held, failed = run_record([case_record()]), run_record([case_record(verdict=FAILED)])
    nothing = replace(FAILED.checks[0], name="published values")
    unjudged = run_record([case_record(verdict=Verdict((nothing,)))])

    identity = case_record().id
    assert _failures(_compared(failed, held)) == [(identity, "failed its check in the old run")]
    assert _failures(_compared(held, failed)) == [(identity, "failed its check in the new run")]
    assert _failures(_compared(held, failed), "speed", "missing") == []
    assert _failures(_compared(unjudged, unjudged)) == []


@pytest.mark.parametrize(
    ("hits", "top5", "tolerance", "why"),
    [
        (699, 900, "0.1", []),
        (699, 900, "0.05", ["top-1 differs by -0.100 points, tolerance ±0.05"]),
        (702, 900, "0.1", ["top-1 differs by +0.200 points, tolerance ±0.1"]),
        (700, 898, "0.1", ["top-5 differs by -0.200 points, tolerance ±0.1"]),
        (699, 900, None, ["top-1 differs by -0.100 points, tolerance ±0.05"]),
    ],
)
def test_accuracy_may_differ_by_the_tolerance(hits: int, top5: int, tolerance: str | None, why: list[str]) -> None:
    """By its own, or by 0.05 points where nothing is expected; upwards as well as downwards."""
    known = expected(1000, 700, 900, tolerance) if tolerance else None
    old = case_record(expected=known)
    new = case_record(correct=np.arange(1000) < hits, top5=top5, expected=known)

    comparison = _compared(run_record([old]), run_record([new]))

    assert [text for _, text in _failures(comparison)] == why


def _written(
    folder: Path, correct: NDArray[np.bool_], best: NDArray[np.int64], pixels: Fingerprints = PIXELS, **changes: Any
) -> Run:
    """Return a run on disk, of one case with answers."""
    run = NewRun(folder)
    answers = _answers(best, correct)
    known = expected(1000, 700, 700, tolerance="5")
    changes = {"inputs_digest": PIXELS.digest, **changes}
    record = run_record([case_record(correct=correct, top5=answers.hits.top5, expected=known, **changes)])
    write_answers(run.staging, record.cases[0].id, answers)
    write_inputs(run.staging, pixels)
    run.finish(record)
    return read_run(folder)


@pytest.mark.parametrize(("lost", "gained", "fails"), [(8, 0, True), (0, 8, True), (7, 0, False), (9, 9, False)])
def test_more_than_chance_is_a_failure(lost: int, gained: int, fails: bool, tmp_path: Path) -> None:
    """Within the tolerance, eight images that all went one way are p = 0.008 < 0.01; seven are p = 0.016."""
    before = np.arange(1000) < 700
    after = before.copy()
    after[:lost] = False
    after[900 : 900 + gained] = True
    old = _written(tmp_path / "old", before, np.where(before, 1, 2))

    comparison = compare(old, _written(tmp_path / "new", after, np.where(after, 1, 2)), 0.05)

    p = mcnemar(lost, gained)
    expected_failures = [(case_record().id, f"more answers went one way than by chance (p = {p:.2g})")]
    assert _failures(comparison) == (expected_failures if fails else [])


def test_the_bar_rises_with_the_number_of_cases(tmp_path: Path) -> None:
    """With ten cases eight images that all went one way are no more than chance somewhere among them."""
    before = np.arange(1000) < 700
    after = np.where(np.arange(1000) < 8, False, before)
    old = _written(tmp_path / "old", before, np.where(before, 1, 2))
    new = _written(tmp_path / "new", after, np.where(after, 1, 2))
    more = [case_record(f"m{number}", top5=700, inputs_digest=PIXELS.digest) for number in range(9)]
    for run in (old, new):
        for case in more:
            write_answers(run.path, case.id, _answers(np.ones(1000, int), before))
    old, new = (replace(run, record=replace(run.record, cases=(*run.record.cases, *more))) for run in (old, new))

    assert _failures(compare(old, new, 0.05)) == []


def test_other_weights_and_other_pixels_are_told(tmp_path: Path) -> None:
    """The same name may stand for something else."""
    right = np.arange(1000) < 700
    old = _written(tmp_path / "old", right, np.where(right, 1, 2))
    pixels = replace(PIXELS, hashes=PIXELS.hashes * np.uint8(2))
    weights = _written(tmp_path / "weights", right, np.where(right, 1, 2), weights_sha256="0ther")
    inputs = _written(tmp_path / "inputs", right, np.where(right, 1, 2), pixels, inputs_digest=pixels.digest)

    found = [str(compare(old, new, 0.05).accuracy[0].cause) for new in (old, weights, inputs)]

    assert found[0] == "None"
    assert found[1] == "weights: their sha256 is 0ther..., before 5ha256..."
    assert found[2].startswith(
        "decoded inputs: 1,000 of 1,000 images have other pixels, such as 0000.JPEG: 0 % of their"
    )


def test_without_answers_digests_tell_of_other_weights_and_pixels() -> None:
    """As from JSON files."""
    new = case_record(weights_sha256="0ther", inputs_digest="0ther")

    comparison = _compared(run_record([case_record()]), run_record([new]))

    [accuracy] = comparison.accuracy
    assert accuracy.moved == ("weights", "decoded images")
    assert accuracy.cause is None
    assert _failures(comparison) == [(new.id, "has other weights than in the old run")]


def test_what_a_run_does_not_tell_is_not_called_other() -> None:
    """As the predictions that others published."""
    unknown = case_record(weights_sha256="", inputs_digest="")

    comparison = _compared(run_record([unknown]), run_record([case_record()]))

    assert comparison.accuracy[0].moved == ()
    assert _failures(comparison) == []


def test_runs_on_different_images_are_not_compared() -> None:
    """Their hits mean nothing to each other, whatever the splits are called."""
    old = run_record([case_record()])
    new = replace(old, split=SplitFacts("imagenet-1k", "0ther", images=500, total=1000, classes=100))

    with pytest.raises(RecordError, match=r"old.json and new.json evaluated different images .*1,000 of 1,000 of im"):
        _compared(old, new)


def test_timings_alone_have_no_split() -> None:
    """A run of timings is compared with a run of both."""
    comparison = _compared(run_record([], [timing_record()]), run_record([case_record()], [timing_record()]))

    assert comparison.split == SPLIT
    assert len(comparison.speed) == 1


@pytest.mark.parametrize("other", [{"device": "NVIDIA A100"}, {"cpu": "AMD EPYC"}, {"threads": 8}])
def test_speed_on_other_hardware_is_refused(other: dict[str, Any]) -> None:
    """Accuracy is compared all the same; a difference of speed would be that of the machines."""
    old = run_record([case_record()], [timing_record(seconds=[1.0] * 9)])
    new = run_record([case_record()], [timing_record(seconds=[2.0] * 9)], **other)

    comparison = _compared(old, new)

    [(name, value)] = other.items()
    assert comparison.speed == ()
    assert comparison.speed_refused.startswith(f"not compared, since the hardware differs: {name} ")
    assert comparison.speed_refused.endswith(f" and {value}")
    assert len(comparison.accuracy) == 1
    assert _failures(comparison) == []


def _seconds(seed: int, scale: float = 1.0) -> list[float]:
    return [float(value) for value in scale * np.random.default_rng(seed).lognormal(sigma=0.01, size=30)]


@pytest.mark.parametrize(
    ("scale", "noise", "significant", "why"),
    [
        (1.0, 0.05, False, []),
        (1.04, 0.05, False, []),
        (1.04, 0.01, True, []),
        (1.15, 0.05, True, ["takes 15.0 % longer, allowed 5 %"]),
        (1.15, 0.20, False, []),
        (0.80, 0.05, True, []),
    ],
)
def test_speed_differs_where_it_is_more_than_noise(
    scale: float, noise: float, significant: bool, why: list[str]
) -> None:
    """Beyond the interval and what runs differ by; slower than allowed fails, faster does not."""
    old, new = (run_record([], [timing_record(seconds=_seconds(1, factor))]) for factor in (1.0, scale))

    comparison = _compared(old, new, noise)

    assert [pair.significant for pair in comparison.speed] == [significant]
    assert [text for _, text in _failures(comparison)] == why
    assert _failures(comparison, "accuracy", "missing") == []


def test_what_slows_most_calls_but_not_all_is_another_job() -> None:
    """Where the fastest calls are as fast as ever, the software is not slower."""
    disturbed = [*_seconds(1)[:6], *_seconds(2, 1.3)]
    old, new = run_record([], [timing_record(seconds=_seconds(1))]), run_record([], [timing_record(seconds=disturbed)])

    [speed] = _compared(old, new).speed

    assert speed.ratio.low > 1.2
    assert not speed.significant


def test_the_interval_widens_with_the_number_of_timings() -> None:
    """A hundred timings have a hundred chances."""
    one = [timing_record(seconds=_seconds(1))]
    many = [*one, *(timing_record(f"m{number}", _seconds(number)) for number in range(99))]

    [narrow], wide = (_compared(run_record([], timings), run_record([], timings)).speed for timings in (one, many))

    assert narrow.ratio.high < wide[0].ratio.high


@pytest.mark.parametrize(("machine", "significant"), [(1.0, True), (1.09, False), (0.92, True), (None, True)])
def test_what_the_machine_changed_is_not_the_softwares(machine: float | None, significant: bool) -> None:
    """Calls of 10 % more, on a machine that was itself 9 % slower; one that was faster hides nothing."""
    yardsticks = (None, None) if machine is None else (0.007, 0.007 * machine)
    old, new = (
        run_record([], [timing_record(seconds=_seconds(1, scale), yardstick=yardstick)])
        for scale, yardstick in zip((1.0, 1.1), yardsticks, strict=True)
    )

    [speed] = _compared(old, new).speed

    assert speed.machine == pytest.approx(machine)
    assert speed.significant == significant


def test_another_numpy_makes_another_yardstick() -> None:
    """It then tells of numpy, not of the machine."""
    timing = timing_record(seconds=_seconds(1), yardstick=0.007)

    [speed] = _compared(run_record([], [timing]), run_record([], [timing], numpy="2.5.0")).speed

    assert speed.machine is None


def test_a_faster_machine_does_not_hide_a_slowdown() -> None:
    """Calls that take 5 % more where the machine is 8 % faster take 14 % more by the yardstick."""
    old = run_record([], [timing_record(seconds=_seconds(1), yardstick=0.0100)])
    new = run_record([], [timing_record(seconds=_seconds(1, 1.05), yardstick=0.0092)])

    assert [text for _, text in _failures(_compared(old, new))] == ["takes 14.1 % longer by the yardstick, allowed 5 %"]


@pytest.mark.parametrize("yardsticks", [(0.007, 0.008), (0.008, 0.007)])
def test_a_yardstick_alone_accuses_nobody(yardsticks: tuple[float, float]) -> None:
    """Calls that took as long as ever are neither slower nor faster, whatever disturbed the yardstick."""
    old, new = (run_record([], [timing_record(seconds=_seconds(1), yardstick=found)]) for found in yardsticks)

    assert [pair.significant for pair in _compared(old, new).speed] == [False]


def test_answers_to_other_images_are_refused(tmp_path: Path) -> None:
    """A run whose answers are to other images than those of its record's split is not what it says."""
    right = np.arange(1000) < 700
    old = _written(tmp_path / "old", right, np.where(right, 1, 2))
    new = _written(tmp_path / "new", right, np.where(right, 1, 2))
    answers = _answers(np.where(right, 1, 2), right)
    write_answers(new.path, case_record().id, replace(answers, ids=np.char.add("x", answers.ids)))

    with pytest.raises(RecordError, match="hold answers to different images"):
        compare(old, new, 0.05)


def test_answers_that_are_not_the_records_are_refused(tmp_path: Path) -> None:
    """Hits that the record does not tell of."""
    right = np.arange(1000) < 700
    old = _written(tmp_path / "old", right, np.where(right, 1, 2))
    write_answers(old.path, case_record().id, _answers(np.where(right, 1, 2), np.arange(1000) < 699))

    with pytest.raises(RecordError, match=r"the answers of resnet18.* are not those that its record tells of"):
        compare(old, old, 0.05)
