"""Tests of harness.decoding.decoders: pixels are torchvision's, whatever the file."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets.folder import pil_loader
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from harness.decoding import decoders, tensors
from harness.decoding.decoders import Decoded, center_crop, crop_image, decode
from harness.decoding.survey import examine
from harness.errors import DeviceError
from harness.formats.sources import FileSource
from harness.options import Decoder
from harness.preset import Geometry
from tests.images import noise, save
from tests.unit.decoding.conftest import GEOMETRY


def oracle(path: Path, geometry: Geometry) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return the crop by torchvision's own loader and transform classes."""
    steps = Compose([Resize(geometry.resize, InterpolationMode(geometry.interpolation)), CenterCrop(geometry.crop)])
    return np.asarray(steps(pil_loader(str(path))))


GEOMETRIES = [
    GEOMETRY,
    Geometry(32, 32, "bicubic"),
    Geometry(20, 28, "bilinear"),  # the crop is larger than the image, which is padded
]
TURNED = Image.Exif()
TURNED[0x0112] = 6  # by 90 degrees
ODD_FILES: dict[str, Callable[[Path], object]] = {
    "grayscale": lambda path: save(noise(1).convert("L"), path),
    "cmyk": lambda path: save(noise(2).convert("CMYK"), path),
    "png-named-jpeg": lambda path: save(noise(3), path, format="PNG"),
    "palette": lambda path: save(noise(4).convert("P"), path, format="PNG"),
    "alpha": lambda path: save(noise(5).convert("RGBA"), path, format="PNG"),
    "16-bit": lambda path: save(
        Image.fromarray((np.arange(60 * 80) * 13).reshape(60, 80).astype(np.uint16)), path, format="PNG"
    ),
    "exif-rotated": lambda path: save(noise(6), path, exif=TURNED),
    "progressive": lambda path: save(noise(7), path, progressive=True),
    "tiny": lambda path: save(noise(8, width=2, height=3), path),
    "row": lambda path: save(noise(8, width=800, height=1), path),
    "column": lambda path: save(noise(8, width=1, height=801), path, format="PNG"),
    "wide": lambda path: save(noise(9, width=900, height=20), path),
    "webp": lambda path: save(noise(11), path, format="WEBP"),  # as copies of ImageNet in WebDataset shards
    "odd-sides": lambda path: save(noise(10, width=501, height=375), path),
}


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_odd_files_are_read_as_torchvision_reads_them(kind: str, geometry: Geometry, tmp_path: Path) -> None:
    """Pillow gives the same pixels, whatever the mode, the orientation, the size and the suffix.

    torchvision's decoder differs by a few steps of 255 at most; what is no plain JPEG is left to Pillow, and reported.
    """
    path = tmp_path / "image.JPEG"
    ODD_FILES[kind](path)
    expected = oracle(path, geometry)

    [decoded] = decode([FileSource.of(path)], geometry, Decoder("torchvision"))

    assert np.array_equal(expected, crop_image(path.read_bytes(), geometry))
    assert decoded.crop is not None
    assert decoded.crop.flags.c_contiguous
    assert np.abs(decoded.crop.astype(int) - expected).max() <= (0 if decoded.by_pillow else 3)
    assert decoded.by_pillow == (kind in {"cmyk", "png-named-jpeg", "palette", "alpha", "16-bit", "column", "webp"})


def test_sizes_are_computed_as_by_torchvision() -> None:
    """For sides around each other, around the crop and far from it, where a half pixel has to be rounded."""
    sides, checked = [1, 2, 3, 27, 28, 31, 32, 33, 47, 130], set()
    for width, height, resize, crop in product(sides, sides, [27, 32, 33], [28, 31, 36]):
        geometry, image = Geometry(resize, crop, "nearest"), noise(1, width, height)
        steps = Compose([Resize(resize, InterpolationMode.NEAREST), CenterCrop(crop)])

        ours = center_crop(decoders.resize(image, geometry), geometry)

        assert steps(image).tobytes() == ours.tobytes(), (width, height, geometry)
        checked.add(steps.transforms[0](image).size)
    assert len(checked) > 100


class Simulated:
    """A device whose decoding the CPU does, which rejects any batch with a progressive image; and its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []  # ("synchronize",), and (number of images, device)
        self.room = 100  # the largest batch that there is memory for
        self.failure = "CUDA out of memory. Tried to allocate 2.00 MiB"  # how torchvision words that there is no more

    def synchronize(self) -> None:
        """Wait for the stream."""
        self.calls.append(("synchronize",))

    def decode(self, data: Any, mode: ImageReadMode, device: str = "cpu") -> Any:
        """Decode as torchvision's ``decode_jpeg``."""
        if device == "cpu":
            return decode_jpeg(data, mode=mode)
        self.calls.append((len(data), device))
        if len(data) > self.room:
            raise RuntimeError(self.failure)
        if any(b"\xff\xc2" in one.numpy().tobytes() for one in data):
            raise RuntimeError("Error while decoding JPEG images: Failed to decode jpeg stream: 4")
        return [decode_jpeg(one, mode=mode) for one in data]


@pytest.fixture
def nvjpeg(monkeypatch: pytest.MonkeyPatch) -> Simulated:
    """Simulate a device."""
    simulated = Simulated()
    monkeypatch.setattr(tensors, "decode_jpeg", simulated.decode)
    monkeypatch.setattr(tensors, "_private_stream", lambda _: simulated)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    return simulated


ON_DEVICE = Decoder("nvjpeg", "cuda:0")


def images(folder: Path, *seeds: int, **options: Any) -> list[FileSource]:
    """Write images of noise."""
    return [FileSource.of(save(noise(seed), folder / f"{seed}.JPEG", **options)) for seed in seeds]


def crops(decoded: list[Decoded]) -> NDArray[np.uint8]:
    """Return the crops, of which none may be missing."""
    assert [image.reason for image in decoded] == [""] * len(decoded)
    return np.array([image.crop for image in decoded])


def test_a_device_decodes_a_batch_at_once(nvjpeg: Simulated, tmp_path: Path) -> None:
    """One call for all plain JPEG files, in their order; the others are Pillow's, and without any there is no call."""
    sources = images(tmp_path, 0, 1, 2)
    sources[1:1] = png = images(tmp_path, 9, format="PNG")
    expected = decode(sources, GEOMETRY, Decoder("torchvision"))

    [by_pillow] = decode(png, GEOMETRY, ON_DEVICE)
    calls_for_png = list(nvjpeg.calls)
    decoded = decode(sources, GEOMETRY, ON_DEVICE)

    assert (by_pillow.by_pillow, calls_for_png) == (True, [])
    assert nvjpeg.calls == [("synchronize",), (3, "cuda:0")]
    assert [image.by_pillow for image in decoded] == [False, True, False, False]
    assert np.array_equal(crops(expected), crops(decoded))


def test_what_a_device_rejects_is_left_to_pillow(nvjpeg: Simulated, tmp_path: Path) -> None:
    """One image that spoils its batch is found by itself; Pillow decodes it, and the device the others."""
    good, [rejected] = images(tmp_path, 0, 1), images(tmp_path, 7, progressive=True)
    missing = FileSource.of(tmp_path / "missing.JPEG")

    decoded = decode([good[0], rejected, missing, good[1]], GEOMETRY, ON_DEVICE)

    assert nvjpeg.calls == [call for count in (3, 1, 1, 1) for call in (("synchronize",), (count, "cuda:0"))]
    assert [image.by_pillow for image in decoded] == [False, True, True, False]
    assert np.array_equal(crops(decoded[1:2])[0], oracle(Path(rejected.path), GEOMETRY))
    assert (decoded[2].crop, decoded[2].reason) == (None, "No such file or directory")


@pytest.mark.parametrize(
    "failure", ["CUDA out of memory", "Error while decoding JPEG images: Failed to decode batch: 5"]
)
def test_a_device_without_room_for_a_batch_decodes_one_image_at_a_time(
    nvjpeg: Simulated, failure: str, tmp_path: Path
) -> None:
    """None is left to Pillow, whose pixels are others; without room for one image that is an error."""
    sources = images(tmp_path, 0, 1, 2)
    expected = decode(sources, GEOMETRY, Decoder("torchvision"))
    nvjpeg.room, nvjpeg.failure = 1, failure

    decoded = decode(sources, GEOMETRY, ON_DEVICE)

    assert not any(image.by_pillow for image in decoded)
    assert np.array_equal(crops(expected), crops(decoded))
    nvjpeg.room = 0
    message = r"^cuda:0 ran out of memory decoding images beside the model: give a smaller"
    with pytest.raises(DeviceError, match=message):
        decode(sources, GEOMETRY, ON_DEVICE)


def test_an_error_of_the_device_is_not_one_of_an_image(nvjpeg: Simulated, tmp_path: Path) -> None:
    """Pillow does not silently take over where the device has failed."""
    nvjpeg.room, nvjpeg.failure = 0, "CUDA error: an illegal memory access was encountered"

    with pytest.raises(RuntimeError, match="illegal memory access"):
        decode(images(tmp_path, 1), GEOMETRY, ON_DEVICE)


def truncated(path: Path) -> None:
    """Write a JPEG that ends in the middle."""
    save(noise(1, width=300, height=300), path, quality=95)
    path.write_bytes(path.read_bytes()[:2000])


def jpeg_bomb(path: Path) -> None:
    """Write a JPEG that claims 65,500 by 65,500 pixels, for which torchvision's decoder would allocate memory."""
    data = bytearray(save(noise(1), path).read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (65_500).to_bytes(2, "big") * 2
    path.write_bytes(data)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
NO_IMAGE = "^not a JPEG, PNG or WEBP image$"
BROKEN_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), NO_IMAGE),
    "truncated": (truncated, "truncated"),
    "broken-png": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40), "."),
    "missing": (lambda path: path.unlink(missing_ok=True), "^No such file or directory$"),
    "jpeg-bomb": (jpeg_bomb, "decompression bomb"),
    # Pillow would start a program (Ghostscript).
    "eps": (lambda path: path.write_bytes(EPS), NO_IMAGE),
}


@pytest.mark.parametrize("decoder", ["pillow", "torchvision"])
@pytest.mark.parametrize("kind", BROKEN_FILES)
def test_broken_files_are_reported_and_the_others_decoded(kind: str, decoder: str, tmp_path: Path) -> None:
    """With the reason, and before memory is allocated for an absurd size; the command ``dataset`` gives it, too."""
    write, reason = BROKEN_FILES[kind]
    write(tmp_path / "broken.JPEG")
    broken, [good] = FileSource.of(tmp_path / "broken.JPEG"), images(tmp_path, 1)

    failed, succeeded = decode([broken, good], GEOMETRY, Decoder(decoder))

    assert failed.crop is None
    assert re.search(reason, failed.reason)
    assert str(broken) not in failed.reason
    assert succeeded.crop is not None
    assert succeeded.reason == ""
    assert re.search(reason, examine(broken).reason)


THIN: dict[str, tuple[Callable[[Path], object], str]] = {
    "png-column": (lambda path: save(Image.new("RGB", (1, 8000)), path, format="PNG"), "256 x 2,048,000"),
    "jpeg-row": (lambda path: save(Image.new("RGB", (65_500, 1)), path), "16,768,000 x 256"),
    "decoded": (lambda path: save(Image.new("1", (9_500, 9_500)), path, format="PNG"), "9,500 x 9,500"),
}


@pytest.mark.parametrize("decoder", ["pillow", "torchvision"])
@pytest.mark.parametrize("kind", THIN)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pixels_are_bounded_before_they_are_made(
    kind: str, decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file that would take gigabytes, decoded or resized, is rejected in a sentence."""
    write, size = THIN[kind]
    write(tmp_path / "bomb.jpg")
    monkeypatch.setattr(Image.Image, "resize", None)
    monkeypatch.setattr("torchvision.transforms.v2.functional.resize", None)

    [decoded] = decode([FileSource.of(tmp_path / "bomb.jpg")], Geometry(256, 224, "bilinear"), Decoder(decoder))

    assert decoded.crop is None
    assert decoded.reason == f"{size} pixels, more than the 89,478,485 that are decoded or resized"
