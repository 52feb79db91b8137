"""Tests of harness.formats.flat."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DatasetError
from harness.formats import flat
from harness.formats.imagenet import DEVKIT, GROUND_TRUTH
from tests.archives import write_files

ONE, TWO = "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"


@pytest.mark.parametrize("folder", ["", "val/"])
def test_images_are_labelled_by_their_numbers(tmp_path: Path, folder: str) -> None:
    """Flat files, or those in val/, have the known labels, and other files are listed."""
    root = write_files(tmp_path / "mine", folder + TWO, folder + ONE, folder + "notes.txt")

    dataset = flat.read(root)

    assert dataset is not None
    assert (dataset.ids, dataset.targets.tolist()) == ((ONE, TWO), [65, 970])
    assert [source.read() for source in dataset.sources] == [(folder + ONE).encode(), (folder + TWO).encode()]
    assert (dataset.name, dataset.format, dataset.ignored) == (
        "mine",
        "flat files, labels by file name",
        ("notes.txt",),
    )


def test_names_in_other_spellings_have_the_same_ids(tmp_path: Path) -> None:
    """Letter case and suffix, and Hugging Face's wnid, do not change what an image is called."""
    write_files(tmp_path, "ilsvrc2012_val_00000001.jpg", "ILSVRC2012_val_00000002_n09193705.jpeg")

    dataset = flat.read(tmp_path)

    assert dataset is not None
    assert dataset.ids == (ONE, TWO)


def test_an_image_of_another_name_is_an_error(tmp_path: Path) -> None:
    """No label is known for it, and leaving it out would be silent."""
    write_files(tmp_path, ONE, "cat.jpg")

    with pytest.raises(DatasetError, match=r"cat.jpg: expected a name ILSVRC2012_val_\*.JPEG, as others have"):
        flat.read(tmp_path)


def test_images_beside_class_folders_are_errors(tmp_path: Path) -> None:
    """A valprep.sh that was interrupted leaves images in both places."""
    write_files(tmp_path, ONE, "n09193705/" + TWO)

    with pytest.raises(DatasetError, match=r"expected either images or class folders, found both, such as .*9193705"):
        flat.read(tmp_path)


@pytest.mark.parametrize("folder", ["", "val/"])
@pytest.mark.parametrize("devkit", [GROUND_TRUTH, DEVKIT])
@pytest.mark.parametrize("where", ["images", "."])
def test_a_devkit_in_the_folder_or_beside_it_is_compared(tmp_path: Path, folder: str, devkit: str, where: str) -> None:
    """A devkit that cannot be right is an error wherever it is looked for."""
    write_files(tmp_path / "images", folder + ONE)
    write_files(tmp_path / where, devkit, data=b"1\n")

    with pytest.raises(DatasetError, match="devkit again"):
        flat.read(tmp_path / "images")
