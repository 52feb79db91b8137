"""Tests of harness.formats: which format is found, which dataset is recognized, and what is at a path that has none."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from harness.dataset import open_dataset
from harness.errors import DatasetError
from harness.formats import FORMATS, imagenet
from tests.archives import write_files, write_tar

FIRST, VALIDATION = "n01440764", "ILSVRC2012_val_00000001.JPEG"


def test_an_incomplete_validation_set_is_not_called_imagenet(tmp_path: Path) -> None:
    """Files named as the validation set's, but not all of them, are no published dataset, and say why."""
    write_files(tmp_path / "part", f"{FIRST}/ILSVRC2012_val_00000293.JPEG")

    dataset = open_dataset(tmp_path / "part")

    assert dataset.name == "part"
    assert dataset.caveat == "it is not the whole imagenet-1k validation set: it has 1 of the 50,000 images"


def test_a_stray_image_does_not_hide_the_validation_set(tmp_path: Path) -> None:
    """A copy in a class folder is named, and the others are still recognized by their names."""
    one, other = (f"ILSVRC2012_val_{number:08}" for number in (293, 2138))
    write_files(tmp_path / FIRST, f"{one}.JPEG", f"{other}.JPEG", f"{one} (1).JPEG", f"x/{one}.jpg")

    assert open_dataset(tmp_path).caveat == (
        "it is not the whole imagenet-1k validation set: it has 2 of the 50,000 images, 1 more than once, such as "
        f"{one}.JPEG, and 1 of other names, such as '{FIRST}/{one} (1).JPEG'"
    )


def test_the_validation_set_is_called_imagenet(tmp_path: Path, reference: Path) -> None:
    """All 50,000 names with their labels are the published dataset."""
    lines = gzip.decompress((reference / "ilsvrc2012_val_labels.csv.gz").read_bytes()).decode().splitlines()[1:]
    rows = [line.split(",") for line in lines]

    dataset = open_dataset(write_tar(tmp_path / "any.tar", {f"{wnid}/{name}": b"" for name, wnid, _ in rows}))

    assert (dataset.name, len(dataset), dataset.caveat) == ("imagenet-1k", 50_000, "")
    assert imagenet.labels_sha256(dataset.targets) == imagenet.LABELS_SHA256


@pytest.mark.parametrize("name", ["imagenet-1k", "synthetic"])
def test_a_folders_name_does_not_make_it_a_known_dataset(tmp_path: Path, name: str) -> None:
    """What decides are the images: a folder of that name with others in it is not called so, and says why."""
    write_files(tmp_path / name, f"val/{FIRST}/cat.JPEG")

    dataset = open_dataset(tmp_path / name)

    assert dataset.name == f"not {name}"
    assert dataset.caveat


@pytest.mark.parametrize("given", ["missing", "notes.txt"])
def test_a_path_without_a_folder_or_archive_is_an_error(tmp_path: Path, given: str) -> None:
    """The sentence names the option, what was expected, what was found, and where."""
    path = write_files(tmp_path, "notes.txt") / given

    with pytest.raises(DatasetError) as raised:
        open_dataset(str(path))

    assert str(raised.value).startswith(
        {
            "missing": f"--imagenet '{path}': expected a folder or archive of images, found nothing at {path}",
            "notes.txt": f"no images in {path}: found a file of 9 bytes; looked for (1) ",
        }[given]
    )


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), "an empty folder"),
        (("a.JPEG", "b.JPEG", "c.JPEG", "d.JPEG", "e.JPEG"), "'a.JPEG', 'b.JPEG', 'c.JPEG' and 2 more"),
        ((f"{VALIDATION}.txt",), f"'{VALIDATION}.txt'"),
        (("0/a.jpeg", "notes/a.txt"), "'0', 'notes'"),
        (("\u0663/a.jpeg",), "'\u0663'"),
        (("a.JPEG", "data/a.JPEG"), "'a.JPEG', 'data'"),
        (("a.JPEG", "ILSVRC2012_devkit_t12.tar.gz"), "'ILSVRC2012_devkit_t12.tar.gz', 'a.JPEG'"),
    ],
)
def test_a_folder_in_no_known_format_is_an_error(tmp_path: Path, names: tuple[str, ...], found: str) -> None:
    """The sentence lists what is there, and all that was looked for."""
    write_files(tmp_path, *names)

    with pytest.raises(DatasetError) as raised:
        open_dataset(tmp_path)

    looked_for = "; ".join(f"({number}) {expects}" for number, expects in enumerate(FORMATS.values(), start=1))
    assert str(raised.value) == f"no images in {tmp_path}: found {found}; looked for {looked_for}"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("n01751748/" + VALIDATION,), "class folders"),
        ((f"val/{VALIDATION}", "LOC_val_solution.csv"), "flat files, labels by file name"),
    ],
)
def test_what_resembles_another_format_is_read_in_its_own(
    tmp_path: Path, names: tuple[str, ...], expected: str
) -> None:
    """Names of images make no flat files of class folders, and a table no Kaggle tree."""
    write_files(tmp_path, *names)

    assert open_dataset(tmp_path).format == expected
