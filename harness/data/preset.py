"""What a model expects of its input: the published recipe, as values."""

from __future__ import annotations

from dataclasses import dataclass

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


@dataclass(frozen=True)
class Geometry:
    """What decides the uint8 pixels; models that agree on it share one decoded split.

    Attributes:
        resize: length of the shorter side after resizing, in pixels.
        crop: side of the centre square that is kept, in pixels.
        interpolation: one of ``INTERPOLATIONS``; Pillow antialiases all but nearest.
    """

    resize: int
    crop: int
    interpolation: str

    def __str__(self) -> str:
        return f"{self.resize}/{self.crop} {self.interpolation}"


@dataclass(frozen=True)
class Preset:
    """A geometry, and the mean and standard deviation (RGB, of values scaled to 0..1) to normalize with."""

    geometry: Geometry
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
