"""Two runs -> what differs between them, as data; and whether that is a failure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from harness.errors import RecordError
from harness.reporting.accuracy_pair import AccuracyPair, accuracy_pair
from harness.reporting.environment import Fact
from harness.reporting.record import SplitFacts, Unmeasured
from harness.reporting.run_folder import Run
from harness.reporting.speed_pair import SpeedPair, speed_pair

FAILURES = ("accuracy", "speed", "missing")
"""What may count as a failure."""
MAX_SLOWDOWN, NOISE = 0.05, 0.07
"""Unless a user says otherwise: how much longer a call may take, and how much runs of the same software differ."""

# Of one comparison of two runs, whatever the number of its cases (Bonferroni): p-values and intervals alike.
ALPHA = 0.01


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
    refuse_different_splits(old, new)
    cases = _pair_up(old.record.cases, new.record.cases)
    timings = _pair_up(old.record.timings, new.record.timings)
    refused = _why_speed_is_refused(old, new) if timings.both else ""
    same_numpy = old.record.environment.numpy == new.record.environment.numpy
    alpha = ALPHA / max(1, len(cases.both)), ALPHA / max(1, len(timings.both))
    return Comparison(
        old=old,
        new=new,
        facts=tuple(old.record.environment.differences(new.record.environment)),
        accuracy=tuple(accuracy_pair(old, new, *pair, alpha[0]) for pair in cases.both),
        speed=tuple(
            speed_pair(*pair, alpha[1], noise, same_numpy=same_numpy) for pair in ([] if refused else timings.both)
        ),
        speed_refused=refused,
        missing=(*cases.missing, *timings.missing),
        added=(*cases.added, *timings.added),
    )


def refuse_different_splits(old: Run, new: Run) -> None:
    """Raise for runs whose hits mean nothing to each other.

    Raises:
        RecordError: they evaluated different images.
    """
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
    added = [name for name, result in after.items() if name not in before and not isinstance(result, Unmeasured)]
    pairs = _Pairs[_Result](both=[], missing=[], added=added)
    for identity, old_result in before.items():
        new_result = after.get(identity)
        if new_result is None:
            pairs.missing.append(Missing(identity, "is not in the new run"))
        elif not isinstance(old_result, Unmeasured) and not isinstance(new_result, Unmeasured):
            pairs.both.append((old_result, new_result))
    for when, results in (("old", before), ("new", after)):
        for identity, result in results.items():
            if isinstance(result, Unmeasured) and identity in after:
                detail = f": {result.detail}" if result.detail else ""
                pairs.missing.append(Missing(identity, f"{result.outcome} in the {when} run{detail}"))
    return pairs


def _by_id(results: Sequence[_Result | Unmeasured]) -> dict[str, _Result | Unmeasured]:
    return {result.id: result for result in results}  # type: ignore[union-attr]
