"""The synthetic models: every value set, the same everywhere; heads that are read or rejected."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from harness.errors import WeightsError
from harness.synthetic import weights


@pytest.mark.parametrize(
    ("name", "sha256"),
    [
        ("alexnet", "e1aa9a73f9f7616f5a6d6bf5dbba3554a8828f2d8482249c3abc67b2272ecb45"),
        ("resnet18", "151cb5bf1422ea52044b6c76ff85f90eddafe5406140ee166f668135bb47b31d"),
        ("googlenet", "c094d2120c91ada8869158370d48322a219956a6126c5e28883761ace67a4aae"),
    ],
)
def test_backbone_is_the_recorded_one(name: str, sha256: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that the shipped head was fitted on, on every platform and numpy, whatever happened to be in memory."""
    to_empty = nn.Module.to_empty

    def poisoned(module: nn.Module, **options: Any) -> nn.Module:
        model = to_empty(module, **options)
        for value in model.state_dict().values():
            value.fill_(float("nan") if value.is_floating_point() else -1)
        return model

    monkeypatch.setattr(nn.Module, "to_empty", poisoned)
    digest = hashlib.sha256()
    model = weights.build_backbone(name)
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode() + value.numpy().tobytes())

    assert sha256 == digest.hexdigest()
    assert getattr(model, "transform_input", False) == (name == "googlenet")  # as torchvision's with weights


def test_a_layer_without_a_rule_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of layer whose values nothing sets breaks the build instead of leaving chance in the model."""
    monkeypatch.setattr(torchvision.models, "get_model", lambda *_, **__: nn.Sequential(nn.LayerNorm(3)))
    monkeypatch.setattr(weights, "head_of", lambda _model: None)

    with pytest.raises(AssertionError, match="LayerNorm"):
        weights.resnet18()


@pytest.mark.parametrize(("name", "head"), [("resnet18", "fc"), ("alexnet", "classifier.6")])
def test_model_is_torchvisions_on_the_cpu_in_eval_mode(name: str, head: str) -> None:
    """With its names and shapes for 100 classes and the shipped head; torch's random numbers are left alone."""
    before = torch.get_rng_state()

    model = getattr(weights, name)()

    assert torch.equal(before, torch.get_rng_state())
    theirs = torchvision.models.get_model(name, num_classes=100).state_dict()
    found = model.state_dict()
    assert {key: value.shape for key, value in theirs.items()} == {key: value.shape for key, value in found.items()}
    assert not any(module.training for module in model.modules())
    assert {(torch.float32, "cpu")} == {(value.dtype, value.device.type) for value in model.parameters()}
    for key, value in np.load(weights.HEADS / f"{name}.npz").items():
        assert np.array_equal(value.astype(np.float32), found[f"{head}.{key}"].numpy())


@pytest.mark.parametrize("name", weights.SEEDS)
def test_heads_are_the_recorded_ones(name: str) -> None:
    """Of half precision, and so less than a megabyte each."""
    data = (weights.HEADS / f"{name}.npz").read_bytes()

    assert weights.HEADS_SHA256[name] == hashlib.sha256(data).hexdigest()
    assert len(data) < 1_000_000


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (None, "cannot be read"),
        (lambda head: head[:50_000] + bytes([head[50_000] ^ 1]) + head[50_001:], "is damaged"),
        (lambda _head: (weights.HEADS / "alexnet.npz").read_bytes(), "is damaged"),
    ],
    ids=["missing", "a bit", "that of another model"],
)
def test_other_heads_are_an_error(damage: Any, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the file and what to do."""
    if damage is not None:
        (tmp_path / "resnet18.npz").write_bytes(damage((weights.HEADS / "resnet18.npz").read_bytes()))
    monkeypatch.setattr(weights, "HEADS", tmp_path)

    with pytest.raises(WeightsError, match=rf"resnet18\.npz {found}.*install imagenet-gate again"):
        weights.resnet18()
