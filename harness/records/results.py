"""What is recorded of a run: its cases, its timings, and what they were measured on.

The same types are used in memory, between processes (as plain values) and in ``record.json``. From schema version 3 on
fields are only added, and optional, so that every 3.x is read; unknown fields are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np

from harness.precision import MEMORY_FORMATS, PRECISIONS, Setting
from harness.records.environment import Environment
from harness.records.evidence import Bounds, Count, Counts, Expected, Pairing, Size, Unpaired
from harness.verdict import Verdict, judge

SCHEMA_VERSION = "3.0"
NOT_RUN: Final = "not run"
ERROR: Final = "error"

Name = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")]
"""Text without control characters, which no table or chart could show."""
Seconds = Annotated[float, msgspec.Meta(ge=1e-9, le=1e15)]


class Phases(msgspec.Struct, frozen=True):
    """Seconds of wall clock that one case took, by what the host waited for.

    Attributes:
        decode: waiting for images to be decoded.
        load: building the model, reading its weights and moving them to the device.
        transfer: reading crops from the store and moving them to the device, as far as it blocked the host.
        forward: the rest of the evaluation loop.
        total: all of it, and what lies between.
    """

    decode: Size
    load: Size
    transfer: Size
    forward: Size
    total: Size = 0.0


class _Setting(msgspec.Struct, frozen=True, kw_only=True):
    id: Name
    model: Name
    weights: Name
    precision: str
    memory_format: str
    compiled: bool

    def __post_init__(self) -> None:
        for name, value, known in (
            ("precision", self.precision, PRECISIONS),
            ("memory_format", self.memory_format, MEMORY_FORMATS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, found {value!r}")

    @property
    def setting(self) -> Setting:
        """How the forward pass was carried out."""
        return Setting(self.precision, self.memory_format, self.compiled)

    @property
    def setting_order(self) -> tuple[int, int, bool]:
        """A sort key that puts the default setting first."""
        formats = list(MEMORY_FORMATS)
        return list(PRECISIONS).index(self.precision), formats.index(self.memory_format), self.compiled


class CaseResult(_Setting, frozen=True, kw_only=True):
    """One evaluated case, with the evidence by which it is judged.

    Attributes:
        dataset: name of the dataset.
        counts: correct predictions.
        expected: what the whole dataset should give; None where nothing was published for it.
        unpublished: why nothing was published for it; empty where something was.
        baseline: evidence from the comparison with an earlier run; None without one.
        bounds: evidence from further checks.
        batch_size: images per forward call.
        parameters: number of weights and biases.
        gmacs: multiply-adds of one image, in 10^9.
        seconds: wall clock by phase.
        images_per_second: speed of the whole loop, without the time spent waiting for images to be decoded.
        weights_sha256: digest of all parameters and buffers.
        weights_bytes: size of all parameters and buffers.
        inputs_digest: digest of the decoded pixels of all images.
        preparation: decoder, resize, crop, interpolation, mean and std.
        switches: torch's arithmetic settings during the evaluation, as observed.
        first_input: id of the first image, and sha256, minimum and maximum of the model's input for it.
        notes: unusual events that a reader should know about.
    """

    dataset: Name
    counts: Counts
    expected: Expected | None = None
    unpublished: str = ""
    baseline: Pairing | Unpaired | None = None
    bounds: tuple[Bounds, ...] = ()
    batch_size: Count = 0
    parameters: Count = 0
    gmacs: Size = 0.0
    seconds: Phases = Phases(0.0, 0.0, 0.0, 0.0)
    images_per_second: Size = 0.0
    weights_sha256: str = ""
    weights_bytes: Count | None = None
    inputs_digest: str = ""
    preparation: dict[str, Any] = {}
    switches: dict[str, Any] = {}
    first_input: dict[str, Any] = {}
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The verdict on the evidence."""
        return judge(self.counts, self.expected, self.unpublished, self.baseline, self.bounds)

    @property
    def outcome(self) -> str:
        """The verdict's outcome."""
        return self.verdict.outcome

    @property
    def conditions(self) -> dict[str, Any]:
        """How the forward pass was carried out, as far as it can change the last digits of a logit."""
        if not self.switches:
            return {}
        return {**self.switches, "setting": str(self.setting), "batch size": self.batch_size}


class TimingResult(_Setting, frozen=True, kw_only=True):
    """One timed forward: a model in one setting on batches of one size.

    Attributes:
        batch_size: images per call.
        seconds: wall clock of each call, the device's work included.
        device_seconds: median time of a call between two CUDA events; None on a CPU.
        gmacs: multiply-adds of one image, in 10^9.
        peak_tflops: speed of a product of large matrices in the same session, in 10^12 operations a second.
        peak_memory: bytes; on CUDA of tensors, elsewhere of the whole process; None where it is not known.
        warm_up: calls before the measurement, their seconds, and whether they had become stable.
        yardstick: seconds of a fixed piece of work without torch, before and after the calls; None on other devices
            than a CPU.
        clocks: the GPU's clocks after the last call, by NVML; None where they are not known.
    """

    batch_size: Annotated[int, msgspec.Meta(ge=1)]
    seconds: Annotated[tuple[Seconds, ...], msgspec.Meta(min_length=1)]
    device_seconds: Size | None
    gmacs: Size
    peak_tflops: Seconds
    peak_memory: Count | None
    warm_up: dict[str, Any]
    yardstick: Seconds | None
    clocks: dict[str, Any] | None

    @property
    def median(self) -> float:
        """The median seconds of a call."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """The interquartile range over the median."""
        first, third = np.percentile(self.seconds, (25, 75))
        return float(third - first) / self.median

    @property
    def images_per_second(self) -> float:
        """Images a second in the median call."""
        return self.batch_size / self.median

    @property
    def tflops(self) -> float:
        """The speed in 10^12 operations a second; a multiply-add counts as two."""
        return 2 * self.gmacs * self.images_per_second / 1e3

    @property
    def share_of_peak(self) -> float:
        """The speed as a share of that of a product of large matrices."""
        return self.tflops / self.peak_tflops

    def info(self) -> dict[str, Any]:
        """Return everything but the single calls' seconds, small enough for pytest-benchmark's ``extra_info``."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        derived = ("images_per_second", "spread", "tflops", "share_of_peak")
        return {
            **{name: value for name, value in values.items() if name != "seconds"},
            **{name: getattr(self, name) for name in derived},
        }


class Missing(msgspec.Struct, frozen=True):
    """A selected case or timing without a result: ``outcome`` is ``error`` or ``not run``."""

    id: str
    outcome: Literal["not run", "error"] = NOT_RUN
    detail: str = ""


class DatasetFacts(msgspec.Struct, frozen=True):
    """What was evaluated.

    Attributes:
        name: name of the dataset.
        digest: digest of all ids and labels.
        images: number of evaluated images.
        total: number of images of the whole dataset; larger than ``images`` for a subset.
        classes: number of classes with images.
        class_names: names of all classes, by class index; empty where they are not known.
    """

    name: Name
    digest: str
    images: Annotated[int, msgspec.Meta(ge=1)]
    total: Annotated[int, msgspec.Meta(ge=1)]
    classes: Annotated[int, msgspec.Meta(ge=1)]
    class_names: tuple[str, ...] = ()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A run.

    Attributes:
        schema_version: version of the schema that it was written in.
        created: date and time, ISO 8601, UTC.
        environment: versions and hardware.
        dataset: what was evaluated; None if no accuracy test was selected.
        cases: results of the accuracy tests.
        timings: results of the throughput tests.
        commands: shell commands that made it; empty where they are not known.
        missing_cases: accuracy tests without a result.
        missing_timings: throughput tests without a result.
    """

    schema_version: str = SCHEMA_VERSION
    created: str
    environment: Environment
    dataset: DatasetFacts | None = None
    cases: tuple[CaseResult, ...] = ()
    timings: tuple[TimingResult, ...] = ()
    missing_cases: tuple[Missing, ...] = ()
    missing_timings: tuple[Missing, ...] = ()
    commands: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [f"case {result.id}" for result in self.cases] + [f"timing {result.id}" for result in self.timings]
        names += [f"case {one.id}" for one in self.missing_cases] + [f"timing {one.id}" for one in self.missing_timings]
        if len(set(names)) < len(names):
            raise ValueError(f"two results have the id {max(names, key=names.count).partition(' ')[2]!r}")
        if self.cases and self.dataset is None:
            raise ValueError("cases without a dataset")

    @property
    def missing(self) -> tuple[Missing, ...]:
        """All tests without a result."""
        return (*self.missing_cases, *self.missing_timings)


def plain(value: object) -> dict[str, Any]:
    """Return a result or record as plain values, with the verdicts that follow from the evidence of its cases."""
    values: dict[str, Any] = msgspec.to_builtins(value)
    if isinstance(value, CaseResult):
        verdict = value.verdict
        values |= {"outcome": verdict.outcome, "checks": msgspec.to_builtins(verdict.checks)}
    elif isinstance(value, Record):
        values["cases"] = [plain(case) for case in value.cases]
        values["timings"] = [{**timing.info(), "seconds": list(timing.seconds)} for timing in value.timings]
    return values


def ranking(cases: Iterable[CaseResult]) -> list[CaseResult]:
    """Return the cases, best top-1 first."""
    return sorted(cases, key=lambda case: (-case.counts.top1, case.id))
