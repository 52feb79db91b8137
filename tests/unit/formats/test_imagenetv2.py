"""Tests of harness.formats.imagenetv2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.dataset import open_dataset
from tests.archives import write_files
from tests.images import noise, save

REENCODED = "the images of the -format-val archives were encoded anew and score differently from the originals"
MATCHED, THRESHOLD, TOP = "imagenetv2-matched-frequency", "imagenetv2-threshold0.7", "imagenetv2-topimages"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1000 folders of 10 images, not to be changed."""
    root = tmp_path_factory.mktemp("whole")
    image = save(noise(1, width=8, height=8), root / "image.JPEG")
    for index in range(1000):
        (root / str(index)).mkdir()
        for number in range(10):
            os.link(image, root / str(index) / f"{index:03}{number}.jpeg")
    return root


def linked(whole: Path, folder: Path) -> Path:
    """Return a folder of that name with the whole set's folders in it."""
    folder.mkdir()
    for index in range(1000):
        (folder / str(index)).symlink_to(whole / str(index))
    return folder


@pytest.mark.parametrize("folder", ["mine", "mine/val"])
def test_classes_are_read_as_numbers(tmp_path: Path, folder: str) -> None:
    """Folder 10 is class 10, though as text it comes before 9, and missing folders shift nothing."""
    write_files(tmp_path / folder, "9/b.jpeg", "10/a.jpeg", "999/c.jpeg", "0/d.jpeg", "0/notes.txt", "lost+found/x")

    for given in ("mine", folder):
        dataset = open_dataset(tmp_path / given)

        assert dataset.ids == ("a.jpeg", "b.jpeg", "c.jpeg", "d.jpeg")
        assert dataset.targets.tolist() == [10, 9, 999, 0]
        assert (dataset.name, dataset.format, dataset.caveat) == ("mine", "folders by class index", "")
        assert sorted(dataset.ignored) == ["0/notes.txt", "lost+found/"]


@pytest.mark.parametrize(
    ("name", "folders"),
    [
        (MATCHED, ["b-33", "Matched-Frequency", "matched_frequency", "b-33-format-val", f"b-33/{MATCHED}-format-val"]),
        (THRESHOLD, ["threshold0.7", "threshold-0.7", "a-44", "threshold0.7-format-val/images"]),
        (TOP, ["topimages", "top-images", "c-12", "c-12/val", "c-12/images", f"c-12-format-val/{TOP}"]),
    ],
)
def test_a_variant_is_known_in_all_spellings(tmp_path: Path, name: str, folders: list[str]) -> None:
    """A variant's folder, or its parent, means the published dataset, which one image is not."""
    for folder in folders:
        for start in ("imagenetv2-", "ImageNet-V2_"):
            write_files(tmp_path / (start + folder), "0/a.jpeg")

            dataset = open_dataset(tmp_path / (start + folder))

            assert dataset.name == (f"{name}-format-val" if "format-val" in folder else f"not {name}")


@pytest.mark.parametrize("name", [MATCHED, THRESHOLD, TOP])
def test_a_whole_variant_has_the_published_name(whole: Path, tmp_path: Path, name: str) -> None:
    """Ten images in each of the thousand folders are the published dataset."""
    dataset = open_dataset(linked(whole, tmp_path / name))

    assert (dataset.name, dataset.caveat, len(dataset)) == (name, "", 10_000)


def test_a_whole_variant_of_the_format_val_archives_is_sound(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says why it is not judged by published values; exit status 0."""
    status = main(["dataset", str(linked(whole, tmp_path / f"{TOP}-format-val")), "--workers=1"])

    assert capsys.readouterr().out.splitlines()[-1] == f"It is {TOP}-format-val: {REENCODED}."
    assert status == 0


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (0, "1 of the 1,000 folders are missing or empty, the first of them 7"),
        (9, "folder 7 has 9 images, not 10"),
        (11, "folder 7 has 11 images, not 10"),
    ],
)
def test_an_incomplete_variant_is_not_the_published_dataset(
    whole: Path, tmp_path: Path, images: int, reason: str
) -> None:
    """The dataset is called otherwise, and says what it lacks."""
    root = linked(whole, tmp_path / TOP)
    (root / "7").unlink()
    write_files(root, *(f"7/{image}.jpeg" for image in range(images)))

    dataset = open_dataset(root)

    assert (dataset.name, dataset.caveat) == (f"not {TOP}", f"it is not the whole {TOP}: {reason}")
    reencoded = open_dataset(root.rename(tmp_path / f"{TOP}-format-val"))
    assert reencoded.caveat == f"{REENCODED}, and it is not whole: {reason}"
