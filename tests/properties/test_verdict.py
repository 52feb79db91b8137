"""What judges is monotone: more tolerance never fails more, and worse evidence never passes more."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.records.evidence import (
    ARITHMETIC,
    INPUTS,
    NORMALIZATION,
    WEIGHTS,
    Bounds,
    Counts,
    Diagnosis,
    Drift,
    Expected,
    Pairing,
    Policy,
)
from harness.stats import mcnemar
from harness.verdict import FAILED, PASSED, WARNING, judge
from tests.records import pairing

WHOLE = 1000
counts = st.tuples(st.integers(0, WHOLE), st.integers(0, WHOLE)).map(lambda pair: Counts(WHOLE, min(pair), max(pair)))
tolerances = st.decimals(0, 100, places=2)


def severity(outcome: str) -> int:
    """Return 0 for passed, 1 for a warning, 2 for failed."""
    return (PASSED, WARNING, FAILED).index(outcome)


def judged(measured: Counts, published: Counts, tolerance: Decimal) -> int:
    """Return the severity of the verdict by published values alone."""
    return severity(judge(measured, Expected(published, tolerance), "", None).outcome)


def paired(evidence: Pairing, **policy: Any) -> int:
    """Return the severity of the verdict by a baseline alone, under a policy."""
    evidence = msgspec.structs.replace(evidence, policy=Policy(**policy))
    return severity(judge(Counts(WHOLE, 500, 700), None, "", evidence).outcome)


@given(measured=counts, published=counts, tolerances=st.tuples(tolerances, tolerances))
def test_more_tolerance_fails_no_more(measured: Counts, published: Counts, tolerances: tuple[Decimal, Decimal]) -> None:
    """On a whole dataset."""
    assert judged(measured, published, max(tolerances)) <= judged(measured, published, min(tolerances))


@given(
    images=st.sampled_from([50, 200, 999]),
    top1=st.integers(0, WHOLE),
    share=st.integers(0, WHOLE),
    tolerances=st.tuples(tolerances, tolerances),
)
def test_more_tolerance_fails_no_more_on_a_subset(
    images: int, top1: int, share: int, tolerances: tuple[Decimal, Decimal]
) -> None:
    """Unless it is so much that nothing could fail, which is a failure."""
    measured, published = Counts(images, share * images // WHOLE, images), Counts(WHOLE, top1, WHOLE)
    narrow, wide = (
        judge(measured, Expected(published, tolerance), "", None).checks[0]
        for tolerance in (min(tolerances), max(tolerances))
    )

    assert severity(wide.outcome) <= severity(narrow.outcome) or wide.needed


@given(published=counts, tolerance=tolerances, off=st.tuples(st.integers(0, WHOLE), st.integers(0, WHOLE)))
def test_a_larger_deviation_passes_no_more(published: Counts, tolerance: Decimal, off: tuple[int, int]) -> None:
    """In either direction, which make no difference, for top-1."""
    near, far = (
        {
            judged(Counts(WHOLE, top1, published.top5), published, tolerance)
            for top1 in (published.top1 - by, published.top1 + by)
            if 0 <= top1 <= published.top5
        }
        for by in sorted(off)
    )

    assert max(near, default=0) <= min(far, default=2)
    assert (len(near), len(far)) <= (1, 1)


def evidence_of(draw: st.DrawFn) -> Pairing:
    """Draw evidence of any severity."""
    changed = draw(st.integers(0, 60))
    near_ties = draw(st.integers(0, changed))
    turned = draw(st.integers(0, changed))
    lost = draw(st.integers(0, turned))
    size = st.sampled_from([0.0, 3e-5, 6e-5, 9e-5, 2e-4, 1.0])
    median, p99, largest = sorted(draw(st.tuples(size, size, size)))
    return pairing(
        changed=changed,
        near_ties=near_ties,
        lost=lost,
        gained=turned - lost,
        drift=draw(st.sampled_from([None, Drift(median, p99, largest, draw(st.integers(0, 20)))])),
        diagnosis=Diagnosis(draw(st.sampled_from([ARITHMETIC, INPUTS, NORMALIZATION, WEIGHTS])), "found"),
        inputs_known=draw(st.booleans()),
    )


evidence = st.composite(evidence_of)()


@settings(max_examples=400)
@given(evidence=evidence)
def test_strict_drift_passes_no_more(evidence: Pairing) -> None:
    """It turns warnings into failures, and nothing else."""
    lax, strict = paired(evidence), paired(evidence, strict_drift=True)

    assert strict == {0: 0, 1: 2, 2: 2}[lax]


@settings(max_examples=400)
@given(evidence=evidence)
def test_updating_a_baseline_fails_no_more(evidence: Pairing) -> None:
    """Its differences are warnings; what passes still passes."""
    assert paired(evidence, updating=True) == min(1, paired(evidence))


@settings(max_examples=400)
@given(evidence=evidence, factor=st.floats(1, 1e6), extra=st.integers(0, 20))
def test_more_drift_passes_no_more(evidence: Pairing, factor: float, extra: int) -> None:
    """Whatever else was found."""
    if (drift := evidence.drift) is not None:
        more = Drift(factor * drift.median, factor * drift.p99, factor * drift.largest, drift.beyond + extra)
        assert paired(evidence) <= paired(msgspec.structs.replace(evidence, drift=more))


@settings(max_examples=400)
@given(evidence=evidence, more=st.integers(0, 60), near_ties=st.sampled_from([0, 5, 60]))
def test_more_changed_predictions_pass_no_more(evidence: Pairing, more: int, near_ties: int) -> None:
    """Nor does it help if fewer of them are near-ties."""
    worse = msgspec.structs.replace(
        evidence, changed=evidence.changed + more, near_ties=min(evidence.near_ties, near_ties)
    )

    assert paired(evidence) <= paired(worse)


@given(lost=st.integers(0, 300), gained=st.integers(0, 300))
def test_a_more_lopsided_split_is_less_likely(lost: int, gained: int) -> None:
    """Of the same number of changed images; and it does not matter to which side."""
    assert mcnemar(lost, gained) == mcnemar(gained, lost)
    if 0 < lost <= gained:
        assert mcnemar(lost - 1, gained + 1) <= mcnemar(lost, gained)


@given(measured=counts, published=counts, tolerance=tolerances, value=st.floats(-2, 2))
def test_a_further_check_passes_no_more(measured: Counts, published: Counts, tolerance: Decimal, value: float) -> None:
    """A team's own check can fail a case, and cannot save it."""
    expected = Expected(published, tolerance)
    without, with_check = (
        judge(measured, expected, "", None, bounds) for bounds in ((), (Bounds("own", value, -1, 1),))
    )

    assert severity(with_check.outcome) == max(severity(without.outcome), 0 if -1 <= value <= 1 else 2)
