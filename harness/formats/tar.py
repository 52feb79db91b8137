"""``ILSVRC2012_img_val.tar``, or another tar archive of the validation set or of class folders, read in place."""

from __future__ import annotations

from pathlib import Path

from harness.dataset import ImageDataset, Row
from harness.errors import DatasetError
from harness.formats import imagenet
from harness.formats.archive import is_archive, list_members
from harness.formats.devkit import check_devkit
from harness.formats.folders import dataset_name, dataset_of, is_image
from harness.formats.sources import FileSource
from harness.formats.webdataset import is_shard


def read(path: Path) -> ImageDataset | None:
    """Read an archive of the validation set's files, or of folders named by wnid."""
    if (root := _find_archive(path)) is None:
        return None
    members = list_members(FileSource.of(root))
    if is_shard(members):
        return None
    rows, ignored = [], []
    labels = " of class folders"
    for member in members:
        name = member.name.rpartition("/")[2]
        if not is_image(name):
            ignored.append(member.name)
        elif inside := _from_class_folder(member.name):
            rows.append(Row(inside, member, imagenet.class_indices()[inside.partition("/")[0]]))
        elif (known := imagenet.label_by_name(name, str(member))) is not None:
            rows.append(Row(name, member, known))
            labels = ""
        else:
            raise DatasetError(
                f"{root}: expected images in class folders named by wnid, or named ILSVRC2012_val_*.JPEG, found "
                f"{member.name!r}; if it is another dataset format, unpack it and point --imagenet at the folder"
            )
    if not rows:
        raise DatasetError(f"{root}: expected images, found none among its {len(members):,} members")
    folder = root.absolute().parent
    labels = labels or f", {check_devkit((folder, folder.parent))}"
    return dataset_of(rows, root, f"tar archive{labels}", name=dataset_name(path), ignored=ignored)


def _find_archive(path: Path) -> Path | None:
    if not path.is_dir():
        return path if is_archive(path) else None
    for name in ("ILSVRC2012_img_val.tar", "ILSVRC2012_img_val.tar.gz"):
        if is_archive(path / name):
            return path / name
    archives = [file for file in path.glob("*.tar") if is_archive(file)]
    return archives[0] if len(archives) == 1 else None


def _from_class_folder(path: str) -> str | None:
    """Return the part of a path that begins with a class folder; None if it has none."""
    parts = path.split("/")
    for i, part in enumerate(parts[:-1]):
        if part in imagenet.class_indices():
            return "/".join(parts[i:])
    return None
