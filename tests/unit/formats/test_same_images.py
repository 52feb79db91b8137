"""The same real images are the same dataset in every dataset format."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from harness.dataset import open_dataset
from harness.formats import FORMATS, imagenet
from tests.archives import write_files, write_parquet, write_tar
from tests.unit.formats.conftest import error_of


class Image:
    """A real image under the name of a validation image of its class."""

    def __init__(self, path: Path) -> None:
        self.wnid = path.parent.name
        self.target = imagenet.wnids().index(self.wnid)
        self.stem = f"ILSVRC2012_val_{imagenet.validation_labels().tolist().index(self.target) + 1:08}"
        self.data = path.read_bytes()


@pytest.fixture(scope="module")
def images(real_images: Path) -> list[Image]:
    """The images, in the order of their ids."""
    return sorted(map(Image, sorted(real_images.rglob("*.JPEG"))[:100]), key=lambda image: image.stem)


def write_folder(pattern: str, root: Path, images: list[Image]) -> Path:
    """Files whose paths have this pattern."""
    for image in images:
        write_files(root, pattern.format(image), data=image.data)
    return root


def write_kaggle(root: Path, images: list[Image]) -> Path:
    """Kaggle's tree."""
    write_folder("ILSVRC/Data/CLS-LOC/val/{0.stem}.JPEG", root, images)
    rows = "".join(f"{image.stem},{image.wnid} 1 2 3 4 \n" for image in reversed(images))
    return write_files(root, "LOC_val_solution.csv", data=f"ImageId,PredictionString\n{rows}".encode())


def write_hugging_face(root: Path, images: list[Image]) -> Path:
    """Two shards with rows in another order and names that end with the wnid."""
    rows = [(image.data, f"{image.stem}_{image.wnid}.JPEG", image.target) for image in reversed(images)]
    for shard, part in enumerate((rows[:60], rows[60:])):
        write_parquet(root / "data" / f"validation-{shard:05}-of-00002.parquet", part, rows_per_group=25)
    return root


def write_shards(root: Path, images: list[Image]) -> Path:
    """Two WebDataset shards, of which one has .cls and the other .json with the file's name."""
    labels: dict[str, bytes] = {}
    for image in images[:40]:
        labels |= {f"{image.stem}.jpg": image.data, f"{image.stem}.cls": str(image.target).encode()}
    write_tar(root / "imagenet1k-validation-00.tar", labels)
    names: dict[str, bytes] = {}
    for key, image in enumerate(images[40:]):
        fields = json.dumps({"filename": f"{image.stem}.JPEG", "label": image.target})
        names |= {f"{key:06}.jpg": image.data, f"{key:06}.json": fields.encode()}
    write_tar(root / "imagenet1k-validation-01.tar", names)
    return root


WRITERS: dict[str, Callable[[Path, list[Image]], Path]] = {
    "folders": partial(write_folder, "val/{0.wnid}/{0.stem}.jpeg"),  # as some tools write them
    "flat": partial(write_folder, "{0.stem}.JPEG"),
    "tar": lambda root, images: write_tar(
        root / "ILSVRC2012_img_val.tar", {f"{each.stem}.JPEG": each.data for each in images}
    ),
    "kaggle": write_kaggle,
    "parquet": write_hugging_face,
    "webdataset": write_shards,
    "imagenetv2": partial(write_folder, "{0.target}/{0.stem}.JPEG"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_images_are_the_same_dataset(images: list[Image], tmp_path: Path, name: str) -> None:
    """Ids, targets, bytes and subsets depend neither on the format nor on whether an index existed."""
    path = WRITERS[name](tmp_path / "mine", images)
    subset = open_dataset(WRITERS["folders"](tmp_path / "folders", images)).subset(10)

    for dataset in (open_dataset(path), open_dataset(path)):
        assert list(dataset.ids) == [f"{image.stem}.JPEG" for image in images]
        assert dataset.targets.tolist() == [image.target for image in images]
        assert [source.read() for source in dataset.sources] == [image.data for image in images]
        assert dataset.caveat == "it is not the whole imagenet-1k validation set: it has 100 of the 50,000 images"
        assert (subset.ids, subset.digest) == (dataset.subset(10).ids, dataset.subset(10).digest)


@pytest.mark.parametrize(
    ("mislabel", "hint"),
    [
        (imagenet.devkit_classes().index, "the labels are the devkit's ids, counted from 0"),
        (lambda target: imagenet.devkit_classes().index(target) + 1, "the labels are the devkit's ids, counted"),
        (lambda target: target + 1, "the labels are counted from 1, but class indices are counted from 0"),
        (lambda target: 999 - target, "sort the images, or make their labels, anew"),
        (lambda target: target or 999, "sort the images, or make their labels, anew"),
    ],
    ids=["devkit from 0", "devkit", "from 1", "reversed", "one image"],
)
@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("flat", "tar")])
def test_labels_that_contradict_the_numbers_are_errors(
    images: list[Image], tmp_path: Path, name: str, mislabel: Callable[[int], int], hint: str
) -> None:
    """In every format with labels of its own the sentence says how many are wrong, and what they look like."""
    labeled = [copy.copy(image) for image in images]
    for image in labeled:
        image.target = min(mislabel(image.target), 999)
        image.wnid = imagenet.wnids()[image.target]
    wrong = sum(one.target != other.target for one, other in zip(images, labeled, strict=True))

    message = error_of(WRITERS[name](tmp_path / "mine", labeled))

    assert f": {wrong} of 100 images lie in another class than their number says, such as ILSVRC" in message
    assert hint in message


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "parquet"])  # which has always a wnid
def test_a_wnid_in_the_name_that_contradicts_the_label_is_an_error(
    images: list[Image], tmp_path: Path, name: str
) -> None:
    """In every format, whether the label is the folder's, the number's or a table's."""
    renamed = [copy.copy(image) for image in images[:3]]
    for image in renamed:
        image.stem += f"_{image.wnid}"
    assert 3 == len(open_dataset(WRITERS[name](tmp_path / "right", renamed)))
    _, image, _ = renamed
    wrong = imagenet.wnids()[image.target - 1]
    image.stem = image.stem.replace(image.wnid, wrong)

    message = error_of(WRITERS[name](tmp_path / "wrong", renamed))

    right = f"label {image.target} is {image.wnid}"
    assert f": its name says {wrong}, but its {right}; the image was renamed, or the labels " in message
