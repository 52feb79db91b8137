"""Builders of the four models with seeded weights, as the plain loop makes them: right for speed, not for accuracy."""

from __future__ import annotations

import torch
import torchvision
from torch import nn


def _seeded(name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, **options)
    assert isinstance(model, nn.Module)
    return model


def alexnet() -> nn.Module:
    """Return AlexNet."""
    return _seeded("alexnet")


def vgg16() -> nn.Module:
    """Return VGG16."""
    return _seeded("vgg16")


def resnet18() -> nn.Module:
    """Return ResNet18."""
    return _seeded("resnet18")


def googlenet() -> nn.Module:
    """Return GoogLeNet without its slow default initialization; its auxiliary heads take no part in eval mode."""
    return _seeded("googlenet", init_weights=False)
