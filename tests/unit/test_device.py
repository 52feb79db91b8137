"""Tests of harness.device."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.decoding.decoders import decoder_on
from harness.device import (
    is_out_of_memory,
    resolve_device,
)
from harness.errors import DeviceError
from harness.options import Decoder
from harness.records.environment import driver_version
from harness.throughput.machine import reset_peak_memory

CPU = torch.device("cpu")
ON_GLIBC = platform.libc_ver()[0] == "glibc"
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


@pytest.mark.parametrize(
    ("available", "expected"),
    [((), "cpu"), (("mps",), "mps"), (("xpu", "mps"), "xpu"), (("cuda", "xpu", "mps"), "cuda")],
)
def test_auto_prefers_cuda_then_xpu_then_mps(
    monkeypatch: pytest.MonkeyPatch, available: tuple[str, ...], expected: str
) -> None:
    """Simulated; with none of them it is the CPU, and never an error."""
    for module in (torch.cuda, torch.xpu, torch.backends.mps):
        monkeypatch.setattr(module, "is_available", lambda name=module.__name__: name.rpartition(".")[2] in available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)

    assert expected == resolve_device("auto").type


@without_cuda
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_without_cuda_is_an_error(name: str) -> None:
    """A device that does not exist is not replaced by another."""
    with pytest.raises(DeviceError, match=rf"--device {name}: no CUDA device can be used: .* or use --device cpu"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["mps", "xpu"])
def test_an_accelerator_that_is_not_here_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Known by name, and missing on this machine."""
    module = torch.backends.mps if name == "mps" else torch.xpu
    monkeypatch.setattr(module, "is_available", lambda: False)

    with pytest.raises(DeviceError, match=rf"--device {name}: torch .* does not find this device; use --device cpu"):
        resolve_device(name)


def test_a_cuda_device_beyond_the_last_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of those that exist is in the message."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(DeviceError, match=r"--device cuda:2: this machine has 2 CUDA device\(s\), from cuda:0"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "meta", "cpu:7"])
def test_another_name_is_an_error(name: str) -> None:
    """Also one that torch knows, but on which nothing is computed."""
    with pytest.raises(DeviceError, match=rf"--device: expected auto, cpu, cuda, cuda:N, mps or xpu, found '{name}'"):
        resolve_device(name)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA: 2.00 GiB"), True),
        (MemoryError("Unable to allocate 2.00 GiB"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("expected scalar type Float but found Half"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error: RuntimeError | MemoryError, expected: bool) -> None:
    """CUDA's allocator has a type for it; the others have only a text."""
    assert is_out_of_memory(error) == expected


@pytest.mark.parametrize(
    ("about", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.06  Wed Jun 26 2024\nGCC version 12\n",
            "535.183.06",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n", "580.65.06"),
        ("something else\n", None),
    ],
)
def test_the_driver_is_the_kernels(
    about: str, version: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both ways in which NVIDIA's module writes its version."""
    (tmp_path / "version").write_text(about)
    monkeypatch.setattr("harness.records.environment.Path", lambda _path: tmp_path / "version")

    assert driver_version() == version


def test_nvjpeg_needs_a_cuda_device_and_a_recent_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other decoders run anywhere."""
    assert decoder_on("torchvision", CPU) == Decoder("torchvision")
    with pytest.raises(DeviceError, match="nvjpeg decodes on a CUDA device, and the device is cpu; use torchvision"):
        decoder_on("nvjpeg", CPU)

    for version, works in (("0.9.1", False), ("0.19.1+cu124", False), ("0.20.0", True), ("1.0.0", True)):
        monkeypatch.setattr("torchvision.__version__", version)
        if works:
            assert decoder_on("nvjpeg", torch.device("cuda", 1)) == Decoder("nvjpeg", "cuda:1")
        else:
            with pytest.raises(DeviceError, match=rf"nvjpeg needs torchvision 0\.20, found {version[:3]}"):
                decoder_on("nvjpeg", torch.device("cuda", 1))


@pytest.mark.slow
def test_freed_memory_is_kept() -> None:
    """A freed block is used again: no page of a large tensor is mapped anew; and peaks are those since the reset."""
    code = (
        "import resource, torch\n"
        "from harness.device import keep_freed_memory\n"
        "from harness.throughput.machine import peak_memory, reset_peak_memory\n"
        "cpu = torch.device('cpu')\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    torch.ones(10_000_000)\n"  # 40 MB: more than glibc would keep by itself
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "def peak(megabytes):\n"
        "    reset_peak_memory(cpu)\n"
        "    torch.ones(megabytes * 250_000)\n"
        "    return peak_memory(cpu) / 1e6\n"
        "given_back = min(faults() for _ in range(40))\n"
        "print(keep_freed_memory(), given_back > 10 * (min(faults() for _ in range(40)) + 1))\n"
        "small, large, small_again = peak(10), peak(400), peak(10)\n"
        "print(350 < large - small < 450, abs(small_again - small) < 50)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    kept, peaks = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment).splitlines()

    assert kept == ("True True" if ON_GLIBC else "False False")
    assert peaks == "True True" or not ON_GLIBC


def test_where_the_peak_cannot_be_reset_timing_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container that forbids it: a folder cannot be written to either."""
    monkeypatch.setattr("harness.throughput.machine._CLEAR_REFS", tmp_path)

    reset_peak_memory(torch.device("cpu"))

    assert list(tmp_path.iterdir()) == []
