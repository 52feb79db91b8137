"""Tests of harness.data.split."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from harness.data.split import Split
from harness.errors import SplitError


def make_split(images: int, classes: int) -> Split:
    """Return a split of nothing on disk, image ``i`` in class ``i % classes``."""
    ids = tuple(f"{i:05}.jpeg" for i in range(images))
    targets = np.array([i % classes for i in range(images)], dtype=np.int16)
    return Split("made", Path("nowhere"), ids, ids, targets, tuple(f"c{i:03}" for i in range(classes)), total=images)


def test_a_subset_keeps_ids_files_and_targets_together() -> None:
    """Each image of a subset has the file and the label it had before."""
    split = make_split(images=100, classes=7)

    subset = split.subset(30)

    assert all(subset.targets[i] == int(identity[:5]) % 7 for i, identity in enumerate(subset.ids))
    assert subset.files == subset.ids
    assert sorted(subset.ids) == list(subset.ids)
    assert (len(subset), subset.total, subset.is_subset, split.is_subset) == (30, 100, True, False)


@pytest.mark.parametrize("images", [1, 6, 7, 8, 20, 99, 100])
def test_a_subset_is_class_balanced(images: int) -> None:
    """No class has more than one image more than another, as far as there are images."""
    subset = make_split(images=100, classes=7).subset(images)

    counts = Counter(subset.targets.tolist())
    assert max(counts.values()) - min(counts.get(c, 0) for c in range(7)) <= 1


def test_a_smaller_subset_is_part_of_a_larger_one() -> None:
    """Every subset extends the smaller ones."""
    split = make_split(images=60, classes=9)

    subsets = [set(split.subset(n).ids) for n in range(1, 61)]

    assert all(small < large for small, large in pairwise(subsets))


def test_a_subset_is_the_same_everywhere() -> None:
    """The choice depends on the ids alone; these were written down once."""
    assert make_split(images=100, classes=10).subset(5).ids == (
        "00007.jpeg",
        "00038.jpeg",
        "00042.jpeg",
        "00089.jpeg",
        "00094.jpeg",
    )


def test_a_subset_does_not_depend_on_where_the_files_lie() -> None:
    """Another root and other paths give the same ids."""
    split = make_split(images=50, classes=5)
    moved = Split(
        "moved", Path("/other"), split.ids, tuple(f"val/{f}" for f in split.files), split.targets, split.classes, 50
    )

    assert split.subset(11).ids == moved.subset(11).ids


@pytest.mark.parametrize("images", [0, -1, 101])
def test_an_impossible_subset_is_refused(images: int) -> None:
    """A subset has between one and all images."""
    with pytest.raises(SplitError, match=r"--limit must be between 1 and the 100 images of made, not"):
        make_split(images=100, classes=7).subset(images)


def test_the_digest_covers_ids_and_targets() -> None:
    """Another label or another name is another split; another place is not."""
    split = make_split(images=4, classes=2)
    relabelled = Split("made", split.root, split.ids, split.files, 1 - split.targets, split.classes, 4)
    renamed = Split("made", split.root, ("x", *split.ids[1:]), split.files, split.targets, split.classes, 4)
    moved = Split("other", Path("/other"), split.ids, split.files, split.targets, split.classes, 4)

    assert len({split.digest, relabelled.digest, renamed.digest}) == 3
    assert split.digest == moved.digest
