"""Tests of ``imagenet-gate doctor``: what it says, and the exit status."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import features

from harness.cli import doctor
from tests.unit.cli.conftest import Answer, CommandLine

CPU = torch.device("cpu")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine on which nothing is wrong, unless its fixture is used to change it."""
    monkeypatch.setenv("IMAGENET_STORE", str(tmp_path / "cache" / "store"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("harness.device.resolve_device", lambda _: CPU)
    monkeypatch.setattr(doctor, "driver_version", lambda: None)
    monkeypatch.setattr(doctor, "available_cores", torch.get_num_threads)
    monkeypatch.setattr(doctor, "slowdown", lambda *_: 1.0)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=8e9))
    return monkeypatch


def of_kind(kind: str, found: Answer) -> list[str]:
    """Return the lines of one kind without it."""
    lines = found.out.replace("\n  ", " ").splitlines()  # wrapped
    return [line.removeprefix(kind).strip() for line in lines if line.startswith(kind)]


@pytest.mark.usefixtures("machine")
def test_all_is_well(cli: CommandLine) -> None:
    """Versions, device, decoder and folders are named; a CPU has no tf32, which is nothing to correct."""
    found = cli("doctor")

    precisions = [f"precision {name}" for name in ("fp32", "bf16", "fp16")]
    subjects = [line.partition(":")[0] for line in of_kind("ok ", found)]
    assert ["versions", "device", *precisions, "decoder pillow", "decoded images", "weights"] == subjects
    assert ["precision tf32: not supported by cpu"] == of_kind("none ", found)
    assert ([], 0) == (of_kind("slow", found), found.status)


def test_what_is_slow_is_no_fault(machine: pytest.MonkeyPatch, cli: CommandLine) -> None:
    """A precision without instructions, threads that are fewer than cores, a slow decoder."""
    threads = torch.get_num_threads()
    machine.setattr(doctor, "slowdown", lambda name, _: 8.0 if name == "bf16" else 1.0)
    machine.setattr(doctor, "available_cores", lambda: 2 * threads)
    machine.setattr(doctor, "libjpeg_turbo_version", lambda: "none")

    found = cli("doctor")

    assert [
        f"torch uses {threads} of {2 * threads} cores; unset OMP_NUM_THREADS",
        "precision bf16: a convolution takes 8 times as long as in fp32; leave it to a GPU",
        "decoder pillow: has no libjpeg-turbo; install Pillow from its wheel",
    ] == of_kind("slow", found)
    assert 0 == found.status


def test_what_is_wrong_says_what_to_do(machine: pytest.MonkeyPatch, tmp_path: Path, cli: CommandLine) -> None:
    """A full disk, a folder that is a file, a codec, a GPU that torch cannot use; a torchvision of another torch."""
    machine.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=7e9))
    machine.setattr(features, "check", lambda codec: codec != "zlib")
    machine.setattr(doctor, "driver_version", lambda: "570.1")
    (tmp_path / "torch").touch()

    found = cli("doctor")
    machine.setitem(sys.modules, "torchvision", None)
    without = cli("doctor")

    *others, weights = of_kind("FIX", found)
    assert [
        "device: no GPU can be used, though NVIDIA's driver 570.1 is here; install torch built for CUDA",
        "decoder pillow: cannot read PNG; install Pillow from its wheel",
        f"decoded images: {tmp_path / 'cache' / 'store'}, 7.0 GB free, 7.5 GB needed for ImageNet at 224 x 224: "
        "set IMAGENET_STORE, or give --no-store",
    ] == others
    assert weights.endswith(f"; {tmp_path / 'torch'} cannot be written: set TORCH_HOME")
    [torchvision] = of_kind("FIX", without)  # since nothing else can be examined
    assert torchvision.startswith("torchvision cannot be imported (")
    assert torchvision.endswith("); install the torchvision that belongs to your torch")
    assert (1, 1) == (found.status, without.status)


def test_no_line_is_longer_than_a_terminal(cli: CommandLine) -> None:
    """That of the versions was; fp32 is not slower than itself, however busy the machine is."""
    lines = cli("doctor").lines

    assert "ok    precision fp32" in lines
    assert [] == [line for line in lines if len(line) > 80 and "/" not in line]  # a path is one word
