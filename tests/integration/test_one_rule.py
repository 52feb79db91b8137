"""One rule set: the gate, ``compare`` and a record that is read again give one verdict on the same two runs.

For runs that differ by their numbers; those that differ by what has a name are in test_baseline.py.
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.baseline.pairing import Side
from harness.baseline.plugin import open_reference
from harness.compare.compare import compare
from harness.dataset import ImageDataset
from harness.errors import RecordError
from harness.predictions import GRID, HASH_BYTES, KEPT, Predictions, count
from harness.records.evidence import Bounds, Pairing, Policy
from harness.records.results import CaseResult, DatasetFacts, Record
from harness.records.run_folder import NewRun, Run, read_run, write_predictions
from harness.verdict import FAILED, NOT_JUDGED, PASSED, WARNING, Verdict
from tests.records import ENVIRONMENT, case_result, expected

PAIRS = 400
CLASSES = 20
NO_VERDICT = "no verdict"
"""Both reject to compare: the runs have no image in common, or the earlier one is damaged."""


@pytest.mark.slow
def test_the_gate_and_compare_give_the_same_verdict(tmp_path: Path) -> None:
    """The seed names the pair."""
    unequal, outcomes, seen = [], Counter[str](), Counter[str]()
    for seed in range(PAIRS):
        old, new, policy = _pair(np.random.default_rng(seed))
        earlier, later = tmp_path / "old", tmp_path / "new"
        before = _write(earlier, old, old.result)

        judged = _in_the_gate(earlier, new, policy)

        after = _write(later, new, new.result if judged is None else judged)
        compared = _compared(before, after, policy)
        stored = None if judged is None else after.record.cases[0].verdict
        in_the_gate = None if judged is None else judged.verdict
        outcomes[NO_VERDICT if in_the_gate is None else in_the_gate.outcome] += 1
        if judged is not None and isinstance(judged.baseline, Pairing):
            seen["top-5 beyond noise"] += judged.baseline.top5_beyond_noise > 0
            seen["top-5 near-ties"] += (judged.baseline.top5_near_ties or 0) > 0
            seen[NOT_JUDGED] += any(check.outcome == NOT_JUDGED for check in judged.verdict.checks)
        if not in_the_gate == compared == stored:
            unequal.append(f"seed {seed}: in the gate {in_the_gate}, by compare {compared}, stored {stored}")
        shutil.rmtree(earlier)
        shutil.rmtree(later)

    assert not unequal, f"{len(unequal)} of {PAIRS} pairs, such as {unequal[0]}"
    assert all(outcomes[each] >= PAIRS / 50 for each in (PASSED, WARNING, FAILED, NO_VERDICT)), outcomes
    assert all(seen[each] >= PAIRS / 100 for each in ("top-5 beyond noise", "top-5 near-ties", NOT_JUDGED)), seen


def _dataset(side: Side) -> ImageDataset:
    names: tuple[Any, ...] = tuple(side.predictions.ids.tolist())
    classes = tuple("abcdefghijklmnopqrst")
    dataset = ImageDataset("drawn", "drawn", Path("drawn"), names, names, side.targets, classes, "")
    return replace(dataset, whole=replace(dataset, ids=("",) * side.total))


def _in_the_gate(earlier: Path, new: Side, policy: Policy) -> CaseResult | None:
    """Return the result with its evidence, as with ``--baseline``; None if the gate does not compare."""
    try:
        evidence = open_reference(_dataset(new), earlier, policy).compare(new)
    except RecordError:
        return None
    return msgspec.structs.replace(new.result, baseline=evidence)


def _compared(before: Run, after: Run, policy: Policy) -> Verdict | None:
    """Return the verdict by ``compare`` of two run folders; None if it does not compare."""
    try:
        [pair] = compare(before, after, policy=policy).accuracy
    except RecordError:
        return None
    return pair.new.verdict


def _write(folder: Path, side: Side, result: CaseResult) -> Run:
    """Write a run folder, and return the run as it is read."""
    run = NewRun(folder)
    write_predictions(run.staging, result.id, side.predictions, side.targets)
    facts = DatasetFacts("drawn", _dataset(side).digest, len(side.targets), side.total, CLASSES)
    created = "2026-11-24T20:00:00+00:00"
    run.finish(Record(created=created, environment=side.environment, dataset=facts, cases=(result,)))
    return read_run(folder)


def _pair(rng: np.random.Generator) -> tuple[Side, Side, Policy]:
    """Draw what is known of a case, what differs from it in some ways, and a policy."""

    def some(probability: float) -> bool:
        return bool(rng.random() < probability)

    def part(of: int | None = None) -> NDArray[np.int64]:
        return np.sort(rng.choice(images, of or rng.integers(1, images + 1), replace=False))

    images = int(rng.integers(5, 121))
    logits = rng.normal(scale=3, size=(images, CLASSES)).astype(np.float32)
    near = {first: part()[: rng.integers(0, 4)] for first in (0, 4)}
    for first, rows in near.items():  # the first class of these images and the second, the fifth and the sixth
        one, other = np.argsort(-logits[rows])[:, first : first + 2].T
        logits[rows, other] = logits[rows, one] - np.float32(10 ** rng.uniform(-6, -2.5))
    targets = np.where(rng.random(images) < 0.7, logits.argmax(axis=1), rng.integers(CLASSES, size=images))
    later = logits.copy()
    if some(0.5):
        later += rng.normal(scale=10 ** rng.uniform(-6, -1), size=logits.shape).astype(np.float32)
    for first, chance in ((0, 0.4), (4, 0.3)):
        if some(chance):
            rows = near[first] if some(0.6) else part(int(rng.integers(1, 5)))
            one, other = np.argsort(-later[rows])[:, first : first + 2].T
            later[rows, one], later[rows, other] = later[rows, other], later[rows, one]

    whole, common = np.arange(images), part()
    choices = [*[(whole, whole)] * 3, (whole, common), (common, whole), (common, common), (part(), common)]
    old_rows, new_rows = choices[rng.integers(len(choices))]
    old = _side(logits, targets, old_rows, miscounted=some(0.03))
    new = _side(later, targets, new_rows, "x" if some(0.04) else "", miscounted=some(0.05))
    changes: dict[str, Any] = {}
    if some(0.3):
        changes["bounds"] = (Bounds("own", float(rng.uniform(0, 1)), low=0.2),)
    if some(0.2):
        counts = new.result.counts
        top1, top5 = (int(images * correct / counts.images) for correct in (counts.top1, counts.top5))
        top1 = int(np.clip(top1 + rng.integers(-3, 4), 0, top5))
        changes["expected"] = expected(images, top1, top5, tolerance=str(rng.choice(["0.05", "2.00"])))
    environment = msgspec.structs.replace(ENVIRONMENT, torch="2.10.0" if some(0.4) else "2.9.1")
    new = new._replace(result=msgspec.structs.replace(new.result, **changes), environment=environment)
    if some(0.1):
        lacking: dict[str, Any] = {"hashes": None, "samples": None}
        lacking |= {"logits": None, "logsumexp": None} if some(0.5) else {}
        old = old._replace(
            predictions=replace(old.predictions, **lacking),
            result=msgspec.structs.replace(old.result, inputs_digest="", switches={}),
        )
    return old, new, Policy(strict_drift=some(0.3), allow_drift=some(0.3))


def _side(
    logits: NDArray[np.float32],
    targets: NDArray[np.int64],
    rows: NDArray[np.int64],
    prefix: str = "",
    *,
    miscounted: bool,
) -> Side:
    """Return what is known of a case of some of the images of a dataset."""
    images, labels = len(logits), targets[rows].astype(np.int16)
    top = np.argsort(-logits, axis=1, kind="stable")[:, :KEPT].astype(np.int16)
    predictions = Predictions(
        ids=np.array([f"{prefix}{image:03}.JPEG" for image in range(images)]),
        top=top,
        logits=np.take_along_axis(logits, top.astype(np.int64), axis=1),
        logsumexp=np.log(np.exp(logits).sum(axis=1)),
        hashes=np.ones((images, HASH_BYTES), np.uint8),
        samples=np.ones((images, GRID, GRID, 3), np.uint8),
    ).at(rows)
    counts = count(predictions, labels)
    if miscounted:
        counts = msgspec.structs.replace(counts, top1=counts.top1 // 2)
    digest = predictions.inputs_digest
    known: dict[str, Any] = {"dataset": "drawn", "expected": None, "switches": {"onednn": True}}
    result = case_result(counts=counts, inputs_digest=digest, **known)
    return Side(result, predictions, labels, images, ENVIRONMENT)
