"""Tests of harness.data.forms.flat."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.forms.devkit import ARCHIVE, GROUND_TRUTH
from harness.data.forms.flat import read_flat
from harness.errors import SplitError
from tests.archives import write_files

ONE, TWO = "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"


@pytest.mark.parametrize("folder", ["", "val/"])
def test_images_are_labelled_by_their_numbers(tmp_path: Path, folder: str) -> None:
    """Flat files, or those in val/, have the known labels, and other files are listed."""
    root = write_files(tmp_path / "mine", folder + TWO, folder + ONE, folder + "notes.txt")

    split = read_flat(root)

    assert split is not None
    assert (split.ids, split.targets.tolist()) == ((ONE, TWO), [65, 970])
    assert [source.read() for source in split.sources] == [(folder + ONE).encode(), (folder + TWO).encode()]
    assert (split.name, split.form, split.ignored) == ("mine", "flat files, labels by file name", ("notes.txt",))


def test_names_in_other_spellings_have_the_same_ids(tmp_path: Path) -> None:
    """Letter case and suffix, and Hugging Face's wnid, do not change what an image is called."""
    write_files(tmp_path, "ilsvrc2012_val_00000001.jpg", "ILSVRC2012_val_00000002_n09193705.jpeg")

    split = read_flat(tmp_path)

    assert split is not None
    assert split.ids == (ONE, TWO)


@pytest.mark.parametrize("names", [("a.JPEG",), ("ILSVRC2012_val_00000001.txt",), ("n01440764/" + ONE,), ()])
def test_another_form_is_left_to_others(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Without an image of the validation set that lies flat it is another form; so is a file."""
    write_files(tmp_path, *names)

    assert read_flat(tmp_path) is None
    assert read_flat(Path(__file__)) is None


def test_an_image_of_another_name_is_refused(tmp_path: Path) -> None:
    """No label is known for it, and leaving it out would be silent."""
    write_files(tmp_path, ONE, "cat.jpg")

    with pytest.raises(SplitError, match=r"cat.jpg: expected only images named ILSVRC2012_val_\*.JPEG beside others"):
        read_flat(tmp_path)


def test_a_number_outside_the_validation_set_is_refused(tmp_path: Path) -> None:
    """The sentence names the file."""
    write_files(tmp_path, "ILSVRC2012_val_00050001.JPEG")

    with pytest.raises(
        SplitError, match=r"ILSVRC2012_val_00050001.JPEG: the validation images are numbered 1 to 50,000"
    ):
        read_flat(tmp_path)


def test_one_image_in_two_spellings_is_refused(tmp_path: Path) -> None:
    """Two files with one id are not both counted."""
    write_files(tmp_path, ONE, ONE.replace("JPEG", "jpg"))

    with pytest.raises(SplitError, match=f"two images are called '{ONE}'"):
        read_flat(tmp_path)


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    """A valprep.sh that was interrupted leaves images in both places."""
    write_files(tmp_path, ONE, "n09193705/" + TWO)

    with pytest.raises(SplitError, match=r"holds images, such as .*, beside class folders, such as 'n09193705'"):
        read_flat(tmp_path)


@pytest.mark.parametrize("folder", ["", "val/"])
@pytest.mark.parametrize("devkit", [GROUND_TRUTH, ARCHIVE])
@pytest.mark.parametrize("place", ["images", "."])
def test_a_devkit_in_the_folder_or_beside_it_is_compared(tmp_path: Path, folder: str, devkit: str, place: str) -> None:
    """A devkit that cannot be right is refused wherever it is looked for."""
    write_files(tmp_path / "images", folder + ONE)
    write_files(tmp_path / place, devkit, data=b"1\n")

    with pytest.raises(SplitError, match="devkit again"):
        read_flat(tmp_path / "images")
