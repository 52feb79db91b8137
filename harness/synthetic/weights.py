"""The four models' weights for the synthetic images: seeded backbones, and heads that were fitted once and are shipped.

The backbones are torchvision's, with values from the frozen stream of ``RandomState``, exact on every platform. Heads
are not fitted where the gate runs: with the torch under test they would adapt to the change that the gate must show.
"""

from __future__ import annotations

import hashlib
import io
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision
from numpy.random import RandomState
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.errors import WeightsError

HEADS = Path(__file__).with_name("heads")
HEADS_SHA256 = {
    "alexnet": "c8596907ceb5e772ce734dda73058d818ec42c6bd1caefd52280474bd27fdc94",
    "vgg16": "c3cff5dd49595d4d6017786f9cad908448238b35bbdcbf6f763d1c0d1b1eae04",
    "resnet18": "aeeb20dc6f3444f7861f85cb3b593a05dbc29269757ae7aa5dc30bfbdbdb7e49",
    "googlenet": "13b887a18cf5db2796745a969a95447490dbc6cbece39889d3a67b29ff432630",
}
SEEDS = {"alexnet": 1, "vgg16": 2, "resnet18": 3, "googlenet": 4}

_STEPS = 1 << 23


def build_backbone(name: str) -> nn.Module:
    """Return a model of ``SEEDS`` in eval mode, float32 on the CPU, with a head of zeros."""
    model = _empty(name)
    head = head_of(model)
    draw = RandomState(SEEDS[name])
    with torch.no_grad():
        for path, module in model.named_modules():
            if module is head:
                head.weight.zero_()
                head.bias.zero_()
            else:
                # With unit statistics every residual block would double the variance; this gain limits that.
                _fill(module, draw, gain=0.5 if path.endswith(".bn2") else 1.0)
    return model.eval()


def head_of(model: nn.Module) -> nn.Linear:
    """Return the last layer, which computes the logits."""
    head = model.fc if hasattr(model, "fc") else model.get_submodule("classifier.6")
    assert isinstance(head, nn.Linear)
    return head


def _with_head(name: str) -> nn.Module:
    """Return the model in eval mode with its shipped head."""
    model = build_backbone(name)
    weight, bias = map(torch.from_numpy, _read_head(name))
    head_of(model).load_state_dict({"weight": weight, "bias": bias})
    return model


# The builders that expected_accuracy.yaml names: torchvision's models for the 100 synthetic classes.
alexnet = partial(_with_head, "alexnet")
vgg16 = partial(_with_head, "vgg16")
resnet18 = partial(_with_head, "resnet18")
googlenet = partial(_with_head, "googlenet")


def _empty(name: str) -> nn.Module:
    """Return the architecture with uninitialized values: torch's default ones cost seconds and would be overwritten."""
    # GoogLeNet as it is when pretrained.
    settings = {"googlenet": {"aux_logits": False, "transform_input": True, "init_weights": False}}.get(name, {})
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None, num_classes=100, **settings)
    assert isinstance(model, nn.Module)
    return model.to_empty(device="cpu")


def _fill(module: nn.Module, draw: RandomState, gain: float) -> None:
    """Set the module's own parameters and buffers, not those of its children."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        _fill_filters(module.weight, draw)
        # Without biases, a ReLU network's predictions do not depend on the contrast of its input.
        if module.bias is not None:
            _fill_bias(module.bias, draw, 0.3)
    elif isinstance(module, nn.BatchNorm2d):
        module.weight.fill_(gain)
        _fill_bias(module.bias, draw, 0.5)
        module.reset_running_stats()
    else:
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        assert not own, f"no values are defined for a {type(module).__name__}"


def _fill_filters(weight: Tensor, draw: RandomState) -> None:
    """Draw He-uniform filters (He et al. 2015) without their means, which would make all images look the same."""
    filters = weight.view(len(weight), -1)
    fan_in = filters.shape[1]
    scale = np.float32(np.sqrt(6.0 / fan_in) / _STEPS)
    for block in filters.split(max(1, (1 << 20) // fan_in)):  # limits the memory for the random numbers
        # Integers, because their sum does not depend on the order of the additions.
        steps = draw.randint(-_STEPS, _STEPS, size=tuple(block.shape), dtype=np.int32)
        mean = (steps.sum(axis=1, keepdims=True, dtype=np.int64) / fan_in).astype(np.float32)
        block.copy_(torch.from_numpy((steps.astype(np.float32) - mean) * scale))


def _fill_bias(bias: Tensor, draw: RandomState, bound: float) -> None:
    values = (draw.random_sample(len(bias)) * 2.0 - 1.0) * bound
    bias.copy_(torch.from_numpy(values.astype(np.float32)))


def _read_head(name: str) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Return weight, (classes, features), and bias, (classes,)."""
    path = HEADS / f"{name}.npz"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}); install imagenet-gate again") from error
    if (found := hashlib.sha256(data).hexdigest()) != HEADS_SHA256[name]:
        raise WeightsError(
            f"{path} is damaged: expected sha256 {HEADS_SHA256[name]}, found {found}; install imagenet-gate again"
        )
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return file["weight"], file["bias"]
