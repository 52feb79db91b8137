"""Tests of harness.compare.compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.compare.compare import FAILURES, Comparison, compare
from harness.errors import RecordError
from harness.predictions import Predictions
from harness.records.evidence import Pairing, Unpaired
from harness.records.results import Missing, Record, TimingResult
from harness.records.run_folder import Run
from harness.records.speed import Limits
from harness.report.comparison import caveats_of
from tests.records import (
    case_result,
    counted,
    expected,
    predictions_of,
    run_record,
    swapped_by,
    timing_result,
    write_run,
)

CASE = case_result()
OLD = predictions_of(CASE)
ID = timing_result().id


def _compared(old: Record, new: Record, noise: float = 0.05) -> Comparison:
    """Compare runs without predictions."""
    return compare(Run(Path("old.json"), old), Run(Path("new.json"), new), noise)


def _timed(old: TimingResult, new: TimingResult, noise: float = 0.05) -> Comparison:
    return _compared(run_record([], [old]), run_record([], [new]), noise)


def _failures(comparison: Comparison, *fail_on: str) -> list[tuple[str, str]]:
    return list(comparison.failures(fail_on or FAILURES))


def _reasons(comparison: Comparison) -> list[str]:
    return [why for _, why in _failures(comparison)]


def _written(folder: Path, predictions: Predictions = OLD, **changes: Any) -> Run:
    """Return a run on disk of one case with these predictions, which is allowed 5 points."""
    case = counted(predictions, **{"expected": expected(1000, 700, 900, "5"), **changes})
    return write_run(folder, run_record([case]), resnet18=predictions)


def _lost(*why: Any) -> Record:
    """Return the record of a run whose case and timing have no result."""
    return run_record([Missing(CASE.id, *why)], [Missing(ID, *why)])


RESULTS, NEITHER = run_record([CASE], [timing_result()]), run_record()


@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [
        (RESULTS, NEITHER, "missing from the new run"),
        (_lost("not run"), NEITHER, "missing from the new run"),
        (RESULTS, _lost("error", "no weights"), "error in the new run: no weights"),
        (RESULTS, _lost("not run"), "not run in the new run"),
        (_lost("error", "no weights"), RESULTS, "error in the old run: no weights"),
        (NEITHER, _lost("error", "no weights"), "error in the new run: no weights"),
        (_lost("not run"), _lost("error", "no weights"), "error in the new run: no weights"),
    ],
)
def test_a_missing_result_is_a_failure(old: Record, new: Record, missing: str) -> None:
    """A case or timing that vanished, failed, or did not run, in either run."""
    comparison = _compared(old, new)

    assert ((CASE.id, missing), (ID, missing)) == comparison.missing
    assert () == comparison.added
    assert list(comparison.missing) == _failures(comparison)
    assert [] == _failures(comparison, "accuracy", "speed")


SETTINGS = {
    "fp32": CASE,
    "bf16": case_result(id="resnet18-IMAGENET1K_V1-bf16", precision="bf16"),
    "contiguous": case_result(id="resnet18-IMAGENET1K_V1-fp32-contiguous", memory_format="contiguous"),
}


@pytest.mark.parametrize(
    ("old", "new", "paired", "missing"),
    [
        (["fp32"], ["bf16"], ["fp32"], []),
        (["bf16"], ["fp32"], [], ["bf16"]),  # fp32 is not judged by the noise floor of bf16
        (["fp32"], ["fp32", "bf16"], ["fp32", "fp32"], []),
        (["fp32", "bf16"], ["bf16"], ["bf16"], ["fp32"]),
        (["contiguous"], ["fp32"], ["contiguous"], []),
    ],
)
def test_a_case_is_paired_with_its_model_in_another_setting(
    old: list[str], new: list[str], paired: list[str], missing: list[str]
) -> None:
    """As by pytest --baseline, so that no result is missing: in fp32, in either order; the same setting first."""
    before, after = (run_record([SETTINGS[name] for name in names]) for names in (old, new))

    comparison = _compared(before, after)

    assert [SETTINGS[name].id for name in paired] == [pair.old.id for pair in comparison.accuracy]
    assert [(SETTINGS[name].id, "missing from the new run") for name in missing] == _failures(comparison)


@pytest.mark.parametrize(
    ("leads", "changes", "first"),
    [
        ({}, {}, ""),
        ({3: 1.0}, {}, "the arithmetic differs: "),  # 1 real change, whatever the tolerance allows
        ({3: 1e-5}, {}, "the arithmetic differs: "),  # the old margin decides, which is 0.25
        ({}, {"weights_sha256": "0ther"}, "the weights differ (sha256 0ther, before 5ha256)\n"),
        ({}, {"expected": expected(1000, 100, 200)}, "top-1: measured 70.000, published 10.000"),
    ],
)
def test_the_new_case_is_judged_with_the_old_one_as_its_baseline(
    leads: dict[int, float], changes: dict[str, Any], first: str, tmp_path: Path
) -> None:
    """As by pytest --baseline: the failure is its diagnosis, or else that of the new run's own verdict."""
    old, new = _written(tmp_path / "old"), _written(tmp_path / "new", swapped_by(OLD, leads), **changes)

    comparison = compare(old, new)

    [pair] = comparison.accuracy
    assert ("failed" if first else "passed") == pair.new.outcome
    assert [f"{image:04}.JPEG" for image in leads] == [change.id for change in pair.changed]
    assert bool(first) == len(_reasons(comparison))
    assert "".join(_reasons(comparison)).startswith(first)
    assert [] == _failures(comparison, "speed", "missing")


def test_a_subset_is_paired_with_the_whole(tmp_path: Path) -> None:
    """On the images that the new run holds; what was gained is counted on these."""
    part = np.arange(0, 1000, 2)
    old = _written(tmp_path / "old")
    new = _written(tmp_path / "new", swapped_by(OLD, dict.fromkeys([0, 2, 902], 1.0)).at(part))

    [pair] = compare(old, new).accuracy

    assert isinstance(pair.evidence, Pairing)
    assert (500, 3) == (pair.evidence.images, pair.evidence.changed)
    assert ["0000.JPEG", "0002.JPEG", "0902.JPEG"] == [change.id for change in pair.changed]
    assert -2 == pair.difference("top1") == pair.evidence.gained - pair.evidence.lost
    assert 0 == pair.difference("top5")


def test_runs_of_other_images_are_rejected(tmp_path: Path) -> None:
    """Without a common image, whatever the datasets are called; in JSON files images cannot be looked for."""
    old, new = _written(tmp_path / "old"), _written(tmp_path / "new", replace(OLD, ids=np.char.add("x", OLD.ids)))

    with pytest.raises(RecordError, match=r"^expected the same images in both runs: .*old has 1,000 of"):
        compare(old, new)
    with pytest.raises(RecordError, match=r"^expected the same images in both runs: old.json has .*, new.json has "):
        _compared(old.record, new.record)


@pytest.mark.parametrize(
    ("counts", "tolerance", "weights", "why"),
    [
        ((699, 900), "0.1", "aa", []),
        ((699, 900), "0.05", "aa", ["top-1 differs by -0.100 points, tolerance ±0.05"]),
        ((702, 900), "0.1", "aa", ["top-1 differs by +0.200 points, tolerance ±0.1"]),
        ((700, 898), "0.1", "aa", ["top-5 differs by -0.200 points, tolerance ±0.1"]),
        # The same name may stand for something else; a run that does not know its weights is no evidence.
        ((700, 900), "0.1", "ab", ["weights: their sha256 is b..., before a..."]),
        ((700, 900), "0.1", ("", "a"), []),
        ((700, 900), "0.1", ("a", ""), []),
    ],
)
def test_totals_of_files_may_differ_by_the_tolerance(
    counts: tuple[int, int], tolerance: str, weights: Sequence[str], why: list[str]
) -> None:
    """A JSON file holds no predictions: the totals are compared, upwards as well as downwards."""
    before, after = weights
    wanted = expected(50_000, 35_000, 45_000, tolerance)
    old = case_result(weights_sha256=before)
    new = case_result(counts=(1000, *counts), expected=wanted, weights_sha256=after)

    comparison = _compared(run_record([old]), run_record([new]))

    [pair] = comparison.accuracy
    assert isinstance(pair.evidence, Unpaired)
    assert why == _reasons(comparison)


def _seconds(seed: int, scale: float = 1.0) -> list[float]:
    return [float(value) for value in scale * np.random.default_rng(seed).lognormal(sigma=0.01, size=30)]


SECONDS = _seconds(1)


@pytest.mark.parametrize(
    ("seconds", "yardsticks", "noise", "significant", "why"),
    [
        (SECONDS, (None, None), 0.05, False, []),
        (_seconds(1, 1.04), (None, None), 0.05, False, []),
        (_seconds(1, 1.04), (None, None), 0.01, True, []),
        (_seconds(1, 1.15), (None, None), 0.05, True, ["takes 15.0% longer, allowed 5%"]),
        (_seconds(1, 0.80), (None, None), 0.05, True, []),
        # Another job slows most calls, but not the fastest.
        ([*SECONDS[:6], *_seconds(2, 1.3)], (None, None), 0.05, False, []),
        # A slower machine explains slower calls; a faster one hides nothing.
        (_seconds(1, 1.1), (1.0, None), 0.05, True, ["takes 10.0% longer, allowed 5%"]),
        (_seconds(1, 1.1), (1.0, 1.0), 0.05, True, ["takes 10.0% longer by the yardstick, allowed 5%"]),
        (_seconds(1, 1.1), (1.0, 1.09), 0.05, False, []),
        (_seconds(1, 1.05), (1.0, 0.92), 0.05, True, ["takes 14.1% longer by the yardstick, allowed 5%"]),
        # A yardstick that was disturbed changes no verdict on calls that took as long as before.
        (SECONDS, (7.0, 8.0), 0.05, False, []),
        (SECONDS, (8.0, 7.0), 0.05, False, []),
    ],
)
def test_a_slowdown_beyond_noise_fails(
    seconds: list[float], yardsticks: tuple[float, float], noise: float, significant: bool, why: list[str]
) -> None:
    """Beyond the interval and the difference between runs; slower than allowed fails, faster does not."""
    before, after = yardsticks
    old, new = timing_result(seconds=SECONDS, yardstick=before), timing_result(seconds=seconds, yardstick=after)

    comparison = _timed(old, new, noise)
    other_numpy = _compared(run_record([], [old]), run_record([], [new], numpy="2.5.0"), noise)

    [speed], [by_itself] = (found.of_kind("speed") for found in (comparison, other_numpy))
    assert significant == speed.evidence.is_significant
    assert by_itself.evidence.machine is None  # its yardstick measures numpy, not the machine
    assert why == _reasons(comparison)
    assert [] == _failures(comparison, "accuracy", "missing")


def test_the_interval_widens_with_the_number_of_timings() -> None:
    """A hundred timings have a hundred chances; a comparison made twice says the same twice."""
    one = [timing_result(seconds=SECONDS)]
    many = [*one, *(timing_result(f"m{number}", _seconds(number)) for number in range(99))]

    narrow, wide, again = (
        _compared(run_record([], all_of), run_record([], all_of)).timings for all_of in (one, many, many)
    )

    assert narrow[0].evidence.high < wide[0].evidence.high
    assert wide == again


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seconds": [0.09, 0.1, 0.1, 0.12, 0.12]}, "the interquartile range of the calls is 20% of the median"),
        ({"warm_up": {"calls": 40, "seconds": 5.1, "stable": False}}, "not stable after 5.1 s of warm-up"),
        ({"warm_up": {"calls": 3, "seconds": 5.1, "stable": False}}, ""),
        ({"yardsticks": (0.007, 0.008)}, "the yardstick's speed changed by 14% meanwhile"),
        ({"yardsticks": (0.0075, 0.008)}, ""),
        ({"clocks": {"throttled": ["hardware thermal slowdown"]}}, "throttled by hardware thermal slowdown"),
        ({"clocks": {"throttled": ["power cap"]}}, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("when", ["old", "new"])
def test_a_timing_whose_own_evidence_is_bad_is_not_judged(when: str, changes: dict[str, Any], reason: str) -> None:
    """However much slower, but for its memory: counted, and a failure with ``strict_speed`` alone."""
    sides = {
        "old": timing_result(seconds=SECONDS, compile_seconds=10.0, peak_memory=1_000),
        "new": timing_result(seconds=_seconds(1, 1.5), compile_seconds=30.0, peak_memory=2_000),
    }
    sides[when] = msgspec.structs.replace(sides[when], **changes)

    comparison = _timed(sides["old"], sides["new"])

    memory, disturbed = "takes 100.0% more memory, allowed 10%", f"disturbed: in the {when} run {reason}"
    slower = ["takes 50.0% longer, allowed 5%", memory, "takes 200.0% longer to compile, allowed 25%"]
    assert ([memory] if reason else slower) == _reasons(comparison)
    strict = [why for _, why in comparison.failures(strict_speed=True)]
    assert ([disturbed, memory, disturbed] if reason else slower) == strict
    assert ["1 of 1 timing not judged: disturbed"] * bool(reason) == caveats_of(comparison, FAILURES)


def test_what_a_pair_of_runs_can_show() -> None:
    """A slowdown that is as large is found, and a smaller one is not."""
    timing = timing_result(seconds=SECONDS)
    [same] = _timed(timing, timing).of_kind("speed")

    for share, failures in ((1.005, 1), (0.995, 0)):
        slower = timing_result(seconds=_seconds(1, 1 + same.evidence.visible * share))
        assert failures == len(list(_timed(timing, slower).failures(limits=Limits(speed=0.0))))
    assert same.evidence.visible > 0.05


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ({"peak_memory": 1_000}, {"peak_memory": 1_200}, "takes 20.0% more memory, allowed 10%"),
        ({"peak_memory": 1_000}, {"peak_memory": 1_090}, ""),
        ({"peak_memory": None}, {"peak_memory": 500}, ""),
        ({"peak_memory": 1_000}, {"peak_memory": 2_000, "batch_size": 64}, ""),  # of --batch-sizes auto
        ({"compile_seconds": 10.0}, {"compile_seconds": 20.0}, "takes 100.0% longer to compile, allowed 25%"),
        ({"compile_seconds": 10.0}, {"compile_seconds": 12.0}, ""),
        # The machine took 70% longer, and then the model takes 18% longer.
        ({"compile_seconds": 10.0, "yardstick": 1.0}, {"compile_seconds": 20.0, "yardstick": 1.7}, ""),
    ],
)
def test_memory_and_the_time_to_compile_have_limits(old: dict[str, Any], new: dict[str, Any], why: str) -> None:
    """Where both runs know them, of batches of the same size; each is a failure of a name of its own."""
    kind = "memory" if "peak_memory" in old else "compile"
    before, after = (
        timing_result(seconds=[s * side.get("batch_size", 32) / 32 for s in SECONDS], **side) for side in (old, new)
    )

    comparison = _timed(before, after)

    assert [(ID, why)] * bool(why) == _failures(comparison) == _failures(comparison, kind)
    assert [] == _failures(comparison, *(other for other in FAILURES if other != kind))
    assert [] == list(comparison.failures(limits=Limits(memory=0.21, compile=1.01)))
