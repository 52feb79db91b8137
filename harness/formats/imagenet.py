"""ILSVRC2012: its 1000 classes, the labels of its validation set, also as the devkit has them, and its recognition."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy import int16
from numpy.typing import NDArray

from harness.errors import DatasetError

NAME = "imagenet-1k"
IMAGES = 50_000
# sha256 of the 50,000 class indices as little-endian int16, in file-name order. Four independent label
# sources agree on them: ImageNetV2's JSON, valprep.sh, cleanlab, and the devkit's ground truth by wnid.
LABELS_SHA256 = "f5350687a5a78da7e645040d352767bc06c1c99d9dfb34f1623b2d1a1d046b76"

# Hugging Face's names end with the wnid; Kaggle's and WebDataset's keys have no suffix.
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_([0-9]{8})(?:_n[0-9]{8})?(?:\.[a-z0-9]+)?", re.IGNORECASE)

DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
GROUND_TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"

# The published archive unpacks to a few MB; more would be something else, or made to fill the memory.
_UNPACKED_LIMIT = 64 * 2**20


@cache
def wnids() -> tuple[str, ...]:
    """Return the 1000 wnids, sorted; a wnid's position is its class index."""
    return tuple(_text("wnids.txt").split())


@cache
def class_indices() -> Mapping[str, int]:
    """Return the class index of each wnid."""
    return MappingProxyType({wnid: index for index, wnid in enumerate(wnids())})


@cache
def class_names() -> Mapping[str, str]:
    """Return the English name of each wnid's class, from the metadata of torchvision's weights."""
    return MappingProxyType(dict(zip(wnids(), _text("class_names.txt").splitlines(), strict=True)))


@cache
def devkit_classes() -> tuple[int, ...]:
    """Return the class indices of the devkit's ids 1 to 1000; none of them has its id's position."""
    return tuple(class_indices()[wnid] for wnid in _text("devkit_wnids.txt").split())


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


@cache
def validation_labels() -> NDArray[int16]:
    """Return the (50000,) class indices of the validation set, in file-name order, read-only."""
    with resources.as_file(resources.files(__package__).joinpath("val_labels.npy")) as path:
        try:
            labels: NDArray[int16] = np.load(path)
            if (found := labels_sha256(labels)) != LABELS_SHA256:
                raise ValueError(f"expected sha256 {LABELS_SHA256}, found {found}")
        except (ValueError, EOFError) as error:
            raise DatasetError(f"{path} is damaged: {error}; install imagenet-gate again") from error
    labels.flags.writeable = False
    return labels


def validation_number(name: str) -> int | None:
    """Return the number of the validation image with this name, as any format spells it, or None for other names."""
    found = _VALIDATION_NAME.fullmatch(name)
    return int(found[1]) if found else None


def validation_label(number: int) -> int:
    """Return the class index of a validation image by its number, which is 1 to 50,000."""
    return int(validation_labels()[number - 1])


def label_by_name(name: str, where: str) -> int | None:
    """Return the class index of the validation image with this file name; None for other names."""
    if (number := validation_number(name)) is None:
        return None
    if not 1 <= number <= IMAGES:
        raise DatasetError(
            f"{where}: the validation images are numbered 1 to {IMAGES:,}, not {number:,}; move the file away"
        )
    return validation_label(number)


def canonical_id(name: str) -> str:
    """Return a validation image's original file name, whatever the spelling, and any other name unchanged."""
    found = _VALIDATION_NAME.fullmatch(name)
    return f"ILSVRC2012_val_{found[1]}.JPEG" if found else name


def labels_sha256(targets: NDArray[int16]) -> str:
    """Return the digest of (N,) class indices, in the order of the ids."""
    return hashlib.sha256(targets.astype("<i2").tobytes()).hexdigest()


def are_validation_names(ids: Sequence[str]) -> bool:
    """Return whether all ids are named like the files of the validation set."""
    return all(_VALIDATION_NAME.fullmatch(identity.rpartition("/")[2]) for identity in ids)


def validation_set_error(ids: Sequence[str], targets: NDArray[int16]) -> str | None:
    """Return why these N images are not the whole validation set, as a clause, or None if they are."""
    if not are_validation_names(ids):
        return "its files are not named ILSVRC2012_val_*.JPEG"
    if len(ids) != IMAGES:
        return f"it has {len(ids):,} of the {IMAGES:,} images"
    counts = np.bincount(targets, minlength=len(wnids())).tolist()
    for wnid, count in zip(wnids(), counts, strict=True):
        if count != 50:
            return f"class {wnid} has {count} images, not 50"
    if labels_sha256(targets) != LABELS_SHA256:
        return "its images are not in their own class folders: the digest of the labels is not the known one"
    return None


def check_devkit(folders: Iterable[Path]) -> str:
    """Compare the first devkit in ``folders`` with the known labels, and return in words where the labels come from."""
    for folder in folders:
        if (file := folder / GROUND_TRUTH).is_file():
            _check_ground_truth(file.read_bytes(), str(file))
            return "the devkit's labels"
        if (archive := folder / DEVKIT).is_file():
            _check_ground_truth(_ground_truth_in(archive), f"{archive}: {GROUND_TRUTH}")
            return "the devkit's labels"
    return "labels by file name"


def _check_ground_truth(ground_truth: bytes, where: str) -> None:
    try:
        ids = [int(line) for line in ground_truth.decode("ascii").split()]
    except ValueError as error:
        raise DatasetError(f"{where}: expected a number in each line: {error}; unpack the devkit again") from None
    if len(ids) != IMAGES:
        raise DatasetError(f"{where}: expected {IMAGES:,} lines, found {len(ids):,}; unpack the devkit again")
    classes = devkit_classes()
    for number, (identity, known) in enumerate(zip(ids, validation_labels().tolist(), strict=True), start=1):
        if not 1 <= identity <= len(classes) or classes[identity - 1] != known:
            raise DatasetError(
                f"{where}: line {number}: expected {classes.index(known) + 1}, the devkit's id of "
                f"{wnids()[known]}, found {identity}; unpack the devkit again, or move it away to use the "
                "known labels"
            )


def _ground_truth_in(archive: Path) -> bytes:
    try:
        with gzip.open(archive) as compressed:
            unpacked = compressed.read(_UNPACKED_LIMIT + 1)
        if len(unpacked) > _UNPACKED_LIMIT:
            raise DatasetError(f"{archive}: expected the devkit of a few MB, found more than {_UNPACKED_LIMIT:,} bytes")
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as members:
            if (file := members.extractfile(GROUND_TRUTH)) is None:  # a folder
                raise KeyError(GROUND_TRUTH)
            return file.read()
    except KeyError:  # no such member, or a link to none
        raise DatasetError(f"{archive}: expected {GROUND_TRUTH} in it, found no such file; download it again") from None
    except (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError) as error:
        raise DatasetError(f"{archive}: expected a gzipped tar archive: {error}; download the devkit again") from None
