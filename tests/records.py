"""Records of runs that nobody made, for tests of what is done with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.fingerprints import Fingerprints
from harness.gate.answers import Answers
from harness.gate.expected import Expected
from harness.gate.scores import TopK
from harness.gate.verdict import Check, Verdict
from harness.reporting.case_record import CaseRecord, Phases, pack
from harness.reporting.environment import Environment
from harness.reporting.record import Record, SplitFacts, Unmeasured
from harness.reporting.run_folder import NewRun, Run, read_run, write_answers, write_inputs
from harness.reporting.timing_record import TimingRecord

ENVIRONMENT = Environment(
    torch="2.9.1",
    torchvision="0.24.1",
    python="3.11.9",
    numpy="2.4.6",
    pillow="13.0.0",
    libjpeg_turbo="3.2.0",
    cuda="13.0",
    cudnn="91300",
    driver="580.65.06",
    device="NVIDIA H100 80GB HBM3",
    cpu="Intel(R) Xeon(R) Processor",
    threads=16,
)
SPLIT = SplitFacts("imagenet-1k", "d1ge57", images=1000, total=1000, classes=100)
HELD = Verdict((Check("top-1", "held", "±0.05 points"), Check("top-5", "held", "±0.05 points")))
FAILED = Verdict((Check("top-1", "failed", "-3 images"),))
PIXELS = Fingerprints(np.ones((1000, 16), np.uint8), np.ones((1000, 4, 4, 3), np.uint8))


def expected(images: int, top1: int, top5: int, tolerance: str = "0.05", origin: str = "published") -> Expected:
    """Return expected values."""
    return Expected(TopK(images, top1, top5), Decimal(tolerance), origin)


def case_record(
    model: str = "resnet18", correct: NDArray[np.bool_] | None = None, top5: int = 900, **changes: Any
) -> CaseRecord:
    """Return the record of a case.

    Args:
        correct: (N,) whether top-1 is right; 700 of 1000 if None.
        changes: further fields.
    """
    if correct is None:
        correct = np.arange(1000) < 700
    record = CaseRecord(
        id=f"{model}-IMAGENET1K_V1-fp32",
        model=model,
        weights="IMAGENET1K_V1",
        precision="fp32",
        memory_format="channels_last",
        compiled=False,
        split="imagenet-1k",
        measured=TopK(len(correct), int(correct.sum()), top5),
        expected=None,
        verdict=HELD,
        seconds=Phases(decode=0.25, load=0.5, transfer=0.125, forward=0.75, total=1.75),
        images_per_second=1234.5,
        batch_size=256,
        parameters=11_689_512,
        gflops=1.814,
        weights_sha256="5ha256",
        weights_bytes=46_830_571,
        inputs_digest="1nput5",
        correct=pack(correct),
    )
    return replace(record, **changes)


def timing_record(model: str = "resnet18", seconds: Sequence[float] = (0.25,), **changes: Any) -> TimingRecord:
    """Return the record of a timing, with ``changes`` to its fields."""
    record = TimingRecord(
        id=f"{model}-IMAGENET1K_V1-fp32-b32",
        model=model,
        weights="IMAGENET1K_V1",
        precision="fp32",
        memory_format="channels_last",
        compiled=False,
        batch_size=32,
        seconds=tuple(seconds),
        device_seconds=None,
        gflops=1.814,
        peak_tflops=0.5,
        peak_memory=1_250_000_000,
        warm_up={"calls": 11, "seconds": 1.5, "stable": True},
        yardstick=None,
        clocks=None,
    )
    return replace(record, **changes)


def run_record(
    cases: Sequence[CaseRecord | Unmeasured] = (), timings: Sequence[TimingRecord | Unmeasured] = (), **changes: Any
) -> Record:
    """Return the record of a run, with ``changes`` to its environment."""
    return Record(
        created="2026-11-24T20:00:00+00:00",
        environment=replace(ENVIRONMENT, **changes),
        split=SPLIT if cases else None,
        cases=tuple(cases),
        timings=tuple(timings),
    )


def answers_of(case: CaseRecord) -> Answers:
    """Return answers with a case's hits: class 1 is right, and among the others where top-1 is not."""
    right = case.correct_bits()
    among = right | (np.cumsum(~right) <= case.measured.top5 - case.measured.top1)
    top5 = np.where(right[:, None], [1, 2, 3, 4, 5], np.where(among[:, None], [2, 1, 3, 4, 5], [2, 3, 4, 5, 6]))
    return Answers(
        ids=np.array([f"{number:04}.JPEG" for number in range(len(right))]),
        targets=np.ones(len(right), np.int16),
        top5=top5.astype(np.int16),
        logits=np.tile(np.arange(5, 0, -1, dtype=np.float32), (len(right), 1)),
    )


def write_run(folder: Path, record: Record, **answers: Answers) -> Run:
    """Write a run folder, and return the run as it is read.

    Args:
        record: its cases were shown ``PIXELS``, whatever they tell.
        answers: of cases by model; else those of ``answers_of``.
    """
    run = NewRun(folder)
    write_inputs(run.staging, PIXELS)
    cases: list[CaseRecord | Unmeasured] = []
    for case in record.cases:
        if isinstance(case, CaseRecord):
            write_answers(run.staging, case.id, answers.get(case.model) or answers_of(case))
            case = replace(case, inputs_digest=PIXELS.digest)
        cases.append(case)
    run.finish(replace(record, cases=tuple(cases)))
    return read_run(folder)
