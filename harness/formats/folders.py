"""``<root>/<wnid>/<image>`` or ``<root>/val/<wnid>/<image>``, as ``torchvision.datasets.ImageFolder`` reads it.

Also what readers of other formats share: listing folders, and naming images and datasets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.dataset import ImageDataset, Row
from harness.errors import DatasetError, printable
from harness.formats import imagenet
from harness.formats.sources import FileSource

_APPENDED = re.compile(r"_(n[0-9]{8})(?:\.[A-Za-z]+)?$")
_SYSTEM = ("lost+found", "system volume information")


def read(path: Path) -> ImageDataset | None:
    """Read folders that are named by wnid, whose class index it gives: class folders may be missing."""
    root, folders = list_folders(path)
    index = imagenet.class_indices()
    targets = {name: index[name] for name in folders if name in index}
    if not targets:
        return None
    if unknown := [name for name in folders if name not in index]:
        raise DatasetError(
            f"{root.absolute()} holds folder {unknown[0]!r}, which is not one of the {len(index):,} classes "
            f"({len(unknown)} such among {len(folders)} folders); remove it or point --imagenet at the images"
        )
    return read_folders(root, targets, "class folders")


def is_system(folder: str) -> bool:
    """Return whether a folder is hidden or a system's own, by its name: ``.ipynb_checkpoints``, ``@eaDir``."""
    return folder.startswith((".", "@", "#", "$", "~", "__")) or folder.lower() in _SYSTEM


def is_image(name: str) -> bool:
    """Return whether a file is an image, by its name."""
    return name.lower().endswith((".jpeg", ".jpg", ".png")) and not name.startswith(".")


def val_folder(path: Path) -> Path | None:
    """Return the folder ``val`` in a folder, or the folder itself if it has none; None if ``path`` is a file."""
    return next((folder for folder in (path / "val", path) if folder.is_dir()), None)


def list_folders(path: Path) -> tuple[Path, list[str]]:
    """Return a folder's ``val_folder``, and the sorted names of the folders in that, but for a system's."""
    if (root := val_folder(path)) is None:
        return path, []
    with os.scandir(root) as entries:
        return root, sorted(entry.name for entry in entries if not is_system(entry.name) and entry.is_dir())


def dataset_name(path: Path) -> str:
    """Return the name of the dataset at ``path``: a file's stem, or a folder's name without ``val``."""
    if path.is_file():
        return path.stem
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("datasets--"):
        return path.parent.parent.name.rpartition("--")[2]
    return path.parent.resolve().name if path.name == "val" else path.resolve().name


def dataset_of(
    rows: Sequence[Row], root: Path, format_: str, *, name: str | None = None, ignored: Sequence[str] = ()
) -> ImageDataset:
    """Return the dataset of rows that have paths for ids, under its own name or that of ``root``.

    An image's id becomes its file name, in every format; if two files have the same name, all keep their paths. A
    wnid that is appended to the name, as by Hugging Face, must be that of the label.
    """
    for row in rows:
        if (named := _APPENDED.search(row.id)) and named[1] != (wnid := imagenet.wnids()[row.target]):
            raise DatasetError(
                f"{row.source}: its name says {named[1]}, but its label {row.target} is {wnid}; the image was renamed, "
                "or the labels are in another order than ILSVRC2012's"
            )
    parts = [row.id.rpartition("/") for row in rows]
    ids = [imagenet.canonical_id(file) for _, _, file in parts]
    if len(set(ids)) < len(ids):
        ids = [f"{folder}{slash}{file}" for (folder, slash, _), file in zip(parts, ids, strict=True)]
    rows = [row._replace(id=identity) for row, identity in zip(rows, ids, strict=True)]
    name = name or dataset_name(root)
    classes, ignored = imagenet.wnids(), tuple(map(printable, ignored))
    return ImageDataset.from_rows(rows, name=name, format=format_, root=root, classes=classes, ignored=ignored)


def read_folders(root: Path, targets: dict[str, int], format_: str) -> ImageDataset:
    """Read the images in folders whose class indices are known by the folders' names."""
    rows, ignored = [], [f"{name}/" for name in os.listdir(root) if is_system(name) and (root / name).is_dir()]
    for folder, target in targets.items():
        for path, entry in _files_below(root / folder, folder, (root,)):
            if is_image(entry.name) and not path.endswith("/"):
                rows.append(Row(path, FileSource.of(entry.path), target))
            else:
                ignored.append(path)
    if not rows:
        raise DatasetError(f"no images in the {len(targets)} class folders of {root.absolute()}: expected .JPEG files")
    return dataset_of(rows, root, format_, ignored=ignored)


def list_images(folder: Path) -> tuple[list[os.DirEntry[str]], list[str]]:
    """Return the images that lie flat in a folder, and the names of other files; class folders beside are an error."""
    images, ignored, sorted_in = [], [], None
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in imagenet.class_indices() and entry.is_dir():
                sorted_in = entry.name
            elif is_image(entry.name):
                images.append(entry)
            elif not entry.is_dir():
                ignored.append(entry.name)
            elif is_system(entry.name):
                ignored.append(f"{entry.name}/")
    if images and sorted_in:
        raise DatasetError(
            f"{folder.absolute()}: expected either images or class folders, found both, such as {images[0].name!r} "
            f"and {sorted_in!r}; if valprep.sh was interrupted, run it to its end"
        )
    return images, ignored


def _files_below(folder: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all files below a folder with their paths, which begin with ``prefix``; links are followed.

    A system's folder is yielded itself, its path with a slash at the end. The folders ``above`` must not be met again.
    """
    if again := [outer for outer in above if folder.is_symlink() and folder.samefile(outer)]:
        raise DatasetError(f"{folder}: expected images, found a link to {again[0]}, in which it lies; remove the link")
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{prefix}/{entry.name}"
            if entry.is_dir():
                below = [(f"{path}/", entry)] if is_system(entry.name) else None
                yield from below or _files_below(Path(entry.path), path, (*above, folder))
            else:
                yield path, entry
