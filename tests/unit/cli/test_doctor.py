"""Tests of imagenet-gate doctor and list-models: what they say, and the exit status."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import features

from harness.cli import doctor
from harness.cli.main import main

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


def examine(capsys: pytest.CaptureFixture[str], kind: str) -> tuple[int, list[str]]:
    """Return the exit status, and the lines of one kind without it."""
    status = main(["doctor"])
    lines = capsys.readouterr().out.replace("\n  ", " ").splitlines()  # wrapped
    return status, [line.removeprefix(kind).strip() for line in lines if line.startswith(kind)]


@pytest.mark.usefixtures("machine")
def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """Versions, device, decoder and folders are named; a CPU has no tf32, which is nothing to correct."""
    status, lines = examine(capsys, "ok ")

    assert 0 == status
    subjects = [line.partition(":")[0] for line in lines]
    precisions = [f"precision {name}" for name in ("fp32", "bf16", "fp16")]
    folders = ["decoded images", "weights"]
    assert ["versions", "device", *precisions, "decoder pillow", *folders] == subjects
    assert ["precision tf32: not supported by cpu"] == examine(capsys, "none ")[1]
    assert [] == examine(capsys, "slow")[1]


def test_what_is_slow_is_no_fault(machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A precision without instructions, threads that are fewer than cores, a slow decoder."""
    machine.setattr(doctor, "slowdown", lambda name, _: 8.0 if name == "bf16" else 1.0)
    machine.setattr(doctor, "available_cores", lambda: 2 * torch.get_num_threads())
    machine.setattr(doctor, "libjpeg_turbo_version", lambda: "none")

    status, lines = examine(capsys, "slow")

    threads = torch.get_num_threads()
    assert 0 == status
    assert [
        f"torch uses {threads} of {2 * threads} cores; unset OMP_NUM_THREADS",
        "precision bf16: a convolution takes 8 times as long as in fp32; leave it to a GPU",
        "decoder pillow: has no libjpeg-turbo; install Pillow from its wheel",
    ] == lines


def test_what_is_wrong_says_what_to_do(
    machine: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk, a folder that is a file, a codec, a GPU that torch cannot use."""
    machine.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=7e9))
    machine.setattr(features, "check", lambda codec: codec != "zlib")
    machine.setattr(doctor, "driver_version", lambda: "570.1")
    (tmp_path / "torch").touch()

    status, lines = examine(capsys, "FIX")

    assert 1 == status
    device, codec, store, weights = lines
    assert "device: no GPU can be used, though NVIDIA's driver 570.1 is here; install torch built for CUDA" == device
    assert "decoder pillow: cannot read PNG; install Pillow from its wheel" == codec
    room = "7.0 GB free, 7.5 GB needed for ImageNet at 224 x 224: set IMAGENET_STORE, or give --no-store"
    assert f"decoded images: {tmp_path / 'cache' / 'store'}, {room}" == store
    assert weights.endswith(f"; {tmp_path / 'torch'} cannot be written: set TORCH_HOME")


def test_a_torchvision_of_another_torch(machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It cannot be imported, and nothing else can be examined."""
    machine.setitem(sys.modules, "torchvision", None)

    status, [line] = examine(capsys, "FIX")

    assert 1 == status
    assert line.startswith("torchvision cannot be imported (")
    assert line.endswith("); install the torchvision that belongs to your torch")


def test_no_line_is_longer_than_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """That of the versions was; fp32 is not slower than itself, however busy the machine is."""
    main(["doctor"])

    lines = capsys.readouterr().out.splitlines()
    assert "ok    precision fp32" in lines
    assert [] == [line for line in lines if len(line) > 80 and "/" not in line]  # a path is one word


def test_the_slowdown_is_measured() -> None:
    """fp32 takes about as long as itself."""
    assert 0.1 < doctor.slowdown("fp32", CPU) < 10


def test_models_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its expected values, in a table for each dataset; the project's own within 80 columns."""
    path = tmp_path / "expected.yaml"
    path.write_text(
        "schema_version: 2\ntolerance: 0.05\n"
        "datasets: {imagenet-1k: {images: 50000, source: s}, own: {images: 8, source: t}}\n"
        "models:\n- {model: alexnet, weights: V1, imagenet-1k: {acc@1: 56.522, acc@5: 79.066},"
        " own: {acc@1: 50, acc@5: 75}}\n- {model: vgg16, weights: V2}\n"
    )

    assert main(["list-models", "--expected", str(path)]) == 0

    assert [
        ["imagenet-1k", "top-1", "top-5"],
        ["alexnet-V1", "56.522", "79.066"],
        [],
        ["own", "top-1", "top-5"],
        ["alexnet-V1", "50.000", "75.000"],
        [],
        ["not", "judged", "top-1", "top-5"],
        ["vgg16-V2", "-", "-"],
    ] == [line.split() for line in capsys.readouterr().out.splitlines()]
    assert main(["list-models"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
