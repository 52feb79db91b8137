"""The root that ``torchvision.datasets.ImageNet`` prepares: ``val/<wnid>/`` and ``meta.bin``."""

from __future__ import annotations

import pickle
import struct
from dataclasses import replace
from pathlib import Path

from harness.data import imagenet
from harness.data.forms.class_folders import read_class_folders
from harness.data.split import Split
from harness.errors import SplitError

EXPECTS = "torchvision.datasets.ImageNet's root, with meta.bin and val/"
META = "meta.bin"

_AGAIN = "delete it and let torchvision.datasets.ImageNet make it again"

# torchvision's is of 1 MB; more would be something else, or made to fill the memory.
_META_LIMIT = 64 * 2**20


def read_prepared_root(where: Path) -> Split | None:
    """Read class folders, and compare the validation set's files with the labels in ``meta.bin``.

    Raises:
        SplitError: ``meta.bin`` is damaged, or a file lies in another class folder than it says.
    """
    root = where.absolute().parent if where.name == "val" else where
    meta = root / META
    if not (meta.is_file() and (root / "val").is_dir()):
        return None
    split = read_class_folders(root / "val", imagenet.wnids())
    if split is None:
        return None
    labels = _read_labels(meta)
    for identity, source, target in zip(split.ids, split.sources, split.targets.tolist(), strict=True):
        number = imagenet.validation_number(identity.rpartition("/")[2])
        if number is None:
            continue
        if not 1 <= number <= len(labels):
            raise SplitError(f"{source}: expected the number of one of the {len(labels):,} validation images")
        if labels[number - 1] != split.classes[target]:
            raise SplitError(
                f"{source} lies in folder {split.classes[target]}, but {meta} says {labels[number - 1]}; "
                f"move it there, or delete val/ and let torchvision.datasets.ImageNet unpack it again"
            )
    return replace(split, form="torchvision's ImageNet root")


def _read_labels(meta: Path) -> list[str]:
    """Return the wnids of the validation images, in file-name order."""
    import torch

    if (size := meta.stat().st_size) > _META_LIMIT:
        raise SplitError(f"{meta}: expected about 1 MB, found {size:,} bytes; {_AGAIN}")
    try:
        found = torch.load(meta, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        struct.error,
    ) as error:
        raise SplitError(f"{meta} cannot be read: {str(error).partition(chr(10))[0]}; {_AGAIN}") from None
    labels = found[1] if isinstance(found, tuple) and len(found) == 2 else None
    if not isinstance(labels, list) or len(labels) != imagenet.IMAGES or not all(isinstance(w, str) for w in labels):
        raise SplitError(
            f"{meta}: expected classes by wnid and {imagenet.IMAGES:,} wnids, found something else; {_AGAIN}"
        )
    return labels
