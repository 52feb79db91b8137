"""The root that ``torchvision.datasets.ImageNet`` prepares: ``val/<wnid>/`` and ``meta.bin``, which is not needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.dataset import ImageDataset
from harness.formats import folders


def read(path: Path) -> ImageDataset | None:
    """Read class folders; an archive that ``val/`` was unpacked from may lie beside them."""
    root = path.absolute().parent if path.name == "val" else path
    if not ((root / "meta.bin").is_file() and (root / "val").is_dir()):
        return None
    dataset = folders.read(root / "val")
    return None if dataset is None else replace(dataset, format="torchvision's ImageNet root")
