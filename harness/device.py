"""Resolves a device by name, describes it, and manages its memory."""

from __future__ import annotations

import ctypes
import platform
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from harness.errors import DeviceError
from harness.records.environment import cpu_name, driver_version

# Large enough to fill an accelerator with any of the models; halved when memory runs out.
_ACCELERATOR_BATCH = 256
# In the order in which ``auto`` prefers them; torch has a module of that name for each.
_ACCELERATORS = ("cuda", "xpu", "mps")
# Larger ones gain nothing: in batches of 16, 32 and 64 ResNet18 runs 76, 76 and 75 images/s on 2 cores.
_CPU_BATCH = 32
# mallopt(3): its parameters, and values near the largest that an int holds.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_ALL, _MAP_NOTHING_BELOW = 2**31 - 1, 2**30


def resolve_device(name: str, option: str = "--device") -> torch.device:
    """Return the device called ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``xpu``.

    Raises:
        DeviceError: the name is unknown, or this machine or this torch has no such device.
    """
    if name == "auto":
        name = next(filter(_is_available, _ACCELERATORS), "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", *_ACCELERATORS) or name.startswith("cpu:"):
        raise DeviceError(f"{option}: expected auto, cpu, cuda, cuda:N, mps or xpu, found {name!r}")
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type in ("mps", "xpu"):
        if not _is_available(device.type):
            raise DeviceError(f"{option} {name}: torch {torch.__version__} does not find this device; use {option} cpu")
        return device
    if not torch.cuda.is_available():
        built = f"was built for CUDA {torch.version.cuda}" if torch.version.cuda else "was built without CUDA"
        raise DeviceError(
            f"{option} {name}: no CUDA device can be used: torch {torch.__version__} {built} and finds no working "
            f"NVIDIA driver and GPU here; run nvidia-smi to see what is there, or use {option} cpu"
        )
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise DeviceError(f"{option} {name}: this machine has {torch.cuda.device_count()} CUDA device(s), from cuda:0")
    return torch.device("cuda", index)


def _is_available(kind: str) -> bool:
    # torch 2.4 has no torch.mps.is_available.
    return bool((torch.backends.mps if kind == "mps" else getattr(torch, kind)).is_available())


def describe_device(device: torch.device) -> str:
    """Return one line: the hardware's name and what drives it."""
    if device.type == "cuda":
        library = f"{'MIOpen' if torch.version.hip else 'cuDNN'} {torch.backends.cudnn.version()}"
        runtime = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
        return f"{device} ({torch.cuda.get_device_name(device)}, {runtime}, {library})"
    threads = torch.get_num_threads()
    return f"{device} ({cpu_name()}, {threads} thread{'' if threads == 1 else 's'})"


def release_memory(device: torch.device) -> None:
    """Release memory that torch's allocator has cached, for blocks of other sizes."""
    if device.type != "cpu":
        getattr(torch, device.type).empty_cache()


def device_facts(device: torch.device) -> dict[str, str | int | None]:
    """Return names and versions of the hardware and its software at run time.

    ``cudnn`` is the loaded library, MIOpen on ROCm, which need not be the one that torch was built with; ``driver`` is
    the kernel's.
    """
    on_cuda = device.type == "cuda"
    onednn = re.search(r"(?:MKL-DNN|oneDNN) v([\d.]+)", torch.__config__.show())  # torch has no other way to ask
    return {
        "cuda": torch.version.cuda if on_cuda else None,
        "hip": torch.version.hip if on_cuda else None,
        "cudnn": str(torch.backends.cudnn.version()) if on_cuda else None,
        "driver": driver_version() if on_cuda else None,
        "device": torch.cuda.get_device_name(device) if on_cuda else device.type,
        "capability": ".".join(map(str, torch.cuda.get_device_capability(device))) if on_cuda else None,
        "onednn": onednn[1] if onednn and device.type == "cpu" else None,
        "instructions": torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else None,
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
    }


def default_batch_size(device: torch.device) -> int:
    """Return the default number of images per forward call."""
    return _CPU_BATCH if device.type == "cpu" else _ACCELERATOR_BATCH


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Return whether memory ran out, on the device or the host; torch has an exception type for CUDA's only.

    cuDNN finds no engine if none has room for its workspace; cuBLAS and cuDNN report a failed allocation as a status.
    """
    signs = ("out of memory", "can't allocate memory", "ALLOC_FAILED", "ALLOCATION_FAILED", "unable to find an engine")
    typed = isinstance(error, torch.cuda.OutOfMemoryError | MemoryError)
    return typed or any(sign in str(error) for sign in signs)


@contextmanager
def memory_for(message: str) -> Iterator[None]:
    """Raise a DeviceError with this message if memory runs out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(message) from error


def free_memory(device: torch.device) -> int:
    """Return the bytes of a CUDA device that can be allocated, including those that torch's allocator has cached."""
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + cached


def current(device: torch.device) -> AbstractContextManager[object]:
    """Make a CUDA device the current one; otherwise pinned memory would open a context on the first GPU as well."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the rest of this process, and return whether it does; it changes no value.

    By default each large block goes back to the kernel, which clears and maps every page again for the next layer. On
    2 cores that costs EfficientNet-Lite0 40% of its speed, ResNet50 25%, VGG16 15%.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, _MAP_NOTHING_BELOW) and mallopt(_M_TRIM_THRESHOLD, _KEEP_ALL))
