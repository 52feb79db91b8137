"""Compares two runs: environment, accuracy image by image, and speed; ``harness.verdict`` judges what it finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import msgspec
import numpy as np

from harness.baseline.pairing import changed_predictions, earlier_case, on_images_of, pair, side_of
from harness.compare.statistics import ratio_of_medians
from harness.errors import RecordError
from harness.records.evidence import ChangedPrediction, Pairing, Policy, Unpaired
from harness.records.results import CaseResult, Record, TimingResult
from harness.records.run_folder import Run
from harness.records.speed import LIMITS, Limits, SpeedChange, amounts_of, disturbances
from harness.verdict import BASELINE, FAILED, NOT_JUDGED, Check, judge_speed

FAILURES = ("accuracy", *Limits._fields, "missing")  # what may count as one
LIMIT_OPTIONS = {
    "--max-slowdown": "allowed increase in the time of a call, if significant",
    "--max-memory": "allowed increase in peak memory",
    "--max-compile-time": "allowed increase in the time that torch.compile takes",
}
"""The option of each of ``Limits``, and its help."""
NOISE = 0.07  # default of by how much the speed of two runs of the same software differs
_COMPILE_NOISE = 0.5  # of a compilation, which a run times once: four of the same took 5.3 to 8.8 s
_CONFIDENCE = 0.99  # of all intervals of a comparison together, whatever their number (Bonferroni)


@dataclass(frozen=True)
class AccuracyPair:
    """A case in two runs, judged in the new one by the evidence of the comparison, and its changed predictions."""

    old: CaseResult
    new: CaseResult
    changed: tuple[ChangedPrediction, ...] = ()

    @property
    def evidence(self) -> Pairing | Unpaired:
        """The evidence of the comparison."""
        assert self.new.baseline is not None
        return self.new.baseline

    @property
    def pairing(self) -> Pairing | None:
        """The evidence, if the images were paired."""
        return self.evidence if isinstance(self.evidence, Pairing) else None

    def difference(self, metric: str) -> int | None:
        """Return the correct predictions gained on the same images; None where that is not known."""
        if self.old.counts.images == self.new.counts.images:
            return self.new.counts.correct(metric) - self.old.counts.correct(metric)
        if self.pairing is None:
            return None
        if metric == "top1":
            return self.pairing.gained - self.pairing.lost
        return self.pairing.top5_gained - self.pairing.top5_lost

    def failure(self) -> str:
        """Return why the case failed; empty if it did not."""
        # The comparison has the diagnosis, the published values only the effect.
        failed = (check for check in self.new.verdict.checks if check.outcome == FAILED)
        check = min(failed, key=lambda check: check.name != BASELINE, default=None)
        if check is None or check.name != BASELINE:
            return check.reason if check else ""
        if isinstance(self.evidence, Unpaired) and self.evidence.why == "different":
            return self.evidence.reason
        return "\n".join(check.detail.split("\n")[:3])


class SpeedPair(NamedTuple):
    """A timing in two runs, and evidence of one kind: time, memory, or time to compile."""

    old: TimingResult
    new: TimingResult
    evidence: SpeedChange

    @property
    def id(self) -> str:
        """The timing's id."""
        return self.new.id

    def judged(self, limits: Limits) -> Check:
        """Return the check by the limit of its kind."""
        return judge_speed(self.evidence, getattr(limits, self.evidence.kind))


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs: facts of the environment, and the cases and timings that both have."""

    old: Run
    new: Run
    facts: tuple[tuple[str, Any, Any], ...]  # name, old and new value of each that differs
    accuracy: tuple[AccuracyPair, ...]
    timings: tuple[SpeedPair, ...]  # for each kind that both runs know
    speed_error: str  # why speeds are not compared; empty if they are
    missing: tuple[tuple[str, str], ...]  # id of each result that one run lacks, and what it lacks
    added: tuple[str, ...]  # ids that only the new run has

    def failures(
        self, fail_on: Sequence[str] = FAILURES, limits: Limits = LIMITS, strict_speed: bool = False
    ) -> Iterator[tuple[str, str]]:
        """Yield each failure's id and reason; ``strict_speed`` makes one of a timing that was not judged."""
        if "accuracy" in fail_on:
            yield from ((pair.new.id, why) for pair in self.accuracy if (why := pair.failure()))
        checks = ((pair.id, pair.judged(limits)) for pair in self.timings if pair.evidence.kind in fail_on)
        failing = (FAILED, NOT_JUDGED) if strict_speed else (FAILED,)
        yield from ((identity, check.detail) for identity, check in checks if check.outcome in failing)
        if "missing" in fail_on:
            yield from self.missing

    def of_kind(self, kind: str) -> list[SpeedPair]:
        """Return what is known of the timings' speed, memory, or time to compile."""
        return [pair for pair in self.timings if pair.evidence.kind == kind]


def compare(old: Run, new: Run, noise: float = NOISE, policy: Policy = Policy()) -> Comparison:  # noqa: B008
    """Compare two runs, or raise a RecordError; the speed of the same software may differ by a share of ``noise``."""
    before, after = old.record, new.record
    paired = before.cases and after.cases and old.holds_predictions and new.holds_predictions
    if not paired or not np.isin(new.labels[0], old.labels[0]).any():
        check_same_images(old, new)
    newer = {timing.id: timing for timing in after.timings}
    timings = [(timing, newer[timing.id]) for timing in before.timings if timing.id in newer]
    facts = tuple(before.environment.differences(after.environment))
    differ = [f"{name} {one} and {other}" for name, one, other in facts if name in before.environment.hardware]
    speed_error = f"not compared, since the hardware differs: {', '.join(differ)}" if timings and differ else ""
    judged = () if speed_error else tuple(_speed_pairs(before, after, timings, noise))
    earlier = [(earlier_case(before.cases, case.id, f"{case.model}-{case.weights}"), case) for case in after.cases]
    cases = [(one, other) for one, other in earlier if one is not None]
    accuracy = tuple(_accuracy_pair(old, new, *results, policy) for results in cases)
    in_old = [*_ids(before), *(case.id for _, case in cases)]
    in_new = [*_ids(after), *(case.id for case, _ in cases)]
    missing = {identity: "missing from the new run" for identity in in_old if identity not in in_new}
    for when, record in (("old", before), ("new", after)):
        for lost in record.missing:
            if lost.id in in_new:
                missing[lost.id] = f"{lost.outcome} in the {when} run{lost.detail and f': {lost.detail}'}"
    added = tuple(result.id for result in (*after.cases, *after.timings) if result.id not in in_old)
    return Comparison(old, new, facts, accuracy, judged, speed_error, tuple(missing.items()), added)


def confidence_of_each(timings: int) -> float:
    """Return the confidence of each of so many intervals."""
    return 1 - (1 - _CONFIDENCE) / timings


def check_same_images(*runs: Run) -> None:
    """Raise a RecordError unless the counts of runs are those of the same images and labels."""
    for old, new in combinations(runs, 2):
        before, after = old.record.dataset, new.record.dataset
        if before and after and before.digest != after.digest:
            raise RecordError(
                f"expected the same images in both runs: {old.path} has {before.images:,} of {before.total:,} of "
                f"{before.name} (digest {before.digest[:8]}), {new.path} has {after.images:,} of {after.total:,} of "
                f"{after.name} (digest {after.digest[:8]}); compare runs of one dataset with the same --limit"
            )


def _accuracy_pair(old: Run, new: Run, before: CaseResult, after: CaseResult, policy: Policy) -> AccuracyPair:
    evidence: Pairing | Unpaired
    changed: tuple[ChangedPrediction, ...] = ()
    if old.holds_predictions and new.holds_predictions:
        here, there = side_of(old, before), side_of(new, after)
        try:
            evidence = pair(here, there, policy)
        except RecordError as error:
            raise RecordError(f"{old.path}: {error}") from error
        if isinstance(evidence, Pairing):
            here = on_images_of(here, there)
            known = (here.predictions, there.predictions, here.targets, there.targets)
            changed = changed_predictions(*known, evidence.noise_floor, names=there.classes or here.classes)
    elif before.weights_sha256 and after.weights_sha256 and before.weights_sha256 != after.weights_sha256:
        reason = f"weights: their sha256 is {after.weights_sha256[:16]}..., before {before.weights_sha256[:16]}..."
        evidence = Unpaired("different", reason, policy=policy)
    else:
        reason = "counts only: a JSON file holds no predictions; compare the run folders of --results"
        evidence = Unpaired("totals", reason, before.counts, policy)
    # An issue with another baseline is none with this one.
    issues = {name: issue for name, issue in after.known_issues.items() if name != BASELINE}
    return AccuracyPair(before, msgspec.structs.replace(after, baseline=evidence, known_issues=issues), changed)


def _speed_pairs(
    old: Record, new: Record, timings: Sequence[tuple[TimingResult, TimingResult]], noise: float
) -> Iterator[SpeedPair]:
    # The yardstick is computed by numpy, and means nothing across its versions.
    same_numpy = old.environment.numpy == new.environment.numpy
    for before, after in timings:
        # By image: of --batch-sizes auto the best size may differ.
        new_seconds, old_seconds = ([s / timing.batch_size for s in timing.seconds] for timing in (after, before))
        ratio = ratio_of_medians(new_seconds, old_seconds, confidence=confidence_of_each(len(timings)))
        fastest = min(new_seconds) / min(old_seconds)
        machine = after.yardstick / before.yardstick if same_numpy and before.yardstick and after.yardstick else None
        sides = (("old", before), ("new", after))
        why = "; ".join(f"in the {when} run {reason}" for when, timing in sides for reason in disturbances(timing))
        yield SpeedPair(before, after, SpeedChange(*ratio, fastest, machine, noise, why))
        for kind, (old_amount, new_amount) in amounts_of((before, after)).items():
            once = new_amount / old_amount
            if kind == "memory":  # which neither the machine nor another job changes
                yield SpeedPair(before, after, SpeedChange(once, once, once, once, None, 0.0, kind=kind))
            elif kind == "compile":
                yield SpeedPair(before, after, SpeedChange(once, once, once, once, machine, _COMPILE_NOISE, why, kind))


def _ids(record: Record) -> list[str]:
    return [result.id for result in (*record.cases, *record.timings)] + [missing.id for missing in record.missing]
