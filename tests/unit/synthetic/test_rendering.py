"""The painted images: the same pixels everywhere, as mixed as ImageNet."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from harness.synthetic import images
from harness.synthetic.rendering import CLASSES, render

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def val(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic validation images, rendered once; not to be changed."""
    root = tmp_path_factory.mktemp("val")
    render(root, "val")
    return root


def test_rendering_gives_the_recorded_bytes(val: Path) -> None:
    """Which the expected accuracies and the shipped baseline stand on; so the painting needs no other test."""
    assert images.DIGEST == images.digest(val)


def test_files_are_as_mixed_as_imagenet(val: Path) -> None:
    """Five of each class, shuffled; a few are grayscale, CMYK, rotated by EXIF, or PNG under the name of a JPEG."""
    paths = sorted(val.glob("*/*"), key=lambda path: path.name)
    kinds: Counter[tuple[str | None, str, int | None]] = Counter()
    sides: list[int] = []
    for path in paths:
        with Image.open(path) as image:
            kinds[image.format, image.mode, image.getexif().get(ORIENTATION)] += 1
            image.load()
            sides += image.size

    assert dict.fromkeys(CLASSES, 5) == Counter(path.parent.name for path in paths)
    assert sum(a.parent == b.parent for a, b in pairwise(paths)) < 25
    assert {
        ("JPEG", "RGB", None): 473,
        ("JPEG", "L", None): 10,
        ("JPEG", "CMYK", None): 5,
        ("JPEG", "RGB", 6): 10,
        ("PNG", "RGB", None): 2,
    } == kinds
    assert 180 <= min(sides) < max(sides) <= 520


def test_fitting_images_are_balanced_and_others(val: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every class has 4 fitting images, plain RGB JPEG files, none of them a validation image."""
    monkeypatch.setattr("harness.synthetic.rendering.CLASSES", CLASSES[:7])

    render(tmp_path, "fit")

    paths = list(tmp_path.glob("*/*"))
    assert dict.fromkeys(CLASSES[:7], 4) == Counter(path.parent.name for path in paths)
    assert {path.read_bytes() for path in paths}.isdisjoint(path.read_bytes() for path in val.glob("*/*"))
    for path in paths:
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
