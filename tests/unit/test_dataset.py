"""Tests of harness.dataset."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from harness.dataset import ImageDataset, Row
from harness.errors import DatasetError
from harness.formats.sources import FileSource


def make_dataset(images: int, classes: int) -> ImageDataset:
    """Return a dataset of nothing on disk, image ``i`` in class ``i % classes``."""
    ids = tuple(f"{i:05}.jpeg" for i in range(images))
    return dataset_of(
        [Row(identity, FileSource(identity, i, 0), i % classes) for i, identity in enumerate(ids)], classes
    )


def dataset_of(rows: list[Row], classes: int, name: str = "made", root: str = "nowhere") -> ImageDataset:
    """Return the dataset of these images."""
    names = tuple(f"c{i:03}" for i in range(classes))
    return ImageDataset.from_rows(rows, name=name, format="made up", root=Path(root), classes=names)


def test_a_subset_keeps_ids_sources_and_targets_together() -> None:
    """Each image of a subset has the file and the label it had before, and its index in the whole."""
    dataset = make_dataset(images=100, classes=7)

    subset = dataset.subset(30)

    assert all(subset.targets[i] == int(identity[:5]) % 7 for i, identity in enumerate(subset.ids))
    assert tuple(map(str, subset.sources)) == subset.ids
    assert subset.rows.tolist() == [int(identity[:5]) for identity in subset.ids]
    assert subset.whole is dataset
    assert subset.subset(10).whole is dataset
    assert dataset.rows.tolist() == list(range(100))
    assert sorted(subset.ids) == list(subset.ids)
    assert (30, 100, 100) == (len(subset), subset.total, dataset.total)


@pytest.mark.parametrize("images", [1, 6, 7, 8, 20, 99, 100])
def test_a_subset_is_class_balanced(images: int) -> None:
    """No class has more than one image more than another, as far as there are images."""
    subset = make_dataset(images=100, classes=7).subset(images)

    counts = Counter(subset.targets.tolist())
    assert max(counts.values()) - min(counts.get(c, 0) for c in range(7)) <= 1


def test_a_smaller_subset_is_part_of_a_larger_one() -> None:
    """Every subset extends the smaller ones."""
    dataset = make_dataset(images=60, classes=9)

    subsets = [set(dataset.subset(n).ids) for n in range(1, 61)]

    assert all(small < large for small, large in pairwise(subsets))


def test_a_subset_is_the_same_everywhere() -> None:
    """The choice depends on the ids alone; these were written down once."""
    assert make_dataset(images=100, classes=10).subset(5).ids == (
        "00007.jpeg",
        "00038.jpeg",
        "00042.jpeg",
        "00089.jpeg",
        "00094.jpeg",
    )


def test_a_subset_does_not_depend_on_where_the_files_lie() -> None:
    """Another root and other paths give the same ids."""
    dataset = make_dataset(images=50, classes=5)
    rows = [Row(name, FileSource(f"val/{name}", 7, 8), i % 5) for i, name in enumerate(dataset.ids)]
    moved = dataset_of(rows, classes=5, name="moved", root="/other")

    assert dataset.subset(11).ids == moved.subset(11).ids


@pytest.mark.parametrize("images", [0, -1, 101])
def test_an_impossible_subset_is_an_error(images: int) -> None:
    """A subset has between one and all images."""
    with pytest.raises(DatasetError, match=r"--limit must be between 1 and the 100 images of made, not"):
        make_dataset(images=100, classes=7).subset(images)


def test_the_digest_covers_ids_and_targets() -> None:
    """Another label or another name is another dataset; another path is not, and neither are other times."""
    rows = [Row(name, FileSource(name, 1, 2), target) for name, target in (("a", 0), ("b", 1))]
    dataset = dataset_of(rows, classes=2)

    relabelled = dataset_of([rows[0]._replace(target=1), rows[1]], classes=2)
    renamed = dataset_of([rows[0]._replace(id="x"), rows[1]], classes=2)
    moved = dataset_of([row._replace(source=FileSource("c", 3, 4)) for row in rows], classes=2, root="/other")

    assert len({dataset.digest, relabelled.digest, renamed.digest}) == 3
    assert dataset.digest == moved.digest


def test_the_fingerprint_covers_ids_and_sources() -> None:
    """Another name, size or time is another fingerprint; another path or label is not."""
    rows = [Row(name, FileSource(name, 1, 2), target) for name, target in (("a", 0), ("b", 1))]
    dataset = dataset_of(rows, classes=2)

    others = [
        dataset_of([rows[0]._replace(id="x"), rows[1]], classes=2),
        dataset_of([rows[0]._replace(source=FileSource("a", 2, 2)), rows[1]], classes=2),
        dataset_of([rows[0]._replace(source=FileSource("a", 1, 3)), rows[1]], classes=2),
        dataset_of(rows[:1], classes=2),
    ]
    moved = dataset_of([rows[0]._replace(source=FileSource("c", 1, 2), target=1), rows[1]], classes=2)

    assert len({dataset.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert dataset.fingerprint == moved.fingerprint


def test_rows_are_sorted_by_id() -> None:
    """Whatever order a reader finds them in, images are in the order of their ids."""
    rows = [Row(name, FileSource(f"file of {name}", 1, 2), i) for i, name in enumerate(("c", "a", "b"))]

    dataset = dataset_of(rows, classes=3)

    assert dataset.ids == ("a", "b", "c")
    assert dataset.targets.tolist() == [1, 2, 0]
    assert [str(source) for source in dataset.sources] == ["file of a", "file of b", "file of c"]


def test_two_images_of_one_name_are_errors() -> None:
    """An id names one image; both that bear it are named."""
    rows = [Row("a", FileSource(path, 1, 2), 0) for path in ("x/a", "y/a")]

    with pytest.raises(DatasetError, match=r"^nowhere: two images have the id 'a': x/a and y/a$"):
        dataset_of(rows, classes=1)
