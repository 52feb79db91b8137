"""The rules that turn evidence about a case or a timing into passed, warning or failed.

Everything that judges a result uses this module: the gate, ``compare``, ``merge``, ``report`` and ``ci/nightly``.
Evidence is stored with the result, so that it can be judged again later.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction

import msgspec

from harness.records.evidence import (
    COUNTING,
    INPUTS,
    LABELS,
    METRICS,
    NORMALIZATION,
    WEIGHTS,
    Bounds,
    Counts,
    Expected,
    Pairing,
    SpeedChange,
    Unpaired,
)
from harness.stats import sampling_band

PASSED, WARNING, FAILED = "passed", "warning", "failed"
BASELINE = "baseline"
PUBLISHED = "published values"
ALPHA = 1e-4
"""Level of each test: with 114 models and two metrics on one fixed subset, a false alarm remains unlikely."""
TOTALS_TOLERANCE = Decimal("0.05")
"""Points by which the totals of two runs may differ where nothing was published; fp32's tolerance in the file."""


class Check(msgspec.Struct, frozen=True):
    """One thing that was judged."""

    name: str
    outcome: str  # PASSED, WARNING or FAILED
    detail: str  # measured and expected values, difference and what is allowed; lines may follow the first
    could_miss: float = 0.0  # the largest drop, in points, that would pass on a subset; 0 where all images were judged

    def __str__(self) -> str:
        return f"{self.name}: {self.outcome if self.outcome == PASSED else self.outcome.upper()}: {self.detail}"


class Verdict(msgspec.Struct, frozen=True):
    """What was judged of one case."""

    checks: tuple[Check, ...]

    @property
    def outcome(self) -> str:
        """The worst outcome of the checks; failed if there are none."""
        return worst(check.outcome for check in self.checks)

    def __str__(self) -> str:
        return "\n".join(map(str, self.checks))


def worst(outcomes: Iterable[str]) -> str:
    """Return the worst of several outcomes; failed if there are none, since nothing was judged."""
    return max(outcomes, key=(PASSED, WARNING, FAILED).index, default=FAILED)


def judge(
    counts: Counts,
    expected: Expected | None,
    unpublished: str,
    baseline: Pairing | Unpaired | None,
    bounds: Iterable[Bounds] = (),
) -> Verdict:
    """Return the verdict on a case by its counts and its other evidence.

    On a whole dataset with published values, the counts must be within the tolerance, above as well as below, since a
    wrong setting can raise accuracy; on a subset, within the sampling band widened by the tolerance. Without published
    values (``unpublished`` says why) the baseline alone judges, and with neither the case fails.
    """
    checks = [] if expected is None else [_check_published(metric, expected, counts) for metric in METRICS]
    if baseline is not None:
        checks.append(_check_baseline(counts, expected, baseline))
    if not checks:
        measured = ", ".join(
            f"{name} {counts.percent(metric):.3f} ({counts.correct(metric)} correct)"
            for metric, name in METRICS.items()
        )
        detail = (
            f"{unpublished}. Measured on {counts.images:,} images: {measured}. Point --imagenet at a dataset with "
            "published values, add this one to a file for --expected, or record this run as a baseline to compare "
            "with: --baseline DIR --baseline-update"
        )
        checks.append(Check(PUBLISHED, FAILED, detail))
    return Verdict((*checks, *map(_check_bounds, bounds)))


def _check_published(metric: str, expected: Expected, measured: Counts) -> Check:
    whole, name, correct = expected.counts, METRICS[metric], measured.correct(metric)
    values = f"measured {measured.percent(metric):.3f}, {expected.origin} {whole.percent(metric):.3f}"
    allowed = expected.tolerance_images
    if measured.images == whole.images:
        difference = correct - whole.correct(metric)
        detail = (
            f"{values}, difference {100 * difference / measured.images:+.3f} points = {difference:+,} of "
            f"{measured.images:,} images, tolerance ±{expected.tolerance} points = {allowed} images"
        )
        return Check(name, PASSED if abs(difference) <= allowed else FAILED, detail)
    band = sampling_band(whole.images, whole.correct(metric), allowed, measured.images, ALPHA)
    detail = (
        f"{values}; allowed on {measured.images:,} of {whole.images:,} images "
        f"{100 * band.low / measured.images:.2f} to {100 * band.high / measured.images:.2f} "
        f"({band.low} to {band.high} correct, measured {correct}); a drop of up to {band.could_miss:.2f} points could "
        "be missed"
    )
    if (band.low, band.high) == (0, measured.images):
        return Check(name, FAILED, f"{detail}; so few images cannot fail: raise --limit", band.could_miss)
    return Check(name, PASSED if band.low <= correct <= band.high else FAILED, detail, band.could_miss)


def _check_bounds(bounds: Bounds) -> Check:
    low = -math.inf if bounds.low is None else bounds.low
    high = math.inf if bounds.high is None else bounds.high
    detail = f"{bounds.value:g}, expected {low:g} to {high:g}{f': {bounds.detail}' if bounds.detail else ''}"
    return Check(bounds.name, PASSED if low <= bounds.value <= high else FAILED, detail)


def _check_baseline(counts: Counts, expected: Expected | None, evidence: Pairing | Unpaired) -> Check:
    if isinstance(evidence, Unpaired):
        outcome, detail = _judge_unpaired(counts, expected, evidence)
    else:
        outcome, detail = _judge_pairing(evidence), "\n    ".join(_pairing_lines(evidence))
    damaged = isinstance(evidence, Unpaired) and evidence.why == "damaged"
    if evidence.policy.updating and outcome != PASSED and not damaged:
        return Check(BASELINE, WARNING, f"will be replaced despite differences: {detail}")
    return Check(BASELINE, outcome, detail)


def _judge_pairing(pairing: Pairing) -> str:
    """Return the outcome: a difference beyond noise fails if it changed a prediction, and is a warning otherwise."""
    stage, drift, floor = pairing.diagnosis.stage, pairing.drift, pairing.noise_floor
    if stage in (WEIGHTS, LABELS, COUNTING) or pairing.p < ALPHA:
        return FAILED
    drifted = drift is not None and (drift.median > floor.median or drift.largest > floor.largest)
    if pairing.changed and pairing.inputs_known and (pairing.beyond_noise or drifted):
        return FAILED
    # Without the baseline's pixels a changed prediction may be due to different input, so it is not conclusive.
    unexplained = bool(pairing.changed) and not pairing.inputs_known
    if drifted or unexplained or stage in (INPUTS, NORMALIZATION):
        return FAILED if pairing.policy.strict_drift else WARNING
    return PASSED


def _pairing_lines(pairing: Pairing) -> Iterator[str]:
    passed = _judge_pairing(pairing) == PASSED
    if not passed:
        yield str(pairing.diagnosis)
    elif pairing.environment:
        yield f"unchanged, despite {', '.join(pairing.environment)}"
    changed = f"{pairing.changed:,} of {pairing.images:,} predictions changed"
    turned = f"{pairing.lost:,} now wrong, {pairing.gained:,} now correct, p = {pairing.p:.2g}"
    if pairing.changed:
        margin = "" if pairing.largest_margin is None else f", largest margin {pairing.largest_margin:.1e}"
        yield (
            f"{changed}: {pairing.beyond_noise:,} beyond noise, {pairing.near_ties:,} near-ties (margin up to "
            f"{pairing.noise_floor.margin:.1e}){margin}; {turned}; {pairing.top5_changed:,} have another top-5 set"
        )
    else:
        yield f"{changed}, {turned}" if pairing.lost or pairing.gained else changed
    if pairing.drift is None:
        yield "no logits in the baseline: near-ties are judged by the margins of this run"
    else:
        yield (
            f"logits moved by {pairing.drift.median:.1e} of the logit scale (median), {pairing.drift.p99:.1e} (99 %), "
            f"{pairing.drift.largest:.1e} (largest); noise floor {pairing.noise_floor.median:.1e} (median), "
            f"{pairing.noise_floor.largest:.1e} (largest)"
        )
    if not passed:
        yield from map(str, pairing.examples)


def _judge_unpaired(counts: Counts, expected: Expected | None, unpaired: Unpaired) -> tuple[str, str]:
    if unpaired.why == "totals" and unpaired.old is not None:
        tolerance = expected.tolerance if expected else TOTALS_TOLERANCE
        for metric, name in METRICS.items():
            before, after = (Fraction(100 * side.correct(metric), side.images) for side in (unpaired.old, counts))
            if abs(after - before) > Fraction(tolerance):
                return FAILED, f"{name} differs by {float(after - before):+.3f} points, tolerance ±{tolerance}"
        return PASSED, unpaired.reason
    if unpaired.why == "damaged":
        return WARNING, f"recorded without pairing: {unpaired.reason}"
    if unpaired.why == "missing" and unpaired.policy.updating:
        return PASSED, "recorded; there was nothing to pair it with"
    if unpaired.why == "missing":
        record = "record a baseline that has it: --baseline DIR --baseline-update"
        return FAILED if expected is None else WARNING, f"{unpaired.reason}; {record}"
    remedy = "" if unpaired.policy.updating else ". Record another: --baseline DIR --baseline-update"
    return FAILED, f"cannot be paired: {unpaired.reason}{remedy}"


def judge_speed(change: SpeedChange, max_slowdown: float) -> Check:
    """Return the check of one timing: fails on a significant slowdown above ``max_slowdown``, a fraction."""
    longer = change.ratio / (change.machine or 1.0) - 1
    if change.significant and longer > max_slowdown:
        by = " by the yardstick" if change.machine else ""
        return Check("speed", FAILED, f"takes {100 * longer:.1f} % longer{by}, allowed {100 * max_slowdown:g} %")
    return Check("speed", PASSED, "")
