"""The machine while a model is timed: its memory, its clocks, and how fast it is at the moment."""

from __future__ import annotations

import ctypes
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from harness.device import release_memory

# proc(5): writing 5 to the first resets the process's peak resident memory, which the other names VmHWM.
_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
# nvml.h: nvmlClocksEventReasons; 1 is an idle GPU, and is left out.
_REASONS = {
    0x2: "applications clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
}
_PERIOD = 0.1  # seconds between two looks at the clocks
_SIDE, _PRODUCTS = 1024, 40  # of the yardstick: together a quarter of a second on two cores


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak that ``peak_memory`` returns; freed memory is given back first where that is possible."""
    allocator = _allocator_of(device)
    if allocator is not None:
        release_memory(device)
        allocator.reset_peak_memory_stats(device)
    elif platform.libc_ver()[0] == "glibc" and _CLEAR_REFS.exists():
        ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):  # a container may forbid it; the peak is then that of the process so far
            _CLEAR_REFS.write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """Return what ``TimingResult.peak_memory`` keeps, since ``reset_peak_memory``; None where it is not known."""
    allocator = _allocator_of(device)
    if allocator is not None:
        return int(allocator.max_memory_allocated(device))
    found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE) if _STATUS.exists() else None
    return int(found[1]) * 1024 if found else None


def _allocator_of(device: torch.device) -> Any:
    """Return the module of torch that counts the device's memory; None if it has none."""
    module = getattr(torch, device.type, None)
    return module if hasattr(module, "max_memory_allocated") else None


def read_clocks(device: torch.device) -> dict[str, Any] | None:
    """Return what NVML says of a GPU, if its Python package (extra ``nvml``) is installed; None if it is not known."""
    if device.type != "cuda":
        return None
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        # Not by index: NVML counts all GPUs, CUDA only those in CUDA_VISIBLE_DEVICES.
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        return {
            "sm_mhz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            "sm_max_mhz": nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
            "celsius": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            "watts": nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            "throttled": [name for bit, name in _REASONS.items() if reasons & bit],
        }
    except (nvml.NVMLError, AttributeError):  # no driver, a MIG slice, or a torch that has no UUID of it
        return None


@contextmanager
def watched_clocks(device: torch.device) -> Iterator[Callable[[], dict[str, Any] | None]]:
    """Yield a ``read_clocks`` that returns all throttling until then: the clocks are read ten times a second."""
    seen: dict[str, None] = {}
    ended = threading.Event()

    def read() -> dict[str, Any] | None:
        if (clocks := read_clocks(device)) is not None:
            seen.update(dict.fromkeys(clocks["throttled"]))
            clocks["throttled"] = list(seen)
        return clocks

    def watch() -> None:
        while not ended.wait(_PERIOD) and read() is not None:
            pass

    read()  # imports what it needs before the calls
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield read
    finally:
        ended.set()
        thread.join()


def measure_yardstick(device: torch.device) -> float | None:
    """Return the seconds that numpy takes for a product of two matrices, the median of many; None but for a CPU.

    A CPU's speed depends on its temperature and on other jobs: where this time is the same, the machine was as fast.
    """
    if device.type != "cpu":
        return None
    left, right = np.ones((2, _SIDE, _SIDE), dtype=np.float32)
    product = np.empty_like(left)
    return median(seconds_of(lambda: np.matmul(left, right, out=product)) for _ in range(_PRODUCTS))


def seconds_of(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
