"""Facts about ILSVRC2012: the 1000 classes and how its validation set is told from anything else."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy import int16
    from numpy.typing import NDArray

NAME = "imagenet-1k"
IMAGES = 50_000
IMAGES_PER_CLASS = 50
# sha256 of the 50,000 class indices as little-endian int16, in file-name order. Four independent label
# sources agree on them: ImageNetV2's JSON, valprep.sh, cleanlab, and the devkit's ground truth by wnid.
LABELS_SHA256 = "f5350687a5a78da7e645040d352767bc06c1c99d9dfb34f1623b2d1a1d046b76"

_VALIDATION_FILE = re.compile(r"ILSVRC2012_val_\d{8}\.jpe?g", re.IGNORECASE)


@cache
def wnids() -> tuple[str, ...]:
    """Return the 1000 wnids; a wnid's place in this sorted list is its class index."""
    return tuple(resources.files(__package__).joinpath("wnids.txt").read_text("ascii").split())


def labels_sha256(targets: NDArray[int16]) -> str:
    """Return the digest of ``targets``: (N,) class indices, in the order of the ids."""
    return hashlib.sha256(targets.astype("<i2").tobytes()).hexdigest()


def claims_to_be_validation_set(ids: Sequence[str]) -> bool:
    """Tell whether every id is named like a file of ILSVRC2012's validation set."""
    return all(_VALIDATION_FILE.fullmatch(identity.rpartition("/")[2]) for identity in ids)


def why_incomplete(ids: Sequence[str], targets: NDArray[int16]) -> str | None:
    """Say in one clause why these images are not the whole validation set, or None if they are.

    Args:
        ids: N file names.
        targets: (N,) class indices.
    """
    if not claims_to_be_validation_set(ids):
        return "its files are not named ILSVRC2012_val_*.JPEG"
    if len(ids) != IMAGES:
        return f"it has {len(ids):,} of the {IMAGES:,} images"
    counts = Counter(targets.tolist())
    for index, wnid in enumerate(wnids()):
        if counts[index] != IMAGES_PER_CLASS:
            return f"class {wnid} has {counts[index]} images, not {IMAGES_PER_CLASS}"
    if labels_sha256(targets) != LABELS_SHA256:
        return "its images are not in their own class folders: the digest of the labels is not the known one"
    return None
