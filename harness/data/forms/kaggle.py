"""Kaggle's tree: ``ILSVRC/Data/CLS-LOC/val/*.JPEG`` with the labels in ``LOC_val_solution.csv``."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

from harness.data import imagenet
from harness.data.forms.class_folders import name_of, read_class_folders
from harness.data.forms.flat import list_images
from harness.data.source import FileSource
from harness.data.split import Row, Split
from harness.errors import SplitError

EXPECTS = "Kaggle's ILSVRC/Data/CLS-LOC/val/ with LOC_val_solution.csv"
SOLUTION = "LOC_val_solution.csv"

_COLUMNS = ("ImageId", "PredictionString")


def read_kaggle(where: Path) -> Split | None:
    """Read the tree from its root or from ``ILSVRC``; images that were sorted into class folders are read as those.

    Raises:
        SplitError: the images or their labels are missing, or the table cannot be read.
    """
    for tree in (where / "ILSVRC", where):
        if (tree / "Data" / "CLS-LOC").is_dir():
            break
    else:
        return None
    val = tree / "Data" / "CLS-LOC" / "val"
    if not val.is_dir():
        raise SplitError(f"{val}: expected the validation images of Kaggle's tree, found no such folder; unpack them")
    images, ignored = list_images(val)
    if not images:
        split = read_class_folders(val, imagenet.wnids())
        if split is None:
            raise SplitError(f"{val}: expected .JPEG files or class folders named by wnid, found neither; unpack them")
        return replace(split, name=name_of(where), form="Kaggle's tree, class folders")
    table = _find_solution(tree, val)
    targets = _read_solution(table)
    rows = []
    for entry in images:
        identity = imagenet.canonical_id(entry.name)
        if (target := targets.get(_stem(identity))) is None:
            raise SplitError(f"{table}: expected a row for each image, found none for {entry.path}")
        rows.append(Row(identity, FileSource.of(entry.path), target))
    return Split.of_rows(
        rows, name=name_of(where), form="Kaggle's tree", root=where, classes=imagenet.wnids(), ignored=ignored
    )


def _find_solution(tree: Path, val: Path) -> Path:
    folders = (tree.absolute().parent, tree.absolute())
    for folder in folders:
        if (folder / SOLUTION).is_file():
            return folder / SOLUTION
    raise SplitError(
        f"{folders[0]}: expected {SOLUTION} in it or in {folders[1].name}/, found none; put it there, or point "
        f"--imagenet at {val}, whose labels are known by file name"
    )


def _read_solution(table: Path) -> dict[str, int]:
    """Return class indices by ImageId."""
    targets: dict[str, int] = {}
    try:
        rows = csv.DictReader(io.StringIO(table.read_text("utf-8-sig"), newline=""))
        if not set(_COLUMNS) <= set(rows.fieldnames or ()):
            raise SplitError(f"{table}: expected the columns {', '.join(_COLUMNS)}, found {rows.fieldnames!r}")
        for row in rows:
            image, boxes = row["ImageId"], row["PredictionString"]
            wnid = (boxes or "").split(" ", 1)[0]
            if wnid not in imagenet.class_indices():
                raise SplitError(
                    f"{table}: line {rows.line_num}: expected a wnid at the start of PredictionString, found {wnid!r} "
                    f"for image {image!r}"
                )
            target = imagenet.class_indices()[wnid]
            if targets.setdefault(_stem(imagenet.canonical_id(image)), target) != target:
                raise SplitError(f"{table}: line {rows.line_num}: image {image!r} has a second row with another wnid")
    except (UnicodeDecodeError, csv.Error) as error:
        raise SplitError(f"{table} cannot be read as a CSV in UTF-8: {error}") from None
    return targets


def _stem(name: str) -> str:
    return Path(name).stem
