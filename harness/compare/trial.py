"""Compares several runs a side: each timing by the differences between pairs of runs; ``harness.verdict`` judges it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.compare.compare import FAILURES, MAX_SLOWDOWN, confidence_of_each
from harness.compare.statistics import ratio_of_pairs
from harness.errors import RecordError
from harness.records.results import TimingResult
from harness.records.run_folder import Run
from harness.records.speed import SpeedTrial
from harness.verdict import FAILED, NOT_JUDGED, judge_trial


@dataclass(frozen=True)
class Tried:
    """A timing in several runs a side."""

    id: str
    pairs: tuple[tuple[TimingResult, TimingResult], ...]  # old and new
    evidence: SpeedTrial


@dataclass(frozen=True)
class Trial:
    """What several runs a side show."""

    old: tuple[Run, ...]  # in the order in which they were made
    new: tuple[Run, ...]
    confidence: float  # of each interval
    timings: tuple[Tried, ...]  # those that all runs have
    missing: tuple[tuple[str, str], ...]  # id of each other timing, and which run lacks it

    @property
    def alternates(self) -> bool:
        """Whether no side was made before the other one, so that a drift of the machine favours neither."""
        sides = ((self.old, self.new), (self.new, self.old))
        return all(first[0].record.created < last[-1].record.created for first, last in sides)

    def failures(
        self, fail_on: Sequence[str] = FAILURES, max_slowdown: float = MAX_SLOWDOWN, strict_speed: bool = False
    ) -> Iterator[tuple[str, str]]:
        """Yield the id and reason of each failure; arguments as of ``Comparison.failures``."""
        failing = (FAILED, NOT_JUDGED) if strict_speed else (FAILED,)
        checks = ((tried.id, judge_trial(tried.evidence, max_slowdown)) for tried in self.timings)
        if "speed" in fail_on:
            yield from ((identity, check.detail) for identity, check in checks if check.outcome in failing)
        if "missing" in fail_on:
            yield from self.missing


def try_speed(old: Sequence[Run], new: Sequence[Run], looks: int = 1) -> Trial:
    """Return what several runs a side show, two or more; the first of each in the order of time are a pair, and so on.

    ``looks`` is how often they are looked at while they are made. A RecordError says why they cannot be compared.
    """
    if len(old) != len(new) or len(old) < 2:
        raise RecordError(f"expected as many old runs as new ones, at least 2, found {len(old)} and {len(new)}")
    before, after = (tuple(sorted(side, key=lambda run: run.record.created)) for side in (old, new))
    for first, run in [*((before[0], run) for run in before), *((after[0], run) for run in after)]:
        _check_alike(
            first, run, "the runs of one side must be of the same software", lambda name: "harness" not in name
        )
    hardware = before[0].record.environment.hardware
    _check_alike(before[0], after[0], "speeds must be of the same hardware", hardware.__contains__)
    runs = [(run, {timing.id: timing for timing in run.record.timings}) for run in (*before, *after)]
    ids = list(dict.fromkeys(identity for _, held in runs for identity in held))
    lacking = {identity: run.path for run, held in runs for identity in ids if identity not in held}
    complete = [identity for identity in ids if identity not in lacking]
    if not complete:
        raise RecordError(f"{before[0].path} and {after[0].path}: expected timings that all runs have, found none")
    confidence = 1 - (1 - confidence_of_each(len(complete))) / looks
    tried = []
    for identity in complete:
        timings = [held[identity] for _, held in runs]
        pairs = tuple(zip(timings[: len(before)], timings[len(before) :], strict=True))
        ratio = ratio_of_pairs([new.median for _, new in pairs], [old.median for old, _ in pairs], confidence)
        tried.append(Tried(identity, pairs, SpeedTrial(len(pairs), *ratio)))
    missing = tuple((identity, f"is not in {path}") for identity, path in lacking.items())
    return Trial(before, after, confidence, tuple(tried), missing)


def _check_alike(one: Run, other: Run, what: str, matters: Callable[[str], bool]) -> None:
    for name, value, found in one.record.environment.differences(other.record.environment):
        if matters(name):
            raise RecordError(f"{one.path} and {other.path}: {what}: {name} {value} and {found}")
