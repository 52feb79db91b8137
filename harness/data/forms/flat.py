"""``ILSVRC2012_val_00000001.JPEG`` and so on, flat in one folder, as the validation set's tar unpacks."""

from __future__ import annotations

import os
from pathlib import Path

from harness.data import imagenet
from harness.data.forms.class_folders import is_image, name_of
from harness.data.forms.devkit import check_devkit, label_by_name
from harness.data.source import FileSource
from harness.data.split import Row, Split
from harness.errors import SplitError

EXPECTS = "files named ILSVRC2012_val_00000001.JPEG and so on, flat in it or in val/"


def read_flat(where: Path) -> Split | None:
    """Read the validation set's files, which are labelled by their numbers.

    Raises:
        SplitError: an image is none of the validation set's, class folders lie beside the images, or a devkit that
            lies there says other labels.
    """
    if not where.is_dir():
        return None
    root = where / "val" if (where / "val").is_dir() else where
    if not _holds_validation_image(root):
        return None
    images, ignored = list_images(root)
    rows = []
    for entry in images:
        target = label_by_name(entry.name, entry.path)
        if target is None:
            raise SplitError(
                f"{entry.path}: expected only images named ILSVRC2012_val_*.JPEG beside others that are; "
                "no label is known for this one; move it away"
            )
        rows.append(Row(imagenet.canonical_id(entry.name), FileSource.of(entry.path), target))
    labels = check_devkit(dict.fromkeys((root, where, where.absolute().parent)))
    return Split.of_rows(
        rows, name=name_of(root), form=f"flat files, {labels}", root=root, classes=imagenet.wnids(), ignored=ignored
    )


def list_images(folder: Path) -> tuple[list[os.DirEntry[str]], tuple[str, ...]]:
    """Return the images that lie flat in a folder, and the names of the other files.

    Raises:
        SplitError: there are images as well as class folders, so that either would be left out.
    """
    images, ignored, sorted_in = [], [], None
    for entry in os.scandir(folder):
        if entry.name in imagenet.class_indices() and entry.is_dir():
            sorted_in = entry.name
        elif is_image(entry.name):
            images.append(entry)
        elif not entry.is_dir():
            ignored.append(entry.name)
    if images and sorted_in:
        raise SplitError(
            f"{folder.absolute()} holds images, such as {images[0].name!r}, beside class folders, such as "
            f"{sorted_in!r}: expected either; if valprep.sh was interrupted, run it to its end"
        )
    return images, tuple(ignored)


def _holds_validation_image(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(is_image(entry.name) and imagenet.validation_number(entry.name) is not None for entry in entries)
