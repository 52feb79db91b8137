"""Tests of harness.formats.imagenet: the classes, the known labels, and what makes a whole validation set."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import DatasetError
from harness.formats import imagenet


def test_wnids_are_sorted_and_distinct() -> None:
    """The 1000 wnids stand in the order of the models' outputs, which is sorted order."""
    wnids = imagenet.wnids()

    assert len(wnids) == 1000
    assert sorted(set(wnids)) == list(wnids)
    assert (wnids[0], wnids[65], wnids[999]) == ("n01440764", "n01751748", "n15075141")


def test_the_shipped_classes_and_labels_are_the_published_ones(reference: Path) -> None:
    """Of each of the 50,000 file names, in their order."""
    with gzip.open(reference / "ilsvrc2012_val_labels.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))

    labels = imagenet.validation_labels()

    assert [row["filename"] for row in rows] == NAMES
    assert [int(row["sorted_wnid_index"]) for row in rows] == labels.tolist()
    assert [row["wnid"] for row in rows] == [imagenet.wnids()[label] for label in labels]
    assert imagenet.labels_sha256(labels) == imagenet.LABELS_SHA256


NAMES = [f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, 50_001)]
CASES = {
    "whole": (NAMES, None),
    "missing": (
        NAMES[:292] + NAMES[293:],
        "it has 49,999 of the 50,000 images, 1 missing, such as ILSVRC2012_val_00000293.JPEG",
    ),
    "stray": (
        ["a (1).JPEG", *NAMES],
        "it has 50,000 of the 50,000 images, and 1 of other names, such as 'a (1).JPEG'",
    ),
    "twice": (
        [f"a/{NAMES[6]}", f"b/{NAMES[6]}", *NAMES[7:], "b/x.JPEG"],
        "it has 49,994 of the 50,000 images, 6 missing, such as ILSVRC2012_val_00000001.JPEG, 1 more than once, such "
        "as ILSVRC2012_val_00000007.JPEG, and 1 of other names, such as 'b/x.JPEG'",
    ),
    "part": (NAMES[:100], "it has 100 of the 50,000 images"),
    "number": (
        ["ILSVRC2012_val_00050001.JPEG", NAMES[0]],
        "it has 1 of the 50,000 images, and 1 of other names, such as 'ILSVRC2012_val_00050001.JPEG'",
    ),
    "other": (["a_1.JPEG"], "its files are not named ILSVRC2012_val_*.JPEG"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_missing_twice_or_odd_is_named(case: str) -> None:
    """The validation set is all 50,000, each once, and nothing else."""
    ids, error = CASES[case]

    assert error == imagenet.validation_set_error(ids, imagenet.validation_numbers(ids))


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda data: data[:-1] + b"\xff", "expected sha256 f5350687"),
        (lambda data: data[:100], ""),
        (lambda _data: b"no array", ""),
        (lambda _data: b"", ""),
    ],
)
def test_damaged_labels_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes], error: str
) -> None:
    """A table that is not as it was installed labels nothing."""
    data = Path(imagenet.__file__).with_name("val_labels.npy").read_bytes()
    (tmp_path / "val_labels.npy").write_bytes(damage(data))
    monkeypatch.setattr(imagenet, "__file__", str(tmp_path / "imagenet.py"))

    with pytest.raises(DatasetError, match=rf"val_labels.npy is damaged: {error}.*; install imagenet-gate again"):
        imagenet.validation_labels.__wrapped__()
