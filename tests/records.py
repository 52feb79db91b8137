"""Builders of records of runs that never took place, for tests of what is done with records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.dataset import digest_of
from harness.predictions import GRID, HASH_BYTES, Predictions, count
from harness.records.environment import Environment
from harness.records.evidence import Counts, Diagnosis, Drift, Expected, NoiseFloor, Pairing
from harness.records.results import CaseResult, DatasetFacts, Missing, Phases, Record, TimingResult
from harness.records.run_folder import NewRun, Run, read_run, write_predictions

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
DATASET = DatasetFacts("imagenet-1k", "d1ge57", images=1000, total=1000, classes=100)
_SETTING: Any = {
    "weights": "IMAGENET1K_V1",
    "precision": "fp32",
    "memory_format": "channels_last",
    "compiled": False,
}
TARGET = 1
"""The class of every image."""


def expected(images: int, top1: int, top5: int, tolerance: str = "0.05", origin: Any = "published") -> Expected:
    """Return expected values."""
    return Expected(Counts(images, top1, top5), Decimal(tolerance), origin)


def pairing(**changes: Any) -> Pairing:
    """Return the pairing of a case of 1,000 images with an equal one, but for the changes."""
    same = Pairing(
        against="old",
        images=1000,
        changed=0,
        near_ties=0,
        top5_changed=0,
        lost=0,
        gained=0,
        largest_margin=None,
        drift=Drift(0.0, 0.0, 0.0),
        noise_floor=NoiseFloor(4e-5, 1e-4, images=2_000),
        diagnosis=Diagnosis("arithmetic", "torch 2.9.1 -> 2.14.1; the rest is the same"),
        inputs_known=True,
    )
    return msgspec.structs.replace(same, **changes)


def case_result(
    model: str = "resnet18", counts: Counts | tuple[int, int, int] = (1000, 700, 900), **changes: Any
) -> CaseResult:
    """Return the result of a case, with ``changes`` to its fields; ``expected`` is by default what was counted."""
    counts = counts if isinstance(counts, Counts) else Counts(*counts)
    result = CaseResult(
        id=f"{model}-IMAGENET1K_V1-fp32",
        model=model,
        **_SETTING,
        dataset="imagenet-1k",
        counts=counts,
        expected=Expected(counts, Decimal("0.05")),
        batch_size=256,
        parameters=11_689_512,
        gmacs=1.814,
        seconds=Phases(decode=0.25, load=0.5, transfer=0.125, forward=0.75, total=1.75),
        images_per_second=1234.5,
        weights_sha256="5ha256",
    )
    return msgspec.structs.replace(result, **changes)


def timing_result(model: str = "resnet18", seconds: Sequence[float] = (0.25,), **changes: Any) -> TimingResult:
    """Return the result of a timing, with ``changes`` to its fields."""
    result = TimingResult(
        id=f"{model}-IMAGENET1K_V1-fp32-b32",
        model=model,
        **_SETTING,
        batch_size=32,
        seconds=tuple(seconds),
        device_seconds=None,
        gmacs=1.814,
        peak_tflops=0.5,
        peak_memory=1_250_000_000,
        warm_up={"calls": 11, "seconds": 1.5, "stable": True},
        yardstick=None,
        clocks=None,
    )
    return msgspec.structs.replace(result, **changes)


def run_record(
    cases: Sequence[CaseResult | Missing] = (), timings: Sequence[TimingResult | Missing] = (), **changes: Any
) -> Record:
    """Return the record of a run, with ``changes`` to its environment."""
    evaluated = tuple(case for case in cases if isinstance(case, CaseResult))
    return Record(
        created="2026-11-24T20:00:00+00:00",
        environment=msgspec.structs.replace(ENVIRONMENT, **changes),
        dataset=DATASET if evaluated else None,
        cases=evaluated,
        timings=tuple(timing for timing in timings if isinstance(timing, TimingResult)),
        missing_cases=tuple(case for case in cases if isinstance(case, Missing)),
        missing_timings=tuple(timing for timing in timings if isinstance(timing, Missing)),
    )


def predictions_of(case: CaseResult, correct: NDArray[np.bool_] | None = None) -> Predictions:
    """Return predictions that give a case's counts; top-1 is ``correct`` (N,) for the first images if that is None."""
    images = np.arange(case.counts.images)
    top1 = images < case.counts.top1 if correct is None else correct
    among = top1 | (np.cumsum(~top1) <= case.counts.top5 - case.counts.top1)
    first, second, none = [TARGET, 2, 3, 4, 5, 6], [2, TARGET, 3, 4, 5, 6], [2, 3, 4, 5, 6, 7]
    return Predictions(
        ids=np.array([f"{image:04}.JPEG" for image in images]),
        top=np.where(top1[:, None], first, np.where(among[:, None], second, none)).astype(np.int16),
        logits=np.tile(np.arange(5, -1, -1, dtype=np.float32), (len(images), 1)),
        logsumexp=np.full(len(images), 5.5, np.float32),
        hashes=np.ones((len(images), HASH_BYTES), np.uint8),
        samples=np.ones((len(images), GRID, GRID, 3), np.uint8),
    )


def random_predictions(seed: int, images: int, classes: int, *, whole: bool = True) -> Predictions:
    """Return predictions of up to six different classes each; with logits and pixels if whole."""
    rng = np.random.default_rng(seed)
    every_class = np.tile(np.arange(classes, dtype=np.int16), (images, 1))
    top = rng.permuted(every_class, axis=1)[:, :6]
    ids = np.array([f"{number:05}.JPEG" for number in range(images)])
    if not whole:
        return Predictions(ids, top)
    logits = -np.sort(-rng.normal(size=top.shape).astype(np.float32), axis=1)
    logsumexp = rng.normal(size=images).astype(np.float32)
    hashes = rng.integers(0, 256, (images, HASH_BYTES), dtype=np.uint8)
    samples = rng.integers(0, 256, (images, GRID, GRID, 3), dtype=np.uint8)
    return Predictions(ids, top, logits, logsumexp, hashes, samples)


def swapped(predictions: Predictions, images: slice | int | Sequence[int]) -> Predictions:
    """Return predictions with the first two classes of some images exchanged."""
    top = predictions.top.copy()
    top[images, :2] = top[images, 1::-1]
    return replace(predictions, top=top)


def swapped_by(predictions: Predictions, leads: Mapping[int, float]) -> Predictions:
    """Return predictions with the first two classes of some images exchanged, and how far the new first one leads."""
    assert predictions.logits is not None
    logits = predictions.logits.copy()
    for image, lead in leads.items():
        logits[image, 0] = logits[image, 1] + np.float32(lead)
    return replace(swapped(predictions, list(leads)), logits=logits)


def counted(predictions: Predictions, model: str = "resnet18", **changes: Any) -> CaseResult:
    """Return the result of a case with the counts of these predictions."""
    return case_result(model, count(predictions, np.full(len(predictions), TARGET, np.int16)), **changes)


def write_run(folder: Path, record: Record, **predictions: Predictions) -> Run:
    """Write a run folder, and return the run as it is read; every image's target is ``TARGET``.

    ``predictions`` are by model, by default those of ``predictions_of``; the record's digests become theirs.
    """
    run = NewRun(folder)
    cases, dataset = [], record.dataset
    for case in record.cases:
        known = predictions.get(case.model) or predictions_of(case)
        targets = np.full(len(known), TARGET, np.int16)
        write_predictions(run.staging, case.id, known, targets)
        cases.append(msgspec.structs.replace(case, inputs_digest=known.inputs_digest))
        assert dataset is not None
        digest = digest_of(known.ids.tolist(), targets)
        dataset = msgspec.structs.replace(
            dataset, digest=digest, images=len(known), total=max(len(known), dataset.total)
        )
    run.finish(msgspec.structs.replace(record, cases=tuple(cases), dataset=dataset))
    return read_run(folder)
