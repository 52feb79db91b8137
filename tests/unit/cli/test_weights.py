"""Tests of imagenet-gate weights: files in torch's cache, by size and sha256."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from torchvision.models import AlexNet_Weights, VGG16_Weights

from harness.cli.main import main

ALEXNET = ["--models", "alexnet,vgg16"]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """An empty cache of torch, and two weights files of 3 MiB where torchvision says that they are published."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    found = {}
    for name, weights in {"alexnet": AlexNet_Weights, "vgg16": VGG16_Weights}.items():
        content = name.encode() * 2**18
        path = tmp_path / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        path.write_bytes(content)
        monkeypatch.setattr(weights["IMAGENET1K_V1"].value, "url", path.as_uri())
        found[name] = path
    return found


def test_files_are_fetched_and_verified(served: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Missing, then fetched, then damaged: what is listed, what is found, and the exit status."""
    cache = served["alexnet"].parent / "torch" / "hub" / "checkpoints"
    alexnet, vgg16 = served["alexnet"], served["vgg16"]

    def lines(action: str, status: int) -> list[str]:
        assert status == main(["weights", action, *ALEXNET])
        return capsys.readouterr().out.splitlines()

    missing = [line.split() for line in lines("list", 0)]
    unverified = lines("verify", 1)
    fetched = lines("fetch", 0)
    verified = lines("verify", 0)
    (cache / vgg16.name).write_bytes(b"damaged")
    alexnet.unlink()  # what is in the cache is not downloaded again
    damaged = lines("fetch", 1)
    there = [line.split()[4] for line in lines("list", 0)]

    sha256 = [path.stem.partition("-")[2] for path in served.values()]
    assert ["alexnet-IMAGENET1K_V1", "233.1", "MiB", sha256[0], "missing", alexnet.as_uri()] == missing[0]
    assert ["vgg16-IMAGENET1K_V1", "527.8", "MiB", sha256[1], "missing", vgg16.as_uri()] == missing[1]
    where = cache / alexnet.name
    reason = f"the weights file {where} cannot be read: No such file or directory"
    assert f"alexnet-IMAGENET1K_V1: {reason}" == unverified[0]
    assert "alexnet-IMAGENET1K_V1: has the published sha256" == fetched[0]
    assert fetched == verified
    assert fetched[0] == damaged[0]
    assert damaged[1].startswith(f"vgg16-IMAGENET1K_V1: the weights file {cache / vgg16.name} is damaged or not the")
    assert ["there", "there"] == there
    assert where.read_bytes() == b"alexnet" * 2**18


def test_a_file_that_cannot_be_fetched_does_not_stop_the_others(
    served: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, and the status is 1."""
    served["alexnet"].unlink()

    status = main(["weights", "fetch", *ALEXNET])

    first, second = capsys.readouterr().out.splitlines()
    assert status == 1
    assert "could not be downloaded from file:///" in first
    assert "vgg16-IMAGENET1K_V1: has the published sha256" == second


def test_weights_of_a_builder_are_not_checked(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so."""
    own = pytestconfig.rootpath / "expected_accuracy.yaml"

    assert 0 == main(["weights", "verify", "--models=efficientnet_lite0", f"--expected={own}"])
    sentence = "efficientnet_lite0-RELEASE: not checked, since its builder brings its weights\n"
    assert sentence == capsys.readouterr().out
