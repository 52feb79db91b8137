"""The synthetic images, painted pixel by pixel.

The pixels are the same on every platform and with every numpy: they come from the frozen stream of ``RandomState`` and
from arithmetic that IEEE 754 rounds exactly (no sine, power, or sum whose order is free). Pillow only encodes them.
"""

from __future__ import annotations

import io
import struct
import zlib
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image

Canvas = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Part = Literal["fit", "val"]

_SHAPES = ("disc", "ring", "tall", "wide")
_HUES = ("h000", "h072", "h144", "h216", "h288")
_TEXTURES = ("checks", "columns", "dots", "plain", "rows")
CLASSES = tuple(sorted(map("-".join, product(_SHAPES, _HUES, _TEXTURES))))

# Orientation 6: a viewer rotates by 90 degrees. The pixels are upright and must be used as they are.
_ROTATED_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


def render(root: Path, part: Part) -> None:
    """Write ``<root>/<class>/<name>`` for all images of a part: 4 per class to fit the heads, or 5 to validate."""
    for name in CLASSES:
        (root / name).mkdir(parents=True, exist_ok=True)
    images_per_class, seed = {"fit": (4, 1_000_000), "val": (5, 2_000_000)}[part]
    shuffled = RandomState(seed).random_sample(images_per_class * len(CLASSES)).argsort(kind="stable") % len(CLASSES)
    for number, label in enumerate(shuffled.tolist(), start=1):
        pixels = _paint(CLASSES[label], RandomState(seed + number))
        data = _encode(pixels, number) if part == "val" else _jpeg(pixels, "RGB")
        # The prefix is from before the images were called synthetic: ids, digests and shipped baselines contain it.
        suffix = {5: ".jpeg", 15: ".jpg"}.get(number % 20, ".JPEG")
        (root / CLASSES[label] / f"embedded_{part}_{number:08d}{suffix}").write_bytes(data)


def _encode(pixels: Pixels, number: int) -> bytes:
    """Encode a validation image: of 500, 10 are grayscale, 10 have an EXIF orientation, 5 are CMYK, and 2 are PNG."""
    if number % 250 == 111:
        return _png(pixels)
    if number % 100 == 23:
        return _jpeg(_to_cmyk(pixels), "CMYK")
    if number % 50 == 7:
        return _jpeg(_to_gray(pixels), "L")
    return _jpeg(pixels, "RGB", exif=_ROTATED_EXIF if number % 50 == 31 else b"")


def _jpeg(pixels: Pixels, mode: str, exif: bytes = b"") -> bytes:
    image = Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80, subsampling="4:2:0", optimize=False, exif=exif)
    return file.getvalue()


def _png(pixels: Pixels) -> bytes:
    """Return an uncompressed PNG: deflate's output differs between zlib and zlib-ng, stored blocks do not."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    body = b"\x78\x01"
    for start in range(0, len(rows), 0xFFFF):
        block = rows[start : start + 0xFFFF]
        last = start + len(block) == len(rows)
        body += struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block
    body += struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _to_gray(pixels: Pixels) -> Pixels:
    """Return the luma (H, W) of (H, W, 3) RGB, in integers."""
    red, green, blue = np.moveaxis(pixels.astype(np.int32), 2, 0)
    return np.asarray((299 * red + 587 * green + 114 * blue + 500) // 1000, np.uint8)


def _to_cmyk(pixels: Pixels) -> Pixels:
    """Return (H, W, 4) CMYK of (H, W, 3) RGB, half of the common darkness in black, in integers."""
    rgb = pixels.astype(np.int32)
    black = (255 - rgb.max(axis=2, keepdims=True)) // 2
    inks = 255 - rgb * 255 // (255 - black)
    return np.concatenate([inks, black], axis=2).astype(np.uint8)


def _paint(name: str, draw: RandomState) -> Pixels:
    """Paint an image of a class: (H, W, 3) RGB, 180 to 520 pixels a side, portrait or landscape.

    The figure's shape, hue and texture are the class. Its size, position, tilt and shade vary, as do the background,
    the two to four small squares around it, and the frame that a model sees only if the resize or crop is wrong.
    """
    short = int(_uniform(draw, 180.0, 361.0))
    long = min(int(short * _uniform(draw, 1.0, 1.5)), 520)
    height, width = (short, long) if draw.random_sample() < 0.5 else (long, short)

    # Resize(256) and CenterCrop(224) leave 0.875 of the short side, so the colored frame around the square scene is
    # just outside what the right pipeline shows to a model.
    side = int(short * 0.892)
    base = _color(_uniform(draw, 0.0, 360.0), _uniform(draw, 0.0, 0.35), _uniform(draw, 0.3, 0.75))
    scene = _noise(draw, side, side, cell=side // 5, channels=3) * np.float32(35.0) + base
    for _ in range(int(_uniform(draw, 2.0, 5.0))):
        size = int(short * _uniform(draw, 0.08, 0.16))
        top, left = (int(_uniform(draw, 0.0, float(side - size))) for _ in range(2))
        color = _color(_uniform(draw, 0.0, 360.0), _uniform(draw, 0.2, 0.8), _uniform(draw, 0.3, 0.95))
        scene[top : top + size, left : left + size] = color
    _add_figure(draw, scene, short, name)

    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = _color(_uniform(draw, 0.0, 360.0), _uniform(draw, 0.5, 1.0), _uniform(draw, 0.2, 1.0))
    top, left = (height - side) // 2, (width - side) // 2
    canvas[top : top + side, left : left + side] = scene
    canvas += _noise(draw, height, width, cell=3, channels=1) * np.float32(10.0)
    return np.asarray(np.clip(canvas + np.float32(0.5), np.float32(0.0), np.float32(255.0)), np.uint8)


def _add_figure(draw: RandomState, scene: Canvas, short: int, name: str) -> None:
    shape, hue, texture = name.split("-")
    radius, shift = short * _uniform(draw, 0.26, 0.30), 0.06 * short
    # The tilt of up to 5 degrees; its sine and cosine from half its tangent: rational, so exact everywhere.
    half = _uniform(draw, -0.04, 0.04)
    cosine = np.float32((1.0 - half * half) / (1.0 + half * half))
    sine = np.float32(2.0 * half / (1.0 + half * half))
    # Coordinates in radii from the figure's center, before and after the tilt.
    side = len(scene)
    middle = (side - 1) / 2.0
    u, v = (((np.arange(side) - (middle + _uniform(draw, -shift, shift))) / radius).astype(np.float32) for _ in "uv")
    x, y = u * cosine + v[:, None] * sine, v[:, None] * cosine - u * sine
    mask = np.clip(np.float32(0.5) - _outside(shape, x, y) * np.float32(radius), np.float32(0.0), np.float32(1.0))

    degrees = float(hue[1:]) + _uniform(draw, -12.0, 12.0)
    saturation, value = _uniform(draw, 0.5, 0.9), _uniform(draw, 0.65, 0.98)
    light = _color(degrees, saturation, value)
    dark = _color(degrees, saturation, value * _uniform(draw, 0.3, 0.5))
    phase = np.float32(draw.random_sample())
    pattern = _pattern(texture, x + phase, y + phase)
    scene += (light + (dark - light) * pattern[..., None] - scene) * mask[..., None]


def _outside(shape: str, x: Canvas, y: Canvas) -> Canvas:
    """Return how far outside the shape each point is, in radii; negative inside."""
    if shape == "disc":
        return np.sqrt(x * x + y * y) - np.float32(1.0)
    if shape == "ring":
        return np.abs(np.sqrt(x * x + y * y) - np.float32(0.85)) - np.float32(0.2)
    short, long = (x, y) if shape == "tall" else (y, x)
    return np.maximum(np.abs(short) * np.float32(2.4), np.abs(long) * np.float32(0.8)) - np.float32(1.0)


def _pattern(texture: str, x: Canvas, y: Canvas) -> Canvas:
    """Return how dark the texture is at each point, in 0..1."""
    half = np.float32(0.5)
    if texture == "plain":
        return np.zeros_like(x)
    if texture in ("columns", "rows"):
        return _wave((x if texture == "columns" else y) * np.float32(2.2))
    if texture == "checks":
        dark = (_wave(x * np.float32(1.6)) > half) == (_wave(y * np.float32(1.6)) > half)
    else:
        across, along = _wave(x * np.float32(2.4)) - half, _wave(y * np.float32(2.4)) - half
        dark = across * across + along * along < np.float32(0.09)
    return np.asarray(dark, np.float32)


def _wave(phase: Canvas) -> Canvas:
    """Return a triangle wave between 0 and 1, of period 1."""
    wave: Canvas = np.abs((phase - np.floor(phase)) * np.float32(2.0) - np.float32(1.0))
    return wave


def _noise(draw: RandomState, height: int, width: int, cell: int, channels: int) -> Canvas:
    """Return (height, width, channels) noise in -1..1: random values every ``cell`` pixels, interpolated linearly."""
    grid = draw.random_sample((height // cell + 2, width // cell + 2, channels)) * 2.0 - 1.0
    columns = _stretch(grid.astype(np.float32).swapaxes(0, 1), width, cell)
    return _stretch(columns.swapaxes(0, 1), height, cell)


def _stretch(values: Canvas, length: int, cell: int) -> Canvas:
    """Interpolate along the first axis to ``length``."""
    positions = np.arange(length)
    fraction = ((positions % cell) / cell).astype(np.float32)[:, None, None]
    before = positions // cell
    steps = values[1:] - values[:-1]
    return values[before] + steps[before] * fraction


def _color(hue: float, saturation: float, value: float) -> Canvas:
    """Return (3,) RGB in 0..255 of a hue in degrees and a saturation and value in 0..1."""
    sector = hue % 360.0 / 60.0
    ramps = (abs(sector - 3.0) - 1.0, 2.0 - abs(sector - 2.0), 2.0 - abs(sector - 4.0))
    pure = (min(max(ramp, 0.0), 1.0) for ramp in ramps)
    return np.array([255.0 * value * (1.0 - saturation + saturation * c) for c in pure], np.float32)


def _uniform(draw: RandomState, low: float, high: float) -> float:
    return low + (high - low) * float(draw.random_sample())
