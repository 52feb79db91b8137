"""How a model's input is prepared: resize, crop, interpolation, mean and standard deviation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import EvaluationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Geometry:
    """What determines the uint8 pixels; models with the same geometry share one store of decoded images.

    Attributes:
        resize: length of the shorter side after resizing, in pixels.
        crop: side of the centre square that is kept, in pixels.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``; Pillow antialiases all but nearest.
    """

    resize: int
    crop: int
    interpolation: str

    def __str__(self) -> str:
        return f"{self.resize}/{self.crop} {self.interpolation}"


@dataclass(frozen=True)
class Preset:
    """A geometry, and the mean and standard deviation (RGB, for values scaled to 0..1) to normalize with."""

    geometry: Geometry
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def facts(self) -> dict[str, Any]:
        """Return resize, crop, interpolation, mean and std as plain values, for records."""
        return {**asdict(self.geometry), "mean": list(self.mean), "std": list(self.std)}


def preset_of(transform: Any) -> Preset:
    """Return the values of torchvision's ``ImageClassification`` transform."""
    (resize,), (crop,) = transform.resize_size, transform.crop_size
    return Preset(Geometry(resize, crop, transform.interpolation.value), tuple(transform.mean), tuple(transform.std))


def check_against_torchvision(
    preset: Preset, transform: Any, crop: NDArray[np.uint8], encoded: bytes, name: str
) -> None:
    """Compare one decoded and normalized image with the output of torchvision's own transform, bit for bit.

    Args:
        preset: the preset that was applied.
        transform: torchvision's transform of the same weights.
        crop: (S, S, 3) uint8, the image as decoded with the preset's geometry.
        encoded: the image file's bytes.
        name: the image's id, for messages.

    Raises:
        EvaluationError: the two differ.
    """
    import torch

    from harness.decoding.decoders import open_image
    from harness.predict import Normalize

    ours = Normalize(preset, torch.device("cpu"))(torch.tensor(crop[None]))[0]
    if not torch.equal(ours, transform(open_image(encoded))):
        raise EvaluationError(
            f"the decoded pixels of {name} differ from the output of torchvision's own preset ({preset.geometry}): "
            "this torchvision prepares images in a way that the harness does not know"
        )
