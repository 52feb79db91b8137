"""The gate: ``pytest -m imagenet``; one test for each case, see harness/options.py for its options."""

from __future__ import annotations

import pytest

from harness.records.results import CaseResult
from harness.verdict import FAILED


@pytest.mark.imagenet
def test_accuracy(result: CaseResult) -> None:
    """Top-1 and top-5 are those expected of the model, within the tolerance, neither below nor above."""
    if result.verdict.outcome == FAILED:
        pytest.fail(f"{result.model}: {result.verdict}", pytrace=False)
