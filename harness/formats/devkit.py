"""The devkit's labels of the validation set, where the devkit is beside the images."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from harness.errors import DatasetError
from harness.formats import imagenet

ARCHIVE = "ILSVRC2012_devkit_t12.tar.gz"
GROUND_TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"

# The published archive unpacks to a few MB; more would be something else, or made to fill the memory.
_UNPACKED_LIMIT = 64 * 2**20


def check_devkit(folders: Iterable[Path]) -> str:
    """Compare the first devkit in ``folders`` with the known labels, and return in words where the labels come from."""
    for folder in folders:
        if (file := folder / GROUND_TRUTH).is_file():
            _check(file.read_bytes(), str(file))
            return "the devkit's labels"
        if (archive := folder / ARCHIVE).is_file():
            _check(_ground_truth_in(archive), f"{archive}: {GROUND_TRUTH}")
            return "the devkit's labels"
    return "labels by file name"


def _check(ground_truth: bytes, where: str) -> None:
    try:
        ids = [int(line) for line in ground_truth.decode("ascii").split()]
    except ValueError as error:
        raise DatasetError(f"{where}: expected a number in each line: {error}; unpack the devkit again") from None
    if len(ids) != imagenet.IMAGES:
        raise DatasetError(f"{where}: expected {imagenet.IMAGES:,} lines, found {len(ids):,}; unpack the devkit again")
    classes = imagenet.devkit_classes()
    for number, (identity, known) in enumerate(zip(ids, imagenet.validation_labels().tolist(), strict=True), start=1):
        if not 1 <= identity <= len(classes) or classes[identity - 1] != known:
            raise DatasetError(
                f"{where}: line {number}: expected {classes.index(known) + 1}, the devkit's id of "
                f"{imagenet.wnids()[known]}, found {identity}; unpack the devkit again, or move it away to use the "
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
