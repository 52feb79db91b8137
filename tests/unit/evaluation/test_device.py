"""Tests of harness.evaluation.device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.errors import DeviceError
from harness.evaluation.device import _driver_version, describe_device, device_facts, is_out_of_memory, resolve_device

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


def test_device_facts_of_a_cpu() -> None:
    """There is no CUDA, no cuDNN and no driver to name, also where torch was built for them."""
    facts = device_facts(torch.device("cpu"))

    assert facts == {
        "cuda": None,
        "cudnn": None,
        "driver": None,
        "device": "cpu",
        "cpu": facts["cpu"],
        "threads": torch.get_num_threads(),
    }
    assert str(facts["cpu"]) in describe_device(torch.device("cpu"))


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
    monkeypatch.setattr("harness.evaluation.device.Path", lambda _path: tmp_path / "version")

    assert _driver_version() == version
