"""Crops from host memory to the device, ahead of the model that consumes them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_SLOTS = 3


def feed(images: NDArray[np.uint8], batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """Yield consecutive batches on ``device``; the last one may be short.

    Args:
        images: (N, S, S, 3) uint8.

    Yields:
        (B, S, S, 3) uint8, valid until the next batch is asked for.
    """
    slices = [slice(first, first + batch_size) for first in range(0, len(images), batch_size)]
    if device.type == "cuda":
        yield from _through_pinned_memory(images, slices, device)
    else:
        for rows in slices:
            yield torch.from_numpy(np.array(images[rows]))


class _Slot:
    """A pinned buffer, the device buffer it is copied to, and the events that say when each is free again."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.host = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self.device = torch.empty(shape, dtype=torch.uint8, device=device)
        self.copied = torch.cuda.Event()
        self.consumed = torch.cuda.Event()


def _through_pinned_memory(images: NDArray[np.uint8], slices: list[slice], device: torch.device) -> Iterator[Tensor]:
    """Copy on a stream of its own, so that one batch travels while another is computed.

    The host waits only for the copy three batches back to leave its pinned buffer; that copy waits, on the device,
    for the batch before it in the same slot to have been consumed. So the host runs a few batches ahead of the model,
    which never runs dry, and no further, so that memory stays bounded.
    """
    shape = (slices[0].stop - slices[0].start, *images.shape[1:])
    slots = [_Slot(shape, device) for _ in range(min(_SLOTS, len(slices)))]
    copying = torch.cuda.Stream(device)
    computing = torch.cuda.current_stream(device)
    # The device buffers were allocated on the computing stream; what it still has to do with that memory comes first.
    copying.wait_stream(computing)
    for number, rows in enumerate(slices):
        slot = slots[number % len(slots)]
        batch = images[rows]
        slot.copied.synchronize()
        slot.host.numpy()[: len(batch)] = batch
        with torch.cuda.stream(copying):
            copying.wait_event(slot.consumed)
            slot.device[: len(batch)].copy_(slot.host[: len(batch)], non_blocking=True)
            slot.copied.record(copying)
        computing.wait_event(slot.copied)
        yield slot.device[: len(batch)]
        slot.consumed.record(computing)
