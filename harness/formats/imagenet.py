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

# All that tarfile raises on damaged headers, chained ones included.
DAMAGED_TAR = (tarfile.TarError, ValueError, OverflowError, LookupError, RecursionError, TypeError, AttributeError)

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
    return Path(__file__).with_name(name).read_text("utf-8")


@cache
def validation_labels() -> NDArray[int16]:
    """Return the (50000,) class indices of the validation set, in file-name order, read-only."""
    path = Path(__file__).with_name("val_labels.npy")
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


def label_by_name(name: str, where: str) -> int | None:
    """Return the class index of the validation image with this file name; None for other names."""
    if (number := validation_number(name)) is None:
        return None
    if not 1 <= number <= IMAGES:
        raise DatasetError(
            f"{where}: the validation images are numbered 1 to {IMAGES:,}, not {number:,}; move the file away"
        )
    return int(validation_labels()[number - 1])


def canonical_id(name: str) -> str:
    """Return a validation image's original file name, whatever the spelling, and any other name unchanged."""
    found = _VALIDATION_NAME.fullmatch(name)
    return f"ILSVRC2012_val_{found[1]}.JPEG" if found else name


def labels_sha256(targets: NDArray[int16]) -> str:
    """Return the digest of (N,) class indices, in the order of the ids."""
    return hashlib.sha256(targets.astype("<i2").tobytes()).hexdigest()


def validation_numbers(ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the (N,) numbers of the validation images with these ids, 0 for other images."""
    names = (_VALIDATION_NAME.fullmatch(identity, identity.rfind("/") + 1) for identity in ids)
    numbers = np.array([int(name[1]) if name else 0 for name in names], dtype=np.int64)
    return np.where(numbers > IMAGES, 0, numbers)


def require_labels(ids: Sequence[str], numbers: NDArray[np.int64], targets: NDArray[int16], where: object) -> None:
    """Require that each validation image among these N images has the label of its number."""
    numbered = np.flatnonzero(numbers)
    found, known = targets[numbered].astype(np.int64), validation_labels()[numbers[numbered] - 1].astype(np.int64)
    if not (wrong := np.flatnonzero(found != known)).size:
        return
    devkit = np.array(devkit_classes())
    hint = "sort the images, or make their labels, anew"
    for offset, counted in ((0, "from 0"), (1, "from 1")):
        if np.array_equal(devkit[found - offset], known):
            hint = (
                f"the labels are the devkit's ids, counted {counted}; translate them to the order of the sorted wnids"
            )
        elif np.array_equal(found - offset, known):
            hint = f"the labels are counted {counted}, but class indices are counted from 0"
    first = int(wrong[0])
    raise DatasetError(
        f"{where}: {len(wrong):,} of {len(numbered):,} images lie in another class than their number says, such as "
        f"{ids[int(numbered[first])]} in {found[first]} ({wnids()[found[first]]}), which belongs to {known[first]} "
        f"({wnids()[known[first]]}); {hint}"
    )


def validation_set_error(ids: Sequence[str], numbers: NDArray[np.int64]) -> str | None:
    """Return why the images with these N ids are not the whole validation set, as a clause, or None if they are."""
    counts = np.bincount(numbers, minlength=IMAGES + 1)
    if (others := int(counts[0])) == len(ids):
        return "its files are not named ILSVRC2012_val_*.JPEG"
    counts[0] = 1
    missing, twice = np.flatnonzero(counts == 0), np.flatnonzero(counts > 1)
    if not (others or missing.size or twice.size):
        return None
    error = f"it has {IMAGES - missing.size:,} of the {IMAGES:,} images"
    if 0 < missing.size < IMAGES // 2:  # of a small part, nobody needs to know what the rest is
        error += f", {missing.size:,} missing, such as ILSVRC2012_val_{missing[0]:08}.JPEG"
    if twice.size:
        error += f", {twice.size:,} more than once, such as ILSVRC2012_val_{twice[0]:08}.JPEG"
    if others:
        error += f", and {others:,} of other names, such as {ids[int(np.flatnonzero(numbers == 0)[0])]!r}"
    return error


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
                f"{wnids()[known]}, found {identity}; unpack the devkit again, or remove it to use the "
                "known labels"
            )


def _ground_truth_in(archive: Path) -> bytes:
    try:
        with gzip.open(archive) as compressed:
            unpacked = compressed.read(_UNPACKED_LIMIT + 1)
        if len(unpacked) > _UNPACKED_LIMIT:
            raise DatasetError(f"{archive}: expected the devkit of a few MB, found more than {_UNPACKED_LIMIT:,} bytes")
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as members:
            # A link may point at itself, and a folder has no bytes.
            if not (member := members.getmember(GROUND_TRUTH)).isreg() or (file := members.extractfile(member)) is None:
                raise KeyError(GROUND_TRUTH)
            return file.read()
    except KeyError:  # no such member, or a link to none
        raise DatasetError(f"{archive}: expected {GROUND_TRUTH} in it, found no such file; download it again") from None
    except DatasetError:
        raise
    except (gzip.BadGzipFile, EOFError, zlib.error, *DAMAGED_TAR) as error:
        raise DatasetError(f"{archive}: expected a gzipped tar archive: {error}; download the devkit again") from None
