"""Tests of harness.formats.prepared_root."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.dataset import open_dataset
from harness.formats import prepared_root
from tests.archives import write_files, write_tar

ONE, TWO = "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images, and a meta.bin, of which nothing is read."""
    write_files(tmp_path / "mine", f"val/n01751748/{ONE}", f"val/n09193705/{TWO}", "val/n01440764/cat.JPEG", "meta.bin")
    return tmp_path / "mine"


@pytest.mark.parametrize("given", [".", "val"])
def test_class_folders_are_read(root: Path, given: str) -> None:
    """The root, or its val/, gives the images of the class folders."""
    dataset = prepared_root.read(root / given)

    assert dataset is not None
    assert (dataset.ids, dataset.targets.tolist()) == ((ONE, TWO, "cat.JPEG"), [65, 970, 0])
    assert (dataset.name, dataset.format) == ("mine", "torchvision's ImageNet root")


def test_without_val_the_archive_is_read(tmp_path: Path) -> None:
    """A root that was not unpacked yet is read from its archive."""
    write_files(tmp_path, "meta.bin")
    write_tar(tmp_path / "ILSVRC2012_img_val.tar", {ONE: b"one"})

    dataset = open_dataset(str(tmp_path))

    assert (dataset.ids, dataset.format) == ((ONE,), "tar archive, labels by file name")
