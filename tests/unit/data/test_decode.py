"""Tests of harness.data.decode: pixels are torchvision's, whatever the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets.folder import pil_loader
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from harness.data.decode import crop_image, crop_into
from harness.data.preset import Geometry
from tests.images import noise, save

GEOMETRY = Geometry(resize=32, crop=28, interpolation="bilinear")


def oracle(path: Path, geometry: Geometry) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return the crop by torchvision's own loader and transform classes."""
    steps = Compose([Resize(geometry.resize, InterpolationMode(geometry.interpolation)), CenterCrop(geometry.crop)])
    return np.asarray(steps(pil_loader(str(path))))


GEOMETRIES = [
    GEOMETRY,
    Geometry(32, 32, "bicubic"),
    Geometry(20, 28, "bilinear"),  # the crop is larger than the image, which is padded
    Geometry(33, 28, "nearest"),
]
ODD_FILES: dict[str, Callable[[Path], object]] = {
    "grayscale": lambda path: save(noise(1).convert("L"), path),
    "cmyk": lambda path: save(noise(2).convert("CMYK"), path),
    "png-named-jpeg": lambda path: save(noise(3), path, format="PNG"),
    "palette": lambda path: save(noise(4).convert("P"), path, format="PNG"),
    "alpha": lambda path: save(noise(5).convert("RGBA"), path, format="PNG"),
    "16-bit": lambda path: save(
        Image.fromarray((np.arange(60 * 80) * 13).reshape(60, 80).astype(np.uint16)), path, format="PNG"
    ),
    "exif-rotated": lambda path: save(noise(6), path, exif=rotated()),
    "progressive": lambda path: save(noise(7), path, progressive=True),
    "tiny": lambda path: save(noise(8, width=3, height=2), path),
    "wide": lambda path: save(noise(9, width=900, height=20), path),
    "odd-sides": lambda path: save(noise(10, width=501, height=375), path),
}


def rotated() -> Image.Exif:
    """Return an EXIF block that says: turn by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_odd_files_are_read_as_torchvision_reads_them(kind: str, geometry: Geometry, tmp_path: Path) -> None:
    """Modes, orientations, sizes and wrong suffixes give the pixels of torchvision's own loader and transforms."""
    path = tmp_path / "image.JPEG"
    ODD_FILES[kind](path)

    assert np.array_equal(oracle(path, geometry), crop_image(path, geometry))


def test_rows_are_written_where_they_belong(tmp_path: Path) -> None:
    """A chunk fills its own rows of the memory map and no others."""
    paths = tuple(save(noise(seed), tmp_path / f"{seed}.jpg") for seed in (1, 2))
    store = np.memmap(tmp_path / "store", dtype=np.uint8, mode="w+", shape=(4, 28, 28, 3))

    unreadable = crop_into(tmp_path / "store", store.shape, 1, paths, GEOMETRY)

    assert unreadable == []
    assert np.array_equal(store[1:3], [oracle(path, GEOMETRY) for path in paths])
    assert not store[0].any()
    assert not store[3].any()


def truncated(path: Path) -> None:
    """Write a JPEG that ends in the middle."""
    save(noise(1, width=300, height=300), path, quality=95)
    path.write_bytes(path.read_bytes()[:2000])


BROKEN_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "not an image"),
    "text": (lambda path: path.write_text("this is no image"), "not an image"),
    "truncated": (truncated, "image file is truncated"),
    "broken-png": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40), ""),
    "folder": (lambda path: path.mkdir(), "not a regular file"),
    "pipe": (lambda path: os.mkfifo(path), "not a regular file"),
    "missing": (lambda path: path.unlink(missing_ok=True), "No such file or directory"),
}


@pytest.mark.parametrize("kind", BROKEN_FILES)
def test_broken_files_are_named_and_the_others_decoded(kind: str, tmp_path: Path) -> None:
    """A broken file is reported with its reason, and does not keep its neighbours from being decoded."""
    breaking, reason = BROKEN_FILES[kind]
    broken = tmp_path / "broken.JPEG"
    breaking(broken)
    good = save(noise(1), tmp_path / "good.JPEG")
    store = np.memmap(tmp_path / "store", dtype=np.uint8, mode="w+", shape=(2, 28, 28, 3))

    [(path, why)] = crop_into(tmp_path / "store", store.shape, 0, (broken, good), GEOMETRY)

    assert path == str(broken)
    assert reason in why
    assert why
    assert str(broken) not in why
    assert np.array_equal(store[1], oracle(good, GEOMETRY))


def test_an_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that claims more pixels than Pillow allows is refused by name, before it is decoded."""
    path = save(noise(1), tmp_path / "bomb.JPEG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    np.memmap(tmp_path / "store", dtype=np.uint8, mode="w+", shape=(1, 28, 28, 3))

    [(named, why)] = crop_into(tmp_path / "store", (1, 28, 28, 3), 0, (path,), GEOMETRY)

    assert named == str(path)
    assert "decompression bomb" in why
