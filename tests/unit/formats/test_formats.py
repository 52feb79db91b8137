"""Tests of harness.formats: recognition, and open_dataset."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.dataset import ImageDataset, open_dataset
from harness.errors import DatasetError
from harness.formats import FORMATS, flat, imagenet, imagenetv2, kaggle, parquet, webdataset

FIRST, SECOND, LAST = "n01440764", "n01443537", "n15075141"


def touch(root: Path, *names: str) -> Path:
    """Make empty files below ``root``, with their folders."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_class_indices_come_from_the_wnid_not_from_the_rank(tmp_path: Path) -> None:
    """With two of a thousand class folders the indices are still those of the thousand."""
    touch(tmp_path, f"{SECOND}/b.JPEG", f"{LAST}/a.JPEG")

    dataset = open_dataset(str(tmp_path))

    assert list(zip(dataset.ids, dataset.targets.tolist(), strict=True)) == [("a.JPEG", 999), ("b.JPEG", 1)]
    assert dataset.classes == imagenet.wnids()


def test_a_val_folder_gives_the_same_split(tmp_path: Path) -> None:
    """``DIR`` and ``DIR/val`` are the same dataset, called by the folder that holds ``val``."""
    root = touch(tmp_path / "mine", f"val/{FIRST}/a.JPEG", f"val/{LAST}/b.JPEG")

    outer, inner = open_dataset(str(root)), open_dataset(str(root / "val"))

    assert (outer.ids, outer.sources, outer.name, outer.digest) == (inner.ids, inner.sources, "mine", inner.digest)
    assert [str(source) for source in outer.sources] == [f"{root}/val/{FIRST}/a.JPEG", f"{root}/val/{LAST}/b.JPEG"]


def test_suffixes_in_any_letter_case_are_images(tmp_path: Path) -> None:
    """.jpeg, .jpg and .png in any letter case are images."""
    names = ["a.JPEG", "b.jpeg", "c.JPG", "d.jpg", "e.Png"]
    touch(tmp_path, *(f"{FIRST}/{name}" for name in names))

    assert open_dataset(str(tmp_path)).ids == tuple(names)


def test_other_files_are_ignored_and_listed(tmp_path: Path) -> None:
    """What is no image by its name, or hidden, is left out, and the dataset says so."""
    touch(tmp_path, f"{FIRST}/a.JPEG", f"{FIRST}/notes.txt", f"{FIRST}/._a.JPEG", ".cache/x.JPEG", "readme.md")

    dataset = open_dataset(str(tmp_path))

    assert dataset.ids == ("a.JPEG",)
    assert sorted(dataset.ignored) == [".cache/", f"{FIRST}/._a.JPEG", f"{FIRST}/notes.txt"]


def test_names_that_occur_twice_are_distinguished_by_their_class(tmp_path: Path) -> None:
    """Ids are unique even where file names are not."""
    touch(tmp_path, f"{FIRST}/1.JPEG", f"{SECOND}/1.JPEG")

    assert open_dataset(str(tmp_path)).ids == (f"{FIRST}/1.JPEG", f"{SECOND}/1.JPEG")


def test_an_incomplete_validation_set_is_not_called_imagenet(tmp_path: Path) -> None:
    """Files named as the validation set's, but not all of them, are no published dataset, and say why."""
    touch(tmp_path / "part", f"{FIRST}/ILSVRC2012_val_00000293.JPEG")

    dataset = open_dataset(str(tmp_path / "part"))

    assert dataset.name == "part"
    assert dataset.caveat == "it is not the whole imagenet-1k validation set: it has 1 of the 50,000 images"


def test_a_stray_image_does_not_hide_the_validation_set(tmp_path: Path) -> None:
    """A copy in a class folder is named, and the others are still recognized by their names."""
    names = [f"ILSVRC2012_val_{number:08}" for number in (293, 2138)]
    touch(
        tmp_path,
        *(f"{FIRST}/{name}.JPEG" for name in names),
        f"{FIRST}/{names[0]} (1).JPEG",
        f"{FIRST}/x/{names[0]}.jpg",
    )

    assert open_dataset(str(tmp_path)).caveat == (
        "it is not the whole imagenet-1k validation set: it has 2 of the 50,000 images, 1 more than once, such as "
        f"{names[0]}.JPEG, and 1 of other names, such as '{FIRST}/{names[0]} (1).JPEG'"
    )


def test_the_validation_set_is_called_imagenet(tmp_path: Path, reference: Path) -> None:
    """All 50,000 names in their class folders are the published dataset."""
    for wnid in imagenet.wnids():
        (tmp_path / "val" / wnid).mkdir(parents=True)
    for line in gzip.decompress((reference / "ilsvrc2012_val_labels.csv.gz").read_bytes()).decode().splitlines()[1:]:
        name, wnid, _ = line.split(",")
        os.close(os.open(f"{tmp_path}/val/{wnid}/{name}", os.O_CREAT))  # of 50,000 files, faster than by Path

    dataset = open_dataset(str(tmp_path))

    assert (dataset.name, len(dataset), dataset.caveat) == ("imagenet-1k", 50_000, "")
    assert imagenet.labels_sha256(dataset.targets) == imagenet.LABELS_SHA256


def test_a_path_with_nothing_there_is_an_error(tmp_path: Path) -> None:
    """The sentence names the option, what was expected, what was found, and where."""
    missing = tmp_path / "missing"

    with pytest.raises(DatasetError) as raised:
        open_dataset(str(missing))

    expected = f"--imagenet {str(missing)!r}: expected a folder or archive of images, found nothing at {missing}"
    assert str(raised.value) == expected


def test_a_file_that_is_no_archive_is_an_error(tmp_path: Path) -> None:
    """A file is looked at as an archive, and described if it is none."""
    file = tmp_path / "notes.txt"
    file.write_text("no images")

    with pytest.raises(DatasetError, match=rf"^no images in {file}: found a file of 9 bytes; looked for \(1\) "):
        open_dataset(str(file))


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    """The sentence says that the folder is empty, and lists all that was looked for."""
    with pytest.raises(DatasetError) as raised:
        open_dataset(str(tmp_path))

    looked_for = "; ".join(f"({number}) {expects}" for number, expects in enumerate(FORMATS.values(), start=1))
    assert str(raised.value) == f"no images in {tmp_path}: found an empty folder; looked for {looked_for}"


def test_a_folder_of_other_things_is_an_error(tmp_path: Path) -> None:
    """The sentence lists what is there instead of images in a known format."""
    touch(tmp_path, "a.JPEG", "b.JPEG", "c.JPEG", "d.JPEG", "e.JPEG")

    with pytest.raises(DatasetError, match=r"found 'a.JPEG', 'b.JPEG', 'c.JPEG' and 2 more; looked for \(1\) "):
        open_dataset(str(tmp_path))


def test_class_folders_without_images_are_errors(tmp_path: Path) -> None:
    """Class folders alone are no dataset."""
    touch(tmp_path, f"{FIRST}/list.txt")

    with pytest.raises(DatasetError, match=r"no images in the 1 class folders of .*: expected .JPEG files"):
        open_dataset(str(tmp_path))


def test_a_folder_that_is_no_class_is_an_error(tmp_path: Path) -> None:
    """A folder among the classes that is none would silently lose its images."""
    touch(tmp_path, f"{FIRST}/a.JPEG", "n01440765/b.JPEG")

    with pytest.raises(DatasetError, match=r"holds folder 'n01440765', which is not one of the 1,000 classes"):
        open_dataset(str(tmp_path))


VALIDATION = "ILSVRC2012_val_00000001"
OTHER_FORMATS: list[tuple[Callable[[Path], ImageDataset | None], list[tuple[str, ...]]]] = [
    (flat.read, [(), ("a.JPEG",), (f"{VALIDATION}.txt",), (f"{FIRST}/{VALIDATION}.JPEG",)]),
    (imagenetv2.read, [(), ("a.jpeg",), (f"{FIRST}/a.jpeg",), ("0/a.jpeg", "notes/a.txt"), ("\u0663/a.jpeg",)]),
    (kaggle.read, [(f"val/{VALIDATION}.JPEG", "LOC_val_solution.csv")]),
    (parquet.read, [("a.JPEG", "data/a.JPEG")]),
    (webdataset.read, [("a.JPEG", "ILSVRC2012_devkit_t12.tar.gz")]),
]


@pytest.mark.parametrize(("read", "names"), [(read, names) for read, all_ in OTHER_FORMATS for names in all_])
def test_another_format_is_left_to_others(
    read: Callable[[Path], ImageDataset | None], names: tuple[str, ...], tmp_path: Path
) -> None:
    """Each reader takes no folder that is not in its format, and no file that is none."""
    touch(tmp_path, *names)

    assert [None, None] == [read(tmp_path), read(Path(__file__))]


@pytest.mark.parametrize("name", ["imagenet-1k", "synthetic"])
def test_a_folders_name_does_not_make_it_a_known_split(tmp_path: Path, name: str) -> None:
    """What decides are the images: a folder of that name with others in it is not called so, and says why."""
    touch(tmp_path / name, f"val/{FIRST}/cat.JPEG")

    dataset = open_dataset(str(tmp_path / name))

    assert dataset.name == f"not {name}"
    assert dataset.caveat
