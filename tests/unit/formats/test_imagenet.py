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


def columns(rows: list[tuple[str, str, int]]) -> tuple[tuple[str, ...], np.ndarray[tuple[int], np.dtype[np.int16]]]:
    """Return the ids and targets of ``rows``."""
    return tuple(name for name, _, _ in rows), np.array([index for _, _, index in rows], dtype=np.int16)


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


def test_the_validation_set_is_recognized(published: list[tuple[str, str, int]]) -> None:
    """The published names and labels are the whole validation set."""
    assert imagenet.validation_set_error(*columns(published)) is None


def test_names_in_another_letter_case_are_recognized(published: list[tuple[str, str, int]]) -> None:
    """Files renamed to .jpeg are still the validation set."""
    ids, targets = columns(published)

    assert imagenet.validation_set_error([name.replace(".JPEG", ".jpeg") for name in ids], targets) is None


def test_a_missing_image_is_reported(published: list[tuple[str, str, int]]) -> None:
    """49,999 images are not the validation set."""
    assert imagenet.validation_set_error(*columns(published[1:])) == "it has 49,999 of the 50,000 images"


def test_a_class_with_a_wrong_count_is_reported(published: list[tuple[str, str, int]]) -> None:
    """50,000 images of which one lies in another class folder are not the validation set."""
    ids, targets = columns(published)
    targets[0] = 0

    assert imagenet.validation_set_error(ids, targets) == "class n01440764 has 51 images, not 50"


def test_swapped_labels_are_reported(published: list[tuple[str, str, int]]) -> None:
    """50 images a class are not enough: two images in each other's folders change the digest."""
    ids, targets = columns(published)
    targets[[0, 1]] = targets[[1, 0]]

    reason = imagenet.validation_set_error(ids, targets)

    assert reason == "its images are not in their own class folders: the digest of the labels is not the known one"


def test_other_names_do_not_claim_to_be_the_validation_set() -> None:
    """Training images are no damaged validation set, they are something else."""
    assert not imagenet.are_validation_names(["n01440764_10026.JPEG", "ILSVRC2012_val_00000001.JPEG"])
    assert imagenet.are_validation_names(["ILSVRC2012_val_00000001.JPEG"])


def test_the_shipped_labels_are_the_published_ones(published: list[tuple[str, str, int]]) -> None:
    """The table of labels has the known digest, and the label of each of the 50,000 file names."""
    labels = imagenet.validation_labels()

    assert labels.tolist() == [index for _, _, index in published]
    assert imagenet.labels_sha256(labels) == imagenet.LABELS_SHA256


def test_damaged_labels_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that was changed after it was installed labels nothing."""
    np.save(tmp_path / "val_labels.npy", np.zeros(50_000, np.int16))
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)

    with pytest.raises(DatasetError, match=r"val_labels.npy is damaged: expected sha256 f5350687"):
        imagenet.validation_labels.__wrapped__()


@pytest.mark.parametrize("data", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_labels_that_are_no_array_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Neither does one that was cut off."""
    (tmp_path / "val_labels.npy").write_bytes(data)
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)

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
