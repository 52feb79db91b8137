"""The images of the embedded split, painted pixel by pixel.

The pixels are the same on every platform and with every numpy: they come from the frozen stream of numpy's legacy
``RandomState`` and from arithmetic that IEEE 754 rounds exactly (integers, + - * /, sqrt, comparisons; no sine, no
power, no sum whose order is free). Pillow only encodes the finished array.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Canvas = NDArray[np.float32]
    Pixels = NDArray[np.uint8]
    Draw = np.random.RandomState

Part = Literal["fit", "val"]

_SHAPES = ("disc", "ring", "tall", "wide")
_HUES = ("h000", "h072", "h144", "h216", "h288")
_TEXTURES = ("checks", "columns", "dots", "plain", "rows")
CLASSES: tuple[str, ...] = tuple(
    sorted(f"{shape}-{hue}-{texture}" for shape in _SHAPES for hue in _HUES for texture in _TEXTURES)
)

_IMAGES_PER_CLASS: dict[Part, int] = {"fit": 4, "val": 5}
_SEED: dict[Part, int] = {"fit": 1_000_000, "val": 2_000_000}
_QUALITY = 80
_SUBSAMPLING = "4:2:0"
# Side of the square scene in short sides of the frame. Resize(256) and CenterCrop(224) leave 0.875 of the short side,
# so the coloured mount around the scene is just outside what the right pipeline shows to a model.
_SCENE = 0.892
# Orientation 6: turn by 90 degrees to look at it. The pixels are upright and must be taken as they are.
_ROTATED_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


def render(root: Path, part: Part) -> None:
    """Write ``<root>/<class>/<name>`` for all images of a part: 4 a class to fit the heads, or 5 to validate.

    Raises:
        OSError: a file cannot be written.
    """
    for name in CLASSES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for number, label in enumerate(_labels(part), start=1):
        pixels = _paint(CLASSES[label], np.random.RandomState(_SEED[part] + number))
        data = _encode(pixels, number) if part == "val" else _jpeg(pixels, "RGB")
        (root / CLASSES[label] / _file_name(part, number)).write_bytes(data)


def _labels(part: Part) -> list[int]:
    """Return the class index of each image, in the order of the file names: a fixed shuffle."""
    count = _IMAGES_PER_CLASS[part] * len(CLASSES)
    order = np.random.RandomState(_SEED[part]).random_sample(count).argsort(kind="stable")
    return [int(place) % len(CLASSES) for place in order]


def _file_name(part: Part, number: int) -> str:
    suffix = {5: ".jpeg", 15: ".jpg"}.get(number % 20, ".JPEG")
    return f"embedded_{part}_{number:08d}{suffix}"


def _encode(pixels: Pixels, number: int) -> bytes:
    """Return the file of a validation image: like ImageNet's, a few are no plain RGB JPEG.

    Of 500: 10 grayscale, 10 with an EXIF orientation, 5 CMYK, and 2 PNG, whatever their names say.
    """
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
    image.save(file, "JPEG", quality=_QUALITY, subsampling=_SUBSAMPLING, optimize=False, exif=exif)
    return file.getvalue()


def _png(pixels: Pixels) -> bytes:
    """Return an uncompressed PNG: deflate's output differs between zlib and zlib-ng, stored blocks do not."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    body = b"\x78\x01" + b"".join(_stored_blocks(rows)) + struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _stored_blocks(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 0xFFFF):
        block = data[start : start + 0xFFFF]
        last = start + len(block) == len(data)
        yield struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _to_gray(pixels: Pixels) -> Pixels:
    """Return the luma (H, W) of (H, W, 3) RGB, in integers."""
    red, green, blue = np.moveaxis(pixels.astype(np.int32), 2, 0)
    luma: Pixels = ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)
    return luma


def _to_cmyk(pixels: Pixels) -> Pixels:
    """Return (H, W, 4) CMYK of (H, W, 3) RGB, half of the common darkness in black, in integers."""
    rgb = pixels.astype(np.int32)
    black = (255 - rgb.max(axis=2, keepdims=True)) // 2
    inks = 255 - rgb * 255 // (255 - black)
    return np.concatenate([inks, black], axis=2).astype(np.uint8)


def _paint(name: str, draw: Draw) -> Pixels:
    """Paint an image of a class: (H, W, 3) RGB, 180 to 520 pixels a side, portrait or landscape.

    The figure's shape, hue and texture make the class. Its size, place, tilt and shade vary, as do the background, the
    small squares around it, and the mount that only a wrong resize or crop lets a model see.
    """
    short = int(_uniform(draw, 180.0, 361.0))
    long = min(int(short * _uniform(draw, 1.0, 1.5)), 520)
    height, width = (short, long) if draw.random_sample() < 0.5 else (long, short)

    side = int(short * _SCENE)
    scene = _background(draw, side)
    _add_clutter(draw, scene, short)
    _add_figure(draw, scene, short, name)

    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = _colour(_uniform(draw, 0.0, 360.0), _uniform(draw, 0.5, 1.0), _uniform(draw, 0.2, 1.0))
    top, left = (height - side) // 2, (width - side) // 2
    canvas[top : top + side, left : left + side] = scene
    canvas += _noise(draw, height, width, cell=3, channels=1) * np.float32(10.0)
    pixels: Pixels = np.clip(canvas + np.float32(0.5), np.float32(0.0), np.float32(255.0)).astype(np.uint8)
    return pixels


def _background(draw: Draw, side: int) -> Canvas:
    base = _colour(_uniform(draw, 0.0, 360.0), _uniform(draw, 0.0, 0.35), _uniform(draw, 0.3, 0.75))
    return _noise(draw, side, side, cell=side // 5, channels=3) * np.float32(35.0) + base


def _add_clutter(draw: Draw, scene: Canvas, short: int) -> None:
    """Paint two to four small squares of any colour."""
    side = len(scene)
    for _ in range(int(_uniform(draw, 2.0, 5.0))):
        size = int(short * _uniform(draw, 0.08, 0.16))
        top, left = (int(_uniform(draw, 0.0, float(side - size))) for _ in range(2))
        colour = _colour(_uniform(draw, 0.0, 360.0), _uniform(draw, 0.2, 0.8), _uniform(draw, 0.3, 0.95))
        scene[top : top + size, left : left + size] = colour


def _add_figure(draw: Draw, scene: Canvas, short: int, name: str) -> None:
    shape, hue, texture = name.split("-")
    radius = short * _uniform(draw, 0.26, 0.30)
    x, y = _figure_coordinates(draw, len(scene), radius, shift=0.06 * short)
    mask = np.clip(np.float32(0.5) - _outside(shape, x, y) * np.float32(radius), np.float32(0.0), np.float32(1.0))

    degrees = float(hue[1:]) + _uniform(draw, -12.0, 12.0)
    saturation, value = _uniform(draw, 0.5, 0.9), _uniform(draw, 0.65, 0.98)
    light = _colour(degrees, saturation, value)
    dark = _colour(degrees, saturation, value * _uniform(draw, 0.3, 0.5))
    phase = np.float32(draw.random_sample())
    pattern = _pattern(texture, x + phase, y + phase)
    scene += (light + (dark - light) * pattern[..., None] - scene) * mask[..., None]


def _figure_coordinates(draw: Draw, side: int, radius: float, shift: float) -> tuple[Canvas, Canvas]:
    """Return x and y, (side, side) each, in radii from the figure's centre, tilted by up to 5 degrees."""
    # The angle's sine and cosine from half its tangent: rational, so exact everywhere.
    half = _uniform(draw, -0.04, 0.04)
    cosine = np.float32((1.0 - half * half) / (1.0 + half * half))
    sine = np.float32(2.0 * half / (1.0 + half * half))
    middle = (side - 1) / 2.0
    x, y = (((np.arange(side) - (middle + _uniform(draw, -shift, shift))) / radius).astype(np.float32) for _ in "xy")
    return x * cosine + y[:, None] * sine, y[:, None] * cosine - x * sine


def _outside(shape: str, x: Canvas, y: Canvas) -> Canvas:
    """Return how far outside the shape each point is, in radii; negative inside."""
    one = np.float32(1.0)
    across, along = np.abs(x), np.abs(y)
    if shape == "disc":
        return np.sqrt(x * x + y * y) - one
    if shape == "ring":
        return np.abs(np.sqrt(x * x + y * y) - np.float32(0.85)) - np.float32(0.2)
    if shape == "tall":
        return np.maximum(across * np.float32(2.4), along * np.float32(0.8)) - one
    return np.maximum(across * np.float32(0.8), along * np.float32(2.4)) - one


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
    pattern: Canvas = dark.astype(np.float32)
    return pattern


def _wave(phase: Canvas) -> Canvas:
    """Return a triangle wave between 0 and 1, of period 1."""
    wave: Canvas = np.abs((phase - np.floor(phase)) * np.float32(2.0) - np.float32(1.0))
    return wave


def _noise(draw: Draw, height: int, width: int, cell: int, channels: int) -> Canvas:
    """Return smooth noise in -1..1, (height, width, channels): random values every ``cell`` pixels, joined linearly."""
    grid = draw.random_sample((height // cell + 2, width // cell + 2, channels)) * 2.0 - 1.0
    columns = _stretch(grid.astype(np.float32).swapaxes(0, 1), width, cell)
    return _stretch(columns.swapaxes(0, 1), height, cell)


def _stretch(values: Canvas, length: int, cell: int) -> Canvas:
    """Interpolate along the first axis to ``length``."""
    places = np.arange(length)
    fraction = ((places % cell) / cell).astype(np.float32)[:, None, None]
    before = places // cell
    steps = values[1:] - values[:-1]
    return values[before] + steps[before] * fraction


def _colour(hue: float, saturation: float, value: float) -> Canvas:
    """Return (3,) RGB in 0..255 of a hue in degrees and a saturation and value in 0..1."""
    sector = hue % 360.0 / 60.0
    ramps = (abs(sector - 3.0) - 1.0, 2.0 - abs(sector - 2.0), 2.0 - abs(sector - 4.0))
    pure = (min(max(ramp, 0.0), 1.0) for ramp in ramps)
    return np.array([255.0 * value * (1.0 - saturation + saturation * c) for c in pure], np.float32)


def _uniform(draw: Draw, low: float, high: float) -> float:
    return low + (high - low) * float(draw.random_sample())
