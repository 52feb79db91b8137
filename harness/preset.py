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
    """What determines the uint8 pixels; models with the same geometry share one store of decoded images."""

    resize: int  # length of the shorter side after resizing, in pixels
    crop: int  # side of the center square that is kept, in pixels
    interpolation: str  # "nearest", "bilinear" or "bicubic"; Pillow antialiases all but nearest

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
    """Compare one image, ``crop`` as decoded and normalized, with the output of torchvision's transform, bit for bit.

    ``crop`` is (S, S, 3) uint8, ``encoded`` the same image's file, and ``name`` its id.

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
