"""Tests of harness.formats.prepared_root."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from harness.dataset import open_dataset
from harness.errors import DatasetError
from harness.formats import imagenet, prepared_root
from tests.archives import write_files, write_tar

ONE, TWO = "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"
WNIDS = [imagenet.wnids()[label] for label in imagenet.validation_labels().tolist()]
CLASSES = {wnid: (f"name of {wnid}", "another") for wnid in imagenet.wnids()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images, and meta.bin as torchvision.datasets.ImageNet writes it."""
    write_files(tmp_path / "mine", f"val/n01751748/{ONE}", f"val/n09193705/{TWO}", "val/n01440764/cat.JPEG")
    torch.save((CLASSES, WNIDS), tmp_path / "mine" / "meta.bin")
    return tmp_path / "mine"


@pytest.mark.parametrize("given", [".", "val"])
def test_class_folders_are_read(root: Path, given: str) -> None:
    """The root, or its val/, gives the images of the class folders."""
    dataset = prepared_root.read(root / given)

    assert dataset is not None
    assert (dataset.ids, dataset.targets.tolist()) == ((ONE, TWO, "cat.JPEG"), [65, 970, 0])
    assert (dataset.name, dataset.format) == ("mine", "torchvision's ImageNet root")


@pytest.mark.parametrize("missing", ["meta.bin", "val"])
def test_another_format_is_left_to_others(root: Path, missing: str) -> None:
    """Without meta.bin or class folders in val/ it is another format."""
    (root / missing).rename(root / "elsewhere")

    assert prepared_root.read(root) is None
    assert prepared_root.read(root / "elsewhere") is None


def test_without_val_the_archive_is_read(tmp_path: Path) -> None:
    """A root that was not unpacked yet is read from its archive."""
    torch.save((CLASSES, WNIDS), tmp_path / "meta.bin")
    write_tar(tmp_path / "ILSVRC2012_img_val.tar", {ONE: b"one"})

    dataset = open_dataset(str(tmp_path))

    assert (dataset.ids, dataset.format) == ((ONE,), "tar archive, labels by file name")


def test_a_file_in_another_class_folder_is_an_error(root: Path) -> None:
    """The sentence names the file, where it lies and where it belongs."""
    (root / f"val/n01751748/{ONE}").rename(root / f"val/n09193705/{ONE}")

    with pytest.raises(DatasetError) as raised:
        prepared_root.read(root)

    assert str(raised.value) == (
        f"{root}/val/n09193705/{ONE} is in folder n09193705, but {root}/meta.bin says n01751748; "
        "move it there, or delete val/ and let torchvision.datasets.ImageNet unpack it again"
    )


def test_a_copy_in_another_class_folder_is_an_error(root: Path) -> None:
    """A name that occurs twice is compared as well."""
    write_files(root, f"val/n09193705/{ONE}")

    with pytest.raises(DatasetError, match=f"n09193705/{ONE} is in folder n09193705, but .* says n01751748"):
        prepared_root.read(root)


def test_a_number_outside_the_validation_set_is_an_error(root: Path) -> None:
    """There are images 1 to 50,000."""
    write_files(root, "val/n01440764/ILSVRC2012_val_00000000.JPEG")

    with pytest.raises(DatasetError, match=r"_00000000.JPEG: expected the number of one of the 50,000 validation"):
        prepared_root.read(root)


@pytest.mark.parametrize(
    "contents",
    [[CLASSES, WNIDS], (CLASSES,), (CLASSES, WNIDS[1:]), (CLASSES, [*WNIDS[1:], 5]), (CLASSES, "n" * 50_000), 5],
)
def test_a_meta_file_of_other_things_is_an_error(root: Path, contents: object) -> None:
    """What does not hold 50,000 wnids is no meta.bin."""
    torch.save(contents, root / "meta.bin")

    with pytest.raises(DatasetError) as raised:
        prepared_root.read(root)

    assert str(raised.value) == (
        f"{root}/meta.bin: expected classes and 50,000 wnids, found something else; "
        "delete it and let torchvision.datasets.ImageNet recreate it"
    )


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("save", [torch.save, lambda found, path: path.write_bytes(pickle.dumps(found, 2))])
def test_a_meta_file_cannot_run_code(root: Path, tmp_path: Path, save: type) -> None:
    """Nothing but plain values is unpickled."""
    save((CLASSES, Touch(tmp_path / "run")), root / "meta.bin")

    with pytest.raises(DatasetError, match=r"meta.bin cannot be read: Weights only load failed"):
        prepared_root.read(root)

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "data", [b"", b"no pickle", b"\x80\x02]q\x00", b"PK\x03\x04 no archive", b"\x80\x02e.", b"\x80\x02Kz", b"}u."]
)
def test_a_damaged_meta_file_is_an_error(root: Path, data: bytes) -> None:
    """The sentence names it and says how to make it again."""
    (root / "meta.bin").write_bytes(data)

    with pytest.raises(
        DatasetError, match=r"meta.bin cannot be read: .*; delete it and let torchvision.datasets.Image"
    ):
        prepared_root.read(root)


def test_a_meta_file_that_was_cut_off_is_an_error(root: Path) -> None:
    """So is half of one."""
    data = (root / "meta.bin").read_bytes()
    (root / "meta.bin").write_bytes(data[: len(data) // 2])

    with pytest.raises(DatasetError, match=r"meta.bin cannot be read: "):
        prepared_root.read(root)


def test_a_meta_file_that_would_fill_the_memory_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not loaded at all."""
    monkeypatch.setattr(prepared_root, "_META_LIMIT", 1000)

    with pytest.raises(DatasetError, match=r"meta.bin: expected about 1 MB, found [0-9,]+ bytes; delete it"):
        prepared_root.read(root)
