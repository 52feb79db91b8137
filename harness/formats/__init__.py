"""The dataset formats on disk: one module for each, and the table that lists them.

A module's function ``read`` gets a path that exists, and returns the dataset, or None if the names there are those of
another format. This package raises a DatasetError for data in a known format that cannot be used.
"""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np

from harness.dataset import SYNTHETIC, ImageDataset
from harness.errors import DatasetError

# Each module, and what it looks for, in words. The more specific comes first, and folders before the archive that they
# may have come from, as in the root of torchvision.datasets.ImageNet.
FORMATS = {
    "kaggle": "Kaggle's ILSVRC/Data/CLS-LOC/val/ with LOC_val_solution.csv",
    "imagenetv2": "ImageNetV2's class folders, named 0 to 999",
    "flat": "files named ILSVRC2012_val_00000001.JPEG and so on, flat in it or in val/",
    "folders": "class folders named by wnid, such as n01440764/, in it or in val/, holding .JPEG files",
    "parquet": "Parquet shards, such as validation-00000-of-00014.parquet, in it or in data/",
    "tar": "ILSVRC2012_img_val.tar, or one other .tar file of class folders named by wnid",
    "webdataset": "WebDataset shards, .tar files that hold KEY.jpg with KEY.cls or KEY.json",
}


def read(path: Path) -> ImageDataset:
    """Return the dataset at a path that exists; a DatasetError says that it is in no known format."""
    root = snapshot(path)
    for module in FORMATS:
        dataset: ImageDataset | None = import_module(f"{__name__}.{module}").read(root)
        if dataset is not None:
            return recognize(dataset)
    expected = "; ".join(f"({number}) {expects}" for number, expects in enumerate(FORMATS.values(), start=1))
    raise DatasetError(f"no images in {root.absolute()}: found {listing(root)}; looked for {expected}")


def recognize(dataset: ImageDataset) -> ImageDataset:
    """Name the dataset ``imagenet-1k`` if it is that, and add a caveat if only its names claim that it is published.

    Raises:
        DatasetError: validation images are not in their classes.
    """
    from harness.formats import imagenet, imagenetv2

    numbers = imagenet.validation_numbers(dataset.ids)
    imagenet.require_labels(dataset.ids, numbers, dataset.targets, dataset.root)
    if (error := imagenet.validation_set_error(dataset.ids, numbers)) is None:
        return replace(dataset, name=imagenet.NAME)
    if dataset.name in imagenetv2.NAMES and dataset.format != imagenetv2.FORMAT:
        caveat = "its class folders are not named 0 to 999, as in the original archives"
        return replace(dataset, name=f"not {dataset.name}", caveat=caveat)
    if dataset.name == SYNTHETIC:
        return replace(dataset, name=f"not {SYNTHETIC}", caveat=f"a folder that is only called {SYNTHETIC!r}")
    # A stray image or two do not hide what the others claim to be.
    if dataset.name == imagenet.NAME or 2 * np.count_nonzero(numbers) > len(dataset):
        name = f"not {imagenet.NAME}" if dataset.name == imagenet.NAME else dataset.name
        return replace(dataset, name=name, caveat=f"it is not the whole {imagenet.NAME} validation set: {error}")
    return dataset


def snapshot(root: Path) -> Path:
    """Return the files of a dataset in a hub's cache, which its ``main`` or only snapshot holds; else ``root`` itself.

    Raises:
        DatasetError: there are several.
    """
    if len(datasets := sorted(root.glob("datasets--*/snapshots"))) == 1:
        root = datasets[0].parent
    if not root.name.startswith("datasets--") or not (root / "snapshots").is_dir():
        return root
    revisions = sorted(path for path in (root / "snapshots").iterdir() if path.is_dir())
    if (main := root / "refs" / "main").is_file():
        revisions = [path for path in revisions if path.name == main.read_text(errors="replace").strip()] or revisions
    if len(revisions) != 1:
        raise DatasetError(f"{root}: expected one snapshot, found {len(revisions)}; point --imagenet at one of them")
    return revisions[0]


def listing(root: Path) -> str:
    """Return what is at a path, in words, for a message."""
    if root.is_file():
        return f"a file of {root.stat().st_size:,} bytes"
    if not root.is_dir():
        from harness.formats.sources import kind_of  # imports Pillow

        return kind_of(root.stat().st_mode)
    names = sorted(os.listdir(root))
    if not names:
        return "an empty folder"
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
