"""Tests of harness.formats.tar."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from harness.errors import DatasetError
from harness.formats import tar
from harness.formats.imagenet import GROUND_TRUTH
from tests.archives import write_files, write_tar

ONE, TWO = "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"
FLAT = {TWO: b"two", ONE: b"one"}


@pytest.mark.parametrize("given", ["ILSVRC2012_img_val.tar", "."])
def test_the_validation_archive_is_read_in_place(tmp_path: Path, given: str) -> None:
    """The file, or the folder that holds it beside others, gives images with the known labels."""
    write_tar(tmp_path / "ILSVRC2012_img_val.tar", FLAT)
    write_tar(tmp_path / "ILSVRC2012_img_train.tar", {})

    dataset = tar.read(tmp_path / given)

    assert dataset is not None
    assert (dataset.ids, dataset.targets.tolist()) == ((ONE, TWO), [65, 970])
    assert [source.read() for source in dataset.sources] == [b"one", b"two"]
    assert (dataset.root, dataset.format) == (tmp_path / "ILSVRC2012_img_val.tar", "tar archive, labels by file name")
    assert len(list(tmp_path.iterdir())) == 2


def test_names_come_from_what_was_given(tmp_path: Path) -> None:
    """A file gives its stem, a folder its name."""
    path = write_tar(tmp_path / "mine" / "some.tar", FLAT)

    names = [dataset.name for dataset in (tar.read(path), tar.read(path.parent)) if dataset]

    assert names == ["some", "mine"]


def test_members_in_class_folders_have_their_labels(tmp_path: Path) -> None:
    """Any archive of wnid folders is read, below whatever folder, and other files are listed."""
    members = {"./x/val/n15075141/a.JPEG": b"a", "./x/val/n01440764/sub/b.png": b"b", "./x/readme.md": b""}
    path = write_tar(tmp_path / "any.tar", members)

    dataset = tar.read(path)

    assert dataset is not None
    assert (dataset.ids, dataset.targets.tolist()) == (("a.JPEG", "b.png"), [999, 0])
    assert (dataset.format, dataset.ignored) == ("tar archive of class folders", ("x/readme.md",))


def test_names_that_occur_twice_are_distinguished_as_in_class_folders(tmp_path: Path) -> None:
    """The path from the class folder on is then the id."""
    path = write_tar(tmp_path / "any.tar", {"val/n01440764/1.JPEG": b"a", "val/n01443537/1.JPEG": b"b"})

    dataset = tar.read(path)

    assert dataset is not None
    assert dataset.ids == ("n01440764/1.JPEG", "n01443537/1.JPEG")


def test_another_format_is_left_to_others(tmp_path: Path) -> None:
    """A folder of several archives, one without, another file, and a WebDataset shard are other formats."""
    write_files(tmp_path / "none", "a.JPEG")
    write_tar(tmp_path / "several" / "a.tar", FLAT)
    write_tar(tmp_path / "several" / "b.tar", FLAT)
    shard = write_tar(tmp_path / "shard.tar", {"1.jpg": b"", "1.cls": b"0"})

    assert tar.read(tmp_path / "none") is None
    assert tar.read(tmp_path / "none" / "a.JPEG") is None
    assert tar.read(tmp_path / "several") is None
    assert tar.read(shard) is None


def test_an_image_without_a_label_is_an_error(tmp_path: Path) -> None:
    """The sentence names the member and says what is expected of it."""
    path = write_tar(tmp_path / "v2.tar", {"imagenetv2/0/a.jpeg": b""})

    with pytest.raises(DatasetError) as raised:
        tar.read(path)

    assert str(raised.value) == (
        f"{path}: expected images in class folders named by wnid, or named ILSVRC2012_val_*.JPEG, found "
        "'imagenetv2/0/a.jpeg'; if it is another dataset format, unpack it and point --imagenet at the folder"
    )


def test_a_number_outside_the_validation_set_is_an_error(tmp_path: Path) -> None:
    """The sentence names archive and member."""
    path = write_tar(tmp_path / "x.tar", {"ILSVRC2012_val_00050001.JPEG": b""})

    with pytest.raises(DatasetError, match=r"x.tar: ILSVRC2012_val_00050001.JPEG: the validation images are numbered"):
        tar.read(path)


def test_an_archive_without_images_is_an_error(tmp_path: Path) -> None:
    """The training set's archive holds archives, for one."""
    path = write_tar(tmp_path / "x.tar", {"n01440764.tar": b""})

    with pytest.raises(DatasetError, match=r"x.tar: expected images, found none among its 1 members"):
        tar.read(path)


def test_a_compressed_archive_is_an_error_in_its_folder_too(tmp_path: Path) -> None:
    """ILSVRC2012_img_val.tar.gz is no reason to say that there is nothing."""
    path = write_tar(tmp_path / "ILSVRC2012_img_val.tar", FLAT)
    (tmp_path / "ILSVRC2012_img_val.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()

    with pytest.raises(
        DatasetError, match=r"tar.gz: expected an uncompressed archive, found gzip; unpack it by gunzip"
    ):
        tar.read(tmp_path)


@pytest.mark.parametrize("where", ["images", "."])
def test_a_devkit_beside_the_archive_is_compared(tmp_path: Path, where: str) -> None:
    """A devkit that cannot be right is an error wherever it is looked for."""
    path = write_tar(tmp_path / "images" / "ILSVRC2012_img_val.tar", FLAT)
    write_files(tmp_path / where, GROUND_TRUTH, data=b"1\n")

    with pytest.raises(DatasetError, match="devkit again"):
        tar.read(path)
