"""The root that ``torchvision.datasets.ImageNet`` prepares: ``val/<wnid>/`` and ``meta.bin``."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError

from harness.dataset import ImageDataset
from harness.errors import DatasetError
from harness.formats import folders, imagenet

_AGAIN = "delete it and let torchvision.datasets.ImageNet recreate it"
# All that torch.load raises on damaged files.
_DAMAGED = (UnpicklingError, struct.error, EOFError, RuntimeError, AttributeError, LookupError, TypeError, ValueError)
# torchvision's has 1 MB; more would be something else, or made to fill the memory.
_META_LIMIT = 64 * 2**20


def read(path: Path) -> ImageDataset | None:
    """Read class folders, and compare the validation set's files with the labels in ``meta.bin``."""
    root = path.absolute().parent if path.name == "val" else path
    meta = root / "meta.bin"
    if not (meta.is_file() and (root / "val").is_dir()) or (dataset := folders.read(root / "val")) is None:
        return None
    labels = _read_labels(meta)
    for identity, source, target in zip(dataset.ids, dataset.sources, dataset.targets.tolist(), strict=True):
        if (number := imagenet.validation_number(identity.rpartition("/")[2])) is None:
            continue
        if not 1 <= number <= len(labels):
            raise DatasetError(f"{source}: expected the number of one of the {len(labels):,} validation images")
        if (right := labels[number - 1]) != (folder := dataset.classes[target]):
            raise DatasetError(
                f"{source} is in folder {folder}, but {meta} says {right}; "
                "move it there, or delete val/ and let torchvision.datasets.ImageNet unpack it again"
            )
    return replace(dataset, format="torchvision's ImageNet root")


def _read_labels(meta: Path) -> list[str]:
    """Return the wnids of the validation images, in file-name order."""
    import torch

    if (size := meta.stat().st_size) > _META_LIMIT:
        raise DatasetError(f"{meta}: expected about 1 MB, found {size:,} bytes; {_AGAIN}")
    try:
        found = torch.load(meta, map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        raise DatasetError(f"{meta} cannot be read: {str(error).partition(chr(10))[0]}; {_AGAIN}") from None
    labels = found[1] if isinstance(found, tuple) and len(found) == 2 else None
    if not isinstance(labels, list) or len(labels) != imagenet.IMAGES or not all(isinstance(w, str) for w in labels):
        raise DatasetError(f"{meta}: expected classes and {imagenet.IMAGES:,} wnids, found something else; {_AGAIN}")
    return labels
