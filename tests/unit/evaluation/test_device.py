"""Tests of harness.evaluation.device."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.errors import DeviceError
from harness.evaluation.device import describe_device, is_out_of_memory, resolve_device

ROOT = Path(__file__).parents[3]

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
with_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@without_cuda
def test_auto_is_the_cpu_where_there_is_no_cuda() -> None:
    """Auto never fails."""
    assert resolve_device("auto") == torch.device("cpu")


@with_cuda
def test_auto_is_cuda_where_there_is_one() -> None:
    """Auto takes the accelerator."""
    assert resolve_device("auto").type == "cuda"


@without_cuda
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_without_cuda_is_an_error(name: str) -> None:
    """A device that is not there is not replaced by another."""
    with pytest.raises(DeviceError, match=rf"--device {name}: no CUDA device can be used: .* or use --device cpu"):
        resolve_device(name)


def test_a_cuda_device_beyond_the_last_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuda:7 of a machine with two is told so."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    with pytest.raises(DeviceError, match=r"--device cuda:7: this machine shows 2 CUDA device\(s\)"):
        resolve_device("cuda:7")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "mps"])
def test_another_name_is_an_error(name: str) -> None:
    """The sentence lists what is expected."""
    with pytest.raises(DeviceError, match=rf"--device '{name}': expected auto, cpu, cuda or cuda:N"):
        resolve_device(name)


def test_the_cpu_is_described_by_its_name_and_threads() -> None:
    """The header says what computed."""
    description = describe_device(torch.device("cpu"))

    assert description.startswith("cpu (")
    assert description.endswith(f", {torch.get_num_threads()} threads)")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("expected scalar type Float but found Half"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error: RuntimeError, expected: bool) -> None:
    """CUDA's allocator has a type for it; the host's, cuBLAS and cuDNN only say so."""
    assert is_out_of_memory(error) == expected


def test_freed_memory_is_kept() -> None:
    """A block that was freed is used again: after a few rounds no page of a large tensor is mapped anew."""
    code = (
        "import resource, torch\n"
        "from harness.evaluation.memory import keep_freed_memory\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    torch.ones(10_000_000)\n"  # 40 MB: more than glibc would keep by itself
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "given_back = min(faults() for _ in range(40))\n"
        "kept = keep_freed_memory()\n"
        "print(kept, given_back > 10 * (min(faults() for _ in range(40)) + 1))"
    )

    output = subprocess.check_output(
        [sys.executable, "-c", code], text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )

    assert output == ("True True\n" if platform.libc_ver()[0] == "glibc" else "False False\n")
