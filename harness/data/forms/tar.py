"""``ILSVRC2012_img_val.tar``, or another tar archive of the validation set or of class folders, read in place."""

from __future__ import annotations

from pathlib import Path

from harness.data import imagenet
from harness.data.forms import webdataset
from harness.data.forms.archive import is_archive, list_members
from harness.data.forms.class_folders import ids_of, is_image, name_of
from harness.data.forms.devkit import check_devkit, label_by_name
from harness.data.source import FileSource
from harness.data.split import Row, Split
from harness.errors import SplitError

EXPECTS = "ILSVRC2012_img_val.tar, or one other .tar file of class folders named by wnid"
VALIDATION = "ILSVRC2012_img_val.tar"


def read_tar(where: Path) -> Split | None:
    """Read an archive of the validation set's files, or of folders named by wnid.

    Raises:
        SplitError: it is compressed or damaged, or an image has neither a class folder nor a known name.
    """
    path = _find_archive(where)
    if path is None:
        return None
    archive = FileSource.of(path)
    members = list_members(archive)
    if webdataset.is_shard(members):
        return None
    paths, sources, targets, ignored = [], [], [], []
    known_by_name = False
    for member in members:
        name = member.name.rpartition("/")[2]
        if not is_image(name):
            ignored.append(member.name)
            continue
        below = _below_class_folder(member.name)
        if below is not None:
            target = imagenet.class_indices()[below.partition("/")[0]]
        else:
            labelled = label_by_name(name, f"{path}: {member.name}")
            if labelled is None:
                raise SplitError(
                    f"{path}: expected images in class folders named by wnid, or named ILSVRC2012_val_*.JPEG, found "
                    f"{member.name!r}; if it is another form of image set, unpack it and point --imagenet at the folder"
                )
            known_by_name, target = True, labelled
        paths.append(below or name)
        sources.append(member.source(archive))
        targets.append(target)
    if not paths:
        raise SplitError(f"{path}: expected images, found none among its {len(members):,} members")
    folder = path.absolute().parent
    form = f"tar archive, {check_devkit((folder, folder.parent))}" if known_by_name else "tar archive of class folders"
    return Split.of_rows(
        map(Row, ids_of(paths), sources, targets),
        name=name_of(where) if where.is_dir() else path.stem,
        form=form,
        root=path,
        classes=imagenet.wnids(),
        ignored=tuple(ignored),
    )


def _find_archive(where: Path) -> Path | None:
    if not where.is_dir():
        return where if is_archive(where) else None
    for name in (VALIDATION, f"{VALIDATION}.gz"):
        if is_archive(where / name):
            return where / name
    archives = [path for path in where.glob("*.tar") if is_archive(path)]
    return archives[0] if len(archives) == 1 else None


def _below_class_folder(path: str) -> str | None:
    """Return a path from its class folder on, or None if it is in none."""
    parts = path.split("/")
    for place, part in enumerate(parts[:-1]):
        if part in imagenet.class_indices():
            return "/".join(parts[place:])
    return None
