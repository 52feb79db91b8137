"""The largest use of memory while a model is timed."""

from __future__ import annotations

import ctypes
import platform
import re
from contextlib import suppress
from pathlib import Path

import torch

# proc(5): writing 5 resets the process's peak resident memory, VmHWM.
_CLEAR_REFS, _RESET_PEAK = Path("/proc/self/clear_refs"), "5"
_STATUS = Path("/proc/self/status")


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak that ``peak_memory`` returns; freed memory is given back first where that is possible."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif platform.libc_ver()[0] == "glibc" and _CLEAR_REFS.exists():
        ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):  # a container may forbid it; the peak is then that of the process so far
            _CLEAR_REFS.write_text(_RESET_PEAK)


def peak_memory(device: torch.device) -> int | None:
    """Return the largest use of memory since ``reset_peak_memory``, in bytes; None where it is not known.

    On CUDA that of torch's allocator; on Linux the resident memory of the whole process, torch itself included.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE) if _STATUS.exists() else None
    return int(found[1]) * 1024 if found else None
