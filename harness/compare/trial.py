"""Compares several runs per side: each timing by the differences between pairs of runs; ``harness.verdict`` judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from harness.compare.compare import FAILURES, confidence_of_each
from harness.compare.statistics import ratio_of_pairs
from harness.errors import RecordError
from harness.records.results import TimingResult
from harness.records.run_folder import Run
from harness.records.speed import LIMITS, Limits, SpeedTrial, amounts_of
from harness.verdict import FAILED, NOT_JUDGED, Check, judge_trial


@dataclass(frozen=True)
class Tried:
    """What a timing took in several runs per side, of one kind: time, memory, or time to compile."""

    id: str
    timings: tuple[TimingResult, ...]  # those of all old runs, then of the new ones
    evidence: SpeedTrial
    old: float  # the median of what it took: seconds an image, bytes, or seconds
    new: float

    def judged(self, limits: Limits) -> Check:
        """Return the check by the limit of its kind."""
        return judge_trial(self.evidence, getattr(limits, self.evidence.kind))


@dataclass(frozen=True)
class Trial:
    """What several runs per side show."""

    old: tuple[Run, ...]  # in the order in which they were made
    new: tuple[Run, ...]
    confidence: float  # of each interval
    timings: tuple[Tried, ...]  # those that all runs have, for each kind that all know
    missing: tuple[tuple[str, str], ...]  # id of each other timing, and which run lacks it

    @property
    def alternates(self) -> bool:
        """Whether no side was made before the other one, so that a drift of the machine favours neither."""
        sides = ((self.old, self.new), (self.new, self.old))
        return all(first[0].record.created < last[-1].record.created for first, last in sides)

    def failures(
        self, fail_on: Sequence[str] = FAILURES, limits: Limits = LIMITS, strict_speed: bool = False
    ) -> Iterator[tuple[str, str]]:
        """Yield the id and reason of each failure; arguments as of ``Comparison.failures``."""
        failing = (FAILED, NOT_JUDGED) if strict_speed else (FAILED,)
        checks = ((tried, tried.judged(limits)) for tried in self.timings if tried.evidence.kind in fail_on)
        yield from ((tried.id, check.detail) for tried, check in checks if check.outcome in failing)
        if "missing" in fail_on:
            yield from self.missing


def try_speed(old: Sequence[Run], new: Sequence[Run], looks: int = 1) -> Trial:
    """Return what several runs per side show, two or more; the first of each in order of time are a pair, and so on.

    ``looks`` is how often they are looked at while they are made. A RecordError says why they cannot be compared.
    """
    if len(old) != len(new) or len(old) < 2:
        raise RecordError(f"expected as many old runs as new ones, at least 2, found {len(old)} and {len(new)}")
    before, after = (tuple(sorted(side, key=lambda run: run.record.created)) for side in (old, new))
    software = "the runs of one side must be of the same software"
    for first, run in [*((before[0], run) for run in before), *((after[0], run) for run in after)]:
        _check_alike(first, run, software, lambda name: "harness" not in name)
    hardware = before[0].record.environment.hardware
    _check_alike(before[0], after[0], "speeds must be of the same hardware", hardware.__contains__)
    runs = [(run, {timing.id: timing for timing in run.record.timings}) for run in (*before, *after)]
    ids = list(dict.fromkeys(identity for _, held in runs for identity in held))
    lacking = {identity: run.path for run, held in runs for identity in ids if identity not in held}
    complete = [identity for identity in ids if identity not in lacking]
    if not complete:
        raise RecordError(f"{before[0].path} and {after[0].path}: expected timings that all runs have, found none")
    amounts = {identity: amounts_of([held[identity] for _, held in runs]) for identity in complete}
    confidence = 1 - (1 - confidence_of_each(sum(map(len, amounts.values())))) / looks
    tried, number = [], len(before)
    for identity, by_kind in amounts.items():
        timings = tuple(held[identity] for _, held in runs)
        for kind, values in by_kind.items():
            ratio = ratio_of_pairs(values[number:], values[:number], confidence)
            medians = median(values[:number]), median(values[number:])
            tried.append(Tried(identity, timings, SpeedTrial(number, *ratio, kind), *medians))
    missing = tuple((identity, f"is not in {path}") for identity, path in lacking.items())
    return Trial(before, after, confidence, tuple(tried), missing)


def _check_alike(one: Run, other: Run, what: str, matters: Callable[[str], bool]) -> None:
    for name, value, found in one.record.environment.differences(other.record.environment):
        if matters(name):
            raise RecordError(f"{one.path} and {other.path}: {what}: {name} {value} and {found}")
