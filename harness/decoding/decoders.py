"""Encoded images -> uint8 crops, with torchvision's own transforms, so that they are tested as well.

Importing this module imports torchvision; the forkserver of ``workers.py`` does so once for all workers.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import torch
import torchvision
import xxhash
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F
from torchvision.transforms.v2 import functional as tensors

from harness.device import is_out_of_memory
from harness.errors import DeviceError
from harness.formats import sources as harness_sources
from harness.formats.sources import IMAGE_FORMATS, Source, check_pixels, open_bounded
from harness.options import Decoder
from harness.preset import Geometry
from harness.records.environment import libjpeg_turbo_version, pillow_version

# What Pillow raises for files that it cannot decode: OSError (truncated, not an image), SyntaxError (broken PNG),
# ValueError (invalid header), and of an image that claims an absurd number of pixels an error, or a warning, which is
# raised where warnings are errors.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)
# How torchvision words NVJPEG_STATUS_ALLOCATOR_FAILURE (nvjpeg.h); other statuses are of an image.
_NVJPEG_ALLOCATION = re.compile(r"Failed to [^:\n]*: 5\b")


class Decoded(NamedTuple):
    """The outcome of decoding one image."""

    crop: NDArray[np.uint8] | None  # (S, S, 3) RGB; None if the image cannot be decoded
    reason: str = ""  # why it cannot
    by_pillow: bool = False  # whether Pillow did it in place of a decoder that cannot; means nothing without a crop


def versions(decoder: Decoder) -> dict[str, str]:
    """Return the version of everything that could change a pixel, and a digest of its code."""
    found = {
        "pillow": pillow_version(),
        "libjpeg-turbo": libjpeg_turbo_version(),
        "torchvision": torchvision.__version__,
        "code": _digest_of(tuple(_code_of(decoder))),
    }
    if decoder.name != "pillow":
        # The resize is then torch's own, with code for each kind of vector unit.
        found |= {"torch": str(torch.__version__), "cpu": torch.backends.cpu.get_cpu_capability()}
    if decoder.device is not None:
        found |= {"cuda": str(torch.version.cuda), "gpu": torch.cuda.get_device_name(decoder.device)}
    return found


def _code_of(decoder: Decoder) -> Iterator[Path]:
    """Yield the files whose code turns bytes into pixels: one version can be built or edited in several ways.

    With Pillow, torchvision only calls it, from two files. So stores serve several versions of torch.
    """
    pillow, vision = Path(PIL.__file__).parent, Path(torchvision.__file__).parent
    transforms = vision / "transforms"
    yield from (Path(__file__), Path(harness_sources.__file__))
    yield from (transforms / "functional.py", transforms / "_functional_pil.py")
    folders = [pillow, pillow / ".dylibs", *pillow.parent.glob("[Pp]illow*.libs")]
    if decoder.name != "pillow":
        folders += [vision, vision / "io", transforms, transforms / "v2", transforms / "v2/functional"]
        folders += [vision / ".dylibs", *vision.parent.glob("torchvision*.libs")]
    for folder in folders:
        yield from sorted(file for file in folder.glob("*.*") if file.suffix not in (".pyc", ".pyi"))


@cache
def _digest_of(files: tuple[Path, ...]) -> str:
    digest = xxhash.xxh3_128()
    for file in files:
        content = file.read_bytes() if file.is_file() else b""
        digest.update(f"{file.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def decoder_on(name: str, device: torch.device) -> Decoder:
    """Return the decoder by name; nvjpeg decodes on ``device``.

    Raises:
        DeviceError: nvjpeg without a CUDA device, or with a torchvision that decodes no batches there.
    """
    if name != "nvjpeg":
        return Decoder(name)
    if device.type != "cuda":
        raise DeviceError(f"--decoder nvjpeg decodes on a CUDA device, and the device is {device}; use torchvision")
    if tuple(int(part) for part in torchvision.__version__.split(".")[:2]) < (0, 20):
        raise DeviceError(f"--decoder nvjpeg needs torchvision 0.20, found {torchvision.__version__}; use torchvision")
    return Decoder(name, str(device))


def decode(sources: Sequence[Source], geometry: Geometry, decoder: Decoder) -> list[Decoded]:
    """Decode images; one that cannot be decoded is reported in its result, not raised."""
    crops = {} if decoder.device is None else _decode_on_device(sources, geometry, decoder.device)
    return [
        Decoded(crops[source]) if source in crops else decode_one(source, geometry, decoder.name) for source in sources
    ]


def decode_one(source: Source, geometry: Geometry, decoder: str) -> Decoded:
    """Decode one image on the CPU, with Pillow unless ``decoder`` is ``torchvision`` and supports the file."""
    try:
        data = source.read()
        if decoder == "torchvision" and _is_plain_jpeg(data):
            return Decoded(_crop_tensor(_decode_jpegs([data], "cpu")[0], geometry).numpy())
        return Decoded(crop_image(data, geometry), by_pillow=decoder != "pillow")
    except UNREADABLE as error:
        return Decoded(None, reason_of(error), by_pillow=decoder != "pillow")


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
    _check_resized(*image.size, geometry)
    interpolation = InterpolationMode(geometry.interpolation)
    return F.resize(image, [geometry.resize], interpolation, antialias=True)  # type: ignore[no-any-return]


def _check_resized(width: int, height: int, geometry: Geometry) -> None:
    """Raise a DecompressionBombError for a thin image, whose longer side would become huge."""
    shorter = min(width, height)
    check_pixels(width * geometry.resize // shorter, height * geometry.resize // shorter)


def center_crop(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Cut out the centre square of ``geometry.crop`` pixels; an image smaller than that is padded."""
    return F.center_crop(image, [geometry.crop])  # type: ignore[no-any-return]


def reason_of(error: Exception) -> str:
    """Return why an image cannot be decoded, without the path, which messages name already."""
    if isinstance(error, UnidentifiedImageError):
        return f"not a {', '.join(IMAGE_FORMATS[:-1])} or {IMAGE_FORMATS[-1]} image"
    return getattr(error, "strerror", None) or str(error)


def _decode_on_device(sources: Sequence[Source], geometry: Geometry, device: str) -> dict[Source, NDArray[np.uint8]]:
    """Return the crops that nvJPEG makes, of all images at once; it does not support some images, and rejects others.

    Without memory even for one image at a time it raises a DeviceError.
    """
    plain: dict[Source, bytes] = {}
    for source in sources:
        with suppress(*UNREADABLE):  # decoding with Pillow will report the reason
            data = source.read()
            if _is_plain_jpeg(data):
                plain[source] = data
    if not plain:
        return {}
    with suppress(OSError, torch.cuda.OutOfMemoryError):
        return dict(zip(plain, _crops_on_device(list(plain.values()), geometry, device), strict=True))
    crops: dict[Source, NDArray[np.uint8]] = {}
    # One rejected image fails the batch, as nvJPEG returns all or none; one at a time takes less memory.
    for source, data in plain.items():
        try:
            [crops[source]] = _crops_on_device([data], geometry, device)
        except OSError:
            continue
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceError(
                f"{device} ran out of memory decoding images beside the model: give a smaller --batch-size, or another "
                "--decoder"
            ) from error
    return crops


@cache
def _private_stream(device: str) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def _crops_on_device(encoded: list[bytes], geometry: Geometry, device: str) -> NDArray[np.uint8]:
    """Return (N, S, S, 3) uint8 on the host, decoded and resized on the device.

    nvJPEG's hardware writes at once, whatever is queued before it. So this has a stream of its own, whose memory no
    other stream uses, and all that was queued there is done before nvJPEG is called.
    """
    stream = _private_stream(device)
    with torch.cuda.stream(stream):
        stream.synchronize()
        crops = [_crop_tensor(pixels, geometry) for pixels in _decode_jpegs(encoded, device)]
        return torch.stack(crops).cpu().numpy()  # waits for the stream


def _is_plain_jpeg(data: bytes) -> bool:
    """Return whether torchvision's decoders support the file; Pillow also rejects an absurd size here."""
    with open_bounded(data) as header:
        return header.format == "JPEG" and header.mode in ("RGB", "L")


def _decode_jpegs(encoded: list[bytes], device: str) -> list[Tensor]:
    """Return (3, H, W) uint8 RGB tensors.

    Raises:
        OSError: one of them cannot be decoded.
        OutOfMemoryError: there is no memory for all of them.
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
            if is_out_of_memory(error) or _NVJPEG_ALLOCATION.search(str(error)):
                raise torch.cuda.OutOfMemoryError(str(error)) from error
            if "CUDA error" in str(error):
                raise  # of the device, not of an image
            raise OSError(str(error).rpartition(", ")[2]) from error  # without the line of the C++ source
    return decoded


def _crop_tensor(pixels: Tensor, geometry: Geometry) -> Tensor:
    """Return torchvision's antialiased resize and crop of (3, H, W) uint8, as (S, S, 3)."""
    _check_resized(pixels.shape[2], pixels.shape[1], geometry)
    interpolation = InterpolationMode(geometry.interpolation)
    resized = tensors.resize(pixels, [geometry.resize], interpolation, antialias=True)
    cropped: Tensor = tensors.center_crop(resized, [geometry.crop])
    return cropped.permute(1, 2, 0).contiguous()
