"""What the timings of one session share, and the way of one timing from its name to its record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from statistics import mean, median

from harness.evaluation.clocks import read_clocks
from harness.evaluation.device import describe_device, device_facts, resolve_device
from harness.evaluation.memory import keep_freed_memory, peak_memory, reset_peak_memory
from harness.evaluation.models import Loaded, load_seeded
from harness.evaluation.precision import refuse_lacking
from harness.evaluation.setting import Setting
from harness.evaluation.spec import ModelSpec
from harness.evaluation.throughput import TimedForward, conditions, peak_tflops
from harness.evaluation.yardstick import measure_yardstick
from harness.gate.cases import Workload
from harness.reporting.environment import Environment, environment, versions
from harness.reporting.timing_record import TimingRecord


class Timed:
    """A workload, warmed up; call it once for each measurement, then take the record."""

    def __init__(self, workload: Workload, forward: TimedForward, bench: Bench) -> None:
        self.forward = forward
        self._workload = workload
        self._bench = bench
        self._yardstick = bench.yardstick()
        self._warm_up = forward.warm_up()  # after the yardstick, whose threads are still there for a while

    def record(self, seconds: list[float]) -> TimingRecord:
        """Return the record of the calls that took ``seconds``."""
        workload, bench = self._workload, self._bench
        # Before and after the measured calls there are others: of the calibration, and one for the result.
        around = [found for found in (self._yardstick, bench.yardstick()) if found is not None]
        on_device = self.forward.device_seconds[-len(seconds) - 1 : -1]
        return TimingRecord(
            id=str(workload),
            model=workload.entry.spec.model,
            weights=workload.entry.spec.weights,
            precision=workload.setting.precision,
            memory_format=workload.setting.memory_format,
            compiled=workload.setting.compiled,
            batch_size=workload.batch_size,
            seconds=tuple(seconds),
            device_seconds=median(on_device) if on_device else None,
            gflops=bench.loaded(workload).facts.gflops,
            peak_tflops=bench.peak(workload.setting),
            peak_memory=peak_memory(bench.device),
            warm_up=asdict(self._warm_up),
            yardstick=mean(around) if around else None,
            clocks=read_clocks(bench.device),
        )


class Bench:
    """A device, the peak it reaches, and the model that was timed last."""

    def __init__(self, device: str, precisions: Sequence[str]) -> None:
        """Open the device.

        Args:
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            precisions: that will be asked for.

        Raises:
            DeviceError: it is not there, or does not have a precision.
        """
        self.device = resolve_device(device)
        refuse_lacking(precisions, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self._last: tuple[ModelSpec, Setting, Loaded] | None = None
        self._peaks: dict[str, float] = {}

    def describe(self) -> list[str]:
        """Return lines that say what is timed, and on what."""
        return [
            f"timed on: {describe_device(self.device)}",
            "versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()),
        ]

    def environment(self) -> Environment:
        """Return what the timings are made on."""
        return environment(device_facts(self.device))

    @contextmanager
    def prepared(self, workload: Workload) -> Iterator[Timed]:
        """Build the model, put images on the device, and warm up; everything is in force until the end.

        Raises:
            HarnessError: the model cannot be built, does not fit, or does not answer.
        """
        self.peak(workload.setting)
        loaded = self.loaded(workload)
        reset_peak_memory(self.device)
        with conditions(workload.setting, self.device):
            forward = TimedForward(loaded, self.device, workload.setting, workload.batch_size)
            yield Timed(workload, forward, self)

    def peak(self, setting: Setting) -> float:
        """Return what a product of large matrices reaches here, in 10^12 operations a second; measured once."""
        if setting.precision not in self._peaks:
            self._peaks[setting.precision] = peak_tflops(setting, self.device)
        return self._peaks[setting.precision]

    def yardstick(self) -> float | None:
        """Return the seconds that a fixed piece of work takes on the CPU now; None where another device counts."""
        return measure_yardstick() if self.device.type == "cpu" else None

    def loaded(self, workload: Workload) -> Loaded:
        """Return the model; the last one is kept for its next batch size."""
        spec, setting = workload.entry.spec, workload.setting
        if self._last is None or self._last[:2] != (spec, setting):
            self._last = None
            self._last = spec, setting, load_seeded(spec, self.device, setting)
        return self._last[2]
