"""One case in two runs: hits, and image by image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import RecordError
from harness.gate.cause import ARITHMETIC, Cause, first_difference
from harness.gate.pairing import Paired, pair
from harness.gate.scores import METRICS, NAMES
from harness.gate.tolerance import floor_of
from harness.reporting.baseline import evaluated
from harness.reporting.case_record import CaseRecord
from harness.reporting.run_folder import Run

# Where a model has no expected value, and so no tolerance of its own: the default of expected_accuracy.yaml.
_TOLERANCE_POINTS = 0.05


@dataclass(frozen=True)
class AccuracyPair:
    """A case in two runs.

    Attributes:
        paired: image by image; None where one of the runs holds no answers.
        cause: the first link before the arithmetic that differs; None if none does, or no answers are at hand.
        significant: whether the McNemar test calls the difference more than chance.
    """

    old: CaseRecord
    new: CaseRecord
    paired: Paired | None
    cause: Cause | None
    significant: bool

    def difference(self, metric: str) -> int:
        """Return the hits gained."""
        return self.new.measured.hits(metric) - self.old.measured.hits(metric)

    def points(self, metric: str) -> float:
        """Return the same in percentage points."""
        return 100 * self.difference(metric) / self.new.measured.n

    @property
    def moved(self) -> tuple[str, ...]:
        """What the two runs were not given alike, as far as both tell: weights, decoded images."""
        digests = {
            "weights": (self.old.weights_sha256, self.new.weights_sha256),
            "decoded images": (self.old.inputs_digest, self.new.inputs_digest),
        }
        return tuple(name for name, (old, new) in digests.items() if old and new and old != new)

    def failure(self) -> str:
        """Return what makes the case a failure; empty if nothing does."""
        for when, case in (("in the old run", self.old), ("in the new run", self.new)):
            if case.outcome == "failed":
                return f"failed its check {when}"
        if "weights" in self.moved:
            return "has other weights than in the old run"
        points = float(self.new.expected.tolerance) if self.new.expected else _TOLERANCE_POINTS
        for metric in METRICS:
            if abs(self.points(metric)) > points:
                return f"{NAMES[metric]} differs by {self.points(metric):+.3f} points, tolerance ±{points:g}"
        if self.paired is not None and self.significant:
            return f"more answers went one way than by chance (p = {self.paired.p:.2g})"
        return ""


def accuracy_pair(old: Run, new: Run, before: CaseRecord, after: CaseRecord, alpha: float) -> AccuracyPair:
    """Return the pair.

    Args:
        alpha: a smaller p-value is called significant.

    Raises:
        RecordError: an image's answers cannot be read.
    """
    here, there = evaluated(old, before), evaluated(new, after)
    if here is None or there is None:
        return AccuracyPair(before, after, paired=None, cause=None, significant=False)
    if not np.array_equal(here.answers.ids, there.answers.ids):
        raise RecordError(f"{old.path} and {new.path} hold answers to different images; one is not what it says")
    paired = pair(here.answers, there.answers, floor_of(before.precision, after.precision))
    cause = first_difference(here, there)
    return AccuracyPair(
        before, after, paired, cause=None if cause.link == ARITHMETIC else cause, significant=paired.p < alpha
    )
