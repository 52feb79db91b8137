"""Tests of the choice of shards in harness.formats.listings."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DatasetError
from harness.formats.listings import choose_validation


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["train-0.tar", "val-0.tar", "val-1.tar"], ["val-0.tar", "val-1.tar"]),
        (["imagenet1k-train-0000.tar", "imagenet1k-validation-00.tar"], ["imagenet1k-validation-00.tar"]),
        (["test-0.parquet", "validation-0.parquet", "other.parquet"], ["validation-0.parquet"]),
        (["00000.tar", "00001.tar"], ["00000.tar", "00001.tar"]),
        (["evaluation.tar", "trainer.tar"], ["evaluation.tar", "trainer.tar"]),
    ],
)
def test_shards_of_the_validation_set_are_chosen(names: list[str], chosen: list[str]) -> None:
    """Where a name says validation only such are taken; where none says anything all are."""
    assert [path.name for path in choose_validation([Path(name) for name in names])] == chosen


@pytest.mark.parametrize("names", [["train-0.tar", "train-1.tar"], ["test-0.tar", "0.tar"]])
def test_shards_of_another_split_are_errors(tmp_path: Path, names: list[str]) -> None:
    """Training images scored as validation images would look too good."""
    with pytest.raises(DatasetError) as raised:
        choose_validation([tmp_path / name for name in names])

    assert str(raised.value) == (
        f"{tmp_path}: expected shards of the validation set, such as validation-00000*, found only those of another "
        f"split, such as {names[0]!r}; download the validation set"
    )
