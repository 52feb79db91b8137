"""The gate: measured hits against expected ones -> held or failed, with the reason in a few lines."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.split import Split
from harness.gate.expected import Entry, Expected
from harness.gate.scores import METRICS, NAMES, TopK
from harness.gate.stats import sampling_band

# The one check of a case without a value to compare with.
_NOTHING_TO_COMPARE = "published values"

HELD, WARNED, FAILED = "held", "warned", "failed"
UNJUDGED = "unjudged"


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: what was checked.
        outcome: ``held``, ``warned`` (it held, but a reader should look), or ``failed``.
        detail: measured, expected, difference and what is allowed, in one line.
        could_miss: the largest drop, in points, that would pass on a subset; 0 where all images were judged.
    """

    name: str
    outcome: str
    detail: str
    could_miss: float = 0.0

    @property
    def held(self) -> bool:
        """Whether it did, if only with a warning."""
        return self.outcome != FAILED


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one case: held if there is a check and every check held."""

    checks: tuple[Check, ...]

    @property
    def outcome(self) -> str:
        """``held``, ``warned``, ``failed``, or ``unjudged`` where there was nothing to compare with."""
        if self.held:
            return WARNED if any(check.outcome == WARNED for check in self.checks) else HELD
        return UNJUDGED if all(check.name == _NOTHING_TO_COMPARE for check in self.checks) else FAILED

    @property
    def held(self) -> bool:
        """Whether the case passes."""
        return bool(self.checks) and all(check.held for check in self.checks)

    def __str__(self) -> str:
        return "\n".join(f"{check.name}: {_shown(check.outcome)}: {check.detail}" for check in self.checks)


def judge(entry: Entry, split: Split, measured: TopK, pairing: Check | None = None) -> Verdict:
    """Compare ``measured`` with what ``entry`` expects on ``split``.

    On a whole split with published values: hits within the tolerance, above as well as below, since a wrong
    setting can raise accuracy. On a subset of one: within the sampling band, widened by the tolerance. On any
    other split the baseline alone judges; without one there is nothing to compare with, and that is a failure, never
    a pass.

    Args:
        pairing: the check against a baseline, if there is one.
    """
    expected = published_on(entry, split)
    paired = () if pairing is None else (pairing,)
    if expected is None:
        return Verdict(paired or (_unjudged(entry, split, measured),))
    compare = _on_subset if split.is_subset else _on_whole_split
    return Verdict((*(compare(metric, expected, measured) for metric in METRICS), *paired))


def published_on(entry: Entry, split: Split) -> Expected | None:
    """Return what the case is judged by on ``split``; None where there is nothing, or it is of a larger set."""
    expected = entry.expected_on(split.name)
    return None if expected is None or split.total != expected.hits.n else expected


def _shown(outcome: str) -> str:
    return outcome if outcome == HELD else outcome.upper()


def _outcome(*, held: bool) -> str:
    return HELD if held else FAILED


def _on_whole_split(metric: str, expected: Expected, measured: TopK) -> Check:
    difference = measured.hits(metric) - expected.hits.hits(metric)
    allowed = expected.tolerance_hits
    detail = (
        f"measured {measured.percent(metric):.3f}, {expected.origin} {expected.hits.percent(metric):.3f}, "
        f"difference {100 * difference / measured.n:+.3f} points = {difference:+,} of {measured.n:,} images, "
        f"tolerance ±{expected.tolerance} points = {allowed} images"
    )
    return Check(NAMES[metric], _outcome(held=abs(difference) <= allowed), detail)


def _on_subset(metric: str, expected: Expected, measured: TopK) -> Check:
    whole = expected.hits
    band = sampling_band(whole.n, whole.hits(metric), expected.tolerance_hits, measured.n)
    hits = measured.hits(metric)
    detail = (
        f"measured {measured.percent(metric):.3f}, {expected.origin} {whole.percent(metric):.3f}; allowed on "
        f"{measured.n:,} of {whole.n:,} images {100 * band.low / measured.n:.2f} to {100 * band.high / measured.n:.2f} "
        f"({band.low} to {band.high} hits, measured {hits}); "
        f"a drop of up to {band.could_miss:.2f} points could be missed"
    )
    if (band.low, band.high) == (0, measured.n):
        return Check(NAMES[metric], FAILED, f"{detail}; so few images cannot fail: raise --limit", band.could_miss)
    return Check(NAMES[metric], _outcome(held=band.low <= hits <= band.high), detail, band.could_miss)


def _unjudged(entry: Entry, split: Split, measured: TopK) -> Check:
    """Return a failure that still tells what was measured, and what to do."""
    expected = entry.expected_on(split.name)
    why = "none" if expected is None else f"for {expected.hits.n:,} images, the split has {split.total:,}"
    hits = ", ".join(f"{NAMES[m]} {measured.percent(m):.3f} ({measured.hits(m)} hits)" for m in METRICS)
    caveat = f" ({split.caveat})" if split.caveat else ""
    detail = (
        f"{why} for {entry.spec} on {split.name}{caveat}; known on: {', '.join(entry.splits) or 'no split'}. "
        f"Measured on {measured.n:,} images: {hits}. "
        f"Point --imagenet at a split with published values, add {split.name!r} to a file for --expected, or record "
        "this run as a baseline to be compared with: --baseline DIR --baseline-update"
    )
    return Check(_NOTHING_TO_COMPARE, FAILED, detail)
