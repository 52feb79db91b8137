"""Tests of harness.dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from harness.dataset import ImageDataset, Row
from harness.errors import DatasetError
from harness.formats.sources import FileSource


def make_dataset(images: int, classes: int) -> ImageDataset:
    """Return a dataset of nothing on disk, image ``i`` in class ``i % classes``."""
    return dataset_of([row(f"{i:05}.jpeg", i % classes, size=i) for i in range(images)])


def dataset_of(rows: Sequence[Row], root: str = "nowhere") -> ImageDataset:
    """Return the dataset of these images, which a reader finds in another order."""
    classes = tuple(f"c{i:03}" for i in range(9))
    return ImageDataset.from_rows(reversed(rows), name="made", format="made up", root=Path(root), classes=classes)


def row(identity: str, target: int = 0, path: str = "", size: int = 1, time: int = 2) -> Row:
    """Return an image of a file, by default of the same name."""
    return Row(identity, FileSource(path or identity, size, time), target)


def test_a_subset_keeps_ids_sources_and_targets_together() -> None:
    """Sorted by id, each image of a subset has the file and the label it had before, and its index in the whole."""
    dataset = make_dataset(images=100, classes=7)

    subset = dataset.subset(30)

    rows = [int(identity[:5]) for identity in subset.ids]
    assert sorted(rows) == rows == subset.rows.tolist()
    assert [row % 7 for row in rows] == subset.targets.tolist()
    assert subset.ids == tuple(map(str, subset.sources))
    assert dataset is subset.whole
    assert dataset is subset.subset(10).whole
    assert list(range(100)) == dataset.rows.tolist()
    assert (30, 100, 100) == (len(subset), subset.total, dataset.total)


def test_subsets_are_class_balanced_and_extend_the_smaller_ones() -> None:
    """No class has more than one image more than another, as far as there are images."""
    dataset = make_dataset(images=61, classes=7)

    subsets = [dataset.subset(n) for n in range(1, 62)]

    counts = [Counter(subset.targets.tolist()) for subset in subsets]
    assert all(max(count.values()) - min(count[c] for c in range(7)) <= 1 for count in counts)
    assert all(set(small.ids) < set(large.ids) for small, large in pairwise(subsets))


def test_a_subset_is_the_same_everywhere() -> None:
    """The choice depends on the ids alone; these were written down once."""
    dataset = make_dataset(images=100, classes=10)
    moved = dataset_of([row(name, i % 10, f"val/{name}", 7, 8) for i, name in enumerate(dataset.ids)], root="/other")

    chosen = tuple(f"{number:05}.jpeg" for number in (7, 38, 42, 89, 94))
    assert chosen == dataset.subset(5).ids == moved.subset(5).ids


@pytest.mark.parametrize("images", [0, -1, 101])
def test_an_impossible_subset_is_an_error(images: int) -> None:
    """A subset has between one and all images."""
    with pytest.raises(DatasetError, match=r"--limit must be between 1 and the 100 images of made, not"):
        make_dataset(images=100, classes=7).subset(images)


@pytest.mark.parametrize(
    ("changed", "digest", "fingerprint"),
    [
        (row("x", path="a"), True, True),
        (row("a", target=1), True, False),
        (row("a", size=2), False, True),
        (row("a", time=3), False, True),
        (row("a", path="c"), False, False),
    ],
    ids=["id", "target", "size", "time", "path"],
)
def test_what_digest_and_fingerprint_depend_on(changed: Row, digest: bool, fingerprint: bool) -> None:
    """A path is in neither, nor is the root."""
    dataset, other = dataset_of([row("a"), row("b", 1)]), dataset_of([changed, row("b", 1)], root="/other")

    assert (digest, fingerprint) == (dataset.digest != other.digest, dataset.fingerprint != other.fingerprint)
    assert dataset.fingerprint != dataset_of([row("a")]).fingerprint
