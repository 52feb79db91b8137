"""Moves decoded crops to the device, ahead of the model that consumes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.device import free_memory
from harness.preset import Geometry

_SLOTS = 3
_KEEP_SHARE = 0.5  # largest share of free device memory for crops that are kept between models


class Crops(Protocol):
    """The pixels of a dataset, as ``DecodedImages`` reads them."""

    ids: tuple[str, ...]
    geometry: Geometry
    hashes: NDArray[np.uint8]
    samples: NDArray[np.uint8]

    def read(self, rows: slice, into: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return (rows, S, S, 3) uint8, in ``into`` if given; blocks until they are decoded."""


class Prefetch:
    """Moves crops to a device in batches, and keeps them there for the next model if there is room."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._kept: tuple[Crops, Tensor] | None = None
        self._too_large: Crops | None = None  # memory ran out while these were kept, or might have been

    def batches(self, crops: Crops, batch_size: int) -> Iterator[Tensor]:
        """Yield consecutive batches on the device, (B, S, S, 3) uint8, each valid until the next is requested."""
        images = len(crops.ids)
        slices = [slice(first, min(first + batch_size, images)) for first in range(0, images, batch_size)]
        if self._kept is not None and self._kept[0] is crops:
            on_device = self._kept[1]
            yield from (on_device[rows] for rows in slices)
        elif self.device.type == "cuda":
            self._kept = None
            yield from self._through_pinned_memory(crops, slices)
        else:
            yield from (torch.from_numpy(crops.read(rows)).to(self.device) for rows in slices)

    def keep_only(self, crops: Crops) -> None:
        """Stop keeping other crops on the device, before a model is loaded that has no use for them."""
        if self._kept is not None and self._kept[0] is not crops:
            self._kept = None

    def release(self, crops: Crops) -> bool:
        """Stop keeping these crops on the device, and return whether the same batch size may now fit."""
        could = self.device.type == "cuda" and self._too_large is not crops
        self._too_large, self._kept = crops, None
        return could

    def _through_pinned_memory(self, crops: Crops, slices: list[slice]) -> Iterator[Tensor]:
        """Copy on a separate stream, so that one batch is copied while another is computed.

        Before a slot is used again, the host waits for its last copy to end, and the copy, on the device, for the batch
        that was in the slot to be consumed: the host stays a few batches ahead, which bounds memory.
        Crops that are kept go into one tensor instead of a slot.
        """
        side, images = crops.geometry.crop, slices[-1].stop
        shape = (slices[0].stop, side, side, 3)
        keep = crops is not self._too_large and images * side * side * 3 <= _KEEP_SHARE * free_memory(self.device)
        kept = torch.empty((images, side, side, 3), dtype=torch.uint8, device=self.device) if keep else None
        slots = [_Slot(shape, self.device, on_device=not keep) for _ in range(min(_SLOTS, len(slices)))]
        copying = torch.cuda.Stream(self.device)
        computing = torch.cuda.current_stream(self.device)
        # The device buffers were allocated on the computing stream, whose pending work with that memory comes first.
        copying.wait_stream(computing)
        for number, rows in enumerate(slices):
            slot, count = slots[number % len(slots)], rows.stop - rows.start
            slot.copied.synchronize()
            crops.read(rows, slot.host.numpy()[:count])
            target = slot.device[:count] if kept is None else kept[rows]
            with torch.cuda.stream(copying):
                copying.wait_event(slot.consumed)
                target.copy_(slot.host[:count], non_blocking=True)
                slot.copied.record(copying)
            computing.wait_event(slot.copied)
            yield target
            slot.consumed.record(computing)
        if kept is not None:
            self._kept = crops, kept


class _Slot:
    """A pinned buffer, the device buffer that it is copied to, and the events after which each is free again."""

    def __init__(self, shape: tuple[int, ...], device: torch.device, *, on_device: bool) -> None:
        self.host = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self.device = torch.empty(shape if on_device else (0,), dtype=torch.uint8, device=device)
        self.copied = torch.cuda.Event()
        self.consumed = torch.cuda.Event()
