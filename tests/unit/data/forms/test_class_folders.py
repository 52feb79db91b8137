"""Tests of harness.data.forms.class_folders that concern the ids; tests of layouts read class folders as well."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.data import imagenet
from harness.data.forms.class_folders import read_class_folders
from harness.errors import SplitError
from tests.archives import write_files

ONE = "ILSVRC2012_val_00000001"


@pytest.mark.parametrize("name", [f"{ONE}.JPEG", f"{ONE}.jpg", f"{ONE.lower()}.jpeg", f"{ONE}_n01751748.JPEG"])
def test_a_validation_image_has_the_same_id_in_any_spelling(tmp_path: Path, name: str) -> None:
    """Letter case, suffix and Hugging Face's wnid do not change what an image is called."""
    write_files(tmp_path, f"n01751748/{name}")

    split = read_class_folders(tmp_path, imagenet.wnids())

    assert split is not None
    assert split.ids == (f"{ONE}.JPEG",)


def test_two_spellings_of_one_image_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    """Two files are two images, and then none of them is called by its name alone."""
    write_files(tmp_path, f"n01751748/{ONE}.JPEG", f"n01751748/{ONE}.jpg", "n01440764/a.JPEG")

    split = read_class_folders(tmp_path, imagenet.wnids())

    assert split is not None
    assert split.ids == ("n01440764/a.JPEG", f"n01751748/{ONE}.JPEG", f"n01751748/{ONE}.jpg")


def test_a_name_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    """Ids are written to records and digests as text."""
    folder = tmp_path / "n01440764"
    folder.mkdir()
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff.JPEG")).touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8")

    with pytest.raises(SplitError, match=r": the name '\\udcff.JPEG' is not UTF-8; rename the image"):
        read_class_folders(tmp_path, imagenet.wnids())
