"""Tests of harness.formats.imagenet: the classes, the labels, and those of the devkit."""

from __future__ import annotations

import csv
import gzip
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from harness.dataset import open_dataset
from harness.errors import DatasetError
from harness.formats import imagenet
from harness.formats.imagenet import DEVKIT, GROUND_TRUTH
from tests.archives import tar_header, write_files, write_tar
from tests.unit.formats.conftest import ONE, error_of


def test_wnids_are_sorted_and_distinct() -> None:
    """The 1000 wnids stand in the order of the models' outputs, which is sorted order."""
    wnids = imagenet.wnids()

    assert len(wnids) == 1000
    assert sorted(set(wnids)) == list(wnids)
    assert (wnids[0], wnids[65], wnids[999]) == ("n01440764", "n01751748", "n15075141")


NAMES = [f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, 50_001)]


@pytest.mark.slow
def test_the_published_images_and_labels_are_called_imagenet(tmp_path: Path, reference: Path) -> None:
    """Each of the 50,000 file names with its label; the shipped classes and labels are the same."""
    with gzip.open(reference / "ilsvrc2012_val_labels.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))

    dataset = open_dataset(write_tar(tmp_path / "any.tar", {f"{row['wnid']}/{row['filename']}": b"" for row in rows}))

    assert (dataset.name, dataset.ids, dataset.caveat) == ("imagenet-1k", tuple(NAMES), "")
    assert [int(row["sorted_wnid_index"]) for row in rows] == dataset.targets.tolist()
    assert imagenet.validation_labels().tolist() == dataset.targets.tolist()
    assert imagenet.labels_sha256(dataset.targets) == imagenet.LABELS_SHA256


def test_what_is_missing_or_odd_is_named() -> None:
    """The validation set is all 50,000, each once, and nothing else."""
    sets = (NAMES[1:], ["a (1).JPEG", *NAMES])

    missing, odd = (imagenet.validation_set_error(ids, imagenet.validation_numbers(ids)) for ids in sets)

    assert missing == "it has 49,999 of the 50,000 images, 1 missing, such as ILSVRC2012_val_00000001.JPEG"
    assert odd == "it has 50,000 of the 50,000 images, and 1 of other names, such as 'a (1).JPEG'"


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda data: data[:-1] + b"\xff", "expected sha256 f5350687"),
        (lambda data: data[:100], ""),
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


@cache
def ground_truth() -> list[bytes]:
    """Return the lines of the devkit's file: its ids of the 50,000 images."""
    identities = {index: identity for identity, index in enumerate(imagenet.devkit_classes(), start=1)}
    return [b"%d\n" % identities[label] for label in imagenet.validation_labels().tolist()]


def test_the_devkits_ids_are_the_published_ones(reference: Path) -> None:
    """They are no class indices: the ten are the first lines of the devkit, the table has all 1000."""
    with (reference / "ilsvrc2012_ids.csv").open() as file:
        published = [int(row["sorted_wnid_index"]) for row in csv.DictReader(file)]

    assert list(imagenet.devkit_classes()) == published
    assert [int(line) for line in ground_truth()[:10]] == [490, 361, 171, 822, 297, 482, 13, 704, 599, 164]


@pytest.mark.parametrize("wrong", [0, 1001, 230], ids=["too small", "too large", "class index"])
def test_a_devkit_that_contradicts_the_known_labels_is_an_error(tmp_path: Path, wrong: int) -> None:
    """The sentence names the first line that differs."""
    lines = [*ground_truth()[:2], b"%d\n" % wrong, *ground_truth()[3:]]
    write_files(tmp_path, ONE)
    write_files(tmp_path, GROUND_TRUTH, data=b"".join(lines))

    assert error_of(tmp_path) == (
        f"PATH/{GROUND_TRUTH}: line 3: expected 171, the devkit's id of n02105855, found {wrong}; unpack the "
        "devkit again, or remove it to use the known labels"
    )


LINK = tar_header(GROUND_TRUTH, tarfile.LNKTYPE, linkname=GROUND_TRUTH)
NO_GROUND_TRUTH = rf"expected {GROUND_TRUTH} in it, found no such file; download it again$"
DAMAGED_DEVKITS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "short": (GROUND_TRUTH, lambda path: path.write_bytes(b"490\n361\n"), "expected 50,000 lines, found 2; unpack"),
    "packed": (DEVKIT, lambda path: write_tar(path, {GROUND_TRUTH: b"490\n"}, mode="w:gz"), "expected 50,000 lines"),
    "words": (GROUND_TRUTH, lambda path: path.write_bytes(b"490\nfox\n"), "expected a number in each line: .*'fox'"),
    "empty": (DEVKIT, lambda path: path.write_bytes(b""), "expected a gzipped tar archive: .*; download"),
    "plain": (DEVKIT, lambda path: path.write_bytes(b"not gzip"), "expected a gzipped tar archive: .*; download"),
    "cut": (DEVKIT, lambda path: path.write_bytes(b"\x1f\x8b\x08\0 x"), "expected a gzipped tar archive: .*; download"),
    "other": (DEVKIT, lambda path: write_tar(path, {"readme.txt": b""}, mode="w:gz"), NO_GROUND_TRUTH),
    "link": (DEVKIT, lambda path: write_tar(path, {}, LINK, mode="w:gz"), NO_GROUND_TRUTH),
    "bomb": (
        DEVKIT,
        lambda path: path.write_bytes(gzip.compress(bytes(2**26 + 1), compresslevel=1)),
        "expected the devkit of a few MB, found more than 67,108,864 bytes$",
    ),
}


@pytest.mark.parametrize("damage", DAMAGED_DEVKITS)
def test_a_damaged_devkit_is_an_error(tmp_path: Path, damage: str) -> None:
    """The sentence names the file; no more is unpacked than a devkit holds, and no link followed."""
    name, write, message = DAMAGED_DEVKITS[damage]
    write_files(tmp_path, ONE, name)
    write(tmp_path / name)

    with pytest.raises(DatasetError, match=f"^{tmp_path / name}(: {GROUND_TRUTH})?: {message}"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("images", [ONE, f"val/{ONE}", "ILSVRC2012_img_val.tar"])
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("where", ["images", "."])
def test_a_devkit_with_the_images_or_beside_them_is_compared(
    tmp_path: Path, images: str, where: str, *, is_packed: bool
) -> None:
    """Its ids are compared as classes, and it is named; an archive is read without unpacking it."""
    if images.endswith(".tar"):
        write_tar(tmp_path / "images" / images, {ONE: b""})
    else:
        write_files(tmp_path / "images", images)
    if is_packed:
        write_tar(tmp_path / where / DEVKIT, {GROUND_TRUTH: b"".join(ground_truth())}, mode="w:gz")
    else:
        write_files(tmp_path / where, GROUND_TRUTH, data=b"".join(ground_truth()))
    before = sorted(tmp_path.rglob("*"))

    dataset = open_dataset(tmp_path / "images")

    assert dataset.format == f"{'tar archive' if images.endswith('.tar') else 'flat files'}, the devkit's labels"
    assert sorted(tmp_path.rglob("*")) == before
