"""Tests of harness.compare.trial: several runs a side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.compare.trial import Trial, try_speed
from harness.errors import RecordError
from harness.records.run_folder import Run
from harness.records.speed import LIMITS
from harness.report.comparison import trial_sections
from harness.report.sections import as_text
from tests.records import run_record, timing_result

ID = timing_result().id


def _runs(
    name: str, medians: list[float], minutes: list[int] | None = None, model: str = "resnet18", **changes: Any
) -> list[Run]:
    """Return runs of one timing without memory, made at these minutes of an hour; every other one by default."""
    first = 0 if name == "old" else 1
    found = []
    for number, (value, minute) in enumerate(zip(medians, minutes or range(first, 60, 2), strict=False)):
        record = run_record([], [timing_result(model, [value] * 9, peak_memory=None)], **changes)
        record = msgspec.structs.replace(record, created=f"2026-11-24T20:{minute:02}:00+00:00")
        found.append(Run(Path(f"{name}-{number}.json"), record))
    return found


def _medians(seed: int, scale: float = 1.0, pairs: int = 10, sigma: float = 0.01) -> list[float]:
    return [float(value) for value in scale * np.random.default_rng(seed).lognormal(sigma=sigma, size=pairs)]


def _trial(scale: float, pairs: int = 10, sigma: float = 0.01) -> Trial:
    return try_speed(_runs("old", _medians(1, 1, pairs, sigma)), _runs("new", _medians(2, scale, pairs, sigma)))


@pytest.mark.parametrize(
    ("scale", "pairs", "sigma", "failures", "not_judged"),
    [
        (1.00, 10, 0.01, 0, 0),
        (1.00, 10, 0.10, 0, 1),  # nothing seen, but the interval reaches beyond what is allowed
        (1.10, 10, 0.01, 1, 0),
        (1.10, 10, 0.10, 0, 1),
        (1.03, 10, 0.001, 0, 0),  # slower, by less than what is allowed
        (0.80, 10, 0.01, 0, 0),
        (1.10, 2, 0.02, 0, 1),  # two pairs have an interval as well
    ],
)
def test_a_slowdown_fails_is_ruled_out_or_is_not_judged(
    scale: float, pairs: int, sigma: float, failures: int, not_judged: int
) -> None:
    """What the data cannot tell is neither green nor red; ``strict_speed`` makes it red."""
    trial = _trial(scale, pairs, sigma)

    assert failures == len(list(trial.failures()))
    assert failures + not_judged == len(list(trial.failures(strict_speed=True)))
    assert [] == list(trial.failures(("accuracy", "missing")))
    assert trial.timings[0].evidence.ratio == pytest.approx(scale, rel=0.1)


def test_runs_are_paired_in_the_order_of_time() -> None:
    """However they are given: a machine that becomes slower by half slows both runs of a pair."""
    drift = [1.0, 1.2, 1.4, 1.6, 1.8]
    old, new = _runs("old", drift), _runs("new", [value * 1.1 for value in drift])

    [tried] = try_speed(old[::-1], new).timings

    assert (tried.evidence.low, tried.evidence.high) == pytest.approx((1.1, 1.1))
    assert [timing.median for timing in tried.timings[:5]] == drift


def test_more_looks_and_timings_widen_the_interval() -> None:
    """All intervals of all looks together have the confidence of one comparison."""
    old, new = _runs("old", _medians(1)), _runs("new", _medians(2))

    assert try_speed(old, new).confidence == pytest.approx(0.99)
    assert try_speed(old, new, looks=4).confidence == pytest.approx(1 - 0.01 / 4)
    assert try_speed(old, new).timings[0].evidence.high < try_speed(old, new, looks=4).timings[0].evidence.high


def test_memory_and_the_time_to_compile_widen_the_interval_too() -> None:
    """They are judged as well, and all intervals together have the confidence."""

    def runs(name: str) -> list[Run]:
        known = timing_result(seconds=[1.0] * 9, peak_memory=1_000, compile_seconds=10.0)
        changed = (msgspec.structs.replace(run.record, timings=(known,)) for run in _runs(name, [1.0] * 5))
        return [Run(Path(name), record) for record in changed]

    trial = try_speed(runs("old"), runs("new"))

    assert ["speed", "memory", "compile"] == [tried.evidence.kind for tried in trial.timings]
    assert trial.confidence == pytest.approx(1 - 0.01 / 3)


def test_sides_that_do_not_alternate_are_named() -> None:
    """A machine that changed between them counts as a change of the software."""
    old, new = _runs("old", [1.0, 1.0], [0, 1]), _runs("new", [1.0, 1.0], [2, 3])

    assert not try_speed(old, new).alternates
    assert not try_speed(new, old).alternates
    assert _trial(1.0).alternates


def test_disturbed_timings_are_counted() -> None:
    """They widen the interval, which judges them."""
    old, new = _runs("old", [1.0, 1.0]), _runs("new", [1.0, 1.0])
    noisy = msgspec.structs.replace(old[0].record, timings=(timing_result(seconds=[1.0, 1.0, 1.5, 2.0]),))

    trial = try_speed([Run(Path("x"), noisy), old[1]], new)

    [row] = [line for line in as_text(trial_sections(trial, (), LIMITS)) if line.startswith("resnet18 ")]
    assert "  1 of 4  " in row


def test_a_timing_that_one_run_lacks_is_missing() -> None:
    """The others are compared."""
    old, new = _runs("old", [1.0, 1.0]), _runs("new", [1.0, 1.0])
    more = msgspec.structs.replace(old[1].record, timings=(*old[1].record.timings, timing_result("vgg16")))

    trial = try_speed([old[0], Run(Path("more"), more)], new)

    assert [tried.id for tried in trial.timings] == [ID]
    assert [identity for identity, _ in trial.missing] == ["vgg16-IMAGENET1K_V1-fp32-b32"]
    assert list(trial.failures()) == list(trial.missing)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (_runs("old", [1.0] * 3), _runs("new", [1.0] * 2), r"^expected as many old runs as new ones.* found 3 and 2$"),
        (_runs("old", [1.0]), _runs("new", [1.0]), "at least 2, found 1 and 1$"),
        (_runs("old", [1.0]) + _runs("old", [1.0], [2], torch="2.10.0"), _runs("new", [1.0] * 2),
         r"^old-0.json and old-0.json: the runs of one side must be of the same software: torch 2.9.1 and 2.10.0$"),
        (_runs("old", [1.0] * 2), _runs("new", [1.0] * 2, threads=8), "must be of the same hardware: threads 16"),
        (_runs("old", [1.0] * 2), _runs("new", [1.0] * 2, model="vgg16"), "expected timings that all runs have"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(old: list[Run], new: list[Run], message: str) -> None:
    """Numbers, software, hardware, or no timing in common."""
    with pytest.raises(RecordError, match=message):
        try_speed(old, new)


def test_the_sides_may_differ_in_software() -> None:
    """That is what is compared."""
    assert not list(try_speed(_runs("old", [1.0] * 2), _runs("new", [1.0] * 2, torch="2.14.1")).failures())
