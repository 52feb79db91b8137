"""The device by name, and what there is to say about it."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import torch
import torchvision

from harness.data.decoder import Decoder
from harness.errors import DeviceError

# Large enough to fill an accelerator on any of the models; memory that runs out halves it.
_CUDA_BATCH = 256
# Beyond this the models that were measured gain nothing (2 cores, freed memory kept), in batches of 16, 32 and 64:
# ResNet18 76, 76 and 75 images/s, EfficientNet-Lite0 93, 94 and 88; only AlexNet does, 187, 206 and 219.
_CPU_BATCH = 32


def resolve_device(name: str) -> torch.device:
    """Return the device called ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceError: the name is unknown, or this machine or this torch has no such device.
    """
    if name == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise DeviceError(f"--device {name!r}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = f"was built for CUDA {torch.version.cuda}" if torch.version.cuda else "was built without CUDA"
        raise DeviceError(
            f"--device {name}: no CUDA device can be used: torch {torch.__version__} {built} and finds no working "
            "NVIDIA driver and GPU here; run nvidia-smi to see what is there, or use --device cpu"
        )
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise DeviceError(
            f"--device {name}: this machine shows {torch.cuda.device_count()} CUDA device(s), from cuda:0"
        )
    return torch.device("cuda", index)


def describe_device(device: torch.device) -> str:
    """Return one line: the hardware's name and what drives it."""
    if device.type == "cuda":
        cudnn = torch.backends.cudnn.version()
        return f"{device} ({torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, cuDNN {cudnn})"
    threads = torch.get_num_threads()
    return f"cpu ({_cpu_name()}, {threads} thread{'' if threads == 1 else 's'})"


def device_facts(device: torch.device) -> dict[str, str | int | None]:
    """Return what drives the device and how fast it could be: names and versions, as they are at run time.

    ``cudnn`` is the library that was loaded, which need not be the one that torch was built with; ``driver`` is that
    of the kernel. Both are None on a CPU.
    """
    on_cuda = device.type == "cuda"
    return {
        "cuda": torch.version.cuda if on_cuda else None,
        "cudnn": str(torch.backends.cudnn.version()) if on_cuda else None,
        "driver": _driver_version() if on_cuda else None,
        "device": torch.cuda.get_device_name(device) if on_cuda else "cpu",
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
    }


def default_batch_size(device: torch.device) -> int:
    """Return the number of images in a forward call when nobody says otherwise."""
    return _CUDA_BATCH if device.type == "cuda" else _CPU_BATCH


def decoder_on(name: str, device: torch.device) -> Decoder:
    """Return the decoder by name; nvjpeg decodes on ``device``.

    Raises:
        DeviceError: nvjpeg without a CUDA device, or with a torchvision that decodes no batches there.
    """
    if name != "nvjpeg":
        return Decoder(name)
    if device.type != "cuda":
        raise DeviceError(f"--decoder nvjpeg decodes on a CUDA device, and the device is {device}; use torchvision")
    if tuple(int(part) for part in torchvision.__version__.split(".")[:2]) < (0, 20):
        raise DeviceError(f"--decoder nvjpeg needs torchvision 0.20, found {torchvision.__version__}; use torchvision")
    return Decoder(name, str(device))


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether memory ran out, on the device or the host; only CUDA's own allocator has a type for it."""
    signs = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(sign in str(error) for sign in signs)


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _driver_version() -> str | None:
    """Return the version of NVIDIA's kernel module; None where it does not say, as in WSL."""
    about = Path("/proc/driver/nvidia/version")
    found = re.search(r"Kernel Module[^\n]*?\s(\d+(?:\.\d+)+)\s", about.read_text()) if about.exists() else None
    return found[1] if found else None
