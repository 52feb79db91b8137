"""One rule set: the gate, ``compare`` and a record that is read again give one verdict on the same two runs."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

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
from harness.records.evidence import Bounds, Counts, Pairing, Policy
from harness.records.results import CaseResult, DatasetFacts, Record
from harness.records.run_folder import NewRun, Run, read_run, write_predictions
from harness.verdict import FAILED, NOT_JUDGED, PASSED, WARNING, Verdict
from tests.records import ENVIRONMENT, case_result, expected

PAIRS = 400
CLASSES = 20
NO_VERDICT = "no verdict"
"""Both refuse to compare: the runs have no image in common, or the earlier one is damaged."""
KNOWN: dict[str, Any] = {
    "dataset": "drawn",
    "expected": None,
    "parameters": 11,
    "preparation": {"decoder": "pillow", "mean": [0.5], "std": [0.5]},
    "switches": {"onednn": True},
}
CHANGES: list[tuple[float, dict[str, Any]]] = [
    (0.05, {"weights_sha256": "other"}),
    (0.05, {"parameters": 12}),
    (0.1, {"preparation": {"decoder": "pillow", "mean": [0.5], "std": [0.25]}}),
    (0.1, {"first_input": {"id": "000.JPEG", "sha256": "other", "low": -2.0, "high": 2.0}}),
    (0.1, {"switches": {"onednn": False}}),
    (0.15, {"bounds": (Bounds("own", 0.5, low=0.2),)}),
    (0.1, {"bounds": (Bounds("own", 0.1, low=0.2),)}),
]
"""Of what is known of a case, each with how often it differs in the later run."""


class Evaluation(NamedTuple):
    """What the gate holds in memory when it has evaluated a case."""

    dataset: ImageDataset
    side: Side

    def with_result(self, **changes: Any) -> Evaluation:
        """Return it with changes to its result."""
        return self._replace(side=self.side._replace(result=msgspec.structs.replace(self.side.result, **changes)))


@pytest.mark.slow
def test_the_gate_and_compare_give_the_same_verdict(tmp_path: Path) -> None:
    """For pairs of runs that differ in any combination of what the harness looks at; the seed names the pair."""
    unequal, outcomes, seen = [], Counter[str](), Counter[str]()
    for seed in range(PAIRS):
        old, new, policy = _pair(np.random.default_rng(seed))
        earlier, later = tmp_path / "old", tmp_path / "new"
        before = _write(earlier, old, old.side.result)

        judged = _in_the_gate(earlier, new, policy)

        after = _write(later, new, new.side.result if judged is None else judged)
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
    try:
        evidence = open_reference(new.dataset, earlier, policy).compare(new.side)
    except RecordError:
        return None
    return msgspec.structs.replace(new.side.result, baseline=evidence)


def _compared(before: Run, after: Run, policy: Policy) -> Verdict | None:
    """Return the verdict by ``compare`` of two run folders; None if it does not compare."""
    try:
        [pair] = compare(before, after, policy=policy).accuracy
    except RecordError:
        return None
    return pair.new.verdict


def _write(folder: Path, evaluation: Evaluation, result: CaseResult) -> Run:
    """Write a run folder, and return the run as it is read."""
    run, (dataset, side) = NewRun(folder), evaluation
    write_predictions(run.staging, result.id, side.predictions, dataset.targets)
    facts = DatasetFacts(dataset.name, dataset.digest, len(dataset), dataset.total, CLASSES)
    created = "2026-11-24T20:00:00+00:00"
    run.finish(Record(created=created, environment=side.environment, dataset=facts, cases=(result,)))
    return read_run(folder)


def _pair(rng: np.random.Generator) -> tuple[Evaluation, Evaluation, Policy]:
    """Draw an evaluation, one that differs from it in some ways, and a policy."""

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
    pixels = rng.integers(256, size=(images, GRID * GRID * 3 + HASH_BYTES)).astype(np.uint8)
    ids = np.array([f"{image:03}.JPEG" for image in range(images)])
    new_ids, new_logits, new_targets, new_pixels = ids.copy(), logits.copy(), targets.copy(), pixels.copy()

    if some(0.5):
        new_logits += rng.normal(scale=10 ** rng.uniform(-6, -1), size=logits.shape).astype(np.float32)
    for first, chance in ((0, 0.4), (4, 0.3)):
        if some(chance):
            rows = near[first] if some(0.6) else part(int(rng.integers(1, 5)))
            one, other = np.argsort(-new_logits[rows])[:, first : first + 2].T
            new_logits[rows, one], new_logits[rows, other] = new_logits[rows, other], new_logits[rows, one]
    if some(0.1):
        rows = part()
        new_targets[rows] = rng.integers(CLASSES, size=len(rows))
    if some(0.2):
        rows = part()
        new_pixels[rows] = rng.integers(256, size=(len(rows), pixels.shape[1]))
    if some(0.1):
        new_ids = np.where(np.isin(np.arange(images), part(images if some(0.4) else None)), np.char.add("x", ids), ids)

    whole, common = np.arange(images), part()
    choices = [*[(whole, whole)] * 3, (whole, common), (common, whole), (common, common), (part(), common)]
    old_rows, new_rows = choices[rng.integers(len(choices))]
    old = _evaluation(ids, logits, targets, pixels, old_rows)
    new = _evaluation(new_ids, new_logits, new_targets, new_pixels, new_rows)
    for chance, change in CHANGES:
        if some(chance):
            new = new.with_result(**change)
    if some(0.2):
        counts = new.side.result.counts
        top1, top5 = (int(images * correct / counts.images) for correct in (counts.top1, counts.top5))
        top1 = int(np.clip(top1 + rng.integers(-3, 4), 0, top5))
        new = new.with_result(expected=expected(images, top1, top5, tolerance=str(rng.choice(["0.05", "2.00"]))))
    if some(0.1):
        lacking = ["hashes", "samples", *(["logits", "logsumexp"] if some(0.5) else [])]
        less = replace(old.side.predictions, **dict.fromkeys(lacking))
        old = old._replace(side=old.side._replace(predictions=less))
        old = old.with_result(inputs_digest="", switches={}, first_input={})
    if some(0.03):
        old = old.with_result(counts=_miscounted(old))
    if some(0.05):
        new = new.with_result(counts=_miscounted(new))
    if some(0.3):
        environment = msgspec.structs.replace(ENVIRONMENT, torch="2.10.0", pillow="13.1.0")
        new = new._replace(side=new.side._replace(environment=environment))
    return old, new, Policy(strict_drift=some(0.3), allow_drift=some(0.3))


def _miscounted(evaluation: Evaluation) -> Counts:
    counts = evaluation.side.result.counts
    return Counts(counts.images, counts.top1 // 2, counts.top5)


def _evaluation(
    ids: NDArray[np.str_],
    logits: NDArray[np.float32],
    targets: NDArray[np.int64],
    pixels: NDArray[np.uint8],
    rows: NDArray[np.int64],
) -> Evaluation:
    """Return an evaluation of some of the images of a dataset."""
    order = np.argsort(ids)
    ids, logits, targets, pixels = ids[order], logits[order], targets[order].astype(np.int16), pixels[order]
    names: tuple[Any, ...] = tuple(ids.tolist())
    classes = tuple("abcdefghijklmnopqrst")
    dataset = ImageDataset("drawn", "drawn", Path("drawn"), names, names, targets, classes, "")
    if len(rows) < len(ids):
        some = tuple(names[row] for row in rows)
        dataset = replace(dataset, ids=some, sources=some, targets=targets[rows], whole=dataset)
    top = np.argsort(-logits, axis=1, kind="stable")[:, :KEPT].astype(np.int16)
    predictions = Predictions(
        ids=ids,
        top=top,
        logits=np.take_along_axis(logits, top.astype(np.int64), axis=1),
        logsumexp=np.log(np.exp(logits).sum(axis=1)),
        hashes=pixels[:, :HASH_BYTES],
        samples=pixels[:, HASH_BYTES:].reshape(-1, GRID, GRID, 3),
    ).at(rows)
    first = {"id": dataset.ids[0], "sha256": "5ha256", "low": -1.0, "high": 1.0}
    known = {**KNOWN, "inputs_digest": predictions.inputs_digest, "first_input": first}
    result = case_result(counts=count(predictions, dataset.targets), **known)
    return Evaluation(dataset, Side(result, predictions, dataset.targets, dataset.total, ENVIRONMENT))
