"""Tests of ``imagenet-gate weights``: files in torch's cache, by size and sha256."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from torchvision.models import AlexNet_Weights, VGG16_Weights

from tests.unit.cli.conftest import CommandLine

MODELS = ["--models", "alexnet,vgg16"]
VERIFIED = [f"{name}-IMAGENET1K_V1: has the published sha256" for name in ("alexnet", "vgg16")]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """An empty cache of torch, and two weights files of 3 MiB where torchvision says that they are published."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    found = []
    for name, weights in {"alexnet": AlexNet_Weights, "vgg16": VGG16_Weights}.items():
        content = name.encode() * 2**18
        path = tmp_path / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        path.write_bytes(content)
        monkeypatch.setattr(weights["IMAGENET1K_V1"].value, "url", path.as_uri())
        found.append(path)
    return found


def test_files_are_fetched_and_verified(served: list[Path], tmp_path: Path, cli: CommandLine) -> None:
    """Missing, then fetched, then damaged: what is listed, what is found, and the exit status."""
    alexnet, vgg16 = served
    cache = tmp_path / "torch" / "hub" / "checkpoints"

    missing, unverified, fetched, verified = (
        cli("weights", action, *MODELS) for action in ("list", "verify", "fetch", "verify")
    )
    (cache / vgg16.name).write_bytes(b"damaged")
    alexnet.unlink()  # what is in the cache is not downloaded again
    damaged, there = (cli("weights", action, *MODELS) for action in ("fetch", "list"))

    sha256 = [path.stem.partition("-")[2] for path in served]
    assert [
        ["alexnet-IMAGENET1K_V1", "233.1", "MiB", sha256[0], "missing", alexnet.as_uri()],
        ["vgg16-IMAGENET1K_V1", "527.8", "MiB", sha256[1], "missing", vgg16.as_uri()],
    ] == [line.split() for line in missing.lines]
    reason = f"the weights file {cache / alexnet.name} cannot be read: No such file or directory"
    assert f"alexnet-IMAGENET1K_V1: {reason}" == unverified.lines[0]
    assert VERIFIED == fetched.lines == verified.lines
    assert VERIFIED[0] == damaged.lines[0]
    why = f"vgg16-IMAGENET1K_V1: the weights file {cache / vgg16.name} is damaged or not the"
    assert damaged.lines[1].startswith(why)
    assert ["there", "there"] == [line.split()[4] for line in there.lines]
    assert b"alexnet" * 2**18 == (cache / alexnet.name).read_bytes()
    answers = (missing, unverified, fetched, verified, damaged, there)
    assert [0, 1, 0, 0, 1, 0] == [answer.status for answer in answers]


def test_a_file_that_cannot_be_fetched_does_not_stop_the_others(served: list[Path], cli: CommandLine) -> None:
    """It is named, and the status is 1."""
    served[0].unlink()

    found = cli("weights", "fetch", *MODELS)

    assert "could not be downloaded from file:///" in found.lines[0]
    assert (1, VERIFIED[1:]) == (found.status, found.lines[1:])


def test_weights_of_a_builder_are_not_checked(pytestconfig: pytest.Config, cli: CommandLine) -> None:
    """It says so."""
    own = pytestconfig.rootpath / "expected_accuracy.yaml"

    found = cli("weights", "verify", "--models=efficientnet_lite0", f"--expected={own}")

    sentence = "efficientnet_lite0-RELEASE: not checked, since its builder brings its weights\n"
    assert (0, sentence, "") == found
