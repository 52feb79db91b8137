"""Tests of harness.formats.kaggle."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.dataset import open_dataset
from harness.errors import DatasetError
from tests.archives import write_files

ONE, TWO = "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"
VAL = "ILSVRC/Data/CLS-LOC/val"
HEADER = b"ImageId,PredictionString\n"
ROWS = (
    b"ILSVRC2012_val_00000002,n09193705 1 2 3 4 n09193705 5 6 7 8 \n"
    b"ILSVRC2012_val_00000003,n02105855 1 2 3 4 \n"
    b"ILSVRC2012_val_00000001,n01751748 1 2 3 4 \n"
)


TABLES = {"plain": HEADER + ROWS, "of a spreadsheet": b"\xef\xbb\xbf" + (HEADER + ROWS).replace(b"\n", b"\r\n")}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("where", [".", "ILSVRC"])
@pytest.mark.parametrize("given", [".", "ILSVRC"])
def test_labels_are_joined_by_image(tmp_path: Path, table: str, where: str, given: str) -> None:
    """Rows in any order, also such without an image, label the images by the first token, wherever the table lies."""
    write_files(tmp_path, f"{VAL}/{ONE}", f"{VAL}/{TWO}")
    write_files(tmp_path / where, "LOC_val_solution.csv", data=TABLES[table])

    dataset = open_dataset(tmp_path / given)

    assert (dataset.ids, dataset.targets.tolist()) == ((ONE, TWO), [65, 970])
    assert [source.read() for source in dataset.sources] == [f"{VAL}/{name}".encode() for name in (ONE, TWO)]
    assert (dataset.name, dataset.format) == ((tmp_path / given).name, "Kaggle's tree")


def test_images_sorted_into_class_folders_are_read_as_those(tmp_path: Path) -> None:
    """After valprep.sh the folders are the labels, and no table is needed."""
    write_files(tmp_path, f"{VAL}/n01751748/{ONE}", f"{VAL}/n09193705/{TWO}")

    dataset = open_dataset(tmp_path)

    assert (dataset.ids, dataset.targets.tolist()) == ((ONE, TWO), [65, 970])
    assert (dataset.name, dataset.format) == (tmp_path.name, "Kaggle's tree, class folders")


IMAGE = "image 'ILSVRC2012_val_00000001'"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (HEADER + ROWS.replace(b"_00000001", b"_00000004"), f"expected a row for each image, found none for .*{ONE}"),
        (HEADER + ROWS.replace(b"n01751748", b"n00000001"), f"line 4: {IMAGE}: expected a wnid .* found 'n00000001'"),
        (HEADER + b"ILSVRC2012_val_00000001\n", f"line 2: {IMAGE}: expected a wnid .* found ''"),
        (
            HEADER + ROWS + b"ILSVRC2012_val_00000001,n09193705\n",
            f"line 5: {IMAGE} has two rows with different wnids",
        ),
        (b"image,label\n" + ROWS, r"expected the columns ImageId, PredictionString, found \['image', 'label'\]"),
        (b"", "expected the columns ImageId, PredictionString, found None"),
        (b"\xff\xfeI\0m\0a\0", "cannot be read as a CSV in UTF-8: .*"),
        (HEADER + b"x" * 200_000, "cannot be read as a CSV in UTF-8: field larger than field limit .*"),
    ],
)
def test_a_table_that_does_not_serve_is_an_error(tmp_path: Path, table: bytes, message: str) -> None:
    """The sentence names the table and what is wrong with it."""
    write_files(tmp_path, f"{VAL}/{ONE}", f"{VAL}/{TWO}")
    write_files(tmp_path, "LOC_val_solution.csv", data=table)

    with pytest.raises(DatasetError, match=f"LOC_val_solution.csv:? {message}$"):
        open_dataset(tmp_path)
