"""Tests of the devkit in harness.formats.imagenet."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from harness.errors import DatasetError
from harness.formats import imagenet
from harness.formats.imagenet import DEVKIT, GROUND_TRUTH, check_devkit
from tests.archives import write_files, write_tar


@pytest.fixture(scope="module")
def ground_truth() -> list[int]:
    """The devkit's ids of the 50,000 images."""
    identities = {index: identity for identity, index in enumerate(imagenet.devkit_classes(), start=1)}
    return [identities[label] for label in imagenet.validation_labels().tolist()]


def encode(ids: list[int]) -> bytes:
    """Return the ids as the devkit has them, one a line."""
    return "".join(f"{identity}\n" for identity in ids).encode()


def test_the_published_ids_are_those_of_the_table(ground_truth: list[int]) -> None:
    """The first ten lines are those that were published: the ids are no class indices."""
    assert ground_truth[:10] == [490, 361, 171, 822, 297, 482, 13, 704, 599, 164]


def test_the_table_of_ids_is_the_published_one(reference: Path) -> None:
    """Each of the 1000 ids has the class index of the reference's table."""
    with (reference / "ilsvrc2012_ids.csv").open() as file:
        published = [int(row["sorted_wnid_index"]) for row in csv.DictReader(file)]

    assert list(imagenet.devkit_classes()) == published


def test_an_unpacked_devkit_that_agrees_is_named(tmp_path: Path, ground_truth: list[int]) -> None:
    """The devkit's ids are compared as classes, and the labels are said to be its own."""
    write_files(tmp_path, GROUND_TRUTH, data=encode(ground_truth))

    assert check_devkit([tmp_path / "nothing", tmp_path]) == "the devkit's labels"


def test_a_packed_devkit_is_read_without_unpacking(tmp_path: Path, ground_truth: list[int]) -> None:
    """The archive itself serves as well, and nothing is written."""
    write_tar(tmp_path / DEVKIT, {GROUND_TRUTH: encode(ground_truth)}, mode="w:gz")

    assert check_devkit([tmp_path]) == "the devkit's labels"
    assert [path.name for path in tmp_path.iterdir()] == [DEVKIT]


def test_without_a_devkit_the_labels_are_known_by_name(tmp_path: Path) -> None:
    """Nothing to compare is no error."""
    assert check_devkit([tmp_path]) == "labels by file name"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (0, "line 3: expected 171, the devkit's id of n02105855, found 0"),
        (1001, "line 3: expected 171, the devkit's id of n02105855, found 1001"),
        (230, "line 3: expected 171, the devkit's id of n02105855, found 230"),
    ],
)
def test_a_devkit_that_contradicts_the_table_is_an_error(
    tmp_path: Path, ground_truth: list[int], wrong: int, message: str
) -> None:
    """The sentence names the first line that differs; a class index in place of the id is one."""
    file = (
        write_files(tmp_path, GROUND_TRUTH, data=encode([*ground_truth[:2], wrong, *ground_truth[3:]])) / GROUND_TRUTH
    )

    with pytest.raises(DatasetError) as raised:
        check_devkit([tmp_path])

    assert str(raised.value) == (f"{file}: {message}; unpack the devkit again, or remove it to use the known labels")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"490\n361\n", "expected 50,000 lines, found 2"),
        (b"490\nfox\n", "expected a number in each line: .*'fox'"),
        (b"490\n\xff\xfe\n", "expected a number in each line: .*can't decode"),
    ],
)
def test_a_ground_truth_that_is_none_is_an_error(tmp_path: Path, data: bytes, message: str) -> None:
    """A short file, words and bytes that are no text are named, not a traceback."""
    write_files(tmp_path, GROUND_TRUTH, data=data)

    with pytest.raises(DatasetError, match=f"ground_truth.txt: {message}.*; unpack the devkit again$"):
        check_devkit([tmp_path])


@pytest.mark.parametrize("data", [b"", b"not gzip", b"\x1f\x8b\x08\x00 cut off"])
def test_a_damaged_devkit_archive_is_an_error(tmp_path: Path, data: bytes) -> None:
    """What is no compressed archive is named."""
    write_files(tmp_path, DEVKIT, data=data)

    with pytest.raises(DatasetError, match=r"t12.tar.gz: expected a gzipped tar archive: .*; download"):
        check_devkit([tmp_path])


def test_a_devkit_archive_without_the_ground_truth_is_an_error(tmp_path: Path) -> None:
    """The sentence names the member that is missing."""
    write_tar(tmp_path / DEVKIT, {"readme.txt": b""}, mode="w:gz")

    with pytest.raises(DatasetError, match=rf"t12.tar.gz: expected {GROUND_TRUTH} in it, found no such file"):
        check_devkit([tmp_path])


def test_a_devkit_archive_that_would_fill_the_memory_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more is unpacked than a devkit holds."""
    monkeypatch.setattr("harness.formats.imagenet._UNPACKED_LIMIT", 1000)
    write_tar(tmp_path / DEVKIT, {GROUND_TRUTH: bytes(2000)}, mode="w:gz")

    with pytest.raises(DatasetError, match="expected the devkit of a few MB, found more than 1,000 bytes"):
        check_devkit([tmp_path])


@pytest.mark.parametrize("number", [0, 50_001])
def test_a_number_outside_the_validation_set_is_an_error(number: int) -> None:
    """There are images 1 to 50,000."""
    with pytest.raises(DatasetError) as raised:
        imagenet.label_by_name(f"ILSVRC2012_val_{number:08}.JPEG", "here")

    assert str(raised.value) == (
        f"here: the validation images are numbered 1 to 50,000, not {number:,}; move the file away"
    )
