"""Encoded images -> uint8 crops, with torchvision's own transforms, so that they are under test as well.

Importing this module imports torchvision; the forkserver of ``build.py`` does so once for all workers.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F
from torchvision.transforms.v2 import functional as tensors

from harness.data.decoder import Decoder, libjpeg_turbo_version, pillow_version
from harness.data.preset import Geometry
from harness.data.source import Source

# What Pillow raises for files that it cannot decode: OSError (truncated, not an image), SyntaxError (broken PNG),
# ValueError (nonsense in a header), and a refusal of images that claim an absurd number of pixels.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class Decoded(NamedTuple):
    """What became of one image.

    Attributes:
        crop: (crop, crop, 3) uint8, RGB; None if the image cannot be decoded.
        reason: why it cannot.
        by_pillow: whether Pillow stood in for a decoder that cannot decode such files.
    """

    crop: NDArray[np.uint8] | None
    reason: str = ""
    by_pillow: bool = False


def versions(decoder: Decoder) -> dict[str, str]:
    """Return the version of everything whose change could change a pixel."""
    found = {
        "pillow": pillow_version(),
        "libjpeg-turbo": libjpeg_turbo_version(),
        "torchvision": torchvision.__version__,
    }
    if decoder.name != "pillow":
        # The resize is then torch's own, with code for each kind of vector unit.
        found |= {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    if decoder.device is not None:
        found |= {"cuda": str(torch.version.cuda), "gpu": torch.cuda.get_device_name(decoder.device)}
    return found


def open_image(data: bytes) -> Image.Image:
    """Open an encoded image as ``torchvision.datasets.folder.pil_loader`` does.

    By content, whatever its name says; grayscale and CMYK become RGB; an EXIF orientation is not applied.
    """
    return Image.open(io.BytesIO(data)).convert("RGB")


def crop_image(data: bytes, geometry: Geometry) -> NDArray[np.uint8]:
    """Return what torchvision's preset makes of the image before it converts to float: (crop, crop, 3) RGB."""
    image = F.resize(open_image(data), [geometry.resize], InterpolationMode(geometry.interpolation), antialias=True)
    return np.asarray(F.center_crop(image, [geometry.crop]))


def decode(sources: Sequence[Source], geometry: Geometry, decoder: Decoder) -> list[Decoded]:
    """Decode images; what cannot be decoded is told, not raised."""
    if decoder.device is not None:
        return _on_device(sources, geometry, decoder.device)
    return [_decode(source, geometry, with_torchvision=decoder.name == "torchvision") for source in sources]


def _decode(source: Source, geometry: Geometry, *, with_torchvision: bool) -> Decoded:
    try:
        data = source.read()
        if not with_torchvision:
            return Decoded(crop_image(data, geometry))
        if not _is_plain_jpeg(data):
            return Decoded(crop_image(data, geometry), by_pillow=True)
        return Decoded(_crop(_decode_jpegs([data], "cpu")[0], geometry))
    except UNREADABLE as error:
        return Decoded(None, reason_of(error))


def _on_device(sources: Sequence[Source], geometry: Geometry, device: str) -> list[Decoded]:
    """Decode with nvJPEG, all at once; what it is not made for, or refuses, is left to Pillow."""
    plain: dict[Source, bytes] = {}
    for source in sources:
        try:
            data = source.read()
            if _is_plain_jpeg(data):
                plain[source] = data
        except UNREADABLE:
            pass  # Pillow will say why
    crops: dict[Source, NDArray[np.uint8]] = {}
    try:
        for source, pixels in zip(plain, _decode_jpegs(list(plain.values()), device), strict=True):
            crops[source] = _crop(pixels, geometry)
    except OSError:
        crops = {}  # one that it refuses spoils the batch: nvJPEG returns all or none
        for source, data in plain.items():
            try:
                crops[source] = _crop(_decode_jpegs([data], device)[0], geometry)
            except OSError:
                continue
    return [
        Decoded(crops[source])
        if source in crops
        else _decode(source, geometry, with_torchvision=False)._replace(by_pillow=True)
        for source in sources
    ]


def _is_plain_jpeg(data: bytes) -> bool:
    """Tell whether torchvision's decoders are made for it; Pillow also refuses an absurd size here."""
    with Image.open(io.BytesIO(data)) as header:
        return header.format == "JPEG" and header.mode in ("RGB", "L")


def _decode_jpegs(encoded: list[bytes], device: str) -> list[Tensor]:
    """Return (3, H, W) uint8 RGB tensors.

    Raises:
        OSError: one of them cannot be decoded.
    """
    data = [torch.frombuffer(bytearray(one), dtype=torch.uint8) for one in encoded]
    with warnings.catch_warnings():
        # torchvision 0.29 announces the end of its decoders; they are here to be compared with.
        warnings.filterwarnings("ignore", "The image decoding and encoding", DeprecationWarning)
        try:
            if device == "cpu":
                return [decode_jpeg(one, mode=ImageReadMode.RGB) for one in data]  # torchvision 0.19 takes no list here
            decoded: list[Tensor] = decode_jpeg(data, mode=ImageReadMode.RGB, device=device)
        except RuntimeError as error:
            raise OSError(str(error).rpartition(", ")[2]) from error  # less the place in the C++ source
    return decoded


def _crop(pixels: Tensor, geometry: Geometry) -> NDArray[np.uint8]:
    """Return torchvision's antialiased resize and crop of (3, H, W) uint8, as (crop, crop, 3) on the host."""
    interpolation = InterpolationMode(geometry.interpolation)
    resized = tensors.resize(pixels, [geometry.resize], interpolation, antialias=True)
    cropped: Tensor = tensors.center_crop(resized, [geometry.crop])
    return cropped.permute(1, 2, 0).contiguous().cpu().numpy()


def reason_of(error: Exception) -> str:
    """Return why, without the path that stands beside it."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return getattr(error, "strerror", None) or str(error)
