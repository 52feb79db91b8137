"""Compares two runs of one case image by image: how far the logits moved, and which predictions changed.

If no logit of an image moved by more than d, its top-1 prediction can change only where the first two classes were
within 2 d of each other. A bound on what arithmetic moves is thus a bound on the margin of the predictions that it can
change: a changed prediction with a larger margin is beyond noise, one with a smaller margin is a near-tie.
"""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.baseline.diagnosis import changes_between, first_difference, images_missing
from harness.errors import RecordError
from harness.predictions import Predictions, count
from harness.records.environment import Environment
from harness.records.evidence import ChangedPrediction, Drift, NoiseFloor, Pairing, Policy, Unpaired
from harness.records.results import CaseResult
from harness.records.run_folder import Run

NOISE_FLOORS = {
    "fp32": NoiseFloor(median=4e-5, largest=1e-4, margin=2e-4),
    "tf32": NoiseFloor(median=0.02, largest=0.05, margin=0.04),
    "bf16": NoiseFloor(median=0.15, largest=0.4, margin=0.3),
    "fp16": NoiseFloor(median=0.02, largest=0.05, margin=0.04),
}
"""The noise floor of each precision, as measured (docs/measurements/tolerance.md)."""
_EXAMPLES = 3


def noise_floor_of(*precisions: str) -> NoiseFloor:
    """Return the noise floor of a comparison between these precisions: the highest of theirs."""
    return max(map(NOISE_FLOORS.__getitem__, precisions), key=attrgetter("largest"))


class Side(NamedTuple):
    """What one run knows about a case."""

    result: CaseResult  # what it does not know is empty
    predictions: Predictions  # for N images
    targets: NDArray[np.int16]  # (N,) class indices of the labels
    total: int  # number of images of the whole dataset
    environment: Environment


def side_of(run: Run, case: CaseResult) -> Side:
    """Return what a run folder holds about one of its cases, or raise a RecordError if its files are damaged."""
    assert run.record.dataset is not None  # a record with cases has one
    return Side(case, run.predictions(case), run.labels[1], run.record.dataset.total, run.record.environment)


def require_counts(side: Side) -> None:
    """Raise a RecordError for an earlier run whose counts are not those of its predictions."""
    recounted, recorded = count(side.predictions, side.targets), side.result.counts
    if recounted != recorded:
        raise RecordError(
            f"the earlier run's predictions of {side.result.id} give {recounted.top1:,} (top-1) and {recounted.top5:,} "
            f"(top-5) correct of {recounted.images:,}, its record {recorded.top1:,} and {recorded.top5:,} of "
            f"{recorded.images:,}; one of them was changed"
        )


def pair(old: Side, new: Side, policy: Policy = Policy()) -> Pairing | Unpaired:  # noqa: B008
    """Compare a case with itself in an earlier run, which may hold more images, and whose counts must be right."""
    require_counts(old)
    before, after = old.result, new.result
    if before.parameters and before.parameters != after.parameters:
        reason = f"another model under the same name: {after.parameters:,} parameters, before {before.parameters:,}"
        return Unpaired("different", reason, policy=policy)
    if (missing := images_missing(old, new)) is not None:
        return Unpaired("different", missing, policy=policy)
    old = on_images_of(old, new)
    noise_floor = noise_floor_of(before.precision, after.precision)
    changed = changed_predictions(old.predictions, new.predictions, old.targets, new.targets, noise_floor)
    beyond = sorted((change for change in changed if not change.near_tie), key=lambda change: -(change.margin or 0.0))
    was_correct, is_correct = old.predictions.top1 == old.targets, new.predictions.top1 == new.targets
    same_top5 = np.sort(old.predictions.top5, axis=1) == np.sort(new.predictions.top5, axis=1)
    drift = None
    if (moved := drifts(old.predictions, new.predictions)) is not None:
        drift = Drift(float(np.median(moved)), float(np.quantile(moved, 0.99)), float(moved.max()))
    return Pairing(
        against=before.id,
        images=len(new.predictions),
        changed=len(changed),
        near_ties=len(changed) - len(beyond),
        top5_changed=int((~same_top5.all(axis=1)).sum()),
        lost=int((was_correct & ~is_correct).sum()),
        gained=int((is_correct & ~was_correct).sum()),
        largest_margin=max((change.margin for change in changed if change.margin is not None), default=None),
        drift=drift,
        noise_floor=noise_floor,
        diagnosis=first_difference(old, new),
        inputs_known=old.predictions.hashes is not None,
        environment=tuple(changes_between(old.environment.facts, new.environment.facts)),
        examples=tuple(beyond[:_EXAMPLES]),
        policy=policy,
    )


def on_images_of(old: Side, new: Side) -> Side:
    """Return what the old run holds about the images of the new run, which are among its own."""
    indices = old.predictions.indices_of(new.predictions.ids)
    return old._replace(predictions=old.predictions.at(indices), targets=old.targets[indices])


def changed_predictions(
    old: Predictions,
    new: Predictions,
    old_targets: NDArray[np.int16],
    new_targets: NDArray[np.int16],
    noise_floor: NoiseFloor,
) -> tuple[ChangedPrediction, ...]:
    """Return the images whose top-1 predictions differ between two runs of N images, in the order of their ids.

    Targets are (N,) class indices of the labels. The noise floor's margin tells near-ties from changes beyond noise.
    """
    margins = margins_of(old) if old.logits is not None else margins_of(new)
    changed = []
    for index in np.flatnonzero(old.top1 != new.top1).tolist():
        margin = None if margins is None else float(margins[index])
        before, after = int(old.top1[index]), int(new.top1[index])
        changed.append(
            ChangedPrediction(
                id=str(old.ids[index]),
                old=before,
                new=after,
                was_correct=before == int(old_targets[index]),
                is_correct=after == int(new_targets[index]),
                margin=margin,
                near_tie=margin is not None and margin <= noise_floor.margin,
            )
        )
    return tuple(changed)


def drifts(old: Predictions, new: Predictions) -> NDArray[np.float64] | None:
    """Return (N,) lower bounds of how far any logit of an image moved, in units of the old run's logit scale.

    The change of a class that is among the five highest in both runs is known. A class that has left them has fallen at
    least to the fifth of the new run, and one that has entered them was at most the fifth of the old run. None where
    one of the runs holds no logits.
    """
    if old.logits is None or new.logits is None:
        return None
    moved = np.zeros(len(old))
    for here, there in ((old, new), (new, old)):
        logits = np.asarray(here.logits, np.float64)[:, :5]
        others = np.asarray(there.logits, np.float64)[:, :5]
        match = here.top5[:, :, None] == there.top5[:, None, :]
        stayed = np.abs(logits - (match * others[:, None, :]).sum(axis=2))
        left = np.maximum(logits - others[:, 4:5], 0.0)
        moved = np.maximum(moved, np.where(match.any(axis=2), stayed, left).max(axis=1))
    return moved / logit_scale(old)


def logit_scale(predictions: Predictions) -> float:
    """Return by how much the highest logit exceeds the fifth in the median image: the unit of drift and margins."""
    assert predictions.logits is not None
    logits = predictions.logits
    return float(np.median(logits[:, 0].astype(np.float64) - logits[:, 4])) or 1.0


def margins_of(predictions: Predictions) -> NDArray[np.float64] | None:
    """Return (N,) leads of the highest logit over the second, in units of the logit scale; None without logits."""
    if predictions.logits is None:
        return None
    return (predictions.logits[:, 0].astype(np.float64) - predictions.logits[:, 1]) / logit_scale(predictions)
