"""``<root>/<wnid>/<image>`` or ``<root>/val/<wnid>/<image>``, as ``torchvision.datasets.ImageFolder`` reads it."""

from __future__ import annotations

from pathlib import Path

from harness.dataset import ImageDataset
from harness.errors import DatasetError
from harness.formats import imagenet
from harness.formats.folders import list_folders, read_folders


def read(path: Path) -> ImageDataset | None:
    """Read folders that are named by wnid, whose class index it gives: class folders may be missing."""
    root, folders = list_folders(path)
    index = imagenet.class_indices()
    targets = {name: index[name] for name in folders if name in index}
    if not targets:
        return None
    if unknown := [name for name in folders if name not in index]:
        raise DatasetError(
            f"{root.absolute()} holds folder {unknown[0]!r}, which is not one of the {len(index):,} classes "
            f"({len(unknown)} such among {len(folders)} folders); move it away or point --imagenet at the images"
        )
    return read_folders(root, targets, "class folders")
