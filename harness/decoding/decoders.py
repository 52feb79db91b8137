"""Encoded images -> uint8 crops, equal to those of torchvision's preset; with Pillow alone, torch is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import PIL
import xxhash
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from harness.errors import DeviceError
from harness.formats import sources as harness_sources
from harness.formats.sources import IMAGE_FORMATS, Source, check_pixels, open_bounded
from harness.options import NVJPEG, PILLOW, TORCHVISION, Decoder
from harness.preset import Geometry
from harness.records.environment import libjpeg_turbo_version, pillow_version

if TYPE_CHECKING:
    import torch

# What Pillow raises for files that it cannot decode: OSError (truncated, not an image), SyntaxError (broken PNG),
# ValueError (invalid header), and of an image that claims an absurd number of pixels an error, or a warning, which is
# raised where warnings are errors.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)


class Decoded(NamedTuple):
    """The outcome of decoding one image."""

    crop: NDArray[np.uint8] | None  # (S, S, 3) RGB; None if the image cannot be decoded
    reason: str = ""  # why it cannot
    by_pillow: bool = False  # whether Pillow did it in place of a decoder that cannot; means nothing without a crop


def versions(decoder: Decoder) -> dict[str, str]:
    """Return the version of everything that could change a pixel, and a digest of its code.

    With Pillow, nothing in torch or torchvision can, so that a store serves all their versions.
    """
    pillow = Path(PIL.__file__).parent
    code = [Path(__file__), Path(harness_sources.__file__), pillow, pillow / ".dylibs"]
    code += pillow.parent.glob("[Pp]illow*.libs")
    found = {"pillow": pillow_version(), "libjpeg-turbo": libjpeg_turbo_version()}
    if decoder.name != PILLOW:
        from harness.decoding import tensors

        more, more_code = tensors.versions(decoder)
        found, code = found | more, code + more_code
    return {**found, "code": _digest_of(tuple(code))}


@cache
def _digest_of(code: tuple[Path, ...]) -> str:
    """Return a digest of files, and of those in folders: one version can be built or edited in several ways."""
    digest = xxhash.xxh3_128()
    for path in code:
        for file in sorted(path.glob("*.*")) if path.is_dir() else [path]:
            if file.suffix not in (".pyc", ".pyi") and file.is_file():
                content = file.read_bytes()
                digest.update(f"{file.name} {len(content)}\n".encode())
                digest.update(content)
    return digest.hexdigest()[:16]


def decoder_on(name: str, device: torch.device) -> Decoder:
    """Return the decoder by name; nvjpeg decodes on ``device``.

    Raises:
        DeviceError: nvjpeg without a CUDA device, or with a torchvision that decodes no batches there.
    """
    if name != NVJPEG:
        return Decoder(name)
    if device.type != "cuda":
        raise DeviceError(f"--decoder nvjpeg decodes on a CUDA device, and the device is {device}; use torchvision")
    import torchvision

    if tuple(int(part) for part in torchvision.__version__.split(".")[:2]) < (0, 20):
        raise DeviceError(f"--decoder nvjpeg needs torchvision 0.20, found {torchvision.__version__}; use torchvision")
    return Decoder(name, str(device))


def decode(sources: Sequence[Source], geometry: Geometry, decoder: Decoder) -> list[Decoded]:
    """Decode images; one that cannot be decoded is reported in its result, not raised."""
    crops: dict[Source, NDArray[np.uint8]] = {}
    if decoder.device is not None:
        from harness.decoding import tensors

        crops = tensors.decode_on_device(sources, geometry, decoder.device)
    return [
        Decoded(crops[source]) if source in crops else decode_one(source, geometry, decoder.name) for source in sources
    ]


def decode_one(source: Source, geometry: Geometry, decoder: str) -> Decoded:
    """Decode one image on the CPU, with Pillow unless ``decoder`` is ``torchvision`` and supports the file."""
    try:
        data = source.read()
        if decoder == TORCHVISION and is_plain_jpeg(data):
            from harness.decoding import tensors

            return Decoded(tensors.crop_tensor(tensors.decode_jpegs([data], "cpu")[0], geometry).numpy())
        return Decoded(crop_image(data, geometry), by_pillow=decoder != PILLOW)
    except UNREADABLE as error:
        return Decoded(None, reason_of(error), by_pillow=decoder != PILLOW)


def is_plain_jpeg(data: bytes) -> bool:
    """Return whether torchvision's decoders support the file; Pillow also rejects an absurd size here."""
    with open_bounded(data) as header:
        return header.format == "JPEG" and header.mode in ("RGB", "L")


def crop_image(data: bytes, geometry: Geometry) -> NDArray[np.uint8]:
    """Return an encoded image as torchvision's preset has it before the conversion to float: (S, S, 3) RGB."""
    return np.asarray(center_crop(resize(open_image(data), geometry), geometry))


def open_image(data: bytes) -> Image.Image:
    """Open an encoded image as ``torchvision.datasets.folder.pil_loader`` does.

    The format is known by content, not by name; grayscale and CMYK become RGB; an EXIF orientation is not applied.
    """
    return open_bounded(data).convert("RGB")


def resize(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Resize the shorter side to ``geometry.resize`` pixels."""
    size = resized(*image.size, geometry)
    return image.resize(size, Image.Resampling[geometry.interpolation.upper()])


def resized(width: int, height: int, geometry: Geometry) -> tuple[int, int]:
    """Return the size after resizing; a DecompressionBombError for a thin image, whose longer side would be huge."""
    shorter = min(width, height)
    size = width * geometry.resize // shorter, height * geometry.resize // shorter
    check_pixels(*size)
    return size


def center_crop(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Cut out the center square of ``geometry.crop`` pixels; an image smaller than that is padded with black."""
    # torchvision rounds half of what is cut off to even, and half of what is padded down.
    excess = (side - geometry.crop for side in image.size)
    left, top = (round(pixels / 2) if pixels >= 0 else -(-pixels // 2) for pixels in excess)
    return image.crop((left, top, left + geometry.crop, top + geometry.crop))


def reason_of(error: Exception) -> str:
    """Return why an image cannot be decoded, without the path, which messages name already."""
    if isinstance(error, UnidentifiedImageError):
        return f"not a {', '.join(IMAGE_FORMATS[:-1])} or {IMAGE_FORMATS[-1]} image"
    return getattr(error, "strerror", None) or str(error)
