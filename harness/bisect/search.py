"""The search: which version is examined next, and what is known in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from harness.compare.compare import compare
from harness.records.run_folder import Run
from harness.verdict import BASELINE, PASSED

GOOD, BAD, SKIPPED = "good", "bad", "skipped"


class Step(NamedTuple):
    """One version: ``good``, ``bad`` or ``skipped``, why, and how many were left to examine after it."""

    version: str
    state: str
    reason: str = ""
    left: int = 0


def search(versions: Sequence[str], examine: Callable[[str], tuple[str, str]]) -> Iterator[Step]:
    """Yield the steps from a good first version to a bad last one, each halving what is left, as git bisect does.

    >>> [step.version for step in search("0123456789", lambda version: (BAD if version >= "6" else GOOD, ""))]
    ['4', '6', '5']
    """
    good, bad, skipped = 0, len(versions) - 1, set[int]()
    while left := [index for index in range(good + 1, bad) if index not in skipped]:
        middle = min(left, key=lambda index: abs(2 * index - good - bad))
        state, reason = examine(versions[middle])
        if state == SKIPPED:
            skipped.add(middle)
        elif state == GOOD:
            good = middle
        else:
            bad = middle
        later = sum(good < index < bad and index not in skipped for index in range(len(versions)))
        yield Step(versions[middle], state, reason, later)


def suspects(versions: Sequence[str], steps: Sequence[Step]) -> list[str]:
    """Return the versions that may be the first bad one, in order: one, or more where the others were skipped."""
    good = max((versions.index(step.version) for step in steps if step.state == GOOD), default=0)
    bad = min((versions.index(step.version) for step in steps if step.state == BAD), default=len(versions) - 1)
    return list(versions[good + 1 : bad + 1])


def difference(good: Run, run: Run) -> str:
    """Return what differs from the good run, of its first case that differs; empty if nothing does."""
    for pair in compare(good, run).accuracy:
        for check in pair.new.verdict.checks:
            # A warning counts too: that the package explains the difference is what is looked for.
            if check.name == BASELINE and check.outcome != PASSED:
                return f"{pair.new.id}: {check.detail}"
    return ""
