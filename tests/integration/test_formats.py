"""The same real images are the same dataset in every dataset format."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from harness.dataset import open_dataset
from harness.errors import DatasetError
from harness.formats import FORMATS, imagenet
from tests.archives import write_files, write_parquet, write_tar

IMAGES = 100


class Image:
    """A real image under the name of a validation image of its class."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wnid = path.parent.name
        self.target = imagenet.wnids().index(self.wnid)
        self.number = imagenet.validation_labels().tolist().index(self.target) + 1
        self.stem = f"ILSVRC2012_val_{self.number:08}"
        self.name = f"{self.stem}.JPEG"
        self.data = path.read_bytes()


@pytest.fixture(scope="module")
def images(real_images: Path) -> list[Image]:
    """The images, in the order of their ids."""
    found = [Image(path) for path in sorted(real_images.rglob("*.JPEG"))[:IMAGES]]
    return sorted(found, key=lambda image: image.name)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep indexes out of the user's cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _name: folder)


def write_class_folders(root: Path, images: list[Image]) -> Path:
    """``val/<wnid>/``, with names as some tools write them."""
    for image in images:
        write_files(root, f"val/{image.wnid}/{image.stem}.jpeg", data=image.data)
    return root


def write_flat(root: Path, images: list[Image]) -> Path:
    """The validation archive, unpacked."""
    for image in images:
        write_files(root, image.name, data=image.data)
    return root


def write_validation_tar(root: Path, images: list[Image]) -> Path:
    """The validation archive."""
    return write_tar(root / "ILSVRC2012_img_val.tar", {image.name: image.data for image in images})


def write_kaggle(root: Path, images: list[Image]) -> Path:
    """Kaggle's tree."""
    write_flat(root / "ILSVRC" / "Data" / "CLS-LOC" / "val", images)
    rows = "".join(f"{image.stem},{image.wnid} 1 2 3 4 \n" for image in reversed(images))
    return write_files(root, "LOC_val_solution.csv", data=f"ImageId,PredictionString\n{rows}".encode())


def write_hugging_face(root: Path, images: list[Image]) -> Path:
    """Two shards with rows in another order and names that end with the wnid."""
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    rows = [(image.data, f"{image.stem}_{image.wnid}.JPEG", image.target) for image in reversed(images)]
    for shard, part in enumerate((rows[:60], rows[60:])):
        write_parquet(root / "data" / f"validation-{shard:05}-of-00002.parquet", part, rows_per_group=25)
    return root


def write_shards(root: Path, images: list[Image]) -> Path:
    """Two WebDataset shards, of which one has .cls and the other .json with the file's name."""
    members: dict[str, bytes] = {}
    for image in images[:40]:
        members |= {f"{image.stem}.jpg": image.data, f"{image.stem}.cls": str(image.target).encode()}
    write_tar(root / "imagenet1k-validation-00.tar", members)
    members = {}
    for key, image in enumerate(images[40:]):
        fields = {"filename": image.name, "label": image.target}
        members |= {f"{key:06}.jpg": image.data, f"{key:06}.json": json.dumps(fields).encode()}
    write_tar(root / "imagenet1k-validation-01.tar", members)
    return root


def write_imagenetv2(root: Path, images: list[Image]) -> Path:
    """Folders by class index."""
    for image in images:
        write_files(root, f"{image.target}/{image.name}", data=image.data)
    return root


WRITERS: dict[str, Callable[[Path, list[Image]], Path]] = {
    "class folders": write_class_folders,
    "flat files, labels by file name": write_flat,
    "tar archive, labels by file name": write_validation_tar,
    "Kaggle's tree": write_kaggle,
    "Parquet shards": write_hugging_face,
    "WebDataset shards": write_shards,
    "folders by class index": write_imagenetv2,
}


LABELLED = [name for name in WRITERS if not name.endswith("labels by file name")]


def test_every_format_is_written_here() -> None:
    """A format without a writer would not be compared."""
    assert len(WRITERS) == len(FORMATS)


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_images_are_the_same_dataset(images: list[Image], tmp_path: Path, name: str) -> None:
    """Ids, targets and bytes depend neither on the format nor on whether an index existed."""
    path = WRITERS[name](tmp_path / "mine", images)

    for dataset in (open_dataset(path), open_dataset(path)):
        assert dataset.format == name
        assert list(dataset.ids) == [image.name for image in images]
        assert dataset.targets.tolist() == [image.target for image in images]
        assert [source.read() for source in dataset.sources] == [image.data for image in images]
        assert dataset.caveat == "it is not the whole imagenet-1k validation set: it has 100 of the 50,000 images"


@pytest.mark.parametrize(
    ("mislabel", "hint"),
    [
        (
            lambda image: imagenet.devkit_classes().index(image.target),
            "the labels are the devkit's ids, counted from 0",
        ),
        (lambda image: imagenet.devkit_classes().index(image.target) + 1, "the labels are the devkit's ids, counted"),
        (lambda image: image.target + 1, "the labels are counted from 1, but class indices are counted from 0"),
        (lambda image: 999 - image.target, "sort the images, or make their labels, anew"),
        (lambda image: image.target if image.target else 999, "sort the images, or make their labels, anew"),
    ],
    ids=["devkit from 0", "devkit", "from 1", "reversed", "one image"],
)
@pytest.mark.parametrize("name", LABELLED)
def test_labels_that_contradict_the_numbers_are_errors(
    images: list[Image], tmp_path: Path, name: str, mislabel: Callable[[Image], int], hint: str
) -> None:
    """In every format with labels of its own the sentence says how many are wrong, and what they look like."""
    labelled = []
    for image in images:
        labelled.append(copy.copy(image))
        labelled[-1].target = min(mislabel(image), 999)
        labelled[-1].wnid = imagenet.wnids()[labelled[-1].target]
    wrong = sum(one.target != other.target for one, other in zip(images, labelled, strict=True))

    with pytest.raises(DatasetError) as raised:
        open_dataset(WRITERS[name](tmp_path / "mine", labelled))

    assert f": {wrong} of 100 images lie in another class than their number says, such as ILSVRC" in str(raised.value)
    assert hint in str(raised.value)


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "Parquet shards"])  # which has always a wnid
def test_a_wnid_in_the_name_that_contradicts_the_label_is_an_error(
    images: list[Image], tmp_path: Path, name: str
) -> None:
    """In every format, whether the label is the folder's, the number's or a table's."""
    renamed = [copy.copy(image) for image in images[:3]]
    for image in renamed:
        image.stem = f"{image.stem}_{image.wnid}"
        image.name = f"{image.stem}.JPEG"
    assert 3 == len(open_dataset(WRITERS[name](tmp_path / "right", renamed)))
    wrong = imagenet.wnids()[renamed[1].target - 1]
    renamed[1].stem = f"ILSVRC2012_val_{renamed[1].number:08}_{wrong}"
    renamed[1].name = f"{renamed[1].stem}.JPEG"

    with pytest.raises(DatasetError) as raised:
        open_dataset(WRITERS[name](tmp_path / "wrong", renamed))

    right = f"label {renamed[1].target} is {renamed[1].wnid}"
    assert f": its name says {wrong}, but its {right}; the image was renamed, or the labels " in str(raised.value)


def test_a_subset_is_the_same_in_every_format(images: list[Image], tmp_path: Path) -> None:
    """``--limit`` selects the same images."""
    subsets = []
    for number, write in enumerate(WRITERS.values()):
        subset = open_dataset(write(tmp_path / f"{number}" / "mine", images)).subset(10)
        subsets.append((subset.ids, subset.digest))
        shutil.rmtree(tmp_path / f"{number}")

    assert subsets == [subsets[0]] * len(WRITERS)
