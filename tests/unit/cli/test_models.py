"""Tests of ``imagenet-gate expected``, ``list-models`` and ``weights``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torchvision
from torchvision.models import AlexNet_Weights, VGG16_Weights

from tests.unit.cli.conftest import CommandLine

MODELS = ["--models", "alexnet,vgg16,efficientnet_lite0"]
OWN_FILE = Path(__file__).parents[3] / "expected_accuracy.yaml"
VERIFIED = [
    "alexnet-IMAGENET1K_V1: has the published sha256",
    "vgg16-IMAGENET1K_V1: has the published sha256",
    "efficientnet_lite0-RELEASE: not checked, since its builder brings its weights",
]


def test_check_shows_every_disagreement(cli: CommandLine) -> None:
    """A changed value, a weight left out and one made up are shown, each on a line; the project's file has none."""
    text = OWN_FILE.read_text()
    changes = {
        "acc@1: 56.522": "acc@1: 56.524",
        "acc@5: 91.42": "acc@5: 91.418",
        "model: resnet101, weights: IMAGENET1K_V1": "model: resnet102, weights: IMAGENET1K_V1",
    }
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    Path("changed.yaml").write_text(text)

    own, (status, out, err) = cli("expected", "check", OWN_FILE), cli("expected", "check", "changed.yaml")

    weights = f"with the 114 weights of torchvision {torchvision.__version__}"
    assert (0, f"{OWN_FILE}: no disagreement {weights}\n", "") == own
    assert (1, "") == (status, err)
    assert [
        "resnet102-IMAGENET1K_V1: in the file, not in torchvision",
        "alexnet-IMAGENET1K_V1: top1 is 56.524 in the file, 56.522 in torchvision",
        "resnet101-IMAGENET1K_V1: (77.374, 93.546) in torchvision, no values for imagenet-1k in the file",
        "resnet34-IMAGENET1K_V1: top5 is 91.418 in the file, 91.42 in torchvision",
        f"changed.yaml: 4 disagreements {weights}",
    ] == out.splitlines()


def test_models_are_listed(cli: CommandLine) -> None:
    """Each with its expected values, in a table for each dataset; the project's own within 80 columns."""
    Path("own.yaml").write_text(
        "schema_version: 2\ntolerance: 0.05\n"
        "datasets: {imagenet-1k: {images: 50000, source: s}, own: {images: 8, source: t}}\n"
        "models:\n- {model: alexnet, weights: V1, imagenet-1k: {acc@1: 56.522, acc@5: 79.066},"
        " own: {acc@1: 50, acc@5: 75}}\n- {model: vgg16, weights: V2}\n"
    )

    found, all_models = cli("list-models", "--expected=own.yaml"), cli("list-models")

    assert [
        ["imagenet-1k", "top-1", "top-5"],
        ["alexnet-V1", "56.522", "79.066"],
        [],
        ["own", "top-1", "top-5"],
        ["alexnet-V1", "50.000", "75.000"],
        [],
        ["not", "judged", "top-1", "top-5"],
        ["vgg16-V2", "-", "-"],
    ] == [line.split() for line in found.lines]
    assert (0, 0) == (found.status, all_models.status)
    assert max(map(len, all_models.lines)) <= 80


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
    (cache / alexnet.name).write_bytes(b"damaged")  # which does not stop the other
    vgg16.unlink()  # what is in the cache is not downloaded again
    damaged, there = (cli("weights", action, *MODELS) for action in ("fetch", "list"))

    sha256 = [path.stem.partition("-")[2] for path in served]
    assert [
        ["alexnet-IMAGENET1K_V1", "233.1", "MiB", sha256[0], "missing", alexnet.as_uri()],
        ["vgg16-IMAGENET1K_V1", "527.8", "MiB", sha256[1], "missing", vgg16.as_uri()],
    ] == [line.split() for line in missing.lines[:2]]
    reason = (
        f"{cache / alexnet.name}: No such file or directory; `imagenet-gate weights fetch` downloads what is missing"
    )
    assert f"alexnet-IMAGENET1K_V1: {reason}" == unverified.lines[0]
    assert VERIFIED == fetched.lines == verified.lines
    why = f"alexnet-IMAGENET1K_V1: the weights file {cache / alexnet.name} is damaged or not the"
    assert damaged.lines[0].startswith(why)
    assert VERIFIED[1:] == damaged.lines[1:]
    assert ["present", "present"] == [line.split()[4] for line in there.lines[:2]]
    assert b"vgg16" * 2**18 == (cache / vgg16.name).read_bytes()
    answers = (missing, unverified, fetched, verified, damaged, there)
    assert [0, 1, 0, 0, 1, 0] == [answer.status for answer in answers]
