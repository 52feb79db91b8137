"""Opens an image set in any form that has a row in ``FORMS``, chosen by looking."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from harness.data import embedded, imagenet, rendering
from harness.data.forms import (
    class_folders,
    flat,
    imagenetv2,
    kaggle,
    parquet,
    prepared_root,
    tar,
    webdataset,
)
from harness.data.split import Split
from harness.errors import SplitError

EMBEDDED = "embedded"


class Form(NamedTuple):
    """A form on disk.

    Attributes:
        expects: what it looks for, in words.
        read: returns the split at a path, or None if it is in another form.
    """

    expects: str
    read: Callable[[Path], Split | None]


# The more specific comes first: a prepared root holds class folders, and may hold the archive they came from.
FORMS = (
    Form(prepared_root.EXPECTS, prepared_root.read_prepared_root),
    Form(kaggle.EXPECTS, kaggle.read_kaggle),
    Form(imagenetv2.EXPECTS, imagenetv2.read_imagenetv2),
    Form(flat.EXPECTS, flat.read_flat),
    Form(class_folders.EXPECTS, lambda where: class_folders.read_class_folders(where, imagenet.wnids())),
    Form(parquet.EXPECTS, parquet.read_parquet),
    Form(tar.EXPECTS, tar.read_tar),
    Form(webdataset.EXPECTS, webdataset.read_webdataset),
)


def open_split(where: str, named: str = "--imagenet") -> Split:
    """Open the image set at ``where``: a folder or an archive, or the word ``embedded``.

    Args:
        where: as a user gives it.
        named: what it was given as, for messages.

    Raises:
        SplitError: nothing is there, or it is in no form that is known.
    """
    if where == EMBEDDED:
        return _open_embedded()
    root = Path(where).expanduser()
    if not root.exists():
        raise SplitError(
            f"{named} {where!r}: expected a folder or archive of images, found nothing at {root.absolute()}"
        )
    try:
        for form in FORMS:
            if (split := form.read(root)) is not None:
                return _recognized(split)
        raise SplitError(
            f"no images in {root.absolute()}: found {_listing(root)}; looked for "
            + "; ".join(f"({number}) {form.expects}" for number, form in enumerate(FORMS, start=1))
        )
    except OSError as error:
        raise SplitError(
            f"{named} {where!r}: {error.filename or root} cannot be read: {error.strerror or error}"
        ) from error


def _open_embedded() -> Split:
    split = class_folders.read_class_folders(embedded.ensure_rendered(), rendering.CLASSES)
    assert split is not None
    # The files' digest has just been checked; their times differ from machine to machine.
    return replace(split, name=EMBEDDED, form="rendered images", fingerprint=embedded.DIGEST)


def _recognized(split: Split) -> Split:
    """Call the split ``imagenet-1k`` if it is that, and say what it lacks if its names only claim so."""
    reason = imagenet.why_incomplete(split.ids, split.targets)
    if reason is None:
        return replace(split, name=imagenet.NAME)
    if split.name in imagenetv2.NAMES and split.form != imagenetv2.FORM:
        caveat = "its class folders are not named 0 to 999, as in the original archives"
        return replace(split, name=f"not {split.name}", caveat=caveat)
    if split.name == EMBEDDED:
        return replace(split, name=f"not {EMBEDDED}", caveat=f"a folder that is only called {EMBEDDED!r}")
    if split.name == imagenet.NAME or imagenet.claims_to_be_validation_set(split.ids):
        name = f"not {imagenet.NAME}" if split.name == imagenet.NAME else split.name
        return replace(split, name=name, caveat=f"it is not the whole {imagenet.NAME} validation set: {reason}")
    return split


def _listing(root: Path) -> str:
    if root.is_file():
        return f"a file of {root.stat().st_size:,} bytes"
    names = sorted(entry.name for entry in os.scandir(root))
    if not names:
        return "an empty folder"
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
