"""``<root>/<wnid>/<image>`` or ``<root>/val/<wnid>/<image>``, as ``torchvision.datasets.ImageFolder`` reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.data import imagenet
from harness.data.source import FileSource
from harness.data.split import Row, Split
from harness.errors import SplitError

EXPECTS = "class folders named by wnid, such as n01440764/, in it or in val/, holding .JPEG files"
IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})


def read_class_folders(where: Path, classes: tuple[str, ...]) -> Split | None:
    """Read folders that are named by class.

    A class's index is its place in ``classes``, never the rank of its folder, so a tree that lacks classes keeps
    the right labels.

    Raises:
        SplitError: a folder beside those of classes is none, or there are no images in them.
    """
    if not where.is_dir():
        return None
    root = where / "val" if (where / "val").is_dir() else where
    index = {name: i for i, name in enumerate(classes)}
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    known = [name for name in folders if name in index]
    if not known:
        return None
    if strangers := [name for name in folders if name not in index]:
        raise SplitError(
            f"{root.absolute()} holds folder {strangers[0]!r}, which is not one of the {len(classes):,} classes "
            f"({len(strangers)} such among {len(folders)} folders); move it away or point --imagenet at the images"
        )
    return read_folders(root, {name: index[name] for name in known}, form="class folders", classes=classes)


def read_folders(root: Path, targets: dict[str, int], *, form: str, classes: tuple[str, ...]) -> Split:
    """Read the images of folders whose class indices are known by their names.

    Raises:
        SplitError: there are no images.
    """
    found: list[tuple[str, FileSource, int]] = []
    ignored = []
    for folder, target in targets.items():
        for path, entry in files_below(root / folder, folder):
            if is_image(entry.name):
                found.append((path, FileSource.of(entry.path, _stat(entry)), target))
            else:
                ignored.append(path)
    if not found:
        raise SplitError(f"no images in the {len(targets)} class folders of {root.absolute()}: expected .JPEG files")
    ids = ids_of([path for path, _, _ in found])
    return Split.of_rows(
        (Row(identity, source, target) for identity, (_, source, target) in zip(ids, found, strict=True)),
        name=name_of(root),
        form=form,
        root=root,
        classes=classes,
        ignored=tuple(ignored),
    )


def ids_of(paths: Sequence[str]) -> list[str]:
    """Return what images are called in every form: their file names, or their paths where two have one name."""
    names = [imagenet.canonical_id(path.rpartition("/")[2]) for path in paths]
    return names if len(set(names)) == len(names) else list(paths)


def is_image(name: str) -> bool:
    """Tell by its name whether a file is an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")  # noqa: PTH122


def name_of(root: Path) -> str:
    """Return what the image set at ``root`` is called: the folder's name, or that of the folder that holds ``val``."""
    return root.parent.resolve().name if root.name == "val" else root.resolve().name


def files_below(folder: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all files below a folder with their paths, which begin with ``prefix``; links are followed."""
    for entry in os.scandir(folder):
        path = f"{prefix}/{entry.name}"
        if entry.is_dir():
            yield from files_below(Path(entry.path), path)
        else:
            yield path, entry


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:
        return None  # a dangling link, which is named when it is to be read
