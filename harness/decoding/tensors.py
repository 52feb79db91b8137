"""What needs torch: the decoders of torchvision, on a CPU and on a GPU."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tensors

from harness.decoding.decoders import UNREADABLE, is_plain_jpeg, resized
from harness.device import is_out_of_memory
from harness.errors import DeviceError
from harness.formats.sources import Source
from harness.options import Decoder
from harness.preset import Geometry

# How torchvision words NVJPEG_STATUS_ALLOCATOR_FAILURE (nvjpeg.h); other statuses concern one image.
_NVJPEG_ALLOCATION = re.compile(r"Failed to [^:\n]*: 5\b")
_private_stream = cache(torch.cuda.Stream)  # one of each device


def versions(decoder: Decoder) -> tuple[dict[str, str], list[Path]]:
    """Return the versions of what these decoders use, and the folders and file of their code."""
    found = {"torchvision": torchvision.__version__, "torch": str(torch.__version__)}
    found["cpu"] = torch.backends.cpu.get_cpu_capability()  # torch's resize has code for each kind of vector unit
    if decoder.device is not None:
        found |= {"cuda": str(torch.version.cuda), "gpu": torch.cuda.get_device_name(decoder.device)}
    vision = Path(torchvision.__file__).parent
    names = ("", "io", "transforms", "transforms/v2", "transforms/v2/functional", ".dylibs")
    return found, [Path(__file__), *(vision / name for name in names), *vision.parent.glob("torchvision*.libs")]


def decode_on_device(sources: Sequence[Source], geometry: Geometry, device: str) -> dict[Source, NDArray[np.uint8]]:
    """Return the crops that nvJPEG makes, of all images at once; it does not support some images, and rejects others.

    Without memory even for one image at a time it raises a DeviceError.
    """
    plain: dict[Source, bytes] = {}
    for source in sources:
        with suppress(*UNREADABLE):  # decoding with Pillow will report the reason
            data = source.read()
            if is_plain_jpeg(data):
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


def _crops_on_device(encoded: list[bytes], geometry: Geometry, device: str) -> NDArray[np.uint8]:
    """Return (N, S, S, 3) uint8 on the host, decoded and resized on the device.

    nvJPEG's hardware writes at once, whatever is queued before it. So this has a stream of its own, whose memory no
    other stream uses, and all that was queued there is done before nvJPEG is called.
    """
    stream = _private_stream(device)
    with torch.cuda.stream(stream):
        stream.synchronize()
        crops = [crop_tensor(pixels, geometry) for pixels in decode_jpegs(encoded, device)]
        return torch.stack(crops).cpu().numpy()  # waits for the stream


def decode_jpegs(encoded: list[bytes], device: str) -> list[Tensor]:
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


def crop_tensor(pixels: Tensor, geometry: Geometry) -> Tensor:
    """Return torchvision's antialiased resize and crop of (3, H, W) uint8, as (S, S, 3)."""
    resized(pixels.shape[2], pixels.shape[1], geometry)  # raises for a thin image
    image = tensors.resize(pixels, [geometry.resize], InterpolationMode(geometry.interpolation), antialias=True)
    cropped: Tensor = tensors.center_crop(image, [geometry.crop])
    return cropped.permute(1, 2, 0).contiguous()
