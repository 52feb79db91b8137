"""The synthetic models: every value set, the same everywhere; heads that are read or rejected."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision import transforms as T

from harness.errors import WeightsError
from harness.synthetic import rendering, weights


@pytest.fixture
def heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of heads that tests may damage, with a good one for ResNet18."""
    good = (weights.HEADS / "resnet18.npz").read_bytes()
    (tmp_path / "resnet18.npz").write_bytes(good)
    monkeypatch.setattr(weights, "HEADS", tmp_path)
    return tmp_path


def sha256_of(model: nn.Module) -> str:
    """Return the digest of all values, in the order of their names."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("name", "sha256"),
    [
        ("alexnet", "e1aa9a73f9f7616f5a6d6bf5dbba3554a8828f2d8482249c3abc67b2272ecb45"),
        ("resnet18", "151cb5bf1422ea52044b6c76ff85f90eddafe5406140ee166f668135bb47b31d"),
        ("googlenet", "c094d2120c91ada8869158370d48322a219956a6126c5e28883761ace67a4aae"),
    ],
)
def test_backbone_is_the_recorded_one(name: str, sha256: str) -> None:
    """A backbone's names and bytes are the ones that the shipped head was fitted on, on every platform and numpy."""
    assert sha256 == sha256_of(weights.build_backbone(name))


def test_every_value_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """No parameter or buffer keeps what happened to be in memory."""
    empty = weights._empty

    def poisoned(name: str) -> nn.Module:
        model = empty(name)
        for value in model.state_dict().values():
            value.fill_(float("nan") if value.is_floating_point() else -1)
        return model

    monkeypatch.setattr(weights, "_empty", poisoned)
    state = weights.build_backbone("resnet18").state_dict()

    assert [name for name, value in state.items() if not torch.isfinite(value).all()] == []
    assert [name for name, value in state.items() if not value.is_floating_point() and (value < 0).any()] == []


def test_a_layer_without_a_rule_is_an_error() -> None:
    """A kind of layer whose values nothing sets breaks the build instead of leaving chance in the model."""
    with pytest.raises(AssertionError, match="LayerNorm"):
        weights._fill(nn.LayerNorm(3), np.random.RandomState(0), gain=1.0)


def test_filters_are_he_uniform_with_mean_zero() -> None:
    """Filters have He's variance, 2 / fan-in, and each sums to nothing."""
    weight = weights.build_backbone("resnet18").get_parameter("layer4.1.conv2.weight")
    filters = weight.detach().reshape(512, -1).double()

    assert filters.var().item() == pytest.approx(2.0 / (512 * 9), rel=0.01)
    assert filters.mean(dim=1).abs().max().item() < 1e-7


def test_model_is_torchvisions_on_the_cpu_in_eval_mode() -> None:
    """The model has torchvision's names and shapes for 100 classes, in eval mode, float32 on the CPU."""
    model = weights.resnet18()
    theirs = torchvision.models.resnet18(weights=None, num_classes=100).state_dict()

    assert {name: value.shape for name, value in theirs.items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    assert not any(module.training for module in model.modules())
    assert {(torch.float32, "cpu")} == {(value.dtype, value.device.type) for value in model.parameters()}


def test_googlenet_is_as_the_pretrained_one() -> None:
    """GoogLeNet transforms its input and has no auxiliary heads, as torchvision's with weights."""
    model = weights.googlenet()

    assert vars(model)["transform_input"] is True
    assert vars(model)["aux_logits"] is False
    assert model.aux1 is None
    assert model.aux2 is None
    assert torch.Size([1, 100]) == model(torch.zeros(1, 3, 224, 224)).shape


def test_building_leaves_torchs_random_numbers_alone() -> None:
    """Loading a model does not move torch's global random state."""
    before = torch.get_rng_state()

    weights.resnet18()

    assert torch.equal(before, torch.get_rng_state())


def test_head_is_the_shipped_one() -> None:
    """The last layer holds the values of the file."""
    head = weights.head_of(weights.resnet18())
    shipped = np.load(weights.HEADS / "resnet18.npz")

    assert np.array_equal(shipped["weight"].astype(np.float32), head.weight.detach().numpy())
    assert np.array_equal(shipped["bias"].astype(np.float32), head.bias.detach().numpy())


def test_heads_fit_their_backbones() -> None:
    """On freshly painted images the model is right far more often than by chance."""
    transform = T.Compose(
        [
            T.ToPILImage(),
            T.Resize(256),
            T.CenterCrop(224),
            T.ToTensor(),
            T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    targets = list(range(0, 100, 4))
    batch = torch.stack([transform(rendering._paint(rendering.CLASSES[i], np.random.RandomState(i))) for i in targets])

    with torch.inference_mode():
        predicted = weights.alexnet()(batch).argmax(dim=1)

    assert int((predicted == torch.tensor(targets)).sum()) >= 8


def test_heads_are_small() -> None:
    """The four heads are float16, less than a megabyte each and two together."""
    sizes = {path.stem: path.stat().st_size for path in weights.HEADS.glob("*.npz")}

    assert set(weights.SEEDS) == set(sizes)
    assert max(sizes.values()) < 1_000_000
    assert sum(sizes.values()) <= 2_000_000


def test_a_missing_head_is_named(heads: Path) -> None:
    """A head that is not there is an error that names the file."""
    (heads / "resnet18.npz").unlink()

    with pytest.raises(WeightsError, match=r"resnet18\.npz.*install imagenet-gate again"):
        weights.resnet18()


@pytest.mark.parametrize("index", [0, 5, 50_000, -1])
def test_a_changed_bit_in_a_head_is_noticed(heads: Path, index: int) -> None:
    """A head with a single changed bit, wherever it is, is an error."""
    data = bytearray((heads / "resnet18.npz").read_bytes())
    data[index] ^= 1
    (heads / "resnet18.npz").write_bytes(data)

    with pytest.raises(WeightsError, match=r"resnet18\.npz is damaged.*install imagenet-gate again"):
        weights.resnet18()


def test_another_models_head_is_an_error(heads: Path) -> None:
    """A head is that of its own model and of no other fit."""
    (heads / "alexnet.npz").write_bytes((heads / "resnet18.npz").read_bytes())

    with pytest.raises(WeightsError, match=r"alexnet\.npz is damaged"):
        weights._read_head("alexnet")


def test_heads_are_half_precision_and_fit_their_models() -> None:
    """Each head holds float16 weights (100, F) and biases (100,), all finite."""
    for name, features in {"alexnet": 4096, "vgg16": 4096, "resnet18": 512, "googlenet": 1024}.items():
        weight, bias = weights._read_head(name)

        assert ((100, features), (100,)) == (weight.shape, bias.shape)
        assert weight.dtype == bias.dtype == np.float16
        assert np.isfinite(weight).all()
        assert np.isfinite(bias).all()
