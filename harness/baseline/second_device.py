"""What a model predicts for a few images on a reference device, in float32 or float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.device import resolve_device
from harness.errors import DeviceError
from harness.expected import Case
from harness.models import load
from harness.predict import predict
from harness.predictions import Predictions
from harness.prefetch import Crops, Prefetch

_BATCH = 16  # the reference device may be smaller, and float64 takes twice the memory
_DOUBLE = ":fp64"


class SecondDevice:
    """A device and a dtype in which the models of a session are evaluated again."""

    def __init__(self, name: str) -> None:
        """Open ``DEVICE`` or ``DEVICE:fp64``; a DeviceError says that it does not exist or does not support float64."""
        self._double = name.endswith(_DOUBLE)
        self.device = resolve_device(name.removesuffix(_DOUBLE), "--reference")
        if self._double and self.device.type == "mps":
            raise DeviceError(f"--reference {name}: {self.device} does not support float64; give cpu{_DOUBLE}")

    def __str__(self) -> str:
        return f"{'float64' if self._double else 'float32'} on {self.device}"

    def predict(self, case: Case, crops: Crops, indices: Sequence[int], classes: int) -> Predictions:
        """Return the predictions of the case's model, neither compiled nor cast, for the images at ``indices``.

        Raises:
            HarnessError: its weights, images or logits cannot be used, or the device ran out of memory for it.
        """
        model = load(case.spec, self.device)
        if self._double:  # normalization stays in float32, as published, and so the input is the same bit for bit
            model.module.double().register_forward_pre_hook(lambda _, images: tuple(one.double() for one in images))
        loop = predict(
            model.module,
            _Sample(crops, indices),
            model.preset,
            prefetch=Prefetch(self.device),
            batch_size=_BATCH,
            classes=classes,
        )
        return loop.predictions


class _Sample:
    """Some of a dataset's images, as ``Crops``."""

    def __init__(self, crops: Crops, indices: Sequence[int]) -> None:
        self._pixels = np.concatenate([crops.read(slice(index, index + 1)) for index in indices])
        self.ids = tuple(crops.ids[index] for index in indices)
        self.geometry = crops.geometry
        self.hashes, self.samples = crops.hashes[list(indices)], crops.samples[list(indices)]

    def read(self, rows: slice, into: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return (rows, S, S, 3) uint8, in ``into`` if given."""
        if into is None:
            return self._pixels[rows]
        into[:] = self._pixels[rows]
        return into
