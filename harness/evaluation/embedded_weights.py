"""The four models' weights for the embedded split: seeded backbones, and heads that were fitted once and are shipped.

The backbones are torchvision's own architectures. Their values come from the frozen stream of numpy's legacy
``RandomState`` and are exact on every platform. The heads are never fitted anew where the gate runs: a head fitted
on the torch under test would adapt to the very change that the gate is there to show.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from harness.errors import WeightsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Draw = np.random.RandomState

HEADS = Path(__file__).with_name("embedded_heads")
CLASSES = 100
HEADS_SHA256 = {
    "alexnet": "c8596907ceb5e772ce734dda73058d818ec42c6bd1caefd52280474bd27fdc94",
    "vgg16": "c3cff5dd49595d4d6017786f9cad908448238b35bbdcbf6f763d1c0d1b1eae04",
    "resnet18": "aeeb20dc6f3444f7861f85cb3b593a05dbc29269757ae7aa5dc30bfbdbdb7e49",
    "googlenet": "13b887a18cf5db2796745a969a95447490dbc6cbece39889d3a67b29ff432630",
}
SEEDS = {"alexnet": 1, "vgg16": 2, "resnet18": 3, "googlenet": 4}

_STEPS = 1 << 23
_ROWS_AT_ONCE = 1 << 20
# Without biases a network of ReLUs is indifferent to the contrast of its input.
_BIAS = 0.3
_NORM_BIAS = 0.5
# With plain unit statistics every residual block doubles the variance; half of that keeps the blocks alike.
_RESIDUAL_GAIN = 0.5


def alexnet() -> nn.Module:
    """Return torchvision's AlexNet for the 100 rendered classes, in eval mode.

    Raises:
        WeightsError: the file of its head is missing or damaged.
    """
    return _with_head("alexnet")


def vgg16() -> nn.Module:
    """Return torchvision's VGG16 for the 100 rendered classes, in eval mode.

    Raises:
        WeightsError: the file of its head is missing or damaged.
    """
    return _with_head("vgg16")


def resnet18() -> nn.Module:
    """Return torchvision's ResNet18 for the 100 rendered classes, in eval mode.

    Raises:
        WeightsError: the file of its head is missing or damaged.
    """
    return _with_head("resnet18")


def googlenet() -> nn.Module:
    """Return torchvision's GoogLeNet for the 100 rendered classes, in eval mode.

    It is as torchvision's pretrained one: the input is transformed, and the auxiliary heads are gone.

    Raises:
        WeightsError: the file of its head is missing or damaged.
    """
    return _with_head("googlenet")


def build_backbone(name: str) -> nn.Module:
    """Return the model in eval mode, float32 on the CPU, with a head of zeros.

    Args:
        name: a key of ``SEEDS``.
    """
    model = _empty(name)
    head = head_of(model)
    draw = np.random.RandomState(SEEDS[name])
    with torch.no_grad():
        for path, module in model.named_modules():
            if module is head:
                head.weight.zero_()
                head.bias.zero_()
            else:
                _fill(module, draw, gain=_RESIDUAL_GAIN if path.endswith(".bn2") else 1.0)
    return model.eval()


def head_of(model: nn.Module) -> nn.Linear:
    """Return the last layer, the one that gives the logits."""
    head = model.fc if hasattr(model, "fc") else model.get_submodule("classifier.6")
    assert isinstance(head, nn.Linear)
    return head


def _with_head(name: str) -> nn.Module:
    model = build_backbone(name)
    head = head_of(model)
    weight, bias = _read_head(name)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))
    return model


def _empty(name: str) -> nn.Module:
    """Return the architecture with uninitialized values: torch's default ones cost seconds and would be overwritten."""
    settings = {"googlenet": {"aux_logits": False, "transform_input": True, "init_weights": False}}.get(name, {})
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **settings)
    assert isinstance(model, nn.Module)
    return model.to_empty(device="cpu")


def _fill(module: nn.Module, draw: Draw, gain: float) -> None:
    """Set every value that belongs to this module itself, its children's not included."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        _fill_filters(module.weight, draw)
        if module.bias is not None:
            _fill_bias(module.bias, draw, _BIAS)
    elif isinstance(module, nn.BatchNorm2d):
        assert module.running_mean is not None
        assert module.running_var is not None
        assert module.num_batches_tracked is not None
        module.weight.fill_(gain)
        _fill_bias(module.bias, draw, _NORM_BIAS)
        module.running_mean.zero_()
        module.running_var.fill_(1.0)
        module.num_batches_tracked.zero_()
    else:
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        assert not own, f"no values are defined for a {type(module).__name__}"


def _fill_filters(weight: Tensor, draw: Draw) -> None:
    """Draw He-uniform filters (He et al. 2015) and take each filter's mean off it.

    Without that the common part of the ReLUs' outputs grows from layer to layer, until every image looks alike.

    Args:
        weight: (filters, ...).
    """
    filters = weight.view(len(weight), -1)
    fan_in = filters.shape[1]
    scale = np.float32(np.sqrt(6.0 / fan_in) / _STEPS)
    rows = max(1, _ROWS_AT_ONCE // fan_in)
    for start in range(0, len(filters), rows):
        block = filters[start : start + rows]
        # Integers, because their sum does not depend on the order in which a machine adds them.
        steps = draw.randint(-_STEPS, _STEPS, size=tuple(block.shape), dtype=np.int32)
        mean = (steps.sum(axis=1, keepdims=True, dtype=np.int64) / fan_in).astype(np.float32)
        block.copy_(torch.from_numpy((steps.astype(np.float32) - mean) * scale))


def _fill_bias(bias: Tensor, draw: Draw, bound: float) -> None:
    values = (draw.random_sample(len(bias)) * 2.0 - 1.0) * bound
    bias.copy_(torch.from_numpy(values.astype(np.float32)))


def _read_head(name: str) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Return weight, (classes, features), and bias, (classes,)."""
    path = HEADS / f"{name}.npz"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"the head of the embedded {name} cannot be read from {path} ({error.strerror or error}); "
            "install imagenet-gate again"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != HEADS_SHA256[name]:
        raise WeightsError(
            f"the head of the embedded {name} in {path} is damaged: its sha256 should begin with "
            f"{HEADS_SHA256[name][:12]} and is {found[:12]}...; install imagenet-gate again"
        )
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return file["weight"], file["bias"]
