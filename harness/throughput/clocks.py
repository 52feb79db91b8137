"""Clocks of a GPU and what throttles them, read by NVML if its Python package (extra ``nvml``) is installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

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


def read_clocks(device: torch.device) -> dict[str, Any] | None:
    """Return the SM clock and its maximum, temperature, power, and reasons for throttling; None if they are not known.

    Returns:
        ``sm_mhz``, ``sm_max_mhz``, ``celsius``, ``watts``, and ``throttled``: a list of reasons.
    """
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
