"""The rules that turn evidence about a case or a timing into passed, warning or failed.

Whatever judges uses this module: the gate, compare, merge, report and nightly. Stored evidence can be judged again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

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
    Drift,
    Expected,
    NoiseFloor,
    Pairing,
    Unpaired,
    wrapped,
)
from harness.stats import all_among, binomial_tail, images_needed, sampling_band

if TYPE_CHECKING:
    from harness.records.speed import SpeedChange, SpeedTrial

PASSED, WARNING, FAILED = "passed", "warning", "failed"
NOT_JUDGED = "not judged"
"""Outcome of a check with too few images; the case then needs another check."""
BASELINE = "baseline"
PUBLISHED = "published values"
ALPHA = 1e-4
"""Level of each test: with 114 models and two metrics on one fixed subset, a false alarm remains unlikely."""
PAIRED_ALPHA = ALPHA / len(METRICS)
"""Level of each McNemar test of a pairing: top-1 and top-5 share that of the check."""
LARGEST_MISS = 0.5
"""Share of the published value; a subset that could miss a larger drop judges nothing."""
UNKNOWN_INPUTS = 0.1
"""Largest share of predictions that different pixels may change, where a baseline has neither pixels nor logits.

The strongest planted resize changes 8%; of six torchvision models the two most alike differ in 19% of ImageNet.
"""
FARTHEST = 3
"""Arithmetic moves no image by this many times the noise floor's largest; the smallest planted fault reaches 4."""
TOTALS_TOLERANCE = Decimal("0.05")
"""Points by which the totals of two runs may differ where nothing was published; fp32's tolerance in the file."""
_MORE = {"speed": "longer", "memory": "more memory", "compile": "longer to compile"}
"""What a ratio above 1 means, after a percentage, by the kind of evidence."""


class Check(msgspec.Struct, frozen=True):
    """One check and its outcome."""

    name: str
    outcome: str  # PASSED, WARNING, FAILED or NOT_JUDGED
    detail: str  # what was found, in one sentence; lines with more may follow
    could_miss: float = 0.0  # the largest drop, in points, that would pass on a subset; 0 where all images were judged
    needed: int = 0  # images that the check needs; 0 where it judged

    @property
    def reason(self) -> str:
        """The detail after the check's name; that of a comparison with a baseline is complete without it."""
        return self.detail if self.name == BASELINE else f"{self.name}: {self.detail}"

    def __str__(self) -> str:
        outcome = self.outcome if self.outcome in (PASSED, NOT_JUDGED) else self.outcome.upper()
        return f"{self.name}: {outcome}: {self.detail}"


class Verdict(msgspec.Struct, frozen=True):
    """What was judged of one case."""

    checks: tuple[Check, ...]

    @property
    def outcome(self) -> str:
        """The worst outcome of the checks that judged; failed if none did."""
        return worst(check.outcome for check in self.checks if check.outcome != NOT_JUDGED)

    def __str__(self) -> str:
        """What failed, its cause first, in lines of at most 80 columns except the first."""
        first, *others = sorted(self.checks, key=lambda check: (check.outcome != FAILED, check.name != BASELINE))
        texts = [first.reason if first.outcome == FAILED else str(first), *map(str, others)]
        sentence, *lines = "\n".join(texts).split("\n")
        return "\n".join([sentence, *(wrapped(line) for line in lines)])


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
    values (``unpublished`` says why), or on a subset too small for them, the baseline alone judges, and with neither
    the case fails.
    """
    alone = baseline is None
    checks = [] if expected is None else [_check_published(metric, expected, counts, alone) for metric in METRICS]
    if baseline is not None:
        judged = expected if all(check.outcome != NOT_JUDGED for check in checks) else None
        checks.append(_check_baseline(counts, judged, baseline))
    if not checks:
        measured = ", ".join(f"{METRICS[m]} {counts.percent(m):.3f} ({counts.correct(m)} correct)" for m in METRICS)
        detail = (
            f"{unpublished}\n    measured on {counts.images:,} images: {measured}\n    next: point --imagenet at a "
            "dataset with published values, add this one to a file for --expected, or record this run as a baseline: "
            "--baseline DIR --baseline-update"
        )
        checks.append(Check(PUBLISHED, FAILED, detail))
    return Verdict((*checks, *map(_check_bounds, bounds)))


def _check_published(metric: str, expected: Expected, measured: Counts, alone: bool) -> Check:
    whole, name, correct = expected.counts, METRICS[metric], measured.correct(metric)
    found, known = f"measured {measured.percent(metric):.3f}", f"{expected.origin} {whole.percent(metric):.3f}"
    allowed = expected.tolerance_images
    if measured.images == whole.images:
        difference = correct - whole.correct(metric)
        detail = (
            f"{found}, {known} ({100 * difference / measured.images:+.3f} points, allowed ±{expected.tolerance})\n"
            f"    {difference:+,} of {measured.images:,} images, allowed ±{allowed}"
        )
        return Check(name, PASSED if abs(difference) <= allowed else FAILED, detail)
    population = (whole.images, whole.correct(metric), allowed)
    band = sampling_band(*population, measured.images, ALPHA)
    detail = (
        f"{found}, allowed {100 * band.low / measured.images:.2f} to {100 * band.high / measured.images:.2f} on "
        f"{measured.images:,} of {whole.images:,} images\n    {known}; {correct} correct, allowed {band.low} to "
        f"{band.high}; a drop of up to {band.could_miss:.2f} points could be missed"
    )
    inside = band.low <= correct <= band.high
    if inside and band.could_miss > (largest := LARGEST_MISS * whole.percent(metric)):
        needed = images_needed(*population, ALPHA, largest) or whole.images
        outcome, or_else = (FAILED, ", or give --baseline DIR") if alone else (NOT_JUDGED, "")
        detail = f"too few images: raise --limit to {needed:,}{or_else}\n    {detail}"
        return Check(name, outcome, detail, band.could_miss, needed)
    return Check(name, PASSED if inside else FAILED, detail, band.could_miss)


def _check_bounds(bounds: Bounds) -> Check:
    low, high = -math.inf if bounds.low is None else bounds.low, math.inf if bounds.high is None else bounds.high
    expected = f"at least {low:g}" if bounds.high is None else f"{low:g} to {high:g}"
    expected = f"at most {high:g}" if bounds.low is None else expected
    detail = f"{bounds.value:g}, expected {expected}{f': {bounds.detail}' if bounds.detail else ''}"
    return Check(bounds.name, PASSED if low <= bounds.value <= high else FAILED, detail)


def _check_baseline(counts: Counts, expected: Expected | None, evidence: Pairing | Unpaired) -> Check:
    if isinstance(evidence, Unpaired):
        outcome, detail = _judge_unpaired(counts, expected, evidence)
    else:
        outcome, detail = _judge_pairing(evidence)[0], "\n    ".join(_pairing_lines(counts, evidence))
    damaged = isinstance(evidence, Unpaired) and evidence.why == "damaged"
    if evidence.policy.updating and outcome != PASSED and not damaged:
        return Check(BASELINE, WARNING, f"will be replaced despite differences: {detail}")
    return Check(BASELINE, outcome, detail)


def _judge_pairing(pairing: Pairing) -> tuple[str, str]:
    """Return the outcome, and a reason that neither the diagnosis nor the numbers give.

    A change beyond noise fails. A difference that caused none is a warning if it is explained by a named difference of
    the environment or the command, and fails otherwise.
    """
    stage, policy = pairing.diagnosis.stage, pairing.policy
    # With neither pixels nor logits, changed predictions may be due to different inputs: a few are not conclusive.
    conclusive = pairing.inputs_known or pairing.drift is not None
    beyond_noise = pairing.beyond_noise or pairing.top5_beyond_noise
    significant = min(pairing.p, pairing.top5_p) < PAIRED_ALPHA
    if stage in (WEIGHTS, LABELS, COUNTING) or significant or (conclusive and beyond_noise):
        return FAILED, ""
    share = pairing.noise_floor.changed if conclusive else UNKNOWN_INPUTS
    if binomial_tail(pairing.changed, pairing.images, share) < ALPHA:
        cause = "arithmetic explains" if conclusive else "different inputs explain"
        return FAILED, f"more predictions changed than {cause}, which is at most {100 * share:g}%"
    drifted = pairing.drift is not None and is_beyond(pairing.drift, pairing.images, pairing.noise_floor)
    if not (drifted or beyond_noise or stage in (INPUTS, NORMALIZATION)):
        return PASSED, ""
    if policy.strict_drift:
        return FAILED, "--strict-drift allows no difference"
    if pairing.diagnosis.explained or policy.allow_drift or not conclusive:
        return WARNING, ""
    return FAILED, (
        "no prediction changed beyond noise, but no named difference of the environment or the command explains what "
        "differs; --allow-drift makes this a warning"
    )


def is_beyond(drift: Drift, images: int, floor: NoiseFloor) -> bool:
    """Return whether the logits of so many images moved further than arithmetic alone moves them.

    None of the images behind the noise floor drifted further. If that is chance, some of these images may.
    """
    if drift.median > floor.median or drift.largest > (FARTHEST if floor.images else 1) * floor.largest:
        return True
    return bool(drift.beyond) and all_among(drift.beyond, images, floor.images) < ALPHA


def _pairing_lines(counts: Counts, pairing: Pairing) -> Iterator[str]:
    """Yield what differs, its likely cause, its effect and examples, and then the figures."""
    outcome, reason = _judge_pairing(pairing)
    if outcome == PASSED:
        if pairing.environment:
            yield f"unchanged, despite {', '.join(pairing.environment)}"
        yield from (pairing.effect, *pairing.figures)
        return
    yield pairing.diagnosis.sentence
    if pairing.diagnosis.cause:
        yield f"likely cause: {pairing.diagnosis.cause}"
    if reason:
        yield reason
    yield f"effect: {pairing.effect}"
    yield from (f"example: {example}" for example in pairing.examples)
    yield ", ".join(f"{METRICS[m]} {pairing.old_percent(m, counts):.3f} -> {counts.percent(m):.3f}" for m in METRICS)
    yield from pairing.figures
    if pairing.diagnosis.details:
        yield pairing.diagnosis.details


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


def judge_speed(change: SpeedChange, allowed: float) -> Check:
    """Return the check of one timing; it fails if the ratio is significantly more than ``allowed`` above 1."""
    if change.disturbed:
        return Check(change.kind, NOT_JUDGED, f"disturbed: {change.disturbed}")
    more = change.ratio / (change.machine or 1.0) - 1
    if not (change.is_significant and more > allowed):
        return Check(change.kind, PASSED, "")
    by = " by the yardstick" if change.machine else ""
    return Check(change.kind, FAILED, f"takes {100 * more:.1f}% {_MORE[change.kind]}{by}, allowed {100 * allowed:g}%")


def judge_trial(trial: SpeedTrial, allowed: float) -> Check:
    """Return the same for several runs per side, which also tell apart what they rule out and what they cannot see."""
    low, high = (f"{100 * (end - 1):+.1f}" for end in (trial.low, trial.high))
    detail = f"takes {low} to {high}% {_MORE[trial.kind]}, allowed {100 * allowed:g}%"
    if trial.is_significant and trial.ratio > 1 + allowed:
        return Check(trial.kind, FAILED, detail)
    if trial.high > 1 + allowed:
        return Check(trial.kind, NOT_JUDGED, f"{detail}: more runs are needed to tell")
    return Check(trial.kind, PASSED, detail)
