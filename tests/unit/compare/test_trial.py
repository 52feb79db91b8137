"""Tests of harness.compare.trial: several runs per side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.compare.trial import Trial, try_speed
from harness.errors import RecordError
from harness.records.results import TimingResult
from harness.records.run_folder import Run
from harness.records.speed import LIMITS
from harness.report.comparison import trial_sections
from harness.report.sections import as_text
from tests.records import run_record, timing_result

ID = timing_result().id


def _runs(name: str, *timings: TimingResult, **changes: Any) -> list[Run]:
    """Return runs of one timing each, made at every other minute of an hour."""
    records = [run_record([], [timing], **changes) for timing in timings]
    made = [f"2026-11-24T20:{minute:02}:00+00:00" for minute in range(name == "new", 60, 2)]
    dated = [msgspec.structs.replace(record, created=at) for record, at in zip(records, made, strict=False)]
    return [Run(Path(f"{name}-{number}.json"), record) for number, record in enumerate(dated)]


def _timings(*medians: float, **changes: Any) -> list[TimingResult]:
    return [timing_result(seconds=[median] * 9, **{"peak_memory": None, **changes}) for median in medians]


def _noisy(seed: int, scale: float = 1.0, pairs: int = 10, sigma: float = 0.01) -> list[TimingResult]:
    return _timings(*(scale * np.random.default_rng(seed).lognormal(sigma=sigma, size=pairs)).tolist())


TWO = _timings(1.0, 1.0)


def _row(trial: Trial) -> str:
    """Return the line about ResNet18 in the report."""
    [row] = [line for line in as_text(trial_sections(trial, (), LIMITS)) if line.startswith("resnet18 ")]
    return row


@pytest.mark.parametrize(
    ("scale", "pairs", "sigma", "failures", "verdict"),
    [
        (1.00, 10, 0.01, 0, "not significant"),
        (1.00, 10, 0.10, 0, "not decided"),  # nothing seen, but the interval reaches beyond what is allowed
        (1.10, 10, 0.01, 1, "slower"),
        (1.10, 10, 0.10, 0, "not decided"),
        (1.03, 10, 0.001, 0, "slower"),  # by less than what is allowed
        (0.80, 10, 0.01, 0, "faster"),
        (1.10, 2, 0.02, 0, "not decided"),  # two pairs have an interval as well
    ],
)
def test_a_slowdown_fails_is_ruled_out_or_is_not_judged(
    scale: float, pairs: int, sigma: float, failures: int, verdict: str
) -> None:
    """By other software; what the data cannot tell is neither green nor red, and red with ``strict_speed``."""
    old, new = _noisy(1, 1, pairs, sigma), _noisy(2, scale, pairs, sigma)

    trial = try_speed(_runs("old", *old), _runs("new", *new, torch="2.14.1"))

    assert failures == len(list(trial.failures()))
    assert failures + (verdict == "not decided") == len(list(trial.failures(strict_speed=True)))
    assert [] == list(trial.failures(("accuracy", "missing")))
    assert pytest.approx(scale, rel=0.1) == trial.timings[0].evidence.ratio
    assert _row(trial).endswith(f"  {verdict}")


def test_runs_are_paired_in_the_order_of_time() -> None:
    """However they are given: a machine that becomes slower by half slows both runs of a pair."""
    drift = [1.0, 1.2, 1.4, 1.6, 1.8]
    old, new = _runs("old", *_timings(*drift)), _runs("new", *_timings(*(value * 1.1 for value in drift)))

    [tried] = try_speed(old[::-1], new).timings

    assert pytest.approx((1.1, 1.1)) == (tried.evidence.low, tried.evidence.high)
    assert drift == [timing.median for timing in tried.timings[:5]]


def test_more_looks_and_kinds_widen_the_interval() -> None:
    """All intervals of all looks together, also of memory and compiling, have the confidence of one comparison."""
    old, new = _runs("old", *_noisy(1)), _runs("new", *_noisy(2))
    known = _timings(1.0, 1.0, peak_memory=1_000, compile_seconds=10.0)

    once, often = (try_speed(old, new, looks) for looks in (1, 4))
    kinds = try_speed(_runs("old", *known), _runs("new", *known))

    assert pytest.approx((0.99, 1 - 0.01 / 4, 1 - 0.01 / 3)) == (once.confidence, often.confidence, kinds.confidence)
    assert once.timings[0].evidence.high < often.timings[0].evidence.high
    assert ["speed", "memory", "compile"] == [tried.evidence.kind for tried in kinds.timings]


def test_a_timing_that_one_run_lacks_is_missing() -> None:
    """The others are compared; those that were disturbed are counted, and widen the interval, which judges them."""
    first, second = _runs("old", timing_result(seconds=[1.0, 1.0, 1.5, 2.0]), TWO[0])
    more = msgspec.structs.replace(second.record, timings=(TWO[0], timing_result("vgg16")))

    trial = try_speed([first, Run(Path("more"), more)], _runs("new", *TWO))

    assert [ID] == [tried.id for tried in trial.timings]
    assert ["vgg16-IMAGENET1K_V1-fp32-b32"] == [identity for identity, _ in trial.missing]
    assert list(trial.missing) == list(trial.failures())
    assert "  1 of 4  " in _row(trial)


OLD, NEW, LATE = _runs("old", *TWO), _runs("new", *TWO), _runs("late", TWO[0], torch="2.10.0")
SOFTWARE = r"^old-0.json and late-0.json: the runs of one side must be of the same software: torch 2.9.1 and 2.10.0$"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (OLD * 2, NEW, r"^expected as many old runs as new ones.* found 4 and 2$"),
        (OLD[:1], NEW[:1], "at least 2, found 1 and 1$"),
        (OLD[:1] + LATE, NEW, SOFTWARE),
        (OLD, _runs("new", *TWO, threads=8), "must be of the same hardware: threads 16"),
        (OLD, _runs("new", *[timing_result("vgg16")] * 2), "old-0.json and new-0.json: expected timings that all runs"),
    ],
    ids=["numbers", "too few", "software", "hardware", "nothing in common"],
)
def test_what_cannot_be_compared(old: list[Run], new: list[Run], message: str) -> None:
    """It is rejected, in one sentence."""
    with pytest.raises(RecordError, match=message):
        try_speed(old, new)
