"""Kaggle's tree: ``ILSVRC/Data/CLS-LOC/val/*.JPEG`` with the labels in ``LOC_val_solution.csv``."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

from harness.dataset import ImageDataset, Row
from harness.errors import DatasetError
from harness.formats import folders, imagenet
from harness.formats.folders import dataset_name, dataset_of, list_images
from harness.formats.sources import FileSource

SOLUTION = "LOC_val_solution.csv"


def read(path: Path) -> ImageDataset | None:
    """Read the tree from its root or from ``ILSVRC``, also if its images were sorted into class folders."""
    tree = next((folder for folder in (path / "ILSVRC", path) if (folder / "Data" / "CLS-LOC").is_dir()), None)
    if tree is None:
        return None
    val = tree / "Data" / "CLS-LOC" / "val"
    if not val.is_dir():
        raise DatasetError(f"{val}: expected the validation images of Kaggle's tree, found no such folder; unpack them")
    images, ignored = list_images(val)
    if not images:
        if (dataset := folders.read(val)) is None:
            raise DatasetError(f"{val}: expected .JPEG files or class folders, found neither; unpack them")
        return replace(dataset, name=dataset_name(path), format="Kaggle's tree, class folders")
    above, below = tree.absolute().parent, tree.absolute()
    table = next((folder / SOLUTION for folder in (above, below) if (folder / SOLUTION).is_file()), None)
    if table is None:
        raise DatasetError(
            f"{above}: expected {SOLUTION} in it or in {below.name}/, found none; put it there, or point "
            f"--imagenet at {val}, whose labels are known by file name"
        )
    targets = _read_solution(table)
    rows = []
    for entry in images:
        if (target := targets.get(Path(imagenet.canonical_id(entry.name)).stem)) is None:
            raise DatasetError(f"{table}: expected a row for each image, found none for {entry.path}")
        rows.append(Row(entry.name, FileSource.of(entry.path), target))
    return dataset_of(rows, path, "Kaggle's tree", ignored=ignored)


def _read_solution(table: Path) -> dict[str, int]:
    """Return the class indices by ImageId."""
    targets: dict[str, int] = {}
    try:
        rows = csv.DictReader(io.StringIO(table.read_text("utf-8-sig"), newline=""))
        if not {"ImageId", "PredictionString"} <= set(rows.fieldnames or ()):
            raise DatasetError(f"{table}: expected the columns ImageId, PredictionString, found {rows.fieldnames!r}")
        for row in rows:
            image, wnid = row["ImageId"], (row["PredictionString"] or "").split(" ", 1)[0]
            where = f"{table}: line {rows.line_num}: image {image!r}"
            if (target := imagenet.class_indices().get(wnid)) is None:
                raise DatasetError(f"{where}: expected a wnid at the start of PredictionString, found {wnid!r}")
            if targets.setdefault(Path(imagenet.canonical_id(image)).stem, target) != target:
                raise DatasetError(f"{where} has two rows with different wnids")
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} cannot be read as a CSV in UTF-8: {error}") from None
    return targets
