"""What a run leaves of one timing, as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from harness.reporting.checked import measured, shown

# A nanosecond: no call is shorter.
_SHORTEST = 1e-9
_LEAST = {
    "batch_size": 1,
    "gflops": 0,
    "peak_tflops": 1e-9,
    "peak_memory": 0,
    "device_seconds": 0,
    "yardstick": _SHORTEST,
}


@dataclass(frozen=True)
class TimingRecord:
    """One timed forward: a model in one setting on batches of one size.

    Attributes:
        id: the timing's.
        seconds: wall clock of each call, the device's work included.
        device_seconds: median of the calls' time between two CUDA events; None on a CPU.
        gflops: multiply-adds of one image, in 10^9.
        peak_tflops: what a product of large matrices reached in the same session, in 10^12 operations a second.
        peak_memory: in bytes: on CUDA of tensors, elsewhere of the whole process; None where nothing told.
        warm_up: calls before the measurement, their seconds, and whether they had become stable.
        yardstick: seconds of a fixed piece of work that torch has no part in, before and after the calls; None where
            it is not a CPU that counts.
        clocks: of the GPU after the last call, by NVML; None where nothing told.
    """

    id: str
    model: str
    weights: str
    precision: str
    memory_format: str
    compiled: bool
    batch_size: int
    seconds: tuple[float, ...]
    device_seconds: float | None
    gflops: float
    peak_tflops: float
    peak_memory: int | None
    warm_up: dict[str, Any]
    yardstick: float | None
    clocks: dict[str, Any] | None

    @property
    def median(self) -> float:
        """Seconds of a call."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """The interquartile range over the median."""
        first, third = np.percentile(self.seconds, (25, 75))
        return float(third - first) / self.median

    @property
    def images_per_second(self) -> float:
        """From the median."""
        return self.batch_size / self.median

    @property
    def tflops(self) -> float:
        """10^12 operations a second; a multiply-add counts as two."""
        return 2 * self.gflops * self.images_per_second / 1e3

    @property
    def share_of_peak(self) -> float:
        """Of what a product of large matrices reached."""
        return self.tflops / self.peak_tflops

    def info(self) -> dict[str, Any]:
        """Return all but the single calls' seconds, with what follows from them: small enough for extra_info."""
        values = {name: value for name, value in asdict(self).items() if name != "seconds"}
        derived = ("images_per_second", "spread", "tflops", "share_of_peak")
        return {**values, **{name: getattr(self, name) for name in derived}}

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for JSON and for messages between processes."""
        return {**self.info(), "seconds": list(self.seconds)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TimingRecord:
        """Return the record that ``to_json`` made ``values`` of."""
        derived = {"images_per_second", "spread", "tflops", "share_of_peak"}
        known = {name: value for name, value in values.items() if name not in derived}
        shown(values, ("id", "model", "weights"))
        measured(values, _LEAST)
        calls = {f"{values['id']}: call {number}": call for number, call in enumerate(values["seconds"])}
        measured(calls, dict.fromkeys(calls, _SHORTEST))
        if not values["seconds"]:
            raise ValueError(f"{values['id']}: no calls")
        return cls(**{**known, "seconds": tuple(map(float, values["seconds"]))})
