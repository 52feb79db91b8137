"""The painted images: the same pixels everywhere, as mixed as ImageNet."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.synthetic import rendering

ORIENTATION = 0x0112


def images(root: Path) -> list[Path]:
    """Return the files in the order of their names."""
    return sorted(root.glob("*/*"), key=lambda path: path.name)


def test_validation_images_are_balanced(val: Path) -> None:
    """Every class has 5 validation images, and there is no other folder."""
    counts = Counter(path.parent.name for path in images(val))

    assert dict.fromkeys(rendering.CLASSES, 5) == counts
    assert sorted(rendering.CLASSES) == sorted(path.name for path in val.iterdir())


def test_classes_are_sorted_and_distinct() -> None:
    """A class's index is its position in the sorted list of 100 names."""
    assert sorted(set(rendering.CLASSES)) == list(rendering.CLASSES)
    assert len(rendering.CLASSES) == 100


def test_names_are_unique_and_tell_nothing_of_the_class(val: Path) -> None:
    """File names are numbered from 1 in an order that is shuffled over the classes."""
    names = [path.name for path in images(val)]
    classes = [path.parent.name for path in images(val)]

    assert [f"embedded_val_{number:08d}" for number in range(1, 501)] == [Path(name).stem for name in names]
    assert sum(a == b for a, b in pairwise(classes)) < 25
    assert {".JPEG": 450, ".jpeg": 25, ".jpg": 25} == Counter(Path(name).suffix for name in names)


def test_files_are_as_mixed_as_imagenet(val: Path) -> None:
    """A few files are grayscale, CMYK, rotated by EXIF, or PNG under the name of a JPEG."""
    kinds: Counter[tuple[str | None, str, int | None]] = Counter()
    for path in images(val):
        with Image.open(path) as image:
            kinds[image.format, image.mode, image.getexif().get(ORIENTATION)] += 1

    assert {
        ("JPEG", "RGB", None): 473,
        ("JPEG", "L", None): 10,
        ("JPEG", "CMYK", None): 5,
        ("JPEG", "RGB", 6): 10,
        ("PNG", "RGB", None): 2,
    } == kinds


def test_sizes_vary(val: Path) -> None:
    """Images are 180 to 520 pixels a side, of both orientations, some smaller than a model's input; files are small."""
    sizes = []
    for path in images(val):
        with Image.open(path) as image:
            sizes.append(image.size)

    assert min(map(min, sizes)) >= 180
    assert max(map(max, sizes)) <= 520
    assert sum(width > height for width, height in sizes) > 150
    assert sum(width < height for width, height in sizes) > 150
    assert sum(min(size) < 224 for size in sizes) > 50
    assert sum(path.stat().st_size for path in images(val)) < 500 * 16_000


def test_an_image_does_not_depend_on_the_others() -> None:
    """The pixels follow from the class and the seed alone, and another seed gives another image."""
    first, again, other = (rendering._paint("ring-h072-dots", np.random.RandomState(seed)) for seed in (5, 5, 6))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_cmyk_shows_the_painted_colours() -> None:
    """Converted back to RGB by Pillow, a CMYK image differs from the painted one by rounding only."""
    pixels = rendering._paint("disc-h000-plain", np.random.RandomState(1))
    cmyk = rendering._to_cmyk(pixels)
    image = Image.frombytes("CMYK", (cmyk.shape[1], cmyk.shape[0]), cmyk.tobytes())

    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - pixels).max() <= 2


def test_gray_is_pillows_gray() -> None:
    """The grayscale image is Pillow's luma of the painted one, up to rounding."""
    pixels = rendering._paint("disc-h000-plain", np.random.RandomState(1))

    assert np.abs(np.asarray(Image.fromarray(pixels).convert("L")).astype(int) - rendering._to_gray(pixels)).max() <= 1


def test_png_holds_exactly_the_painted_pixels(tmp_path: Path) -> None:
    """The hand-made PNG, of several stored blocks, is read back without loss."""
    pixels = rendering._paint("wide-h216-checks", np.random.RandomState(2))
    (tmp_path / "image.png").write_bytes(rendering._png(pixels))

    with Image.open(tmp_path / "image.png") as image:
        assert np.array_equal(pixels, np.asarray(image))


def test_fitting_images_are_balanced_and_others(val: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every class has 4 fitting images, plain RGB JPEG files, none of them a validation image."""
    monkeypatch.setattr(rendering, "CLASSES", rendering.CLASSES[:7])

    rendering.render(tmp_path, "fit")

    assert dict.fromkeys(rendering.CLASSES, 4) == Counter(path.parent.name for path in images(tmp_path))
    assert {path.name for path in images(tmp_path)}.isdisjoint(path.name for path in images(val))
    assert {path.read_bytes() for path in images(tmp_path)}.isdisjoint(path.read_bytes() for path in images(val))
    for path in images(tmp_path):
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
