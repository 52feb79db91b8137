"""Tests of harness.formats: which dataset is recognized, and what is said of a path that does not serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.dataset import open_dataset
from harness.formats import FORMATS
from harness.formats.imagenet import DEVKIT
from tests.archives import write_files
from tests.unit.formats.conftest import error_of

FIRST, VALIDATION = "n01440764", "ILSVRC2012_val_00000001.JPEG"
NOT_WHOLE = "it is not the whole imagenet-1k validation set"


@pytest.mark.parametrize(
    ("path", "name", "caveat"),
    [
        (f"part/{FIRST}/ILSVRC2012_val_00000293.JPEG", "part", f"{NOT_WHOLE}: it has 1 of the 50,000 images"),
        (
            f"imagenet-1k/val/{FIRST}/cat.JPEG",
            "not imagenet-1k",
            f"{NOT_WHOLE}: its files are not named ILSVRC2012_val_*.JPEG",
        ),
        (f"synthetic/val/{FIRST}/cat.JPEG", "not synthetic", "a folder that is only called 'synthetic'"),
        (
            f"imagenetv2-topimages/{FIRST}/a.jpeg",
            "not imagenetv2-topimages",
            "its class folders are not named 0 to 999, as in the original archives",
        ),
    ],
)
def test_names_alone_make_no_published_dataset(tmp_path: Path, path: str, name: str, caveat: str) -> None:
    """Neither the folder's nor those of some images: it is not called so, and says why."""
    write_files(tmp_path, path)

    dataset = open_dataset(tmp_path / path.partition("/")[0])

    assert (dataset.name, dataset.caveat) == (name, caveat)


def test_a_stray_image_does_not_hide_the_validation_set(tmp_path: Path) -> None:
    """A copy in a class folder is named, and the others are still recognized by their names."""
    one, other, none = (f"ILSVRC2012_val_{number:08}" for number in (293, 2138, 50_001))
    write_files(tmp_path / FIRST, f"{one}.JPEG", f"{other}.JPEG", f"{one} (1).JPEG", f"x/{one}.jpg", f"{none}.JPEG")

    assert open_dataset(tmp_path).caveat == (
        f"{NOT_WHOLE}: it has 2 of the 50,000 images, 1 more than once, such as "
        f"{one}.JPEG, and 2 of other names, such as '{FIRST}/{one} (1).JPEG'"
    )


VAL = "ILSVRC/Data/CLS-LOC/val"
NUMBERED = "expected class folders named 0 to 999 without leading zeros, found"
RANGE = "the validation images are numbered 1 to 50,000, not"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        # in no known format
        ([f"{n}.JPEG" for n in "abcde"], "no images in PATH: found 'a.JPEG', 'b.JPEG', 'c.JPEG' and 2 more; looked "),
        ([f"{VALIDATION}.txt"], f"no images in PATH: found '{VALIDATION}.txt'; looked for (1) "),
        (["0/a.jpeg", "notes/a.txt"], "no images in PATH: found '0', 'notes'; looked for (1) "),
        (["\u0663/a.jpeg"], "no images in PATH: found '\u0663'; looked for (1) "),
        (["a.JPEG", "data/a.JPEG"], "no images in PATH: found 'a.JPEG', 'data'; looked for (1) "),
        (["a.JPEG", DEVKIT], f"no images in PATH: found '{DEVKIT}', 'a.JPEG'; looked for (1) "),
        # class folders
        ([f"{FIRST}/list.txt"], "no images in the 1 class folders of PATH: expected .JPEG files"),
        ([f"{FIRST}/a.JPEG", "n01440765/b.JPEG"], "PATH holds folder 'n01440765', which is not one of the 1,000"),
        (
            [f"{FIRST}/ILSVRC2012_val_00000007.JPEG", f"{FIRST}/other.JPEG"],
            "PATH: 1 of 1 images lie in another class than their number says, such as ILSVRC2012_val_00000007.JPEG in ",
        ),
        # flat files
        ([VALIDATION, "cat.jpg"], "PATH/cat.jpg: expected a name ILSVRC2012_val_*.JPEG, as others have; remove it"),
        (["ILSVRC2012_val_00000000.jpg"], f"PATH/ILSVRC2012_val_00000000.jpg: {RANGE} 0; move the file away"),
        (["ILSVRC2012_val_00050001.jpg"], f"PATH/ILSVRC2012_val_00050001.jpg: {RANGE} 50,001; move the file away"),
        (
            [VALIDATION, "n09193705/ILSVRC2012_val_00000002.JPEG"],
            f"PATH: expected either images or class folders, found both, such as '{VALIDATION}' and 'n09193705'; "
            "if valprep.sh was interrupted, run it to its end",
        ),
        # folders by class index; without folder 1000 the others would be read, each as another class
        (["0/a.jpeg", "1000/b.jpeg"], f"PATH: {NUMBERED} '1000'; rename it or remove it"),
        (["0/a.jpeg", "007/b.jpeg"], f"PATH: {NUMBERED} '007'; rename it or remove it"),
        (["1/a.jpeg", "1000/b.jpeg"], f"PATH: {NUMBERED} '1000'; if these are the devkit's ids, sort the images"),
        # Kaggle's tree
        (
            [f"{VAL}/{VALIDATION}"],
            "PATH: expected LOC_val_solution.csv in it or in ILSVRC/, found none; put it there, or point --imagenet "
            f"at PATH/{VAL}, whose labels are known by file name",
        ),
        ([f"{VAL}/a.txt"], f"PATH/{VAL}: expected .JPEG files or class folders, found neither; unpack them"),
        (["ILSVRC/Data/CLS-LOC/train/a.JPEG"], f"PATH/{VAL}: expected the validation images of Kaggle's tree"),
        # a hub's cache
        (
            [f"datasets--mine/snapshots/{revision}/{FIRST}/v.JPEG" for revision in "ab"],
            "PATH/datasets--mine: expected one snapshot, found 2; point --imagenet at one of them",
        ),
    ],
)
def test_a_folder_that_does_not_serve_is_an_error(tmp_path: Path, names: list[str], message: str) -> None:
    """The sentence names what is there and what was looked for, and never leaves images out silently."""
    write_files(tmp_path, *names)

    assert error_of(tmp_path).startswith(message)


def test_a_path_without_a_folder_or_archive_is_an_error(tmp_path: Path) -> None:
    """The sentence names the option, what was expected, what was found, and where."""
    write_files(tmp_path, "notes.txt")
    formats = "; ".join(f"({number}) {expects}" for number, expects in enumerate(FORMATS.values(), start=1))

    missing, notes = error_of(tmp_path / "missing"), error_of(tmp_path / "notes.txt")

    assert missing == "--imagenet 'PATH': expected a folder or archive of images, found nothing at PATH"
    assert notes == f"no images in PATH: found a file of 9 bytes; looked for {formats}"
