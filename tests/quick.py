"""Less work to measure the machine, for tests that time a model."""

from __future__ import annotations

import pytest


def measure_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure small products, few times, and nothing of the processor that pytest-benchmark takes a second for."""
    monkeypatch.setattr("harness.throughput.timing._PRODUCT_SIDE", {"cpu": 64})
    monkeypatch.setattr("harness.throughput.timing._LEAST_SECONDS", 0.0)
    monkeypatch.setattr("harness.throughput.machine._PRODUCTS", 3)
    monkeypatch.setattr("pytest_benchmark.plugin.get_cpu_info", dict)
