"""What is recorded of a run: its cases, its timings, and what they were measured on.

The same types are used in memory, between processes (as plain values) and in ``record.json``. From schema version 3 on
fields are only added, and optional, so that every 3.x is read; unknown fields are ignored.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from statistics import median
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
import numpy as np

from harness.errors import RecordError
from harness.precision import MEMORY_FORMATS, PRECISIONS, Setting
from harness.records.environment import Environment, shorten
from harness.records.evidence import MOST_IMAGES, Bounds, Count, Counts, Expected, Name, Pairing, Size, Unpaired
from harness.verdict import FAILED, WARNING, Check, Verdict, judge

SCHEMA_VERSION = "3.2"
BENCHMARK_KEY = "imagenet_gate"  # of a pytest-benchmark JSON file that holds the record; its benchmarks are the timings
NOT_RUN: Final = "not run"
ERROR: Final = "error"

# Not Name for the values: msgspec (0.18 to 0.22) then crashes at the interpreter's end, see CaseResult.__post_init__.
_Fact: TypeAlias = bool | int | float | str
Facts: TypeAlias = dict[Name, _Fact | list[int | float] | None]
Seconds = Annotated[float, msgspec.Meta(ge=1e-9, le=1e15)]


class Phases(msgspec.Struct, frozen=True):
    """Seconds of wall clock that one case took, by what the host waited for."""

    decode: Size  # waiting for images to be decoded
    load: Size  # building the model, reading its weights and moving them to the device
    transfer: Size  # reading crops from the store and moving them to the device, as far as it blocked the host
    forward: Size  # the rest of the evaluation loop
    total: Size = 0.0  # all of it, and what lies between


class _Setting(msgspec.Struct, frozen=True, kw_only=True):
    id: Name
    model: Name
    weights: Name
    precision: str
    memory_format: str
    compiled: bool

    def __post_init__(self) -> None:
        for name, known in (("precision", list(PRECISIONS)), ("memory_format", list(MEMORY_FORMATS))):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, found {value!r}")

    @property
    def setting(self) -> Setting:
        """How the forward pass was carried out."""
        return Setting(self.precision, self.memory_format, self.compiled)

    @property
    def setting_order(self) -> tuple[int, int, bool]:
        """A sort key that puts the default setting first."""
        return list(PRECISIONS).index(self.precision), list(MEMORY_FORMATS).index(self.memory_format), self.compiled


class _FirstInput(msgspec.Struct):
    id: Name
    sha256: Name
    low: float
    high: float


class CaseResult(_Setting, frozen=True, kw_only=True):
    """One evaluated case, with the evidence by which it is judged."""

    dataset: Name
    counts: Counts
    expected: Expected | None = None  # what the whole dataset should give; None where nothing was published for it
    unpublished: str = ""  # why nothing was published for it; empty where something was
    baseline: Pairing | Unpaired | None = None  # evidence from the comparison with an earlier run; None without one
    bounds: tuple[Bounds, ...] = ()  # evidence from further checks
    batch_size: Count = 0  # images per forward call
    parameters: Count = 0  # number of weights and biases
    gmacs: Size = 0.0  # multiply-adds of one image, in 10^9
    seconds: Phases = Phases(0.0, 0.0, 0.0, 0.0)
    images_per_second: Size = 0.0  # speed of the whole loop, on images that are decoded
    weights_sha256: str = ""  # digest of all parameters and buffers
    inputs_digest: str = ""  # digest of the decoded pixels of all images
    preparation: Facts = {}  # decoder, resize, crop, interpolation, mean and std
    switches: Facts = {}  # torch's arithmetic settings during the evaluation, as observed
    first_input: dict[str, Any] = {}  # id of the first image; sha256, minimum and maximum of the model's input for it
    notes: tuple[str, ...] = ()  # unusual events that a reader should know about
    known_issues: dict[Name, Name] = {}  # why a check that failed was known to fail, by its name
    issues_over: tuple[str, ...] = ()  # known issues that expired or no longer occur, and what to do

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.expected is not None and self.counts.images > self.expected.counts.images:
            raise ValueError(f"{self.counts.images:,} images, but published values of {self.expected.counts.images:,}")
        if self.first_input:
            msgspec.convert(self.first_input, _FirstInput)
        for value in (*self.preparation.values(), *self.switches.values()):
            if isinstance(value, str) and re.search(r"[\x00-\x1f\x7f-\x9f]", value):
                raise ValueError(f"expected text without control characters, found {value!r}")

    @property
    def verdict(self) -> Verdict:
        """The verdict on the evidence; a failure that is a known issue only warns, and an issue that is over fails."""
        checks = list(judge(self.counts, self.expected, self.unpublished, self.baseline, self.bounds).checks)
        for index, check in enumerate(checks):
            if check.outcome == FAILED and (issue := self.known_issues.get(check.name)):
                detail = f"known issue: {issue}; {check.detail}"
                checks[index] = msgspec.structs.replace(check, outcome=WARNING, detail=detail)
        return Verdict((*checks, *(Check("known issue", FAILED, why) for why in self.issues_over)))

    @property
    def outcome(self) -> str:
        """The verdict's outcome."""
        return self.verdict.outcome

    @property
    def conditions(self) -> dict[str, Any]:
        """How the forward pass was carried out, as far as it can change the last digits of a logit."""
        settings = {"setting": str(self.setting), "batch size": self.batch_size}
        return {**self.switches, **settings} if self.switches else {}


class TimingResult(_Setting, frozen=True, kw_only=True):
    """One timed forward: a model in one setting on batches of one size."""

    batch_size: Annotated[int, msgspec.Meta(ge=1)]  # images per call
    seconds: Annotated[tuple[Seconds, ...], msgspec.Meta(min_length=1)]  # of each call, with the device's work
    device_seconds: Size | None  # median time of a call between two CUDA events; None on a CPU
    gmacs: Size  # multiply-adds of one image, in 10^9
    peak_tflops: Seconds  # speed of a product of large matrices in the same session, in 10^12 operations a second
    peak_memory: Count | None  # bytes; on CUDA of tensors, elsewhere of the whole process, if it times one case
    warm_up: dict[Name, bool | Size]  # calls before the measurement, their seconds, and whether they had become stable
    yardstick: Seconds | None  # mean seconds of a fixed piece of work without torch; None but on a CPU
    clocks: (
        dict[Name, _Fact | list[str] | None] | None
    )  # the GPU's by NVML: throttling during the calls, the rest after them
    yardsticks: tuple[Seconds, ...] = ()  # the same before and after the calls
    sweep: tuple[tuple[Count, Size], ...] = ()  # batch sizes and their images/s, if the size was searched
    cudnn_benchmark: bool = False  # whether cuDNN chose its algorithms by timing them
    compile_seconds: Size | None = None  # by how much longer the first call took, which compiles; None if none does

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
    def p99(self) -> float | None:
        """What 99% of the calls took at most; None if they are too few to tell."""
        return float(np.percentile(self.seconds, 99)) if len(self.seconds) >= 100 else None

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
        del values["seconds"]
        derived = ("p99", "median", "images_per_second", "spread", "tflops", "share_of_peak")
        return {**values, **{name: getattr(self, name) for name in derived}}


class Missing(msgspec.Struct, frozen=True):
    """A selected case or timing without a result: ``outcome`` is ``error`` or ``not run``."""

    id: str
    outcome: Literal["not run", "error"] = NOT_RUN
    detail: str = ""


class DatasetFacts(msgspec.Struct, frozen=True):
    """What was evaluated."""

    name: Name
    digest: str  # digest of all ids and labels
    images: Annotated[int, msgspec.Meta(ge=1, le=MOST_IMAGES)]  # number of evaluated images
    total: Annotated[int, msgspec.Meta(ge=1, le=MOST_IMAGES)]  # images of the whole dataset, not only of a subset
    classes: Annotated[int, msgspec.Meta(ge=1, le=2**15)]  # number of classes with images
    class_names: tuple[str, ...] = ()  # names of all classes, by class index; empty where they are not known


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A run."""

    schema_version: str = SCHEMA_VERSION  # version of the schema that it was written in
    created: str  # date and time, ISO 8601, UTC
    environment: Environment
    dataset: DatasetFacts | None = None  # what was evaluated; None if no accuracy test was selected
    cases: tuple[CaseResult, ...] = ()  # results of the accuracy tests
    timings: tuple[TimingResult, ...] = ()  # results of the throughput tests
    missing_cases: tuple[Missing, ...] = ()  # accuracy tests without a result
    missing_timings: tuple[Missing, ...] = ()  # throughput tests without a result
    files: dict[str, str] = {}  # sha256 of files of arrays, by their paths in the folder; those known are checked
    commands: tuple[str, ...] = ()  # shell commands that made it; empty where they are not known

    def __post_init__(self) -> None:
        for results, missing in ((self.cases, self.missing_cases), (self.timings, self.missing_timings)):
            ids = [result.id for result in results] + [one.id for one in missing]
            if len(set(ids)) < len(ids):
                raise ValueError(f"two results have the id {max(ids, key=ids.count)!r}")
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


def record_json(record: Record) -> bytes:
    """Return the content of ``record.json``; a byte of a path that is not UTF-8 becomes an escape."""
    text = json.dumps(plain(record), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    return re.sub("[\ud800-\udfff]", lambda found: f"\\\\u{ord(found[0]):04x}", text).encode()


def parse_record(content: bytes) -> Record:
    """Return the record in a ``record.json``, or in a file of pytest-benchmark; a RecordError says what is wrong."""
    try:
        values = msgspec.json.decode(content)  # unlike Python's json: no NaN, no infinity, no half of a surrogate pair
    except (ValueError, RecursionError) as error:
        raise RecordError(f"expected JSON ({error}); it may have been cut short") from error
    if not isinstance(values, dict) or not values.keys() & {"schema_version", "benchmarks"}:
        raise RecordError("expected a record of this harness, found other JSON")
    if "benchmarks" in values:
        values = _from_benchmarks(values)
    found = values.get("schema_version")
    if not isinstance(found, str) or found.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        what_to_do = "read it with the version that wrote it, or run again"
        raise RecordError(f"schema_version must be 3.x, found {repr(found)[:80]}: {what_to_do}")
    try:
        record = msgspec.convert(values, Record)
    except (msgspec.ValidationError, OverflowError) as error:
        raise RecordError(f"not a valid record: {shorten(error)}") from error
    # Not what the rules of today make of the evidence: they may change, and a pinned baseline is still to be read.
    for stored, case in zip(values.get("cases", ()), record.cases, strict=False):
        if "outcome" in stored and "checks" in stored:
            outcome = ""
            with suppress(ValueError):  # no checks, or an outcome that no check has
                outcome = msgspec.convert(stored, Verdict).outcome
            if stored["outcome"] != outcome:
                raise RecordError(f"the outcome of {case.id} does not follow from its checks: one of them was modified")
    return record


def _from_benchmarks(values: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(record := values.get(BENCHMARK_KEY), dict):
        raise RecordError(f"a file of pytest-benchmark, but not of this harness: it has no {BENCHMARK_KEY!r}")
    try:
        timings = [
            {**benchmark["extra_info"], "seconds": benchmark["stats"]["data"]}
            for benchmark in values["benchmarks"]
            if "peak_tflops" in benchmark["extra_info"]
        ]
    except (KeyError, TypeError) as error:
        raise RecordError(f"not a valid file of pytest-benchmark: {type(error).__name__} {error}") from error
    return {**record, "timings": timings}
