"""The speed of each timing over all nights, and whether it became slower since a night that it names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

import msgspec

from harness.errors import RecordError
from harness.records.environment import Environment, shown_name
from harness.records.results import Record, TimingResult
from harness.records.run_folder import read_whole, write_whole

# docs/measurements/nights.md has what these find, and how often nothing is taken for something.
FEWEST = 8  # nights of a series that is judged
CONFIRMED = 2  # nights that must be slower: one alone may have been disturbed from beginning to end
PENALTY = 8  # of a further level, in standard deviations of a night
STANDARD_ERRORS = 4  # by which a slowdown must exceed noise, as every night is a test
LEAST_NOISE = 1e-3  # of a series, as a share, however equal its nights are
_LATEST = 120  # nights that are judged: the fit takes time that grows with their square


class Night(msgspec.Struct, frozen=True):
    """What is kept of a night's timings, one line of JSON."""

    created: str  # the record's date and time
    environment: Environment
    seconds: dict[str, tuple[float, ...]]  # median seconds of a call, by timing, each time that it was measured
    yardsticks: dict[str, float]  # seconds of the yardstick beside each, where it is known


class Slowdown(NamedTuple):
    """A rise in a series: the index of its first night, and its size as a share."""

    first: int
    longer: float


class SeriesVerdict(NamedTuple):
    """What a series says about one timing: its length, its noise, and why it fails, or an empty text."""

    id: str
    nights: int
    noise: float  # standard deviation from night to night, as a share
    why: str


def read_nights(path: Path) -> list[Night]:
    """Return the nights of a file, oldest first; none if there is no file, a RecordError if it is damaged."""
    try:
        return msgspec.json.Decoder(Night).decode_lines(read_whole(path)) if path.exists() else []
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        expected = f"expected the timings of each night, one JSON object a line ({error})"
        raise RecordError(f"{path}: {expected}; repair it, or move it away to begin a new series") from error


def write_nights(path: Path, nights: Iterable[Night]) -> None:
    """Write all nights, whole or not at all."""
    write_whole(path, msgspec.json.Encoder().encode_lines(list(nights)))


def night_of(record: Record, again: Iterable[TimingResult] = ()) -> Night:
    """Return what is kept of a night, and of what was timed again in it."""
    seconds: dict[str, tuple[float, ...]] = {}
    for timing in (*record.timings, *again):
        images = timing.batch_size if timing.sweep else 1  # a size that was searched may be another tomorrow
        seconds[timing.id] = (*seconds.get(timing.id, ()), timing.median / images)
    yardsticks = {timing.id: timing.yardstick for timing in record.timings if timing.yardstick is not None}
    return Night(record.created, record.environment, seconds, yardsticks)


def judge_series(nights: Sequence[Night], accepted: str, max_slowdown: float) -> list[SeriesVerdict]:
    """Return the verdict on each timing of the last of the nights, oldest first, among those on the same hardware.

    What was slower by the date of the run that a person ``accepted`` is accepted too; the date is empty without one.
    """
    newest, found = nights[-1], []
    alike = [night for night in nights if night.environment.hardware == newest.environment.hardware]
    for identity in newest.seconds:
        series = [night for night in alike if identity in night.seconds][-_LATEST:]
        # A night that timed it again was suspected: the faster one counts, as noise only ever adds.
        seconds = [min(night.seconds[identity]) for night in series]
        start = max(0, sum(night.created <= accepted for night in series) - 1)
        slowdown = find_slowdown(seconds, start, max_slowdown)
        why = "" if slowdown is None else _reason(identity, series, slowdown, max_slowdown)
        found.append(SeriesVerdict(identity, len(series), noise_of(seconds) if len(seconds) > 1 else 0.0, why))
    return found


def noise_of(seconds: Sequence[float]) -> float:
    """Return the standard deviation from night to night, as a share, by the mean difference, which no step widens much.

    >>> f"{noise_of([1.00, 1.02, 1.00, 1.02, 1.00, 1.02]):.4f}"
    '0.0175'
    """
    return 0.8862 * fmean(abs(math.log(after / before)) for before, after in pairwise(seconds))


def find_slowdown(seconds: Sequence[float], start: int, max_slowdown: float) -> Slowdown | None:
    """Return by how much the last nights are slower than the nights since ``start`` were, at the level before it rose.

    asv fits the series by levels of two nights at least, as many as their noise allows: a step is two levels, a slow
    creep a staircase. Not its ``detect_steps``, which takes a creep for noise that is correlated.
    """
    from asv.step_detect import detect_regressions, solve_potts  # of the extra nightly, and slow to import

    if len(seconds) < FEWEST:
        return None
    logs, noise = [math.log(value) for value in seconds], max(noise_of(seconds), LEAST_NOISE)
    ends, values, sums = solve_potts(logs, [1] * len(logs), gamma=PENALTY * noise, min_size=CONFIRMED)
    levels = [
        (left, right, value, value, total / (right - left))
        for left, right, value, total in zip([0, *ends], ends, values, sums, strict=False)
        if right > start
    ]
    _, _, rises = detect_regressions(levels, threshold=0, min_size=CONFIRMED)
    if not rises:
        return None
    before, _, lowest, _ = rises[0]
    held = next(right - left for left, right, *_ in levels if right - 1 == before)
    left, right, latest, *_ = levels[-1]
    if right - left == CONFIRMED:
        latest = min(logs[-CONFIRMED:])  # an outlier and its neighbor are a level too
    rise = latest - lowest
    # The standard error of the difference of two medians.
    error = 1.2533 * noise * math.sqrt(1 / held + 1 / (right - left))
    if math.expm1(rise) <= max(max_slowdown, STANDARD_ERRORS * error) or logs[-1] < lowest + rise / 2:  # mended
        return None
    while before > start and logs[before] > lowest + 2 * noise:  # the first night of a creep is not a level yet
        before -= 1
    return Slowdown(before + 1, math.expm1(rise))


def _reason(identity: str, series: Sequence[Night], slowdown: Slowdown, max_slowdown: float) -> str:
    """Return why a timing fails, with the first night that was slower; empty if the machine itself became slower."""
    last, first = series[slowdown.first - 1 : slowdown.first + 1]
    longer = (1 + slowdown.longer) / _machine(identity, series, slowdown.first) - 1
    if longer <= max_slowdown:
        return ""
    changed = [
        f"{shown_name(name)} {old} to {new}" for name, old, new in last.environment.differences(first.environment)
    ]
    return (
        f"speed: since the night of {first.created[:10]} a call takes {100 * longer:.1f}% longer, allowed "
        f"{100 * max_slowdown:g}%; changed that night: {', '.join(changed) or 'nothing in the environment'}"
    )


def _machine(identity: str, series: Sequence[Night], first: int) -> float:
    """Return how much longer the yardstick takes since a night; 1 if it is not known, or numpy, its maker, changed."""
    if len({night.environment.numpy for night in series}) > 1 or any(identity not in n.yardsticks for n in series):
        return 1.0
    times = [night.yardsticks[identity] for night in series]
    return median(times[first:]) / median(times[:first])
