"""Speed: ``pytest -m throughput``; one test per case and batch size, see harness/throughput/plugin.py."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.throughput.timing import TimedForward, require_finite


@pytest.mark.throughput
def test_throughput(timed: TimedForward, benchmark: BenchmarkFixture) -> None:
    """The forward is timed, and its logits are finite to the end."""
    logits = benchmark(timed)

    require_finite(logits)
