"""The gate: ``pytest -m imagenet``; one test for each case, see harness/plugin.py for its options."""

from __future__ import annotations

import pytest

from harness.reporting.case_record import CaseRecord


@pytest.mark.imagenet
def test_accuracy(evaluated: CaseRecord) -> None:
    """Top-1 and top-5 are those expected of the model, within the tolerance, neither below nor above."""
    if not evaluated.verdict.held:
        pytest.fail(f"{evaluated.id} on {evaluated.split}\n{evaluated.verdict}", pytrace=False)
