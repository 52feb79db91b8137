"""Tests of harness.formats.imagenet."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DatasetError
from harness.formats import imagenet


@pytest.fixture(scope="module")
def published(reference: Path) -> list[tuple[str, str, int]]:
    """File name, wnid and class index of the 50,000 images."""
    with gzip.open(reference / "ilsvrc2012_val_labels.csv.gz", "rt") as file:
        return [(row["filename"], row["wnid"], int(row["sorted_wnid_index"])) for row in csv.DictReader(file)]


def test_wnids_are_sorted_and_distinct() -> None:
    """The 1000 wnids stand in the order of the models' outputs, which is sorted order."""
    wnids = imagenet.wnids()

    assert len(wnids) == 1000
    assert sorted(set(wnids)) == list(wnids)
    assert (wnids[0], wnids[65], wnids[999]) == ("n01440764", "n01751748", "n15075141")


def test_a_wnids_place_is_its_published_class_index(published: list[tuple[str, str, int]]) -> None:
    """For all 50,000 published labels the place of the wnid is the class index."""
    wnids = imagenet.wnids()

    assert [index for _, _, index in published] == [wnids.index(wnid) for _, wnid, _ in published]


NAMES = [f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, 50_001)]


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        (NAMES, None),
        ([name.replace(".JPEG", ".jpeg") for name in NAMES], None),
        (NAMES[:292] + NAMES[293:], "49,999 of the 50,000 images, 1 missing, such as ILSVRC2012_val_00000293.JPEG"),
        (["a (1).JPEG", *NAMES], "50,000 of the 50,000 images, and 1 of other names, such as 'a (1).JPEG'"),
        (
            [f"a/{NAMES[6]}", f"b/{NAMES[6]}", *NAMES[7:], "b/x.JPEG"],
            "49,994 of the 50,000 images, 6 missing, such as ILSVRC2012_val_00000001.JPEG, 1 more than once, such as "
            "ILSVRC2012_val_00000007.JPEG, and 1 of other names, such as 'b/x.JPEG'",
        ),
        (NAMES[:100], "100 of the 50,000 images"),
        (
            ["ILSVRC2012_val_00050001.JPEG", NAMES[0]],
            "1 of the 50,000 images, and 1 of other names, such as 'ILSVRC2012_val_00050001.JPEG'",
        ),
    ],
    ids=["whole", "other letter case", "missing", "stray", "twice", "part", "number"],
)
def test_what_is_missing_twice_or_odd_is_named(ids: list[str], error: str | None) -> None:
    """The validation set is all 50,000, each once, and nothing else."""
    found = imagenet.validation_set_error(ids, imagenet.validation_numbers(ids))

    assert (None if error is None else f"it has {error}") == found


def test_other_images_do_not_claim_to_be_the_validation_set() -> None:
    """Training images are no damaged validation set, they are something else."""
    assert (
        imagenet.validation_set_error(["a_1.JPEG"], np.zeros(1, np.int64))
        == "its files are not named ILSVRC2012_val_*.JPEG"
    )


def test_the_shipped_labels_are_the_published_ones(published: list[tuple[str, str, int]]) -> None:
    """The table of labels has the known digest, and the label of each of the 50,000 file names."""
    labels = imagenet.validation_labels()

    assert labels.tolist() == [index for _, _, index in published]
    assert imagenet.labels_sha256(labels) == imagenet.LABELS_SHA256


def test_damaged_labels_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that was changed after it was installed labels nothing."""
    np.save(tmp_path / "val_labels.npy", np.zeros(50_000, np.int16))
    monkeypatch.setattr(imagenet, "__file__", str(tmp_path / "imagenet.py"))

    with pytest.raises(DatasetError, match=r"val_labels.npy is damaged: expected sha256 f5350687"):
        imagenet.validation_labels.__wrapped__()


@pytest.mark.parametrize("data", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_labels_that_are_no_array_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Neither does one that was cut off."""
    (tmp_path / "val_labels.npy").write_bytes(data)
    monkeypatch.setattr(imagenet, "__file__", str(tmp_path / "imagenet.py"))

    with pytest.raises(DatasetError, match=r"val_labels.npy is damaged: .*; install imagenet-gate again"):
        imagenet.validation_labels.__wrapped__()


@pytest.mark.parametrize(
    "name",
    [
        "ILSVRC2012_val_00000293.JPEG",
        "ilsvrc2012_VAL_00000293.jpg",
        "ILSVRC2012_val_00000293.png",
        "ILSVRC2012_val_00000293",
        "ILSVRC2012_val_00000293_n01440764.JPEG",
    ],
)
def test_a_validation_image_has_one_id(name: str) -> None:
    """However a format spells it, the image is called as in the archive."""
    assert imagenet.canonical_id(name) == "ILSVRC2012_val_00000293.JPEG"
    assert imagenet.validation_number(name) == 293


@pytest.mark.parametrize(
    "name",
    [
        "n01440764_10026.JPEG",
        "ILSVRC2012_val_293.JPEG",
        "ILSVRC2012_val_00000293.JPEG.txt~",
        "ILSVRC2012_val_\u0660\u0660\u0660\u0660\u0660\u0662\u0669\u0663.JPEG",
    ],
)
def test_another_name_stays_as_it_is(name: str) -> None:
    """What is no validation image keeps its name."""
    assert imagenet.canonical_id(name) == name
    assert imagenet.validation_number(name) is None
