"""ImageNetV2 (Recht et al. 2019): class folders named by class index, ``0`` to ``999``."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.dataset import ImageDataset
from harness.errors import DatasetError
from harness.formats import imagenet
from harness.formats.folders import list_folders, read_folders

FORMAT = "folders by class index"
REENCODED = "the images of the -format-val archives were encoded anew and score differently from the originals"

# The names of the study's archives, then those of the same three in its code.
_SPELLINGS = {
    "imagenetv2-matched-frequency": "imagenet-?v2-(matched-?frequency|b-?33)(-format-val)?",
    "imagenetv2-threshold0.7": r"imagenet-?v2-(threshold-?0\.?7|a-?44)(-format-val)?",
    "imagenetv2-topimages": "imagenet-?v2-(top-?images|c-?12)(-format-val)?",
}
NAMES = tuple(_SPELLINGS)


def read(path: Path) -> ImageDataset | None:
    """Read folders that are named by class index; their order as text means nothing."""
    root, folders = list_folders(path)
    if not folders or not all(re.fullmatch("[0-9]+", name) for name in folders):
        return None
    last = len(imagenet.wnids()) - 1
    if unknown := [name for name in folders if str(int(name)) != name or int(name) > last]:
        # Without folder 1000 the rest would be read, each class by another's images.
        todo = "rename it or remove it"
        if unknown == [f"{last + 1}"] and "0" not in folders:
            todo = "if these are the devkit's ids, sort the images into folders named by wnid"
        raise DatasetError(
            f"{root.absolute()}: expected class folders named 0 to {last} without leading zeros, found {unknown[0]!r}; "
            + todo
        )
    dataset = read_folders(root, {name: int(name) for name in folders}, FORMAT)
    # A whole variant has its name, and what only claims to be one by its folder's name has a caveat.
    folder = root.resolve().parent if root.resolve().name == "val" else root.resolve()
    claims = [name.lower().replace("_", "-") for name in (folder.name, folder.parent.name)]
    variant = next((name for claim in claims for name in NAMES if re.fullmatch(_SPELLINGS[name], claim)), None)
    if variant is None:
        return dataset
    error = _variant_error(dataset)
    if any(re.search("format-?val", claim) for claim in claims):
        caveat = REENCODED if error is None else f"{REENCODED}, and it is not whole: {error}"
        return replace(dataset, name=f"{variant}-format-val", caveat=caveat)
    if error is not None:
        return replace(dataset, name=f"not {variant}", caveat=f"it is not the whole {variant}: {error}")
    return replace(dataset, name=variant)


def _variant_error(dataset: ImageDataset) -> str | None:
    counts = np.bincount(dataset.targets, minlength=len(dataset.classes)).tolist()
    if missing := counts.count(0):
        return f"{missing} of the {len(counts):,} folders are missing or empty, the first of them {counts.index(0)}"
    for index, count in enumerate(counts):
        if count != 10:
            return f"folder {index} has {count} images, not 10"
    return None
