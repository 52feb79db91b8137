"""Tests of harness.nightly.series: what a series of nights says about the last one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.errors import RecordError
from harness.nightly.series import Night, judge_series, night_of, noise_of, read_nights, write_nights
from tests.records import ENVIRONMENT, run_record, timing_result

pytest.importorskip("asv", reason="needs the extra nightly")
BASE = 0.02


def _nights(
    factors: Sequence[float], noise: float = 0.005, yardsticks: Sequence[float] = (), since: int = 0, **changes: str
) -> list[Night]:
    """Return nights of one timing, with changes to the environment from the night ``since`` on."""
    scatter = np.random.default_rng(0).normal(0, noise, len(factors))
    newer = msgspec.structs.replace(ENVIRONMENT, **changes)
    return [
        Night(
            f"2026-{9 + day // 28:02}-{1 + day % 28:02}T03:17:00+00:00",
            newer if day >= since else ENVIRONMENT,
            {"alexnet-b1": (BASE * factor * float(np.exp(scatter[day])),)},
            {"alexnet-b1": yardsticks[day]} if yardsticks else {},
        )
        for day, factor in enumerate(factors)
    ]


def _found(nights: Sequence[Night], accepted: str = "", max_slowdown: float = 0.05) -> list[str]:
    """Return why each night fails, as the last of those up to it."""
    return [judge_series(nights[: n + 1], accepted, max_slowdown)[0].why for n in range(len(nights))]


def test_a_step_names_its_night_and_what_changed() -> None:
    """On the second night that is slower: the first might have been disturbed."""
    nights = _nights([1.0] * 20 + [1.08] * 4, since=20, torch="2.10.0", driver="590.1")

    why = _found(nights)

    assert [False] * 21 + [True] * 3 == [bool(one) for one in why]
    assert why[-1] == _found(nights, accepted=nights[19].created)[-1]  # the level that was accepted the night before
    for one in why[21:]:
        assert one.startswith("speed: since the night of 2026-09-21 a call takes ")
        assert one.endswith(
            "% longer, allowed 5%; changed that night: torch 2.9.1 to 2.10.0, driver 580.65.06 to 590.1"
        )
        assert 7 < float(one.partition("takes ")[2].partition("%")[0]) < 9


@pytest.mark.parametrize(("a_night", "latest"), [(1.03, 4), (1.01, 10)])
def test_a_creep_is_found_within_days(a_night: float, latest: int) -> None:
    """No night is much slower than the one before; the first that stands out is named."""
    why = _found(_nights([1.0] * 20 + [a_night**day for day in range(1, 12)]))

    assert not any(why[:22])
    assert all(why[19 + latest :])
    named = {one.partition("night of ")[2][:10] for one in why if one}
    assert named <= {"2026-09-21", "2026-09-22", "2026-09-23", "2026-09-24"}
    assert a_night < 1.02 or {"2026-09-21"} == named
    assert why[-1].endswith("changed that night: nothing in the environment")


NO_SLOWDOWN = {
    "outlier": [1.0] * 20 + [1.3],
    "outlier before": [1.0] * 20 + [1.3] + [1.0] * 4,
    "outlier beside a slow night": [1.0] * 20 + [1.035, 1.1],
    "mended": [1.0] * 20 + [1.08] * 6 + [1.0] * 2,
    "mended today": [1.0] * 20 + [1.08] * 6 + [1.0],
    "faster": [1.0] * 20 + [0.8] * 6,
    "within what is allowed": [1.0] * 20 + [1.04] * 6,
    "too few nights": [1.0] * 3 + [1.5] * 3,
}


@pytest.mark.parametrize("factors", NO_SLOWDOWN.values(), ids=NO_SLOWDOWN)
def test_what_is_no_slowdown(factors: list[float]) -> None:
    """Of the last night: what was slower for a while and is mended, passes again."""
    assert "" == _found(_nights(factors))[-1]


def test_what_a_person_accepted_is_the_new_level() -> None:
    """It fails until the run is pinned; a further slowdown is measured from there."""
    nights = _nights([1.0] * 15 + [1.1] * 15 + [1.2] * 3)
    accepted = nights[22].created

    assert all(_found(nights)[16:])
    assert not any(_found(nights, accepted)[23:31])
    assert _found(nights, accepted)[-1].startswith("speed: since the night of 2026-10-03 a call takes 9.")


def test_a_night_counts_by_its_faster_timing_and_on_its_own_hardware() -> None:
    """A suspected case was timed again; another device is another series."""
    factors = [1.0] * 12 + [1.1] * 2
    nights, elsewhere = _nights(factors), _nights(factors, since=12, device="NVIDIA H200")
    again = [msgspec.structs.replace(night, seconds={"alexnet-b1": (BASE * 1.1, BASE)}) for night in nights[-2:]]

    [verdict] = judge_series(elsewhere, "", 0.05)

    assert _found(nights)[-1]
    assert "" == _found([*nights[:-2], *again])[-1]
    assert (2, "") == (verdict.nights, verdict.why)


def test_120_nights_are_judged() -> None:
    """The fit takes time that grows with their square."""
    [verdict] = judge_series(_nights([1.0] * 130), "", 0.05)

    assert 120 == verdict.nights


def test_a_machine_that_became_slower_is_not_the_software() -> None:
    """The yardstick says so, unless another numpy made it."""
    factors, yardsticks = [1.0] * 12 + [1.1] * 3, [1.0] * 12 + [1.1] * 3

    assert "" == _found(_nights(factors, yardsticks=yardsticks))[-1]
    assert _found(_nights(factors, yardsticks=yardsticks, since=14, numpy="2.5.0"))[-1]


def test_noise_is_that_of_the_nights_alone() -> None:
    """Neither a step nor a creep widens it."""
    factors = [1.02 ** max(0, day - 300) for day in range(400)]
    still, creeping = (
        noise_of([night.seconds["alexnet-b1"][0] for night in _nights(f, noise=0.01)]) for f in ([1.0] * 400, factors)
    )

    assert 0.01 == pytest.approx(still, rel=0.15)
    assert 0.01 == pytest.approx(creeping, rel=0.3)


def test_nights_are_kept_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    """With what was timed again; of a batch size that was searched, and may change, the seconds of an image."""
    path = tmp_path / "timings.jsonl"
    first = run_record([], [timing_result(seconds=[0.05])])
    searched = run_record([], [timing_result(seconds=[0.2], batch_size=4, sweep=((2, 40.0), (4, 40.1)))])
    nights = [night_of(first), night_of(first, first.timings), night_of(searched)]

    assert [] == read_nights(path)
    write_nights(path, nights)

    assert nights == read_nights(path)
    assert [[(0.05,)], [(0.05, 0.05)], [(0.05,)]] == [list(night.seconds.values()) for night in nights]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordError, match=r"timings\.jsonl: expected the timings of each night, one JSON"):
        read_nights(path)
