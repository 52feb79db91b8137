"""``ILSVRC2012_val_00000001.JPEG`` and so on, flat in one folder, as the validation set's tar archive unpacks."""

from __future__ import annotations

import os
from pathlib import Path

from harness.dataset import ImageDataset, Row
from harness.errors import DatasetError
from harness.formats import imagenet
from harness.formats.folders import dataset_of, is_image, list_images, val_folder
from harness.formats.sources import FileSource


def read(path: Path) -> ImageDataset | None:
    """Read the validation set's files, which are labeled by their numbers."""
    if (root := val_folder(path)) is None:
        return None
    with os.scandir(root) as entries:
        if not any(is_image(entry.name) and imagenet.validation_number(entry.name) is not None for entry in entries):
            return None
    images, ignored = list_images(root)
    rows = []
    for entry in images:
        if (target := imagenet.label_by_name(entry.name, entry.path)) is None:
            raise DatasetError(f"{entry.path}: expected a name ILSVRC2012_val_*.JPEG, as others have; remove it")
        rows.append(Row(entry.name, FileSource.of(entry.path), target))
    labels = imagenet.check_devkit(dict.fromkeys((root, path, path.absolute().parent)))
    return dataset_of(rows, root, f"flat files, {labels}", ignored=ignored)
