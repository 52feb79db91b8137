"""Tests of harness.formats.imagenetv2."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.dataset import open_dataset
from harness.errors import DatasetError
from harness.formats import imagenetv2
from tests.archives import write_files

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1000 folders of 10 images, empty and not to be changed."""
    root = tmp_path_factory.mktemp("whole") / "folders"
    for index in range(1000):
        folder = root / str(index)
        folder.mkdir(parents=True)
        for image in range(10):
            (folder / f"{index:03}{image}.jpeg").touch()
    return root


def called(whole: Path, folder: Path) -> Path:
    """Return a folder of that name with the whole set's folders in it."""
    folder.mkdir(parents=True)
    for index in range(1000):
        (folder / str(index)).symlink_to(whole / str(index))
    return folder


def test_classes_are_read_as_numbers(tmp_path: Path) -> None:
    """Folder 10 is class 10, though as text it comes before 9, and missing folders shift nothing."""
    write_files(tmp_path / "mine", "9/b.jpeg", "10/a.jpeg", "999/c.jpeg", "0/d.jpeg", "0/notes.txt")

    dataset = imagenetv2.read(tmp_path / "mine")

    assert dataset is not None
    assert list(zip(dataset.ids, dataset.targets.tolist(), strict=True)) == [
        ("a.jpeg", 10),
        ("b.jpeg", 9),
        ("c.jpeg", 999),
        ("d.jpeg", 0),
    ]
    assert (dataset.name, dataset.format, dataset.caveat) == ("mine", "folders by class index", "")
    assert dataset.ignored == ("0/notes.txt",)


def test_a_val_folder_gives_the_same_split(tmp_path: Path) -> None:
    """``DIR`` and ``DIR/val`` are the same dataset."""
    write_files(tmp_path / "mine", "val/3/a.jpeg")

    datasets = [imagenetv2.read(tmp_path / "mine"), imagenetv2.read(tmp_path / "mine" / "val")]

    assert [(dataset.name, dataset.ids, dataset.targets.tolist()) for dataset in datasets if dataset] == 2 * [
        ("mine", ("a.jpeg",), [3])
    ]


def test_the_names_are_those_of_the_published_values() -> None:
    """expected_accuracy.yaml has values for all three variants."""
    published = yaml.safe_load((ROOT / "expected_accuracy.yaml").read_text("utf-8"))["datasets"]

    assert set(imagenetv2.NAMES) <= set(published)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("imagenetv2-matched-frequency", "imagenetv2-matched-frequency"),
        ("imagenetv2-b-33", "imagenetv2-matched-frequency"),
        ("ImageNetV2-Matched-Frequency", "imagenetv2-matched-frequency"),
        ("imagenetv2_matched_frequency", "imagenetv2-matched-frequency"),
        ("imagenetv2-threshold0.7", "imagenetv2-threshold0.7"),
        ("imagenetv2-threshold-0.7", "imagenetv2-threshold0.7"),
        ("imagenetv2-a-44", "imagenetv2-threshold0.7"),
        ("imagenetv2-topimages", "imagenetv2-topimages"),
        ("imagenetv2-top-images", "imagenetv2-topimages"),
        ("imagenet-v2-c-12", "imagenetv2-topimages"),
        ("imagenetv2-topimages/val", "imagenetv2-topimages"),
        ("imagenetv2-topimages/images", "imagenetv2-topimages"),
    ],
)
def test_a_variant_is_known_in_all_spellings(tmp_path: Path, folder: str, name: str) -> None:
    """A variant's folder, or its parent, means the published dataset, which one image is not."""
    write_files(tmp_path / folder, "0/a.jpeg")

    dataset = open_dataset(str(tmp_path / folder))

    assert dataset.name == f"not {name}"


@pytest.mark.parametrize("name", imagenetv2.NAMES)
def test_a_whole_variant_has_the_published_name(whole: Path, name: str) -> None:
    """Ten images in each of the thousand folders are the published dataset."""
    renamed = whole.rename(whole.with_name(name))

    dataset = open_dataset(str(renamed))

    renamed.rename(whole)
    assert (dataset.name, dataset.caveat, len(dataset)) == (name, "", 10_000)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("imagenetv2-matched-frequency-format-val", "imagenetv2-matched-frequency-format-val"),
        ("imagenetv2-b-33-format-val", "imagenetv2-matched-frequency-format-val"),
        (
            "imagenetv2-matched-frequency/imagenetv2-matched-frequency-format-val",
            "imagenetv2-matched-frequency-format-val",
        ),
        ("imagenetv2-threshold0.7-format-val/images", "imagenetv2-threshold0.7-format-val"),
        ("imagenetv2-topimages-format-val/imagenetv2-topimages", "imagenetv2-topimages-format-val"),
    ],
)
def test_images_encoded_anew_are_not_the_published_split(tmp_path: Path, folder: str, name: str) -> None:
    """The -format-val archives keep their name, and say why they are not judged."""
    write_files(tmp_path / folder, "0/a.jpeg")

    dataset = open_dataset(str(tmp_path / folder))

    caveat = "the images of the -format-val archives were encoded anew and score differently from the originals"
    missing = "999 of the 1,000 folders are missing or empty, the first of them 1"
    assert (dataset.name, dataset.caveat) == (name, f"{caveat}, and it is not whole: {missing}")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("folder", "1 of the 1,000 folders are missing or empty, the first of them 7"),
        ("image", "folder 7 has 9 images, not 10"),
        ("more", "folder 7 has 11 images, not 10"),
    ],
)
def test_an_incomplete_variant_is_not_the_published_split(
    whole: Path, tmp_path: Path, damage: str, reason: str
) -> None:
    """The dataset is called otherwise, and says what it lacks."""
    root = called(whole, tmp_path / "imagenetv2-topimages")
    (root / "7").unlink()
    if damage != "folder":
        write_files(root, *(f"7/{image}.jpeg" for image in range({"image": 9, "more": 11}[damage])))

    dataset = open_dataset(str(root))

    assert (dataset.name, dataset.caveat) == (
        "not imagenetv2-topimages",
        f"it is not the whole imagenetv2-topimages: {reason}",
    )


def test_a_folder_by_wnid_of_that_name_is_not_the_published_split(tmp_path: Path) -> None:
    """The name alone makes no published dataset of class folders in another format."""
    write_files(tmp_path / "imagenetv2-topimages", "n01440764/a.jpeg")

    dataset = open_dataset(str(tmp_path / "imagenetv2-topimages"))

    assert (dataset.name, dataset.caveat) == (
        "not imagenetv2-topimages",
        "its class folders are not named 0 to 999, as in the original archives",
    )


@pytest.mark.parametrize("stranger", ["1000", "007", "00"])
def test_a_number_that_is_no_class_index_is_an_error(tmp_path: Path, stranger: str) -> None:
    """The sentence names the folder."""
    write_files(tmp_path, "0/a.jpeg", f"{stranger}/b.jpeg")

    with pytest.raises(DatasetError) as raised:
        imagenetv2.read(tmp_path)

    assert str(raised.value) == (
        f"{tmp_path}: expected class folders named 0 to 999 without leading zeros, found {stranger!r}; "
        "rename it or remove it"
    )


def test_folders_by_devkit_id_are_errors(tmp_path: Path) -> None:
    """Without folder 1000 the others would be read, each as another class, so no message says to remove it."""
    write_files(tmp_path, "1/a.jpeg", "1000/b.jpeg")

    with pytest.raises(DatasetError, match="found '1000'; if these are the devkit's ids, sort the images into folders"):
        imagenetv2.read(tmp_path)


def test_folders_without_images_are_errors(tmp_path: Path) -> None:
    """Class folders alone are no dataset."""
    write_files(tmp_path, "0/a.txt")

    with pytest.raises(DatasetError, match="no images in the 1 class folders"):
        imagenetv2.read(tmp_path)
