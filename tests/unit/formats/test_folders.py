"""Tests of class folders named by wnid, flat files and Kaggle's tree, and of the ids of images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.dataset import open_dataset
from harness.errors import DatasetError
from tests.archives import write_files, write_tar

FIRST = "n01440764"
ONE, TWO, CLASS = "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG", "n01751748"
STEM = "ILSVRC2012_val_00000001"


def test_images_are_known_by_their_suffix_and_other_files_are_listed(tmp_path: Path) -> None:
    """In any letter case; hidden files are no images."""
    names = ["a.JPEG", "b.jpeg", "c.JPG", "d.jpg", "e.Png"]
    write_files(tmp_path / FIRST, *names, "notes.txt", "._a.JPEG")
    write_files(tmp_path, ".cache/x.JPEG", "readme.md")

    dataset = open_dataset(tmp_path)

    assert dataset.ids == tuple(names)
    assert sorted(dataset.ignored) == [".cache/", f"{FIRST}/._a.JPEG", f"{FIRST}/notes.txt"]


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        *[(name, ONE) for name in (ONE, f"{STEM.lower()}.jpg", f"{STEM}.png", f"{STEM}_{CLASS}.JPEG")],
        *[(name, name) for name in (f"{CLASS}_10026.JPEG", "ILSVRC2012_val_1.JPEG", f"{STEM}.x.JPEG", f"{STEM}x.JPEG")],
        (f"ILSVRC2012_val_{chr(0x661) * 8}.JPEG", f"ILSVRC2012_val_{chr(0x661) * 8}.JPEG"),  # Arabic digits
    ],
)
def test_a_validation_image_has_one_id_and_others_keep_their_names(tmp_path: Path, name: str, identity: str) -> None:
    """Letter case, suffix and Hugging Face's wnid do not change what an image is called."""
    write_files(tmp_path, f"{CLASS}/{name}")

    assert open_dataset(tmp_path).ids == (identity,)


@pytest.mark.parametrize("given", [".", "val"])
def test_the_root_of_torchvision_is_one_of_class_folders(tmp_path: Path, given: str) -> None:
    """Also beside the archive that it was unpacked from, which is read before that; its meta.bin is not needed."""
    root = write_files(tmp_path / "mine", "meta.bin")
    archive = write_tar(root / "ILSVRC2012_img_val.tar", {ONE: b"one"})
    write_tar(root / "ILSVRC2012_img_train.tar", {})
    packed = open_dataset(root)
    write_files(root, f"val/{CLASS}/{ONE}", f"val/{FIRST}/cat.JPEG")

    dataset = open_dataset(root / given)

    assert (packed.ids, packed.format) == ((ONE,), "tar archive, labels by file name")
    assert (packed.name, packed.root) == ("mine", archive)
    assert ((ONE, "cat.JPEG"), [65, 0]) == (dataset.ids, dataset.targets.tolist())
    assert ("mine", "class folders") == (dataset.name, dataset.format)


@pytest.mark.parametrize("folder", ["", "val/"])
def test_images_are_labeled_by_their_numbers(tmp_path: Path, folder: str) -> None:
    """Flat files, or those in val/, have the known labels; other files are listed, and Kaggle's table is not read."""
    write_files(tmp_path / "mine" / folder, TWO, ONE, "LOC_val_solution.csv", "@eaDir/b.JPEG")

    dataset = open_dataset(tmp_path / "mine")

    assert (dataset.ids, dataset.targets.tolist()) == ((ONE, TWO), [65, 970])
    assert [source.read() for source in dataset.sources] == [ONE.encode(), TWO.encode()]
    assert (dataset.name, dataset.format) == ("mine", "flat files, labels by file name")
    assert sorted(dataset.ignored) == ["@eaDir/", "LOC_val_solution.csv"]


def test_a_name_that_is_no_utf_8_is_an_error(tmp_path: Path) -> None:
    """Ids are written to records and digests as text."""
    folder = tmp_path / FIRST
    folder.mkdir()
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff.JPEG")).touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8")

    with pytest.raises(DatasetError, match=r": the name '\\udcff.JPEG' is not UTF-8; rename the image"):
        open_dataset(tmp_path)


def test_folders_that_lie_in_themselves_are_an_error(tmp_path: Path) -> None:
    """By links, of which two would be followed 2^40 times; a link to a folder elsewhere is followed."""
    write_files(tmp_path, f"set/{FIRST}/a.JPEG", "elsewhere/b.JPEG")
    (tmp_path / "set" / FIRST / "more").symlink_to(tmp_path / "elsewhere")
    dataset = open_dataset(tmp_path / "set")
    (tmp_path / "elsewhere/one").symlink_to(tmp_path / "set" / FIRST)
    (tmp_path / "elsewhere/two").symlink_to(tmp_path / "elsewhere")

    assert dataset.ids == ("a.JPEG", "b.JPEG")
    with pytest.raises(DatasetError, match=r"/more/(one|two): expected images, found a link to .*, in which it lies"):
        open_dataset(tmp_path / "set")


VAL = "ILSVRC/Data/CLS-LOC/val"
HEADER = b"ImageId,PredictionString\n"
ROWS = (
    b"ILSVRC2012_val_00000002,n09193705 1 2 3 4 n09193705 5 6 7 8 \n"
    b"ILSVRC2012_val_00000003,n02105855 1 2 3 4 \n"
    b"ILSVRC2012_val_00000001,n01751748 1 2 3 4 \n"
)
OF_A_SPREADSHEET = b"\xef\xbb\xbf" + (HEADER + ROWS).replace(b"\n", b"\r\n")


@pytest.mark.parametrize("table", [HEADER + ROWS, OF_A_SPREADSHEET], ids=["plain", "spreadsheet"])
@pytest.mark.parametrize("where", [".", "ILSVRC"])
@pytest.mark.parametrize("given", [".", "ILSVRC"])
def test_labels_are_joined_by_image(tmp_path: Path, table: bytes, where: str, given: str) -> None:
    """Rows in any order, also such without an image, label the images by the first token, wherever the table lies."""
    write_files(tmp_path, f"{VAL}/{ONE}", f"{VAL}/{TWO}")
    write_files(tmp_path / where, "LOC_val_solution.csv", data=table)

    dataset = open_dataset(tmp_path / given)

    assert (dataset.ids, dataset.targets.tolist()) == ((ONE, TWO), [65, 970])
    assert [source.read() for source in dataset.sources] == [f"{VAL}/{name}".encode() for name in (ONE, TWO)]
    assert (dataset.name, dataset.format) == ((tmp_path / given).name, "Kaggle's tree")


def test_images_sorted_into_class_folders_are_read_as_those(tmp_path: Path) -> None:
    """After valprep.sh the folders are the labels, and no table is needed."""
    write_files(tmp_path, f"{VAL}/n01751748/{ONE}", f"{VAL}/n09193705/{TWO}")

    dataset = open_dataset(tmp_path)

    assert (dataset.ids, dataset.targets.tolist()) == ((ONE, TWO), [65, 970])
    assert (dataset.name, dataset.format) == (tmp_path.name, "Kaggle's tree, class folders")


IMAGE = "image 'ILSVRC2012_val_00000001'"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (HEADER + ROWS.replace(b"_00000001", b"_00000004"), f"expected a row for each image, found none for .*{ONE}"),
        (HEADER + ROWS.replace(b"n01751748", b"n00000001"), f"line 4: {IMAGE}: expected a wnid .* found 'n00000001'"),
        (HEADER + b"ILSVRC2012_val_00000001\n", f"line 2: {IMAGE}: expected a wnid .* found ''"),
        (HEADER + ROWS + b"ILSVRC2012_val_00000001,n09193705\n", f"line 5: {IMAGE} has two rows with different wnids"),
        (b"image,label\n" + ROWS, r"expected the columns ImageId, PredictionString, found \['image', 'label'\]"),
        (b"", "expected the columns ImageId, PredictionString, found None"),
        (b"\xff\xfeI\0m\0a\0", "cannot be read as a CSV in UTF-8: .*"),
        (HEADER + b"x" * 200_000, "cannot be read as a CSV in UTF-8: field larger than field limit .*"),
    ],
)
def test_a_table_that_does_not_serve_is_an_error(tmp_path: Path, table: bytes, message: str) -> None:
    """The sentence names the table and what is wrong with it."""
    write_files(tmp_path, f"{VAL}/{ONE}", f"{VAL}/{TWO}")
    write_files(tmp_path, "LOC_val_solution.csv", data=table)

    with pytest.raises(DatasetError, match=f"LOC_val_solution.csv:? {message}$"):
        open_dataset(tmp_path)
