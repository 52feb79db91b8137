"""Facts about ILSVRC2012: the 1000 classes and how its validation set is told from anything else."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import SplitError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy import int16
    from numpy.typing import NDArray

NAME = "imagenet-1k"
IMAGES = 50_000
IMAGES_PER_CLASS = 50
# sha256 of the 50,000 class indices as little-endian int16, in file-name order. Four independent label
# sources agree on them: ImageNetV2's JSON, valprep.sh, cleanlab, and the devkit's ground truth by wnid.
LABELS_SHA256 = "f5350687a5a78da7e645040d352767bc06c1c99d9dfb34f1623b2d1a1d046b76"

_VALIDATION_FILE = re.compile(r"ILSVRC2012_val_[0-9]{8}\.jpe?g", re.IGNORECASE)
# Hugging Face's names end with the wnid, Kaggle's and WebDataset's keys have no suffix.
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_([0-9]{8})(?:_n[0-9]{8})?(?:\.[a-z0-9]+)?", re.IGNORECASE)


@cache
def wnids() -> tuple[str, ...]:
    """Return the 1000 wnids; a wnid's place in this sorted list is its class index."""
    return tuple(resources.files(__package__).joinpath("wnids.txt").read_text("ascii").split())


@cache
def class_names() -> Mapping[str, str]:
    """Return what each wnid's class is called in English, by torchvision's metadata of its weights."""
    names = resources.files(__package__).joinpath("class_names.txt").read_text("utf-8").splitlines()
    return MappingProxyType(dict(zip(wnids(), names, strict=True)))


@cache
def class_indices() -> Mapping[str, int]:
    """Return the class index of each wnid."""
    return MappingProxyType({wnid: index for index, wnid in enumerate(wnids())})


@cache
def devkit_classes() -> tuple[int, ...]:
    """Return the class indices of the devkit's ids 1 to 1000, which are in another order for every one of them."""
    listed = resources.files(__package__).joinpath("devkit_wnids.txt").read_text("ascii").split()
    return tuple(class_indices()[wnid] for wnid in listed)


@cache
def validation_labels() -> NDArray[int16]:
    """Return the (50000,) class indices of the validation set, in file-name order; not to be written to.

    Raises:
        SplitError: the file of labels is not the one that was published with this project.
    """
    with resources.as_file(resources.files(__package__).joinpath("val_labels.npy")) as path:
        try:
            labels: NDArray[int16] = np.load(path)
        except (ValueError, EOFError) as error:
            raise SplitError(f"{path} is damaged: {error}; install imagenet-gate again") from error
        if (found := labels_sha256(labels)) != LABELS_SHA256:
            raise SplitError(
                f"{path} is damaged: expected sha256 {LABELS_SHA256}, found {found}; install imagenet-gate again"
            )
    labels.flags.writeable = False
    return labels


def validation_number(name: str) -> int | None:
    """Return the number of the validation image that is called so in any form on disk, or None for another name.

    >>> validation_number("ILSVRC2012_val_00000293_n01440764.jpeg")
    293
    """
    found = _VALIDATION_NAME.fullmatch(name)
    return int(found[1]) if found else None


def validation_label(number: int) -> int:
    """Return the class index of validation image ``number``, counted from 1.

    Raises:
        SplitError: there is no such image.
    """
    if not 1 <= number <= IMAGES:
        raise SplitError(f"the validation images are numbered 1 to {IMAGES:,}, not {number:,}")
    return int(validation_labels()[number - 1])


def canonical_id(name: str) -> str:
    """Return the one name of a validation image for all that it is called on disk, and any other name as it is.

    >>> canonical_id("ilsvrc2012_val_00000293_n01440764.jpg")
    'ILSVRC2012_val_00000293.JPEG'
    """
    number = validation_number(name)
    return name if number is None else f"ILSVRC2012_val_{number:08}.JPEG"


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
