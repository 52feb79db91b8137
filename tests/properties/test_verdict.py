"""What judges is monotone: more tolerance never fails more, and worse evidence never passes more."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.records import evidence as stages
from harness.records.evidence import Counts, Diagnosis, Drift, Expected, Pairing
from harness.verdict import FAILED, PASSED, WARNING, judge
from tests.records import pairing

WHOLE = 1000
counts = st.tuples(st.integers(0, WHOLE), st.integers(0, WHOLE)).map(lambda pair: Counts(WHOLE, min(pair), max(pair)))
tolerances = st.decimals(0, 100, places=2)


def severity(outcome: str) -> int:
    """Return 0 for passed, 1 for a warning, 2 for failed."""
    return (PASSED, WARNING, FAILED).index(outcome)


def paired(evidence: Pairing) -> int:
    """Return the severity of the verdict by a baseline alone."""
    return severity(judge(Counts(WHOLE, 500, 700), None, "", evidence).outcome)


@given(
    images=st.sampled_from([50, 200, 999, WHOLE]),
    share=counts,
    published=counts,
    both=st.tuples(tolerances, tolerances),
)
def test_more_tolerance_fails_no_more(
    images: int, share: Counts, published: Counts, both: tuple[Decimal, Decimal]
) -> None:
    """Unless it is so much on a subset that nothing could fail, which is a failure."""
    measured = Counts(images, share.top1 * images // WHOLE, share.top5 * images // WHOLE)
    narrow, wide = (judge(measured, Expected(published, tolerance), "", None).checks for tolerance in sorted(both))

    for less, more in zip(narrow, wide, strict=True):
        assert severity(more.outcome) <= severity(less.outcome) or more.needed


@given(published=counts, tolerance=tolerances, off=st.tuples(st.integers(0, WHOLE), st.integers(0, WHOLE)))
def test_a_larger_deviation_passes_no_more(published: Counts, tolerance: Decimal, off: tuple[int, int]) -> None:
    """In either direction, which make no difference, for top-1."""
    near, far = (
        {
            severity(judge(Counts(WHOLE, top1, published.top5), Expected(published, tolerance), "", None).outcome)
            for top1 in (published.top1 - by, published.top1 + by)
            if 0 <= top1 <= published.top5
        }
        for by in sorted(off)
    )

    assert max(near, default=0) <= min(far, default=2)
    assert (len(near), len(far)) <= (1, 1)


@st.composite
def evidence_of_any_severity(draw: st.DrawFn) -> Pairing:
    """Draw evidence that passes, warns or fails."""
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
        diagnosis=Diagnosis(
            draw(st.sampled_from([stages.ARITHMETIC, stages.INPUTS, stages.NORMALIZATION, stages.WEIGHTS])), "found"
        ),
        inputs_known=draw(st.booleans()),
    )


@settings(max_examples=400)
@given(
    evidence_of_any_severity(), st.floats(1, 1e6), st.integers(0, 20), st.integers(0, 60), st.sampled_from([0, 5, 60])
)
def test_worse_evidence_passes_no_more(
    evidence: Pairing, factor: float, beyond: int, more: int, near_ties: int
) -> None:
    """Neither more drift, nor more changed predictions, also if fewer of them are near-ties."""
    fewer = min(evidence.near_ties, near_ties)
    changed = msgspec.structs.replace(evidence, changed=evidence.changed + more, near_ties=fewer)

    assert paired(evidence) <= paired(changed)
    if (drift := evidence.drift) is not None:
        moved = Drift(factor * drift.median, factor * drift.p99, factor * drift.largest, drift.beyond + beyond)
        assert paired(evidence) <= paired(msgspec.structs.replace(evidence, drift=moved))
