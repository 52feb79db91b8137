"""The devkit's labels of the validation set, where the devkit lies beside the images."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from harness.data import imagenet
from harness.errors import SplitError

ARCHIVE = "ILSVRC2012_devkit_t12.tar.gz"
GROUND_TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"

# The published archive unpacks to a few MB; more would be something else, or made to fill the memory.
_UNPACKED_LIMIT = 64 * 2**20


def check_devkit(folders: Iterable[Path]) -> str:
    """Compare the first devkit that lies in one of ``folders`` with the known labels.

    Returns:
        Whose the labels of the validation set are, in words.

    Raises:
        SplitError: the devkit's ground truth cannot be read, or says something else.
    """
    for folder in folders:
        if (loose := folder / GROUND_TRUTH).is_file():
            _check(loose.read_bytes(), str(loose))
            return "the devkit's labels"
        if (archive := folder / ARCHIVE).is_file():
            _check(_ground_truth_in(archive), f"{archive}: {GROUND_TRUTH}")
            return "the devkit's labels"
    return "labels by file name"


def label_by_name(name: str, place: str) -> int | None:
    """Return the class index of the validation image that is called ``name``, or None for any other name.

    Raises:
        SplitError: the name's number is none of the validation set's; ``place`` says where that is.
    """
    number = imagenet.validation_number(name)
    if number is None:
        return None
    try:
        return imagenet.validation_label(number)
    except SplitError as error:
        raise SplitError(f"{place}: {error}; move the file away") from None


def _check(ground_truth: bytes, place: str) -> None:
    try:
        ids = [int(line) for line in ground_truth.decode("ascii").split()]
    except ValueError as error:
        raise SplitError(
            f"{place}: expected a number from 1 to 1000 in each line: {error}; unpack the devkit again"
        ) from None
    if len(ids) != imagenet.IMAGES:
        raise SplitError(f"{place}: expected {imagenet.IMAGES:,} lines, found {len(ids):,}; unpack the devkit again")
    for number, (identity, known) in enumerate(zip(ids, imagenet.validation_labels().tolist(), strict=True), start=1):
        if not 1 <= identity <= len(imagenet.devkit_classes()) or imagenet.devkit_classes()[identity - 1] != known:
            expected = imagenet.devkit_classes().index(known) + 1
            raise SplitError(
                f"{place}: line {number} is {identity}, but image {number} is {imagenet.wnids()[known]}, whose devkit "
                f"id is {expected}; unpack the devkit again, or move it away to use the known labels"
            )


def _ground_truth_in(archive: Path) -> bytes:
    try:
        with gzip.open(archive) as compressed:
            unpacked = compressed.read(_UNPACKED_LIMIT + 1)
        if len(unpacked) > _UNPACKED_LIMIT:
            raise SplitError(f"{archive}: expected the devkit of a few MB, found more than {_UNPACKED_LIMIT:,} bytes")
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as members:
            file = members.extractfile(GROUND_TRUTH)
            if file is None:
                raise SplitError(f"{archive}: {GROUND_TRUTH} is no regular file; download the devkit again")
            return file.read()
    except KeyError:
        raise SplitError(
            f"{archive}: expected {GROUND_TRUTH} in it, found no such member; download the devkit again"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError) as error:
        raise SplitError(
            f"{archive}: expected a tar archive compressed by gzip: {error}; download the devkit again"
        ) from None
