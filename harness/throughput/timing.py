"""The timed forward: the same one that is scored, on images that are on the device already."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from statistics import mean, median
from typing import Any

import msgspec
import torch
from torch import Tensor

from harness.decoding.workers import temporary_folder
from harness.device import current, keep_freed_memory, memory_for, resolve_device
from harness.errors import DeviceError, EvaluationError
from harness.expected import Case
from harness.models import Loader, Model
from harness.precision import PRECISIONS, Setting, applied, require_supported
from harness.predict import Normalize, forward
from harness.records.results import TimingResult
from harness.throughput.machine import measure_yardstick, peak_memory, reset_peak_memory, seconds_of, watched_clocks

# The warm-up ends when the medians of two successive windows of calls differ by at most this share, or after this time;
# but not before clocks, which rise within tenths of a second, have risen.
_WINDOW, _STABLE = 5, 0.02
_LEAST_SECONDS, _MOST_SECONDS, _FEWEST_CALLS = 0.5, 5.0, 2
# --batch-sizes auto: the gain of twice the size that is worth it, and the sizes.
_GAIN, _SWEEP_CALLS, _SIZES = 1.05, 5, [2**power for power in range(13)]
# Large enough to keep every unit busy: half a second or less on a slow device, a few milliseconds on a fast one.
_PRODUCT_SIDE = {"cpu": 2048}
_GPU_PRODUCT_SIDE = 8192
_PRODUCTS = 10


class TimedForward:
    """One forward call on a fixed batch, which returns when the device is done; each call is one measurement."""

    def __init__(self, model: Model, device: torch.device, case: Case, peak: float) -> None:
        """Put a batch of the case's size on the device; ``peak`` is the device's, as of ``peak_tflops``."""
        assert case.batch_size is not None
        self._model, self._device, self._case, self._peak = model, device, case, peak
        self.known: dict[str, Any] = {}  # fields of the result
        self._normalize = Normalize(model.preset, device, case.setting.memory_format)
        # The same noise in every run: zeros would cost some devices less power, and so time.
        shape = case.batch_size, model.preset.geometry.crop, model.preset.geometry.crop, 3
        generator = torch.Generator().manual_seed(0)
        self._crops = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._yardstick = measure_yardstick(device)
        self.clocks: Callable[[], dict[str, Any] | None] = lambda: None
        self._warm_up: dict[str, Any] = {}

    def __call__(self) -> Tensor:
        """Return the logits, (B, classes)."""
        if self._device.type != "cuda":
            logits = forward(self._model.module, self._normalize, self._crops)
            _synchronize(self._device)
            return logits
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        logits = forward(self._model.module, self._normalize, self._crops)
        end.record()
        self._events.append((begin, end))
        _synchronize(self._device)
        return logits

    @property
    def device_seconds(self) -> list[float]:
        """Seconds of each call so far, between two CUDA events around it; empty on other devices."""
        return [begin.elapsed_time(end) / 1e3 for begin, end in self._events]

    def warm_up(self) -> dict[str, Any]:
        """Call until the time is stable; return what ``TimingResult.warm_up`` keeps, or raise an EvaluationError."""
        first = seconds_of(lambda: require_finite(self()))
        seconds: list[float] = []
        while len(seconds) < _FEWEST_CALLS or not _is_warm(seconds):
            seconds.append(seconds_of(self))
        if self._case.setting.compiled:
            self.known["compile_seconds"] = max(0.0, first - median(seconds))
        self._warm_up = {"calls": len(seconds) + 1, "seconds": sum(seconds), "stable": _is_stable(seconds)}
        return self._warm_up

    def result(self, seconds: Sequence[float]) -> TimingResult:
        """Return the result of measured calls, which took ``seconds``."""
        case = self._case
        assert case.batch_size is not None
        around = [value for value in (self._yardstick, measure_yardstick(self._device)) if value is not None]
        # pytest-benchmark calls before the measured calls, to calibrate, and once after them, for the return value.
        on_device = self.device_seconds[-len(seconds) - 1 : -1]
        result = TimingResult(
            id=str(case),
            model=case.spec.model,
            weights=case.spec.weights,
            **asdict(case.setting),
            batch_size=case.batch_size,
            seconds=tuple(seconds),
            device_seconds=median(on_device) if on_device else None,
            gmacs=self._model.gmacs,
            peak_tflops=self._peak,
            peak_memory=peak_memory(self._device),
            warm_up=self._warm_up,
            yardstick=mean(around) if around else None,
            yardsticks=tuple(around),
            clocks=self.clocks(),
            cudnn_benchmark=torch.backends.cudnn.benchmark,
        )
        return msgspec.structs.replace(result, **self.known)


class Bench:
    """What the timings of one session share: the device, its peak speed, and the model that was timed last."""

    def __init__(self, device: str, precisions: Sequence[str], cudnn_benchmark: bool = False) -> None:
        """Open the device by name; a DeviceError says that it does not exist or does not support what is asked for."""
        self.device = resolve_device(device)
        require_supported(precisions, self.device)
        if cudnn_benchmark and self.device.type != "cuda":
            raise DeviceError(f"--cudnn-benchmark needs a CUDA device, found {self.device}: leave it out")
        self._cudnn_benchmark = cudnn_benchmark
        if self.device.type == "cpu":
            keep_freed_memory()
        self._loader = Loader(self.device, seeded=True)
        self._peaks: dict[str, float] = {}

    @contextmanager
    def prepared(self, case: Case, *, alone: bool = False) -> Iterator[TimedForward]:
        """Build the model, put images on the device, and warm up; the precision is applied until the context ends.

        ``alone`` says that this process times no other case, and so knows the memory of this one. A HarnessError says
        that the model cannot be built, does not fit into memory, or gives no logits.
        """
        if (precision := case.setting.precision) not in self._peaks:
            self._peaks[precision] = peak_tflops(Setting(precision), self.device)
        model = self._loader.load(case.spec, case.setting)
        sweep = {} if case.batch_size else dict(self._swept(model, case))
        size = case.batch_size or knee_of(sweep)
        with conditions(case.setting, self.device, self._cudnn_benchmark):
            reset_peak_memory(self.device)
            with memory_for(f"{self.device} ran out of memory for batches of {size}: give smaller --batch-sizes"):
                timed = TimedForward(model, self.device, replace(case, batch_size=size), self._peaks[precision])
                timed.known = {"id": str(case), "sweep": tuple(sweep.items())}
                if self.device.type == "cpu" and not alone:
                    timed.known["peak_memory"] = None
                timed.warm_up()  # after the yardstick, whose threads stay busy for a while
            with watched_clocks(self.device) as timed.clocks:
                yield timed

    def _swept(self, model: Model, case: Case) -> Iterator[tuple[int, float]]:
        """Yield batch sizes and their images/s, until these no longer grow or memory runs out."""
        best, peak = 0.0, self._peaks[case.setting.precision]
        too_little = f"{case.spec}: {self.device} ran out of memory for a batch of one image"
        for size in _SIZES:
            try:
                with conditions(case.setting, self.device, self._cudnn_benchmark), memory_for(too_little):
                    timed = TimedForward(model, self.device, replace(case, batch_size=size), peak)
                    require_finite(timed())
                    # The fastest: another job makes calls slower, none faster.
                    speed = size / min(seconds_of(timed) for _ in range(_SWEEP_CALLS))
            except DeviceError:
                if not best:
                    raise
                return
            yield size, speed
            if speed < _GAIN * best:
                return
            best = speed


@contextmanager
def compiling(device: torch.device) -> Iterator[None]:
    """Let torch.compile begin anew: with empty caches, and when what its first call in a process starts has started.

    Otherwise a model that an earlier process has compiled would take less time, and the first one of a process more.
    """
    from torch._inductor import utils  # starts the compiler, which an eager run does not need

    # No public call forgets what is compiled in memory; a torch without this one would use some of it again.
    forget = getattr(utils, "clear_inductor_caches", torch.compiler.reset)
    with tempfile.TemporaryDirectory(dir=temporary_folder(), ignore_cleanup_errors=True) as folder:
        variables = {"TORCHINDUCTOR_CACHE_DIR": folder, "TRITON_CACHE_DIR": f"{folder}/triton"}
        before = {name: os.environ[name] for name in variables if name in os.environ}
        os.environ |= variables
        try:
            forget()
            with suppress(RuntimeError):  # which the model's own forward explains
                torch.compile(torch.sin)(torch.ones(2, device=device))
            torch.compiler.reset()  # the model compiled for one batch size would be compiled for any at the next
            yield
        finally:
            for name in variables:
                os.environ.pop(name, None)
            os.environ |= before
            forget()


@contextmanager
def conditions(setting: Setting, device: torch.device, cudnn_benchmark: bool = False) -> Iterator[None]:
    """Apply the setting's precision, record no gradients, make the device the current one, and compile anew."""
    with (
        compiling(device) if setting.compiled else nullcontext(),
        applied(PRECISIONS[setting.precision], device),
        torch.inference_mode(),
        current(device),
    ):
        if cudnn_benchmark:  # `applied` restores both
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False
        yield


def require_finite(logits: Tensor) -> None:
    """Raise an EvaluationError if logits, (B, classes), are not finite: the time they took means nothing."""
    if bad := int((~logits.isfinite().all(dim=1)).sum()):
        found = f"{bad:,} of {len(logits):,} images have non-finite logits"
        raise EvaluationError(f"{found}, so there is no speed to report")


def peak_tflops(setting: Setting, device: torch.device) -> float:
    """Return the best speed of a product of large matrices, in 10^12 operations a second; a multiply-add is two."""
    side = _PRODUCT_SIDE.get(device.type, _GPU_PRODUCT_SIDE)
    with conditions(setting, device):
        # In autocast's dtype from the start: otherwise each product would cast again.
        dtype = getattr(torch, PRECISIONS[setting.precision].autocast or "float32")
        # Noise: a GPU that multiplies ones or zeros draws less power, and runs at higher clocks.
        left, right = torch.randn((2, side, side), device=device, dtype=dtype)

        def multiply() -> None:
            torch.mm(left, right)
            _synchronize(device)

        best = min(seconds_of(multiply) for _ in range(_PRODUCTS))
    return 2 * side**3 / best / 1e12


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def knee_of(sweep: Mapping[int, float]) -> int:
    """Return the batch size before the first one that gained little, of sizes and images/s; else the last.

    >>> knee_of({1: 20.0, 2: 38.0, 4: 60.0, 8: 61.0}), knee_of({1: 20.0, 2: 38.0})
    (4, 2)
    """
    sizes = [size for size in sweep if sweep[size] >= _GAIN * sweep.get(size // 2, 0.0)]
    return max(sizes, default=1)


def _is_warm(seconds: list[float]) -> bool:
    return sum(seconds) > _MOST_SECONDS or (sum(seconds) >= _LEAST_SECONDS and _is_stable(seconds))


def _is_stable(seconds: list[float]) -> bool:
    before, last = seconds[-2 * _WINDOW : -_WINDOW], seconds[-_WINDOW:]
    return len(before) == _WINDOW and abs(median(last) / median(before) - 1) <= _STABLE
