"""What a run leaves, as values: a record of each case and of each timing, and what they were made on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.setting import Setting
from harness.gate.expected import Expected
from harness.gate.scores import TopK
from harness.gate.verdict import Check, Verdict
from harness.reporting.environment import Environment

SCHEMA_VERSION = 1
NOT_RUN = "not run"
ERROR = "error"


@dataclass(frozen=True)
class Phases:
    """Seconds of wall clock that one case took, by what the host waited for; ``total`` is all of it.

    Attributes:
        decode: images being decoded, or read for the first time from the store.
        load: the model being built, its weights read and brought to the device.
        transfer: crops read from the store and brought to the device; on a GPU as far as the host could not go on.
        forward: the rest of the evaluation loop.
    """

    decode: float
    load: float
    transfer: float
    forward: float
    total: float


@dataclass(frozen=True)
class CaseRecord:
    """One evaluated and judged case.

    Attributes:
        id: the case's.
        split: the name of what was evaluated.
        measured: hits.
        expected: what was expected on the whole split; None where nothing was published.
        batch_size: images in a forward call.
        parameters: number of weights and biases.
        gflops: multiply-adds of one image, in 10^9.
        images_per_second: of the whole loop, less the time that it waited for images to be decoded.
        weights_sha256: of all parameters and buffers.
        inputs_digest: sha256 of the hashes of all decoded images, in the split's order.
        note: something odd that a reader should know, empty if nothing was.
        correct: for each image, in the split's order, whether top-1 is right: packed bits, as hexadecimal. Not part
            of ``record.json``, which it would swell; it lies beside the predictions.
    """

    id: str
    model: str
    weights: str
    precision: str
    memory_format: str
    compiled: bool
    split: str
    measured: TopK
    expected: Expected | None
    verdict: Verdict
    seconds: Phases
    images_per_second: float
    batch_size: int
    parameters: int
    gflops: float
    weights_sha256: str
    inputs_digest: str
    note: str = ""
    correct: str = field(default="", repr=False)

    @property
    def setting(self) -> Setting:
        """How the forward pass was carried out."""
        return Setting(self.precision, self.memory_format, self.compiled)

    @property
    def outcome(self) -> str:
        """``held``, ``failed``, or ``unjudged`` where there was nothing to compare with."""
        return self.verdict.outcome

    def correct_bits(self) -> NDArray[np.bool_]:
        """Return (N,) whether top-1 is right."""
        packed = np.frombuffer(bytes.fromhex(self.correct), dtype=np.uint8)
        return np.unpackbits(packed, count=self.measured.n).astype(np.bool_)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for JSON and for messages between processes."""
        values = asdict(self)
        measured, expected = values.pop("measured"), values.pop("expected")
        checks = values.pop("verdict")["checks"]
        return {
            **values,
            "images": measured["n"],
            "top1": measured["top1"],
            "top5": measured["top5"],
            "expected": expected and {**expected["hits"], "origin": expected["origin"]},
            "tolerance": expected and str(expected["tolerance"]),
            "checks": list(checks),
            "outcome": self.outcome,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CaseRecord:
        """Return the record that ``to_json`` made ``values`` of."""
        expected = values["expected"] and Expected(
            TopK(*(values["expected"][name] for name in ("n", "top1", "top5"))),
            Decimal(values["tolerance"]),
            values["expected"]["origin"],
        )
        derived = {"images", "top1", "top5", "expected", "tolerance", "checks", "outcome"}
        return cls(
            **{
                **{name: value for name, value in values.items() if name not in derived},
                "measured": TopK(values["images"], values["top1"], values["top5"]),
                "expected": expected,
                "verdict": Verdict(tuple(Check(**check) for check in values["checks"])),
                "seconds": Phases(**values["seconds"]),
            }
        )


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
        return cls(**{**known, "seconds": tuple(values["seconds"])})


@dataclass(frozen=True)
class Unmeasured:
    """A case or a timing that was due and has no values: ``outcome`` is ``error`` or ``not run``."""

    id: str
    outcome: str = NOT_RUN
    detail: str = ""


@dataclass(frozen=True)
class SplitFacts:
    """What was evaluated.

    Attributes:
        digest: of all ids and labels.
        images: evaluated.
        total: of the whole split; larger than ``images`` for a subset.
        classes: with images.
    """

    name: str
    digest: str
    images: int
    total: int
    classes: int


@dataclass(frozen=True)
class Record:
    """A run.

    Attributes:
        created: date and time, ISO 8601, UTC.
        split: None if no accuracy was due.
    """

    created: str
    environment: Environment
    split: SplitFacts | None
    cases: tuple[CaseRecord | Unmeasured, ...]
    timings: tuple[TimingRecord | Unmeasured, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for JSON; images' answers lie elsewhere."""
        return {
            "schema_version": SCHEMA_VERSION,
            "created": self.created,
            "environment": asdict(self.environment),
            "split": self.split and asdict(self.split),
            "cases": [_without_answers(case) for case in self.cases],
            "timings": [_plain(timing) for timing in self.timings],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Record:
        """Return the record that ``to_json`` made ``values`` of."""
        return cls(
            created=values["created"],
            environment=Environment(**values["environment"]),
            split=values["split"] and SplitFacts(**values["split"]),
            cases=tuple(
                CaseRecord.from_json(case) if "images" in case else Unmeasured(**case) for case in values["cases"]
            ),
            timings=tuple(
                TimingRecord.from_json(timing) if "seconds" in timing else Unmeasured(**timing)
                for timing in values["timings"]
            ),
        )


def measured_cases(cases: Sequence[CaseRecord | Unmeasured]) -> list[CaseRecord]:
    """Return those that have values."""
    return [case for case in cases if isinstance(case, CaseRecord)]


def measured_timings(timings: Sequence[TimingRecord | Unmeasured]) -> list[TimingRecord]:
    """Return those that have values."""
    return [timing for timing in timings if isinstance(timing, TimingRecord)]


def unmeasured(results: Sequence[CaseRecord | TimingRecord | Unmeasured]) -> list[Unmeasured]:
    """Return those that have none."""
    return [result for result in results if isinstance(result, Unmeasured)]


def pack(correct: NDArray[np.bool_]) -> str:
    """Return (N,) booleans as the hexadecimal text of their packed bits."""
    return np.packbits(correct).tobytes().hex()


def _plain(result: CaseRecord | TimingRecord | Unmeasured) -> dict[str, Any]:
    return asdict(result) if isinstance(result, Unmeasured) else result.to_json()


def _without_answers(case: CaseRecord | Unmeasured) -> dict[str, Any]:
    return {name: value for name, value in _plain(case).items() if name != "correct"}
