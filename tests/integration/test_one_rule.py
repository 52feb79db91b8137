"""One rule set: the gate, ``compare`` and a record that is read again give one verdict on the same two runs."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, replace
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
from harness.records.environment import Environment
from harness.records.evidence import Bounds, Counts, Pairing, Policy
from harness.records.results import CaseResult, DatasetFacts, Record
from harness.records.run_folder import NewRun, Run, read_run, write_predictions
from harness.verdict import FAILED, NOT_JUDGED, PASSED, WARNING, Verdict
from tests.records import ENVIRONMENT, case_result, expected

PAIRS = 400
CLASSES = 20
NO_VERDICT = "no verdict"
"""Both refuse to compare: the runs have no image in common, or the earlier one is damaged."""


@dataclass(frozen=True)
class Evaluation:
    """What the gate holds in memory when it has evaluated a case."""

    dataset: ImageDataset
    predictions: Predictions
    result: CaseResult
    environment: Environment


@pytest.mark.slow
def test_the_gate_and_compare_give_the_same_verdict(tmp_path: Path) -> None:
    """For pairs of runs that differ in any combination of what the harness looks at; the seed names the pair."""
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


def _in_the_gate(earlier: Path, new: Evaluation, policy: Policy) -> CaseResult | None:
    """Return the result with its evidence, as with ``--baseline``; None if the gate does not compare."""
    side = Side(new.result, new.predictions, new.dataset.targets, new.dataset.total, new.environment)
    try:
        evidence = open_reference(new.dataset, earlier, policy).compare(side)
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


def _write(folder: Path, evaluation: Evaluation, result: CaseResult) -> Run:
    """Write a run folder, and return the run as it is read."""
    run, dataset = NewRun(folder), evaluation.dataset
    write_predictions(run.staging, result.id, evaluation.predictions, dataset.targets)
    facts = DatasetFacts(dataset.name, dataset.digest, len(dataset), dataset.total, CLASSES)
    created = "2026-11-24T20:00:00+00:00"
    run.finish(Record(created=created, environment=evaluation.environment, dataset=facts, cases=(result,)))
    return read_run(folder)


def _pair(rng: np.random.Generator) -> tuple[Evaluation, Evaluation, Policy]:
    """Draw an evaluation, one that differs from it in some ways, and a policy."""

    def some(probability: float) -> bool:
        return bool(rng.random() < probability)

    def part(n: int, of: int | None = None) -> NDArray[np.int64]:
        return np.sort(rng.choice(n, of or rng.integers(1, n + 1), replace=False))

    images = int(rng.integers(5, 121))
    ids = np.array([f"{image:03}.JPEG" for image in range(images)])
    logits = rng.normal(scale=3, size=(images, CLASSES)).astype(np.float32)
    near = part(images)[: rng.integers(0, 4)]
    first, second = np.argsort(-logits[near])[:, :2].T
    logits[near, second] = logits[near, first] - np.float32(10 ** rng.uniform(-6, -2.5))
    close = part(images)[: rng.integers(0, 4)]
    fifth, sixth = np.argsort(-logits[close])[:, 4:6].T
    logits[close, sixth] = logits[close, fifth] - np.float32(10 ** rng.uniform(-6, -2.5))
    targets = np.where(rng.random(images) < 0.7, logits.argmax(axis=1), rng.integers(CLASSES, size=images))
    pixels = rng.integers(256, size=(images, GRID * GRID * 3 + HASH_BYTES)).astype(np.uint8)
    new_ids, new_logits, new_targets, new_pixels = ids, logits.copy(), targets.copy(), pixels.copy()

    if some(0.5):
        new_logits += rng.normal(scale=10 ** rng.uniform(-6, -1), size=logits.shape).astype(np.float32)
    if some(0.4):
        turned = near if some(0.6) else part(images, int(rng.integers(1, 5)))
        first, second = np.argsort(-new_logits[turned])[:, :2].T
        new_logits[turned, first], new_logits[turned, second] = new_logits[turned, second], new_logits[turned, first]
    if some(0.3):
        turned = close if some(0.6) else part(images, int(rng.integers(1, 5)))
        fifth, sixth = np.argsort(-new_logits[turned])[:, 4:6].T
        new_logits[turned, fifth], new_logits[turned, sixth] = new_logits[turned, sixth], new_logits[turned, fifth]
    if some(0.1):
        relabelled = part(images)
        new_targets[relabelled] = rng.integers(CLASSES, size=len(relabelled))
    if some(0.2):
        redecoded = part(images)
        new_pixels[redecoded] = rng.integers(256, size=(len(redecoded), pixels.shape[1]))
    if some(0.1):
        renamed = np.arange(images) if some(0.4) else part(images)
        new_ids = np.where(np.isin(np.arange(images), renamed), np.char.add("x", ids), ids)

    changes: dict[str, Any] = {}
    if some(0.05):
        changes["weights_sha256"] = "other"
    if some(0.05):
        changes["parameters"] = 12
    if some(0.1):
        changes["preparation"] = {"decoder": "pillow", "mean": [0.5], "std": [0.25]}
    if some(0.1):
        changes["first_input"] = {"id": str(ids[0]), "sha256": "other", "low": -2.0, "high": 2.0}
    if some(0.1):
        changes["switches"] = {"onednn": False}
    if some(0.3):
        changes["bounds"] = (Bounds("own", float(rng.uniform(0, 1)), low=0.2),)

    whole = np.arange(images)
    common = part(images)
    old_rows, new_rows = [
        (whole, whole),
        (whole, whole),
        (whole, whole),
        (whole, common),
        (common, whole),
        (common, common),
        (part(images), common),
    ][rng.integers(7)]
    old = _evaluation(ids, logits, targets, pixels, old_rows)
    new = _evaluation(new_ids, new_logits, new_targets, new_pixels, new_rows, **changes)
    if some(0.2):
        counts = new.result.counts
        top1, top5 = (int(images * correct / counts.images) for correct in (counts.top1, counts.top5))
        top1 = int(np.clip(top1 + rng.integers(-3, 4), 0, top5))
        values = expected(images, top1, top5, tolerance=str(rng.choice(["0.05", "2.00"])))
        new = replace(new, result=msgspec.structs.replace(new.result, expected=values))
    if some(0.1):
        lacking: dict[str, Any] = {"hashes": None, "samples": None} | (
            {"logits": None, "logsumexp": None} if some(0.5) else {}
        )
        result = msgspec.structs.replace(old.result, inputs_digest="", switches={}, first_input={})
        old = replace(old, predictions=replace(old.predictions, **lacking), result=result)
    for chance, side in ((0.03, "old"), (0.05, "new")):
        if some(chance):
            miscounted = {"old": old, "new": new}[side]
            counts = miscounted.result.counts
            counts = Counts(counts.images, counts.top1 // 2, counts.top5)
            miscounted = replace(miscounted, result=msgspec.structs.replace(miscounted.result, counts=counts))
            old, new = (miscounted, new) if side == "old" else (old, miscounted)
    if some(0.3):
        new = replace(new, environment=msgspec.structs.replace(ENVIRONMENT, torch="2.10.0", pillow="13.1.0"))
    return old, new, Policy(strict_drift=some(0.3), allow_drift=some(0.3))


def _evaluation(
    ids: NDArray[np.str_],
    logits: NDArray[np.float32],
    targets: NDArray[np.int64],
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    **changes: Any,
) -> Evaluation:
    """Return an evaluation of some of the images of a dataset."""
    order = np.argsort(ids)
    ids, logits, targets, pixels = ids[order], logits[order], targets[order], pixels[order]
    names = tuple(ids.tolist())
    sources: tuple[Any, ...] = names
    dataset = ImageDataset(
        "drawn", "drawn", Path("drawn"), names, sources, targets.astype(np.int16), tuple("abcdefghijklmnopqrst"), ""
    )
    if len(rows) < len(ids):
        dataset = dataset._part(rows.tolist())
    top = np.argsort(-logits, axis=1, kind="stable")[:, :KEPT].astype(np.int16)
    predictions = Predictions(
        ids=ids,
        top=top,
        logits=np.take_along_axis(logits, top.astype(np.int64), axis=1),
        logsumexp=np.log(np.exp(logits).sum(axis=1)),
        hashes=pixels[:, :HASH_BYTES],
        samples=pixels[:, HASH_BYTES:].reshape(-1, GRID, GRID, 3),
    ).at(rows)
    known: dict[str, Any] = {
        "dataset": "drawn",
        "expected": None,
        "parameters": 11,
        "inputs_digest": predictions.inputs_digest,
        "preparation": {"decoder": "pillow", "mean": [0.5], "std": [0.5]},
        "switches": {"onednn": True},
        "first_input": {"id": dataset.ids[0], "sha256": "5ha256", "low": -1.0, "high": 1.0},
    }
    result = case_result(counts=count(predictions, dataset.targets), **known | changes)
    return Evaluation(dataset, predictions, result, ENVIRONMENT)
