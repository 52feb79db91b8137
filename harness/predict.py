"""The evaluation loop: a model and decoded images -> predictions. It never sees a label."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import functional as F

from harness.device import current, is_out_of_memory, release_memory
from harness.errors import DeviceError, EvaluationError
from harness.precision import DEFAULT, MEMORY_FORMATS, PRECISIONS, Setting, applied
from harness.predictions import KEPT, Predictions
from harness.prefetch import Crops, Prefetch
from harness.preset import Preset


class Loop(NamedTuple):
    """One pass over all images."""

    predictions: Predictions
    batch_size: int  # images per forward call; smaller than requested if memory ran out
    seconds: float  # wall clock from reading the first batch until all predictions are on the host
    transfer: float  # seconds of it spent reading crops and moving them to the device, as the host sees it
    switches: Mapping[str, Any]  # as in CaseResult
    first_input: Mapping[str, Any]  # as in CaseResult


class Normalize:
    """uint8 crops -> normalized float32 images on the device, equal bit for bit to torchvision's on the CPU."""

    def __init__(self, preset: Preset, device: torch.device, memory_format: str = DEFAULT.memory_format) -> None:
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
        """Compare all 256 values, in another order for each channel, with torchvision's own functions on the CPU."""
        ramp = torch.arange(256, dtype=torch.uint8)
        values = torch.stack([ramp, ramp.roll(85), ramp.roll(170)], dim=1).view(1, 256, 1, 3)
        images = F.convert_image_dtype(values.permute(0, 3, 1, 2), torch.float32)
        if not torch.equal(self(values.to(device)).cpu(), F.normalize(images, preset.mean, preset.std)):
            raise EvaluationError(
                f"normalization on {device} does not give the same bits as torchvision on the CPU; no accuracy "
                "measured with it could be compared with the published one"
            )


def forward(model: Callable[[Tensor], Tensor], normalize: Normalize, crops: Tensor) -> Tensor:
    """Return the logits, (B, classes), of ``crops``: (B, S, S, 3) uint8 on the model's device, for accuracy and speed.

    Raises:
        EvaluationError: the output is not a matrix with one row per image and at least five columns, or the model
            cannot be run in this memory format, or cannot be compiled.
    """
    try:
        logits = model(normalize(crops))
    except RuntimeError as error:
        reason, remedy = str(getattr(error, "inner_exception", error)).partition("\n")[0].strip(), ""
        if "view size is not compatible" in reason:
            reason = "the model calls view() on values in channels_last, which it needs contiguous"
            remedy = "use --memory-format contiguous, or reshape() in the model"
        elif type(error).__module__.startswith(("torch._dynamo", "torch._inductor")) and not is_out_of_memory(error):
            reason = f"the model cannot be compiled as a whole ({reason})"
            remedy = "leave out --compile, or see what torch.compile(model, fullgraph=True) reports"
        if not remedy:
            raise
        raise EvaluationError(f"{reason}: {remedy}") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(crops) or logits.shape[1] < 5:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise EvaluationError(f"expected logits of shape ({len(crops)}, 5 or more classes), the model gave {found}")
    return logits


def predict(
    model: nn.Module,
    crops: Crops,
    preset: Preset,
    *,
    prefetch: Prefetch,
    batch_size: int,
    classes: int,
    setting: Setting = DEFAULT,
    progress: Callable[[int, int], None] = lambda _done, _images: None,
) -> Loop:
    """Return the predictions for every image.

    Args:
        model: the model in eval mode, on the prefetch's device.
        crops: the dataset's pixels in the preset's geometry.
        preset: how they are normalized.
        prefetch: moves the crops to the device.
        batch_size: images per forward call; halved, starting again from the first image, whenever memory runs out,
            after the prefetch has given up what it keeps on the device.
        classes: number of classes of the dataset.
        setting: the setting of the forward pass.
        progress: called with the number of images passed to the model, and again from 0 after memory ran out.

    Raises:
        EvaluationError: the model is in train mode, or an image's logits are not finite, all equal, or too many.
        DeviceError: there is not even memory for one image at a time.
    """
    # The wrapper of torch.compile has no mode of its own, and in torch 2.4 claims to be in train mode.
    if any(module.training for module in model.modules() if not hasattr(module, "_orig_mod")):
        raise EvaluationError("the model is in train mode, where dropout and batch statistics change its predictions")
    device = prefetch.device
    with applied(PRECISIONS[setting.precision], device) as switches, torch.inference_mode(), current(device):
        while True:
            try:
                return _predict(model, crops, preset, prefetch, batch_size, classes, setting, switches, progress)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                released = prefetch.release(crops)
                if batch_size == 1 and not released:
                    reason = str(error).partition("\n")[0]
                    raise DeviceError(
                        f"{device} ran out of memory evaluating even one image at a time: {reason}"
                    ) from error
            # Out here the traceback is gone, and with it the references to the tensors of the failed attempt.
            if not released:
                batch_size //= 2
            gc.collect()
            release_memory(device)


def _predict(
    model: nn.Module,
    crops: Crops,
    preset: Preset,
    prefetch: Prefetch,
    batch_size: int,
    classes: int,
    setting: Setting,
    switches: Mapping[str, Any],
    progress: Callable[[int, int], None],
) -> Loop:
    started = time.perf_counter()
    images, device, kept = len(crops.ids), prefetch.device, min(KEPT, classes)
    normalize = Normalize(preset, device, setting.memory_format)
    top = torch.empty((images, kept), dtype=torch.int16, device=device)
    highest = torch.empty((images, kept), dtype=torch.float32, device=device)
    logsumexp = torch.empty(images, dtype=torch.float32, device=device)
    finite = torch.empty(images, dtype=torch.bool, device=device)
    varied = torch.empty(images, dtype=torch.bool, device=device)
    first = 0
    recorded = _FirstInput(model)
    waits: list[float] = []
    progress(0, images)
    for batch in _timed(prefetch.batches(crops, batch_size), waits):
        # For a short last batch the model would be compiled again, to a different program.
        shown = nn.functional.pad(batch, (*[0] * 7, batch_size - len(batch))) if setting.compiled and first else batch
        logits = forward(model if first else recorded, normalize, shown)[: len(batch)].float()
        if logits.shape[1] != classes:
            raise EvaluationError(
                f"the model gives {logits.shape[1]:,} logits, and the dataset has {classes:,} classes: its class "
                "indices would not mean the same classes"
            )
        rows = slice(first, first + len(batch))
        # A stable sort, as each device's topk orders equal logits in its own way, and half precisions have many.
        ordered = logits.sort(dim=1, descending=True, stable=True)
        highest[rows], top[rows] = ordered.values[:, :kept], ordered.indices[:, :kept]
        logsumexp[rows] = logits.logsumexp(dim=1)
        finite[rows] = logits.isfinite().all(dim=1)
        varied[rows] = logits.amax(dim=1) > logits.amin(dim=1)
        first = rows.stop
        progress(first, images)
    if first != images:
        raise RuntimeError(f"{first} of {images} images were passed to the model")
    # The loop above only queued work; these copies are where the host waits for all of it.
    arrays = top.cpu().numpy(), highest.cpu().numpy(), logsumexp.cpu().numpy()
    _check_images(~finite.cpu(), crops.ids, "not finite")
    _check_images(~varied.cpu(), crops.ids, "all equal")
    return Loop(
        Predictions(np.array(crops.ids), *arrays, crops.hashes, crops.samples),
        batch_size=batch_size,
        seconds=time.perf_counter() - started,
        transfer=sum(waits),
        switches=switches,
        first_input={"id": crops.ids[0], **recorded.facts()},
    )


class _FirstInput:
    """A model that records its input for the first image."""

    _image = torch.empty(0)

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        self._model = model

    def __call__(self, images: Tensor) -> Tensor:
        self._image = images[0].clone()  # models may work in place
        return self._model(images)

    def facts(self) -> dict[str, Any]:
        """Return the sha256 of the (3, S, S) float32 values, their minimum and maximum."""
        image = self._image.float().cpu().contiguous()
        digest = hashlib.sha256(image.numpy().tobytes()).hexdigest()
        return {"sha256": digest, "low": float(image.min()), "high": float(image.max())}


def _timed(batches: Iterator[Tensor], waits: list[float]) -> Iterator[Tensor]:
    """Yield the batches, and append the seconds spent waiting for each."""
    started = time.perf_counter()
    for batch in batches:
        waits.append(time.perf_counter() - started)
        yield batch
        started = time.perf_counter()


def _check_images(bad: Tensor, ids: tuple[str, ...], what: str) -> None:
    """Raise for images that were not classified at all, naming the first."""
    if bad.any():
        raise EvaluationError(
            f"the logits of {int(bad.sum()):,} of {len(ids):,} images are {what}, the first of them "
            f"{ids[int(bad.int().argmax())]}"
        )
