"""The timed forward: the one that is scored, on images that lie on the device already."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from harness.data.preset import Preset
from harness.errors import DeviceError, EvaluationError
from harness.evaluation.device import is_out_of_memory
from harness.evaluation.forward import Normalize, forward
from harness.evaluation.loop import current
from harness.evaluation.models import Loaded
from harness.evaluation.precision import PRECISIONS, in_force
from harness.evaluation.setting import Setting

# Warm-up is over when the medians of two successive windows of calls differ by no more than this, or the time is up.
_WINDOW = 5
_STABLE = 0.02
_WARM_UP_SECONDS = 5.0
_FEWEST_CALLS = 2
# Large enough to keep every unit busy: half a second or less on what is slow, a few milliseconds on what is fast.
_PRODUCT_SIDE = {"cpu": 2048, "cuda": 8192}
_PRODUCTS = 10


@dataclass(frozen=True)
class WarmUp:
    """What came before the measurement.

    Attributes:
        calls: of the forward.
        seconds: all of them took; compilation, where there is one, is in the first.
        stable: whether the last ones agreed with those before.
    """

    calls: int
    seconds: float
    stable: bool


class TimedForward:
    """One forward call on a fixed batch, which returns when the device is done; call it once to measure it once.

    Attributes:
        images: in a call.
        device_seconds: of each call so far, between two CUDA events around it; empty on a CPU.
    """

    def __init__(self, loaded: Loaded, device: torch.device, setting: Setting, batch_size: int) -> None:
        self.images = batch_size
        self._model = loaded.model
        self._device = device
        self._normalize = Normalize(loaded.facts.preset, device, setting.memory_format)
        self._crops = _crops(loaded.facts.preset, batch_size).to(device)
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def __call__(self) -> Tensor:
        """Return the logits, (B, classes)."""
        if self._device.type != "cuda":
            return forward(self._model, self._normalize, self._crops)
        begun, done = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begun.record()
        logits = forward(self._model, self._normalize, self._crops)
        done.record()
        self._events.append((begun, done))
        torch.cuda.synchronize(self._device)
        return logits

    @property
    def device_seconds(self) -> list[float]:
        """Seconds of each call so far by the device's own clock; empty on a CPU."""
        return [begun.elapsed_time(done) / 1e3 for begun, done in self._events]

    def warm_up(self) -> WarmUp:
        """Call until the time of a call is stable, and see that the answers can be used.

        Raises:
            DeviceError: there is no memory for the batch.
            EvaluationError: the model's output is not a matrix of finite logits.
        """
        try:
            refuse_non_finite(self())
            seconds = [self._seconds()]
            while len(seconds) < _FEWEST_CALLS or not (_is_stable(seconds) or sum(seconds) > _WARM_UP_SECONDS):
                seconds.append(self._seconds())
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                f"{self._device} has no memory for batches of {self.images}: give smaller --batch-sizes"
            ) from error
        return WarmUp(calls=len(seconds) + 1, seconds=sum(seconds), stable=_is_stable(seconds))

    def _seconds(self) -> float:
        started = time.perf_counter()
        self()
        return time.perf_counter() - started


@contextmanager
def conditions(setting: Setting, device: torch.device) -> Iterator[None]:
    """Have the switches of the setting's precision in force, no gradients, and the device current."""
    with in_force(PRECISIONS[setting.precision], device), torch.inference_mode(), current(device):
        yield


def refuse_non_finite(logits: Tensor) -> None:
    """Raise for logits, (B, classes), that no sound model gives; how long they took means nothing.

    Raises:
        EvaluationError: some are not finite.
    """
    bad = int((~logits.isfinite().all(dim=1)).sum())
    if bad:
        raise EvaluationError(f"{bad:,} of {len(logits):,} images got logits that are not finite: no speed to report")


def peak_tflops(setting: Setting, device: torch.device) -> float:
    """Return 10^12 operations a second that a product of large matrices reaches here: the best of several.

    A multiply-add counts as two operations. It is what the machine can do today, under the same switches, rather than
    what its maker promises.
    """
    side = _PRODUCT_SIDE[device.type]
    with conditions(setting, device):
        dtype = getattr(torch, PRECISIONS[setting.precision].autocast or "float32")  # or each product would cast anew
        left, right = torch.ones((2, side, side), device=device, dtype=dtype)
        best = float("inf")
        for _ in range(_PRODUCTS):
            started = time.perf_counter()
            torch.mm(left, right)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best / 1e12


def _crops(preset: Preset, batch_size: int) -> Tensor:
    """Return (B, S, S, 3) uint8 noise, the same in every run: zeros would cost some devices less power, and so time."""
    side = preset.geometry.crop
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch_size, side, side, 3), dtype=torch.uint8, generator=generator)


def _is_stable(seconds: list[float]) -> bool:
    if len(seconds) < 2 * _WINDOW:
        return False
    before, last = median(seconds[-2 * _WINDOW : -_WINDOW]), median(seconds[-_WINDOW:])
    return abs(last / before - 1) <= _STABLE
