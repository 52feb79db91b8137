"""From uint8 crops to logits: the one forward that is scored and timed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import functional as F

from harness.data.preset import Preset
from harness.errors import EvaluationError
from harness.evaluation.setting import CHANNELS_LAST, MEMORY_FORMATS


class Normalize:
    """uint8 crops -> normalized float32 images, on the device, bit for bit what the preset gives on the CPU."""

    def __init__(self, preset: Preset, device: torch.device, memory_format: str = CHANNELS_LAST) -> None:
        self._mean = torch.tensor(preset.mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(preset.std, device=device).view(3, 1, 1)
        # A tensor on the device: CUDA would multiply by the reciprocal of a Python number, which rounds twice.
        self._full = torch.tensor(255.0, device=device)
        self._memory_format = getattr(torch, MEMORY_FORMATS[memory_format])
        self._check(preset, device)

    def __call__(self, crops: Tensor) -> Tensor:
        """Return (B, 3, S, S) float32 in the memory format for ``crops``: (B, S, S, 3) uint8."""
        images = crops.permute(0, 3, 1, 2).to(torch.float32, memory_format=self._memory_format)
        return images.div_(self._full).sub_(self._mean).div_(self._std)

    def _check(self, preset: Preset, device: torch.device) -> None:
        """Compare all 256 values, other ones in each channel, with torchvision's own functions on the CPU."""
        ramp = torch.arange(256, dtype=torch.uint8)
        values = torch.stack([ramp, ramp.roll(85), ramp.roll(170)], dim=1).view(1, 256, 1, 3)
        images = F.convert_image_dtype(values.permute(0, 3, 1, 2), torch.float32)
        if not torch.equal(self(values.to(device)).cpu(), F.normalize(images, preset.mean, preset.std)):
            raise EvaluationError(
                f"normalization on {device} does not give the bits that torchvision gives on the CPU; "
                "no accuracy measured with it could be compared with the published one"
            )


def forward(model: Callable[[Tensor], Tensor], normalize: Normalize, crops: Tensor) -> Tensor:
    """Return the logits, (B, classes), of ``crops``: (B, S, S, 3) uint8 on the model's device.

    Raises:
        EvaluationError: the model's output is not a matrix with a row for each image and at least five columns.
    """
    logits = model(normalize(crops))
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(crops) or logits.shape[1] < 5:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise EvaluationError(f"expected logits of shape ({len(crops)}, 5 or more classes), the model gave {found}")
    return logits
