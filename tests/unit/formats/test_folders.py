"""Tests of harness.formats.folders that concern the ids; tests of layouts read class folders as well."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.dataset import open_dataset
from harness.errors import DatasetError
from harness.formats import folders
from tests.archives import write_files, write_tar

ONE = "ILSVRC2012_val_00000001"


@pytest.mark.parametrize("name", [f"{ONE}.JPEG", f"{ONE}.jpg", f"{ONE.lower()}.jpeg", f"{ONE}_n01751748.JPEG"])
def test_a_validation_image_has_the_same_id_in_any_spelling(tmp_path: Path, name: str) -> None:
    """Letter case, suffix and Hugging Face's wnid do not change what an image is called."""
    write_files(tmp_path, f"n01751748/{name}")

    dataset = folders.read(tmp_path)

    assert dataset is not None
    assert dataset.ids == (f"{ONE}.JPEG",)


@pytest.mark.parametrize("given", [".", "val"])
def test_the_root_of_torchvision_is_one_of_class_folders(tmp_path: Path, given: str) -> None:
    """Also beside the archive that it was unpacked from, which is read before that; its meta.bin is not needed."""
    root, name = tmp_path / "mine", f"{ONE}.JPEG"
    write_files(root, "meta.bin")
    write_tar(root / "ILSVRC2012_img_val.tar", {name: b"one"})
    packed = open_dataset(root)
    write_files(root, f"val/n01751748/{name}", "val/n01440764/cat.JPEG")

    dataset = open_dataset(root / given)

    assert ((name,), "tar archive, labels by file name") == (packed.ids, packed.format)
    assert ((name, "cat.JPEG"), [65, 0]) == (dataset.ids, dataset.targets.tolist())
    assert ("mine", "class folders") == (dataset.name, dataset.format)


def test_two_spellings_of_one_image_are_an_error(tmp_path: Path) -> None:
    """It would be counted twice; in two folders they are told apart by their paths."""
    write_files(tmp_path, f"n01751748/{ONE}.JPEG", f"n01440764/{ONE}.jpg")

    dataset = folders.read(tmp_path)

    assert dataset is not None
    assert dataset.ids == (f"n01440764/{ONE}.JPEG", f"n01751748/{ONE}.JPEG")
    write_files(tmp_path, f"n01751748/{ONE}.jpg")
    with pytest.raises(DatasetError, match=f"two images have the id 'n01751748/{ONE}.JPEG': .*JPEG and .*jpg"):
        folders.read(tmp_path)


def test_a_name_that_is_no_utf_8_is_an_error(tmp_path: Path) -> None:
    """Ids are written to records and digests as text."""
    folder = tmp_path / "n01440764"
    folder.mkdir()
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff.JPEG")).touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8")

    with pytest.raises(DatasetError, match=r": the name '\\udcff.JPEG' is not UTF-8; rename the image"):
        folders.read(tmp_path)


def test_folders_that_lie_in_themselves_are_an_error(tmp_path: Path) -> None:
    """By links, of which two would be followed 2^40 times; a link to a folder elsewhere is followed."""
    write_files(tmp_path / "set", "n01440764/a.JPEG")
    write_files(tmp_path, "elsewhere/b.JPEG")
    (tmp_path / "set/n01440764/more").symlink_to(tmp_path / "elsewhere")
    dataset = folders.read(tmp_path / "set")
    (tmp_path / "elsewhere/one").symlink_to(tmp_path / "set/n01440764")
    (tmp_path / "elsewhere/two").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DatasetError, match=r"/more/(one|two): expected images, found a link to .*, in which it lies"):
        folders.read(tmp_path / "set")

    assert dataset is not None
    assert dataset.ids == ("a.JPEG", "b.JPEG")
