"""Speed: ``pytest -m throughput``; one test for each case and batch size, see harness/options.py for its options."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.evaluation.throughput import TimedForward, refuse_non_finite


@pytest.mark.throughput
def test_throughput(timed: TimedForward, benchmark: BenchmarkFixture) -> None:
    """The forward is timed, and what it gives are logits still."""
    logits = benchmark(timed)

    refuse_non_finite(logits)
