"""ImageNetV2 (Recht et al. 2019): class folders named by class index, ``0`` to ``999``."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.data import imagenet
from harness.data.forms.class_folders import name_of, read_folders
from harness.data.split import Split
from harness.errors import SplitError

EXPECTS = "ImageNetV2's class folders, named 0 to 999"
FORM = "folders by class index"
IMAGES_PER_CLASS = 10

# The study's archives, then the names of the same three in its code.
_SPELLINGS = {
    "imagenetv2-matched-frequency": ("matched-?frequency", "b-?33"),
    "imagenetv2-threshold0.7": (r"threshold-?0\.?7", "a-?44"),
    "imagenetv2-topimages": ("top-?images", "c-?12"),
}
NAMES = tuple(_SPELLINGS)

_REENCODED = "-format-val"


def read_imagenetv2(where: Path) -> Split | None:
    """Read folders that are named by class index; their order as text means nothing.

    Raises:
        SplitError: a folder's name is no class index, or there are no images.
    """
    if not where.is_dir():
        return None
    root = where / "val" if (where / "val").is_dir() else where
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if not folders or not all(re.fullmatch("[0-9]+", name) for name in folders):
        return None
    classes = imagenet.wnids()
    if strangers := [name for name in folders if str(int(name)) != name or int(name) >= len(classes)]:
        raise SplitError(
            f"{root.absolute()}: expected class folders named 0 to {len(classes) - 1} without leading zeros, found "
            f"{strangers[0]!r}; rename it or move it away"
        )
    return _named(read_folders(root, {name: int(name) for name in folders}, form=FORM, classes=classes))


def _named(split: Split) -> Split:
    """Call the split by its variant if it is a whole one, and say what it lacks if it only claims to be one."""
    folder = split.root.resolve()
    folder = folder.parent if folder.name == "val" else folder
    claims = (_variant_of(folder.name), _variant_of(folder.parent.name))
    variant = claims[0] or claims[1]
    if variant is None:
        return replace(split, name=name_of(split.root))
    reason = _why_incomplete(split)
    if any(re.search("format[-_]?val", name, re.IGNORECASE) for name in (folder.name, folder.parent.name)):
        caveat = "the images of the -format-val archives were encoded anew and score differently from the originals"
        name = variant + _REENCODED
    else:
        caveat = f"it is not the whole {variant}: {reason}" if reason else ""
        name = f"not {variant}" if reason else variant
    return replace(split, name=name, caveat=caveat)


def _variant_of(folder: str) -> str | None:
    for name, spellings in _SPELLINGS.items():
        for spelling in spellings:
            if re.fullmatch(f"imagenet-?v2-{spelling}(-format-val)?", folder.lower().replace("_", "-")):
                return name
    return None


def _why_incomplete(split: Split) -> str | None:
    counts = np.bincount(split.targets, minlength=len(split.classes)).tolist()
    if missing := counts.count(0):
        return f"{missing} of the {len(counts):,} folders are missing or empty, the first of them {counts.index(0)}"
    for index, count in enumerate(counts):
        if count != IMAGES_PER_CLASS:
            return f"folder {index} has {count} images, not {IMAGES_PER_CLASS}"
    return None
