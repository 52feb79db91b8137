"""Tests of harness.bench."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.bench import Bench
from harness.errors import DeviceError, EvaluationError
from harness.evaluation.setting import Setting
from harness.evaluation.spec import ModelSpec
from harness.gate.cases import Workload
from harness.gate.expected import Entry
from tests.unit.evaluation.test_throughput import PRESET

CHANNELS_LAST, CONTIGUOUS = Setting(), Setting("fp32", "contiguous")


@pytest.fixture(autouse=True)
def _less_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.evaluation.throughput._PRODUCT_SIDE", {"cpu": 64})
    monkeypatch.setattr("harness.evaluation.yardstick._PRODUCTS", 3)


def small() -> nn.Module:
    """Build a model with a kernel larger than one pixel, which tells memory formats apart."""
    return nn.Sequential(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def broken() -> nn.Module:
    """Build a model that gives no logits."""
    return nn.Flatten(0)


def _workload(function: str, setting: Setting = CHANNELS_LAST, batch_size: int = 2) -> Workload:
    return Workload(Entry(ModelSpec(function, "V1", f"{__name__}:{function}", PRESET), ()), setting, batch_size)


def test_the_record_is_that_of_the_workload() -> None:
    """Its names, its setting, the calls, and what was measured around them."""
    with Bench("cpu", ["fp32"]).prepared(_workload("small", CONTIGUOUS, batch_size=3)) as timed:
        timed.forward()
        record = timed.record([0.5, 0.25])

    assert (record.id, record.model, record.weights) == ("small-V1-fp32-contiguous-b3", "small", "V1")
    assert (record.precision, record.memory_format, record.compiled) == ("fp32", "contiguous", False)
    assert (record.batch_size, record.seconds, record.device_seconds) == (3, (0.5, 0.25), None)
    assert record.gflops == 6 * 6 * 270 / 1e9
    assert record.yardstick is not None
    assert record.yardstick > 0
    assert record.clocks is None


def test_the_next_batch_size_has_the_same_model_and_the_next_setting_its_own() -> None:
    """Building a model takes longer than timing it; but a model in another memory format is another one."""
    bench = Bench("cpu", ["fp32"])

    first, again = bench.loaded(_workload("small")), bench.loaded(_workload("small", batch_size=64))
    other = bench.loaded(_workload("small", CONTIGUOUS))

    kernels = [next(loaded.model.parameters()) for loaded in (first, other)]
    assert first is again
    assert [kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels] == [True, False]


def test_the_peak_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a session all timings of a precision are told as a share of one peak."""
    peaks = iter([1.0, 2.0])
    monkeypatch.setattr("harness.bench.peak_tflops", lambda _setting, _device: next(peaks))
    bench = Bench("cpu", ["fp32"])

    assert [bench.peak(CHANNELS_LAST), bench.peak(CONTIGUOUS)] == [1.0, 1.0]


def test_a_model_without_logits_is_refused_before_it_is_timed() -> None:
    """As the gate refuses it."""
    with (
        pytest.raises(EvaluationError, match="expected logits of shape"),
        Bench("cpu", ["fp32"]).prepared(_workload("broken")),
    ):
        pass


def test_a_precision_that_the_device_lacks_is_not_timed() -> None:
    """It would be timed as another under its name."""
    with pytest.raises(DeviceError, match=r"^--precision tf32: a CPU does not have it"):
        Bench("cpu", ["fp32", "tf32"])
