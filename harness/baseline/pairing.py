"""Compares two runs of one case image by image: how far the logits moved, and which predictions changed.

If no logit of an image moved by more than d, its top-1 prediction can change only where the first two classes were
within 2 d of each other, and its five highest classes only where the fifth and the sixth were. ``drifts`` is such that
this holds for the drift of each image. So a change is a near-tie, which arithmetic alone may explain, if its own image
drifted no further than arithmetic moves any image, and is beyond noise otherwise. Where drift is not known, a margin of
at most twice the noise floor decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.baseline.diagnosis import arithmetic, changes_between, class_name, first_difference, images_missing
from harness.errors import RecordError
from harness.precision import DEFAULT
from harness.predictions import Predictions, count
from harness.records.environment import Environment
from harness.records.evidence import (
    INPUTS,
    ChangedPrediction,
    Diagnosis,
    Drift,
    NoiseFloor,
    Pairing,
    Policy,
    Unpaired,
)
from harness.records.results import CaseResult
from harness.records.run_folder import Run
from harness.verdict import is_beyond

NOISE_FLOORS = {
    "fp32": NoiseFloor(median=4e-5, largest=1e-4, changed=2e-4, images=2_200),
    "tf32": NoiseFloor(median=0.02, largest=0.05, changed=0.02, images=2_100),
    "bf16": NoiseFloor(median=0.15, largest=0.4, changed=0.1, images=2_200),
    "fp16": NoiseFloor(median=0.02, largest=0.05, changed=0.02, images=2_100),
}
"""The noise floor of each precision, as measured (docs/measurements/tolerance.md)."""
_EXAMPLES = 3


def noise_floor_of(*precisions: str, measured: Mapping[str, NoiseFloor] = NOISE_FLOORS) -> NoiseFloor:
    """Return the noise floor of a comparison between these precisions: the highest of theirs."""
    return max(({**NOISE_FLOORS, **measured}[name] for name in precisions), key=attrgetter("largest"))


class Side(NamedTuple):
    """What one run knows about a case."""

    result: CaseResult  # what it does not know is empty
    predictions: Predictions  # for N images
    targets: NDArray[np.int16]  # (N,) class indices of the labels
    total: int  # number of images of the whole dataset
    environment: Environment
    classes: Sequence[str] = ()  # names of all classes, by class index; empty where they are not known


def side_of(run: Run, case: CaseResult) -> Side:
    """Return what a run folder holds about one of its cases, or raise a RecordError if its files are damaged."""
    assert run.record.dataset is not None  # a record with cases has one
    facts = run.record.dataset
    return Side(case, run.predictions(case), run.labels[1], facts.total, run.record.environment, facts.class_names)


def require_counts(side: Side) -> None:
    """Raise a RecordError for an earlier run whose counts are not those of its predictions."""
    recounted, recorded = count(side.predictions, side.targets), side.result.counts
    if recounted != recorded:
        raise RecordError(
            f"the earlier run's predictions of {side.result.id} give {recounted.top1:,} (top-1) and {recounted.top5:,} "
            f"(top-5) correct of {recounted.images:,}, its record {recorded.top1:,} and {recorded.top5:,} of "
            f"{recorded.images:,}; one of them was modified"
        )


def pair(old: Side, new: Side, policy: Policy = Policy()) -> Pairing | Unpaired:  # noqa: B008
    """Compare a case with itself in an earlier run, which may hold more images, and whose counts must be right."""
    require_counts(old)
    before, after = old.result, new.result
    if before.parameters and before.parameters != after.parameters:
        reason = f"a different model under the same name: {after.parameters:,} parameters, before {before.parameters:,}"
        return Unpaired("different", reason, policy=policy)
    if (missing := images_missing(old, new)) is not None:
        return Unpaired("different", missing, policy=policy)
    old = on_images_of(old, new)
    noise_floor = noise_floor_of(before.precision, after.precision, measured=policy.noise_floors)
    both, names = (old.predictions, new.predictions, old.targets, new.targets, noise_floor), new.classes or old.classes
    top1, top5 = changed_predictions(*both, names=names), changed_predictions(*both, "top5", names)
    beyond, top5_beyond = (
        sorted((change for change in changed if not change.near_tie), key=lambda change: -(change.margin or 0.0))
        for changed in (top1, top5)
    )
    lost, gained = _turned(old, new, 1)
    top5_lost, top5_gained = _turned(old, new, 5)
    moved, margins = drifts(old.predictions, new.predictions), _margins_of_either(old.predictions, new.predictions, 1)
    return Pairing(
        against=before.id,
        images=len(new.predictions),
        changed=len(top1),
        near_ties=len(top1) - len(beyond),
        top5_changed=len(top5),
        lost=lost,
        gained=gained,
        largest_margin=max((change.margin for change in top1 if change.margin is not None), default=None),
        drift=None if moved is None else drift_of(moved, noise_floor),
        noise_floor=noise_floor,
        diagnosis=_diagnosis(old, new, moved, noise_floor),
        inputs_known=old.predictions.hashes is not None,
        environment=tuple(changes_between(old.environment.facts, new.environment.facts)),
        examples=(*beyond, *top5_beyond)[:_EXAMPLES],
        policy=policy,
        top5_near_ties=len(top5) - len(top5_beyond),
        top5_lost=top5_lost,
        top5_gained=top5_gained,
        close=0 if margins is None else int((margins <= noise_floor.margin).sum()),
    )


def earlier_case(cases: Iterable[CaseResult], identity: str, model: str) -> CaseResult | None:
    """Return what a case is paired with: that of its id, or else its model's in fp32, the default setting first.

    One in a lower precision would lend its noise floor, which hides what is wrong in a higher one.
    """
    known = [case for case in cases if f"{case.model}-{case.weights}" == model]
    found = [case for case in known if case.id == identity or case.precision == DEFAULT.precision]
    return min(found, key=lambda case: (case.id != identity, case.setting_order), default=None)


def on_images_of(old: Side, new: Side) -> Side:
    """Return what the old run holds about the images of the new run, which are among its own."""
    indices = old.predictions.indices_of(new.predictions.ids)
    return old._replace(predictions=old.predictions.at(indices), targets=old.targets[indices])


def _turned(old: Side, new: Side, rank: int) -> tuple[int, int]:
    """Return how many images lost their target from the ``rank`` highest classes, and how many gained it."""
    was, is_now = ((side.predictions.top[:, :rank] == side.targets[:, None]).any(axis=1) for side in (old, new))
    return int((was & ~is_now).sum()), int((is_now & ~was).sum())


def _diagnosis(old: Side, new: Side, moved: NDArray[np.float64] | None, noise_floor: NoiseFloor) -> Diagnosis:
    """Return the first difference; one in pixels does not explain the drift of images whose pixels are the same."""
    first = first_difference(old, new, None if moved is None else float(moved.max()))
    before, after = old.predictions.hashes, new.predictions.hashes
    if first.stage != INPUTS or moved is None or before is None or after is None:
        return first
    same = moved[(before == after).all(axis=1)]
    if not len(same) or not is_beyond(drift_of(same, noise_floor), len(same), noise_floor):
        return first
    rest = arithmetic(old, new)
    cause = f"{first.cause}; logits moved where pixels are the same too: {rest.cause}"
    return Diagnosis(INPUTS, first.finding, first.explained and rest.explained, cause, first.details)


def changed_predictions(
    old: Predictions,
    new: Predictions,
    old_targets: NDArray[np.int16],
    new_targets: NDArray[np.int16],
    noise_floor: NoiseFloor,
    metric: Literal["top1", "top5"] = "top1",
    names: Sequence[str] = (),
) -> tuple[ChangedPrediction, ...]:
    """Return the images whose predictions differ between two runs of N images, in the order of their ids.

    Targets are (N,) class indices of the labels. ``top5`` compares the sets of the five highest classes. The noise
    floor tells near-ties from changes beyond noise. ``names`` are those of all classes, where they are known.
    """
    rank = {"top1": 1, "top5": 5}[metric]
    here, there = old.top[:, :rank], new.top[:, :rank]
    match = here[:, :, None] == there[:, None, :]
    left, entered = ~match.any(axis=2), ~match.any(axis=1)
    moved, margins = drifts(old, new), _margins_of_either(old, new, rank)
    changed = []
    for index in np.flatnonzero(left.any(axis=1)).tolist():
        was, now = int(old_targets[index]), int(new_targets[index])
        gone, come = here[index, left[index]].tolist(), there[index, entered[index]].tolist()
        margin = None if margins is None else float(margins[index])
        near_tie = margin is not None and margin <= noise_floor.margin
        before, after = was if was in gone else gone[0], now if now in come else come[0]
        changed.append(
            ChangedPrediction(
                id=str(old.ids[index]),
                old=before,
                new=after,
                old_name=class_name(before, names) if names else "",
                new_name=class_name(after, names) if names else "",
                was_correct=was in here[index],
                is_correct=now in there[index],
                margin=margin,
                near_tie=near_tie if moved is None else bool(moved[index] <= noise_floor.largest),
                metric=metric,
            )
        )
    return tuple(changed)


def drifts(old: Predictions, new: Predictions) -> NDArray[np.float64] | None:
    """Return (N,) lower bounds of how far any logit of an image moved, in units of the old run's logit scale.

    The change of a class that is among the six highest in both runs is known. A class that has left them has fallen at
    least to the sixth of the new run, and one that has entered them was at most the sixth of the old run. So where the
    prediction or the top-5 set changed, its margin is at most twice the bound. None where one of the runs holds no
    logits.
    """
    if old.logits is None or new.logits is None:
        return None
    moved = np.zeros(len(old))
    for here, there in ((old, new), (new, old)):
        logits, others = np.asarray(here.logits, np.float64), np.asarray(there.logits, np.float64)
        match = here.top[:, :, None] == there.top[:, None, :]
        stayed = np.abs(logits - (match * others[:, None, :]).sum(axis=2))
        left = np.maximum(logits - others[:, -1:], 0.0)
        moved = np.maximum(moved, np.where(match.any(axis=2), stayed, left).max(axis=1))
    return moved / logit_scale(old)


def drift_of(moved: NDArray[np.float64], noise_floor: NoiseFloor) -> Drift:
    """Return the median, the 99th percentile and the maximum of (N,) drifts, and how many exceed the noise floor."""
    beyond = int((moved > noise_floor.largest).sum())
    return Drift(float(np.median(moved)), float(np.quantile(moved, 0.99)), float(moved.max()), beyond)


def logit_scale(predictions: Predictions) -> float:
    """Return by how much the highest logit exceeds the fifth in the median image: the unit of drift and margins."""
    assert predictions.logits is not None
    logits = predictions.logits
    return float(np.median(logits[:, 0].astype(np.float64) - logits[:, 4])) or 1.0


def margins_of(predictions: Predictions, rank: int = 1) -> NDArray[np.float64] | None:
    """Return (N,) leads of the logit of that rank over the next, in units of the logit scale; None if not known."""
    if predictions.logits is None or predictions.logits.shape[1] <= rank:
        return None
    logits = predictions.logits.astype(np.float64)
    return np.asarray((logits[:, rank - 1] - logits[:, rank]) / logit_scale(predictions))


def _margins_of_either(old: Predictions, new: Predictions, rank: int) -> NDArray[np.float64] | None:
    margins = margins_of(old, rank)
    return margins_of(new, rank) if margins is None else margins
