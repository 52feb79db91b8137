"""One case in two runs: hits, and image by image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import RecordError
from harness.gate.scores import METRICS, NAMES
from harness.gate.stats import mcnemar
from harness.reporting.case_record import CaseRecord
from harness.reporting.run_folder import Answers, Run

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


def accuracy_pair(old: Run, new: Run, before: CaseRecord, after: CaseRecord, alpha: float) -> AccuracyPair:
    """Return the pair.

    Args:
        alpha: a smaller p-value is called significant.

    Raises:
        RecordError: an image's answers cannot be read.
    """
    answers = _answers(old, before), _answers(new, after)
    paired = None if answers[0] is None or answers[1] is None else pair(answers[0], answers[1])
    return AccuracyPair(before, after, paired, significant=paired is not None and paired.p < alpha)


def _answers(run: Run, case: CaseRecord) -> Answers | None:
    answers = run.answers(case.id)
    if answers is not None and (len(answers.ids), int(answers.correct.sum())) != (case.measured.n, case.measured.top1):
        raise RecordError(f"{run.path}: the answers of {case.id} are not those that its record tells of")
    return answers


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
