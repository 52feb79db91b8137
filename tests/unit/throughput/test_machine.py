"""Tests of harness.throughput.machine, with an NVML that is none."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from harness.throughput.machine import peak_memory, reset_peak_memory, watched_clocks

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")


class NVMLError(Exception):
    """What the package raises."""


def _fail() -> None:
    raise NVMLError("Driver Not Loaded")


def _nvml(**functions: object) -> SimpleNamespace:
    known = {
        "NVMLError": NVMLError,
        "NVML_CLOCK_SM": 1,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetClockInfo": lambda handle, clock: {("GPU-abc", 1): 1755}[handle, clock],
        "nvmlDeviceGetMaxClockInfo": lambda handle, clock: {("GPU-abc", 1): 1980}[handle, clock],
        "nvmlDeviceGetTemperature": lambda handle, sensor: {("GPU-abc", 0): 61}[handle, sensor],
        "nvmlDeviceGetPowerUsage": lambda _handle: 512_250,
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _handle: 0x1,
    }
    return SimpleNamespace(**{**known, **functions})


@pytest.fixture(autouse=True)
def _a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: SimpleNamespace(uuid="abc"))


def test_clocks_and_what_throttles_them_during_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the GPU that torch uses, by its UUID; the third look alone sees heat, and an idle GPU is not throttled."""
    reasons = iter([0x4, 0x4, 0x40])
    third = threading.Event()

    def look(_handle: str) -> int:
        found = next(reasons, None)
        if found is None:
            third.set()
        return found or 0x1

    monkeypatch.setitem(sys.modules, "pynvml", _nvml(nvmlDeviceGetCurrentClocksThrottleReasons=look))
    monkeypatch.setattr("harness.throughput.machine._PERIOD", 0.001)

    with watched_clocks(CUDA) as clocks:
        assert third.wait(60)
        found = clocks()

    assert found == {
        "sm_mhz": 1755,
        "sm_max_mhz": 1980,
        "celsius": 61,
        "watts": 512.25,
        "throttled": ["power cap", "hardware thermal slowdown"],
    }
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("(watch)")]


@pytest.mark.parametrize(
    ("device", "nvml"),
    [(CUDA, _nvml(nvmlInit=_fail)), (CUDA, None), (CPU, _nvml())],
    ids=["no driver", "no package", "a CPU"],
)
def test_where_there_are_no_clocks(device: torch.device, nvml: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML's error is not the run's."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml)

    with watched_clocks(device) as clocks:
        assert clocks() is None


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_the_peak_on_an_accelerator_is_that_of_its_allocator(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Simulated; what torch had cached is given back first."""
    calls: list[str] = []
    module = getattr(torch, kind)
    monkeypatch.setattr(module, "empty_cache", lambda: calls.append("empty_cache"))
    monkeypatch.setattr(module, "reset_peak_memory_stats", lambda _: calls.append("reset"), raising=False)
    monkeypatch.setattr(module, "max_memory_allocated", lambda _: 5, raising=False)

    reset_peak_memory(torch.device(kind))

    assert ["empty_cache", "reset"] == calls
    assert 5 == peak_memory(torch.device(kind))
