"""How image sets lie on disk: one reader for each form, chosen by looking."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.data import embedded, imagenet, rendering
from harness.data.split import Split
from harness.errors import SplitError

EMBEDDED = "embedded"
IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})


def open_split(where: str) -> Split:
    """Open the image set at ``where``: a folder, or the word ``embedded``.

    Raises:
        SplitError: nothing is there, or it is in no form that is known.
    """
    if where == EMBEDDED:
        return replace(read_class_folders(embedded.ensure_rendered(), rendering.CLASSES), name=EMBEDDED)
    root = Path(where).expanduser()
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise SplitError(f"--imagenet {where!r}: expected a folder of images, found {found} at {root.absolute()}")
    try:
        return _recognized(read_class_folders(root, imagenet.wnids()))
    except OSError as error:
        raise SplitError(f"--imagenet {where!r}: {error.filename} cannot be read: {error.strerror}") from error


def read_class_folders(root: Path, classes: tuple[str, ...]) -> Split:
    """Read ``<root>/<class>/<image>`` or ``<root>/val/<class>/<image>``.

    A class's index is its place in ``classes``, never the rank of its folder, so a tree that lacks classes keeps
    the right labels.

    Raises:
        SplitError: a folder is no class, or there are no images.
    """
    root = root / "val" if (root / "val").is_dir() else root
    index = {name: i for i, name in enumerate(classes)}
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    known = [name for name in folders if name in index]
    if not known:
        raise SplitError(
            f"no images in {root.absolute()}: expected class folders named by wnid, such as {classes[0]}/, "
            f"holding .JPEG files, found {_listing(root)}"
        )
    if strangers := [name for name in folders if name not in index]:
        raise SplitError(
            f"{root.absolute()} holds folder {strangers[0]!r}, which is not one of the {len(classes):,} classes "
            f"({len(strangers)} such among {len(folders)} folders); move it away or point --imagenet at the images"
        )

    rows, ignored = [], []
    for name in known:
        for file in _files(root / name):
            if Path(file).suffix.lower() in IMAGE_SUFFIXES and not file.startswith("."):
                rows.append((file, f"{name}/{file}", index[name]))
            else:
                ignored.append(f"{name}/{file}")
    if not rows:
        raise SplitError(f"no images in the {len(known)} class folders of {root.absolute()}: expected .JPEG files")
    if len({file for file, _, _ in rows}) < len(rows):
        rows = [(path, path, target) for _, path, target in rows]
    rows.sort()
    return Split(
        name=root.parent.resolve().name if root.name == "val" else root.resolve().name,
        root=root,
        ids=tuple(identity for identity, _, _ in rows),
        files=tuple(path for _, path, _ in rows),
        targets=np.array([target for _, _, target in rows], dtype=np.int16),
        classes=classes,
        total=len(rows),
        ignored=tuple(ignored),
    )


def _recognized(split: Split) -> Split:
    """Call the split ``imagenet-1k`` if it is that, and say what it lacks if its names only claim so."""
    reason = imagenet.why_incomplete(split.ids, split.targets)
    if reason is None:
        return replace(split, name=imagenet.NAME)
    if split.name == EMBEDDED:
        return replace(split, name=f"not {EMBEDDED}", caveat=f"a folder that is only called {EMBEDDED!r}")
    if split.name == imagenet.NAME or imagenet.claims_to_be_validation_set(split.ids):
        name = f"not {imagenet.NAME}" if split.name == imagenet.NAME else split.name
        return replace(split, name=name, caveat=f"it is not the whole {imagenet.NAME} validation set: {reason}")
    return split


def _files(folder: Path) -> Iterator[str]:
    """Yield the paths of all files below a class folder, relative to it, as torchvision's ImageFolder finds them."""
    for parent, _, names in os.walk(folder, followlinks=True):
        prefix = Path(parent).relative_to(folder).as_posix()
        yield from (name if prefix == "." else f"{prefix}/{name}" for name in names)


def _listing(root: Path) -> str:
    names = sorted(entry.name for entry in os.scandir(root))
    if not names:
        return "an empty folder"
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
