"""Tests of harness.device."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from harness.decoding.decoders import decoder_on
from harness.device import is_out_of_memory, resolve_device
from harness.errors import DeviceError
from harness.options import Decoder
from harness.records.environment import driver_version
from harness.throughput.machine import reset_peak_memory

CPU = torch.device("cpu")
ON_GLIBC = platform.libc_ver()[0] == "glibc"


def _simulate(monkeypatch: pytest.MonkeyPatch, available: str) -> None:
    """Let torch find these accelerators, and two CUDA devices, of which the second is the current one."""
    for name, module in (("cuda", torch.cuda), ("xpu", torch.xpu), ("mps", torch.backends.mps)):
        monkeypatch.setattr(module, "is_available", lambda name=name: name in available.split())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


@pytest.mark.parametrize(
    ("available", "name", "expected"),
    [
        ("", "auto", "cpu"),
        ("mps", "auto", "mps"),
        ("xpu mps", "auto", "xpu"),
        ("cuda xpu mps", "auto", "cuda:1"),
        ("cuda", "cuda:0", "cuda:0"),
        ("cuda", "cpu", "cpu"),
    ],
)
def test_a_device_is_found_by_name(available: str, name: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``auto`` prefers CUDA, then XPU, then MPS, and is never an error."""
    _simulate(monkeypatch, available)

    assert torch.device(expected) == resolve_device(name)


@pytest.mark.parametrize(
    ("available", "name", "sentence"),
    [
        *(("", name, f" {name}: no CUDA device can be used: .* or use --device cpu") for name in ("cuda", "cuda:1")),
        *(("", name, f" {name}: torch .* does not find this device; use --device cpu") for name in ("mps", "xpu")),
        ("cuda", "cuda:2", r" cuda:2: this machine has 2 CUDA device\(s\), from cuda:0"),
        # Also one that torch knows, but on which nothing is computed.
        *(("", name, f": expected auto, .* or xpu, found '{name}'") for name in ("gpu", "cuda:x", "", "meta", "cpu:7")),
    ],
)
def test_a_missing_device(available: str, name: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not replaced by another."""
    _simulate(monkeypatch, available)

    with pytest.raises(DeviceError, match=rf"^--device{sentence}$"):
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
    assert expected == is_out_of_memory(error)


@pytest.mark.parametrize(
    ("about", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.06  Wed Jun 26 2024\nGCC version 12\n", "535.183.06"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n", "580.65.06"),
        ("something else\n", None),
    ],
)
def test_driver_version(about: str, version: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That of the kernel, in both ways in which NVIDIA's module writes its version."""
    (tmp_path / "version").write_text(about)
    monkeypatch.setattr("harness.records.environment.Path", lambda _path: tmp_path / "version")

    assert version == driver_version()


@pytest.mark.parametrize(
    ("version", "works"), [("0.9.1", False), ("0.19.1+cu124", False), ("0.20.0", True), ("1.0.0", True)]
)
def test_nvjpeg_needs_a_recent_torchvision(version: str, works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a CUDA device; the other decoders run anywhere."""
    monkeypatch.setattr("torchvision.__version__", version)
    rejected = pytest.raises(DeviceError, match=rf"nvjpeg needs torchvision 0\.20, found {version[:3]}")

    assert Decoder("torchvision") == decoder_on("torchvision", CPU)
    with nullcontext() if works else rejected:
        assert Decoder("nvjpeg", "cuda:1") == decoder_on("nvjpeg", torch.device("cuda", 1))


@pytest.mark.slow
def test_freed_memory_is_kept(pytestconfig: pytest.Config) -> None:
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
    environment = {**os.environ, "PYTHONPATH": str(pytestconfig.rootpath)}

    kept, peaks = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment).splitlines()

    assert ("True True" if ON_GLIBC else "False False") == kept
    assert "True True" == peaks or not ON_GLIBC


def test_where_the_peak_cannot_be_reset_timing_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container that forbids it: a folder cannot be written to either."""
    monkeypatch.setattr("harness.throughput.machine._CLEAR_REFS", tmp_path)

    reset_peak_memory(CPU)

    assert [] == list(tmp_path.iterdir())
