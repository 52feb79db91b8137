"""Two runs -> what differs between them, as data; and whether that is a failure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from harness.errors import RecordError
from harness.gate.scores import METRICS, NAMES
from harness.gate.stats import Ratio, mcnemar, ratio_of_medians
from harness.reporting.environment import Fact
from harness.reporting.record import CaseRecord, SplitFacts, TimingRecord, Unmeasured
from harness.reporting.run_folder import Answers, Run

FAILURES = ("accuracy", "speed", "missing")
"""What may count as a failure."""

# Of one comparison of two runs, whatever the number of its cases (Bonferroni): p-values and intervals alike.
ALPHA = 0.01
# Where a model has no expected value, and so no tolerance of its own: the default of expected_accuracy.yaml.
_TOLERANCE_POINTS = 0.05


@dataclass(frozen=True)
class Changed:
    """An image that the two runs answer differently: its id, and the best class and whether it is right in each."""

    id: str
    old: int
    new: int
    was_right: bool
    is_right: bool


@dataclass(frozen=True)
class Paired:
    """The same images' answers in two runs.

    Attributes:
        changed: images with another best class.
        p: of the exact McNemar test on right and wrong.
        drift: the largest change of a best class's logit, where that class is still the same.
    """

    changed: tuple[Changed, ...]
    p: float
    drift: float

    @property
    def lost(self) -> int:
        """Images that were right and are wrong."""
        return sum(change.was_right and not change.is_right for change in self.changed)

    @property
    def gained(self) -> int:
        """Images that were wrong and are right."""
        return sum(change.is_right and not change.was_right for change in self.changed)


@dataclass(frozen=True)
class AccuracyPair:
    """A case in two runs.

    Attributes:
        paired: image by image; None where one of the runs holds no answers.
        significant: whether the McNemar test calls the difference more than chance.
    """

    old: CaseRecord
    new: CaseRecord
    paired: Paired | None
    significant: bool

    def difference(self, metric: str) -> int:
        """Return the hits gained."""
        return self.new.measured.hits(metric) - self.old.measured.hits(metric)

    def points(self, metric: str) -> float:
        """Return the same in percentage points."""
        return 100 * self.difference(metric) / self.new.measured.n

    @property
    def moved(self) -> tuple[str, ...]:
        """What the two runs were not given alike: weights, decoded images."""
        same = (("weights", "weights_sha256"), ("decoded images", "inputs_digest"))
        return tuple(name for name, field in same if getattr(self.old, field) != getattr(self.new, field))

    def failure(self) -> str:
        """Return what makes the case a failure; empty if nothing does."""
        for when, case in (("in the old run", self.old), ("in the new run", self.new)):
            if case.outcome == "failed":
                return f"failed its check {when}"
        points = float(self.new.expected.tolerance) if self.new.expected else _TOLERANCE_POINTS
        for metric in METRICS:
            if abs(self.points(metric)) > points:
                return f"{NAMES[metric]} differs by {self.points(metric):+.3f} points, tolerance ±{points:g}"
        if self.paired is not None and self.significant:
            return f"more answers went one way than by chance (p = {self.paired.p:.2g})"
        return ""


@dataclass(frozen=True)
class SpeedPair:
    """A timing in two runs.

    Attributes:
        ratio: new over old seconds of the median call: above 1 is slower.
        fastest: the same of the fastest calls.
        noise: by how much two runs of the same software may differ, as a share.
    """

    old: TimingRecord
    new: TimingRecord
    ratio: Ratio
    fastest: float
    noise: float

    @property
    def significant(self) -> bool:
        """Whether it is more than noise, between calls and between runs, and shows in the fastest calls too.

        Another job on the machine slows most calls, but seldom all; slower software slows all.
        """
        slower = self.ratio.low > 1 + self.noise and self.fastest > 1 + self.noise
        return slower or (self.ratio.high < 1 / (1 + self.noise) and self.fastest < 1 / (1 + self.noise))

    @property
    def change(self) -> float:
        """Of images/s, as a share: -0.1 is 10 % fewer."""
        return 1 / self.ratio.value - 1

    def failure(self, max_slowdown: float) -> str:
        """Return what makes the timing a failure; empty if nothing does."""
        if self.significant and self.ratio.value > 1 + max_slowdown:
            return f"{100 * (self.ratio.value - 1):.1f} % slower, allowed {100 * max_slowdown:g} %"
        return ""


@dataclass(frozen=True)
class Missing:
    """A case or timing that cannot be compared: it vanished, or has no values in one of the runs."""

    id: str
    why: str


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs.

    Attributes:
        facts: of the environment that differ: name, old, new.
        speed_refused: why speeds are not compared; empty if they are.
        added: ids that only the new run has.
    """

    old: Run
    new: Run
    facts: tuple[tuple[str, Fact, Fact], ...]
    accuracy: tuple[AccuracyPair, ...]
    speed: tuple[SpeedPair, ...]
    speed_refused: str
    missing: tuple[Missing, ...]
    added: tuple[str, ...]

    @property
    def split(self) -> SplitFacts | None:
        """What both evaluated."""
        return self.old.record.split or self.new.record.split

    def failures(self, fail_on: Sequence[str], max_slowdown: float) -> Iterator[tuple[str, str]]:
        """Yield the id of each failure, and what it is.

        Args:
            fail_on: of ``FAILURES``.
            max_slowdown: of a call's median time, as a share.
        """
        found = {
            "accuracy": [(pair.new.id, pair.failure()) for pair in self.accuracy],
            "speed": [(pair.new.id, pair.failure(max_slowdown)) for pair in self.speed],
            "missing": [(missing.id, missing.why) for missing in self.missing],
        }
        for kind in FAILURES:
            if kind in fail_on:
                yield from ((identity, why) for identity, why in found[kind] if why)


def compare(old: Run, new: Run, noise: float) -> Comparison:
    """Compare two runs.

    Args:
        noise: by how much the speed of two runs of the same software on the same machine may differ, as a share.

    Raises:
        RecordError: they evaluated different images, or an image's answers cannot be read.
    """
    _refuse_different_splits(old, new)
    cases = _pair_up(old.record.cases, new.record.cases)
    timings = _pair_up(old.record.timings, new.record.timings)
    refused = _why_speed_is_refused(old, new) if timings.both else ""
    alpha = ALPHA / max(1, len(cases.both)), ALPHA / max(1, len(timings.both))
    return Comparison(
        old=old,
        new=new,
        facts=tuple(old.record.environment.differences(new.record.environment)),
        accuracy=tuple(_accuracy_pair(old, new, *pair, alpha[0]) for pair in cases.both),
        speed=() if refused else tuple(_speed_pair(*pair, alpha[1], noise) for pair in timings.both),
        speed_refused=refused,
        missing=(*cases.missing, *timings.missing),
        added=(*cases.added, *timings.added),
    )


def _refuse_different_splits(old: Run, new: Run) -> None:
    before, after = old.record.split, new.record.split
    if before and after and before.digest != after.digest:
        raise RecordError(
            f"{old.path} and {new.path} evaluated different images and cannot be compared: {before.images:,} of "
            f"{before.total:,} of {before.name} with labels {before.digest[:8]}, and {after.images:,} of "
            f"{after.total:,} of {after.name} with labels {after.digest[:8]}"
        )


def _why_speed_is_refused(old: Run, new: Run) -> str:
    before, after = old.record.environment, new.record.environment
    names = ("device", "cpu", "threads")
    differ = [
        f"{name} {here} and {there}"
        for name, here, there in zip(names, before.hardware, after.hardware, strict=True)
        if here != there
    ]
    return f"not compared, since the hardware differs: {', '.join(differ)}" if differ else ""


_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Pairs(Generic[_Result]):
    """The results of two runs, by id: those that both have, those missing from one, and ids that are new."""

    both: list[tuple[_Result, _Result]]
    missing: list[Missing]
    added: list[str]


def _pair_up(old: Sequence[_Result | Unmeasured], new: Sequence[_Result | Unmeasured]) -> _Pairs[_Result]:
    before, after = _by_id(old), _by_id(new)
    pairs = _Pairs[_Result](both=[], missing=[], added=[identity for identity in after if identity not in before])
    for identity, old_result in before.items():
        new_result = after.get(identity)
        if new_result is None:
            pairs.missing.append(Missing(identity, "is not in the new run"))
        elif not isinstance(old_result, Unmeasured) and not isinstance(new_result, Unmeasured):
            pairs.both.append((old_result, new_result))
    for when, results in (("old", before), ("new", after)):
        for identity, result in results.items():
            if isinstance(result, Unmeasured) and (identity in after):
                detail = f": {result.detail}" if result.detail else ""
                pairs.missing.append(Missing(identity, f"{result.outcome} in the {when} run{detail}"))
    return pairs


def _by_id(results: Sequence[_Result | Unmeasured]) -> dict[str, _Result | Unmeasured]:
    return {result.id: result for result in results}  # type: ignore[union-attr]


def _accuracy_pair(old: Run, new: Run, before: CaseRecord, after: CaseRecord, alpha: float) -> AccuracyPair:
    answers = old.answers(before.id), new.answers(after.id)
    paired = None if answers[0] is None or answers[1] is None else pair(answers[0], answers[1])
    return AccuracyPair(before, after, paired, significant=paired is not None and paired.p < alpha)


def pair(old: Answers, new: Answers) -> Paired:
    """Compare two runs' answers to the same images.

    Raises:
        RecordError: they are not the same images, in the same order.
    """
    if not np.array_equal(old.ids, new.ids):
        raise RecordError("the two runs hold answers to different images; one of them is not what its record says")
    before, after = old.top5[:, 0], new.top5[:, 0]
    differ = before != after
    changed = tuple(
        Changed(str(old.ids[i]), int(before[i]), int(after[i]), bool(old.correct[i]), bool(new.correct[i]))
        for i in np.flatnonzero(differ)
    )
    drift = np.abs(old.logits[:, 0] - new.logits[:, 0])[~differ]
    lost, gained = int(np.sum(old.correct & ~new.correct)), int(np.sum(new.correct & ~old.correct))
    return Paired(changed, mcnemar(lost, gained), float(drift.max(initial=0.0)))


def _speed_pair(before: TimingRecord, after: TimingRecord, alpha: float, noise: float) -> SpeedPair:
    return SpeedPair(
        old=before,
        new=after,
        ratio=ratio_of_medians(after.seconds, before.seconds, confidence=1 - alpha),
        fastest=min(after.seconds) / min(before.seconds),
        noise=noise,
    )
