"""Tests of harness.formats.flat."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.dataset import open_dataset
from harness.errors import DatasetError
from tests.archives import write_files

ONE, TWO = "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"


@pytest.mark.parametrize("folder", ["", "val/"])
def test_images_are_labelled_by_their_numbers(tmp_path: Path, folder: str) -> None:
    """Flat files, or those in val/, have the known labels, and other files are listed."""
    root = write_files(tmp_path / "mine", folder + TWO, folder + ONE, folder + "notes.txt")

    dataset = open_dataset(root)

    assert (dataset.ids, dataset.targets.tolist()) == ((ONE, TWO), [65, 970])
    assert [source.read() for source in dataset.sources] == [(folder + ONE).encode(), (folder + TWO).encode()]
    assert (dataset.name, dataset.format) == ("mine", "flat files, labels by file name")
    assert dataset.ignored == ("notes.txt",)


NUMBERED = "the validation images are numbered 1 to 50,000, not"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cat.jpg", "/cat.jpg: expected a name ILSVRC2012_val_*.JPEG, as others have; remove it"),
        ("ILSVRC2012_val_00000000.jpg", f"/ILSVRC2012_val_00000000.jpg: {NUMBERED} 0; move the file away"),
        ("ILSVRC2012_val_00050001.jpg", f"/ILSVRC2012_val_00050001.jpg: {NUMBERED} 50,001; move the file away"),
        (
            f"n09193705/{TWO}",  # as valprep.sh leaves them if it was interrupted
            f": expected either images or class folders, found both, such as '{ONE}' and 'n09193705'; if valprep.sh "
            "was interrupted, run it to its end",
        ),
    ],
)
def test_an_image_without_a_label_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    """Leaving it out would be silent."""
    write_files(tmp_path, ONE, name)

    with pytest.raises(DatasetError) as raised:
        open_dataset(tmp_path)

    assert str(raised.value) == f"{tmp_path}{message}"
