"""The evaluation loop: a model and decoded images -> its five best classes for each. It sees no labels."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.data.decoded import Progress
from harness.data.preset import Preset
from harness.errors import DeviceError, EvaluationError
from harness.evaluation.device import is_out_of_memory
from harness.evaluation.feed import Crops, Feed
from harness.evaluation.forward import Normalize, forward
from harness.evaluation.precision import PRECISIONS, in_force
from harness.evaluation.predictions import Predictions
from harness.evaluation.setting import DEFAULT, Setting


def _tell_nobody(_done: int, _images: int) -> None:
    pass


def predict(
    model: nn.Module,
    crops: Crops,
    preset: Preset,
    *,
    feed: Feed,
    batch_size: int,
    setting: Setting = DEFAULT,
    progress: Progress = _tell_nobody,
) -> Predictions:
    """Return the five best classes of every image, and their logits.

    Args:
        model: in eval mode, on the feed's device.
        crops: the split's, in the preset's geometry.
        feed: brings them to the device.
        batch_size: images in a forward call; halved, from the first image on, as often as memory runs out, after the
            feed has given up what it keeps on the device.
        setting: the model's.
        progress: told of images that the model was given, from 0 on, and again where memory runs out. A CUDA device
            may have some batches still to do.

    Raises:
        EvaluationError: the model is in train mode, or an image's logits are not finite or all equal.
        DeviceError: there is not even memory for one image at a time.
    """
    if any(module.training for module in model.modules()):
        raise EvaluationError("the model is in train mode, where dropout and batch statistics change its answers")
    device = feed.device
    with in_force(PRECISIONS[setting.precision], device) as switches, torch.inference_mode(), current(device):
        while True:
            try:
                normalize = Normalize(preset, device, setting.memory_format)
                return replace(_predict(model, crops, normalize, feed, batch_size, progress), switches=switches)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                released = feed.release()
                if batch_size == 1 and not released:
                    raise DeviceError(f"{device} has no memory to evaluate even one image at a time") from error
            # Out here the traceback is gone, and with it its hold on the tensors of the failed attempt.
            if not released:
                batch_size //= 2
            if device.type == "cuda":
                torch.cuda.empty_cache()


def current(device: torch.device) -> AbstractContextManager[object]:
    """Make a CUDA device the current one, or pinned memory would open a context on the first GPU beside it."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _predict(
    model: nn.Module, crops: Crops, normalize: Normalize, feed: Feed, batch_size: int, progress: Progress
) -> Predictions:
    started, waited = time.perf_counter(), crops.seconds
    images, device = len(crops.ids), feed.device
    top5 = torch.empty((images, 5), dtype=torch.int16, device=device)
    best = torch.empty((images, 5), dtype=torch.float32, device=device)
    finite = torch.empty(images, dtype=torch.bool, device=device)
    varied = torch.empty(images, dtype=torch.bool, device=device)
    first = classes = 0
    watched = Watched(model)
    batches = Stopwatch(feed.batches(crops, batch_size))
    progress(0, images)
    for batch in batches:
        logits = forward(model if first else watched, normalize, batch).float()
        rows = slice(first, first + len(batch))
        best[rows], top5[rows] = logits.topk(5, dim=1)
        finite[rows] = logits.isfinite().all(dim=1)
        varied[rows] = logits.amax(dim=1) > logits.amin(dim=1)
        first, classes = rows.stop, logits.shape[1]
        progress(first, images)
    if first != images:
        raise RuntimeError(f"{first} of {images} images were fed to the model")
    # The loop above only queued work; these four copies are where the host waits for all of it.
    answers = top5.cpu().numpy(), best.cpu().numpy()
    _refuse(~finite.cpu(), crops.ids, "logits that are not finite")
    _refuse(~varied.cpu(), crops.ids, "logits that are all equal")
    return Predictions(
        ids=crops.ids,
        top5=answers[0],
        logits=answers[1],
        classes=classes,
        batch_size=batch_size,
        seconds=time.perf_counter() - started,
        waited=crops.seconds - waited,
        fed=batches.seconds - (crops.seconds - waited),
        first_input={"id": crops.ids[0], **watched.told()},
    )


class Watched:
    """A model that notes what it is given for the first image, however it came to be."""

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        self._model = model
        self._image = torch.empty(0)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the model's logits."""
        self._image = images[0].clone()  # models may work in place
        return self._model(images)

    def told(self) -> dict[str, Any]:
        """Return the sha256 of the (3, S, S) float32 values, the smallest and the largest."""
        image = self._image.float().cpu().contiguous()
        digest = hashlib.sha256(image.numpy().tobytes()).hexdigest()
        return {"sha256": digest, "low": float(image.min()), "high": float(image.max())}


class Stopwatch(Iterator[Tensor]):
    """An iterator that knows how long its consumer has waited for it, in seconds."""

    def __init__(self, batches: Iterator[Tensor]) -> None:
        self.seconds = 0.0
        self._batches = batches

    def __next__(self) -> Tensor:
        started = time.perf_counter()
        try:
            return next(self._batches)
        finally:
            self.seconds += time.perf_counter() - started


def _refuse(bad: Tensor, ids: tuple[str, ...], what: str) -> None:
    """Raise for images that were not classified at all, naming the first."""
    if bad.any():
        raise EvaluationError(
            f"{int(bad.sum()):,} of {len(ids):,} images got {what}, the first of them {ids[int(bad.int().argmax())]}"
        )
