"""Tests of the comparison with an earlier run: harness.baseline.pairing and its judgement by harness.verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.baseline.pairing import NOISE_FLOORS, Side, changed_predictions, drifts, pair
from harness.predictions import Predictions, count
from harness.records.environment import Environment
from harness.records.evidence import ChangedPrediction, Counts, Diagnosis, Drift, NoiseFloor, Pairing, Policy
from harness.records.results import CaseResult
from harness.stats import mcnemar
from harness.verdict import Check, judge
from tests import records
from tests.records import case_result, swapped

FLOOR = NoiseFloor(median=0.001, largest=0.01, images=2_000)
"""The noise floor of these tests, which is easy to calculate with."""
POLICY = Policy(noise_floors={"fp32": FLOOR})
N = 40


def from_logits(logits: NDArray[np.float64]) -> Predictions:
    """Return what is kept of (N, classes) logits."""
    top = np.argsort(-logits, axis=1, kind="stable")[:, :6]
    ids = np.array([f"{number:05}.JPEG" for number in range(len(logits))])
    return Predictions(ids, top.astype(np.int16), np.take_along_axis(logits, top, axis=1).astype(np.float32))


def flat(images: int = N) -> Predictions:
    """Return predictions of classes 0 to 5 for each image, logit scale 4, and pixels."""
    logits = np.tile(np.array([9.0, 8, 7, 6, 5, 4]), (images, 1))
    pixels = np.ones((images, 16), np.uint8), np.ones((images, 4, 4, 3), np.uint8)
    return replace(from_logits(logits), hashes=pixels[0], samples=pixels[1])


def side(predictions: Predictions, **changes: Any) -> Side:
    """Return a side; every target is class 0, and the counts are those of the predictions, but for the changes."""
    targets = changes.pop("targets", np.zeros(len(predictions), np.int16))
    total, environment = changes.pop("total", len(predictions)), changes.pop("environment", {"torch": "2.9.1"})
    values: dict[str, Any] = {"counts": count(predictions, targets), "parameters": 100, **changes}
    return Side(case_result(**values), predictions, targets, total, Environment(**environment))


OLD = side(flat())
NEWER: dict[str, Any] = {"environment": {"torch": "2.14.1"}}


def moved(predictions: Predictions, by: float, images: slice | int = slice(None)) -> Predictions:
    """Return the predictions with the logits of some images raised by so many logit scales."""
    assert predictions.logits is not None
    logits = predictions.logits.copy()
    logits[images] += np.float32(4 * by)
    return replace(predictions, logits=logits)


def paired(old: Side, new: Side) -> Pairing:
    """Return the evidence of two sides that can be compared."""
    found = pair(old, new, POLICY)
    assert isinstance(found, Pairing)
    return found


def check_of(old: Side, new: Side) -> Check:
    """Return the judgement, of the evidence as it is read back from a file."""
    result = msgspec.structs.replace(new.result, baseline=paired(old, new))
    read = msgspec.convert(msgspec.to_builtins(result), CaseResult)
    assert read == result
    (check,) = judge(read.counts, None, "", read.baseline).checks
    return check


LOGITS = np.random.default_rng(0).normal(size=(500, 12)).astype(np.float32).astype(np.float64)
LOGITS[::2] *= 0.05  # so that the first two of 12 classes are close
NAMES = tuple("abcdefghijkl")
TARGETS = np.random.default_rng(1).integers(0, 12, 500).astype(np.int16)
SCALE = float(np.median([sorted(row)[-1] - sorted(row)[-5] for row in LOGITS.tolist()]))


@pytest.mark.parametrize(("metric", "rank"), [("top1", 1), ("top5", 5)])
def test_images_are_paired_one_by_one(metric: Literal["top1", "top5"], rank: int) -> None:
    """Changed, lost, gained and margins are those of a loop over the images."""
    noise = np.where(np.arange(500) % 4 == 2, 0.05, 0.001)[:, None]
    noisy = LOGITS + np.random.default_rng(2).normal(scale=noise, size=LOGITS.shape)
    old, new = from_logits(LOGITS), from_logits(noisy)
    before, after = (side(one, targets=TARGETS)._replace(classes=NAMES) for one in (old, new))

    found = paired(before, after)
    every = changed_predictions(old, new, TARGETS, TARGETS, FLOOR, metric, NAMES)

    expected, close = [], 0
    for image, (here, there) in enumerate(zip(LOGITS.tolist(), noisy.tolist(), strict=True)):
        was, now = ([row.index(x) for x in sorted(row, reverse=True)[:rank]] for row in (here, there))
        gone, come = ([index for index in one if index not in other] for one, other in ((was, now), (now, was)))
        margin = (here[was[-1]] - sorted(here)[-rank - 1]) / SCALE
        close += margin <= 2 * FLOOR.largest
        if gone:
            target = int(TARGETS[image])
            left, entered = (target if target in one else one[0] for one in (gone, come))
            near = _drift(here, there) / SCALE <= FLOOR.largest
            margins: Any = pytest.approx(margin, rel=1e-4, abs=1e-6)
            values = left, entered, target in was, target in now, margins, near, metric, NAMES[left], NAMES[entered]
            expected.append(ChangedPrediction(f"{image:05}.JPEG", *values))
    near_ties = sum(change.near_tie for change in expected)
    lost, gained = (sum(turn == (c.was_correct, c.is_correct) for c in expected) for turn in ((1, 0), (0, 1)))
    assert expected == list(every)
    assert 0 < near_ties < len(expected)
    if metric == "top5":
        assert (found.top5_changed, found.top5_near_ties) == (len(expected), near_ties)
        assert (found.top5_lost, found.top5_gained, found.top5_p) == (lost, gained, mcnemar(lost, gained))
    else:
        beyond = sorted((c for c in every if not c.near_tie), key=lambda change: -(change.margin or 0))
        assert (found.changed, found.near_ties, found.images, found.close) == (len(expected), near_ties, 500, close)
        assert (found.lost, found.gained, found.p) == (lost, gained, mcnemar(lost, gained))
        assert (found.examples, found.largest_margin) == (tuple(beyond[:3]), beyond[0].margin)


def _drift(before: list[float], after: list[float]) -> float:
    """Return how far any logit moved for certain, if no more than the six highest of each run are known."""
    largest = 0.0
    for here, there in ((before, after), (after, before)):
        for index in sorted(range(len(here)), key=here.__getitem__)[-6:]:
            known = there[index] >= sorted(there)[-6]
            least = abs(here[index] - there[index]) if known else max(here[index] - sorted(there)[-6], 0)
            largest = max(largest, least)
    return largest


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 0.5, 5.0])
def test_drift_is_what_six_logits_prove(scale: float) -> None:
    """It is at most the largest change of all logits, and at least half of the margin of whatever changed."""
    noise = np.random.default_rng(2).normal(scale=scale, size=LOGITS.shape)
    old, new = from_logits(LOGITS), from_logits(LOGITS + noise)

    found = drifts(old, new)
    changed = [changed_predictions(old, new, TARGETS, TARGETS, FLOOR, metric) for metric in ("top1", "top5")]

    assert found is not None
    least = [_drift(*rows) / SCALE for rows in zip(LOGITS.tolist(), (LOGITS + noise).tolist(), strict=True)]
    np.testing.assert_allclose(found, least, rtol=1e-4, atol=1e-6)
    assert (found <= np.abs(noise).max(axis=1) / SCALE * (1 + 1e-3) + 1e-6).all()
    bound = dict(zip(old.ids.tolist(), (2 * found).tolist(), strict=True))
    for changes in changed:
        assert scale < 1e-2 or len(changes) > 20
        assert [change for change in changes if change.margin is None or change.margin > bound[change.id]] == []


def test_drift_is_given_by_median_99th_percentile_and_largest() -> None:
    """Of 201 images 150 move by a quarter of the scale, three of them by more."""
    new = moved(moved(moved(flat(201), 0.25, slice(150)), 1.0, slice(3)), 2.0, 0)

    assert paired(side(flat(201)), side(new)).drift == Drift(0.25, 1.25, 3.25, beyond=150)


def test_without_logits_in_the_baseline_the_margins_are_the_new_runs() -> None:
    """A baseline of classes alone gives no drift; without any logits no margin is made up, nothing is a near-tie."""
    new = from_logits(np.array([[5.001, 5, 3, 2, 1, 0], [6.0, 5, 3, 2, 1, 0]]))
    old = replace(swapped(new, slice(None)), logits=None)

    found, without = (paired(side(old), side(one)) for one in (new, replace(new, logits=None)))

    assert (found.drift, found.changed, found.near_ties) == (None, 2, 1)
    [change] = found.examples
    assert change == ChangedPrediction("00001.JPEG", 1, 0, False, True, found.largest_margin, near_tie=False)
    assert (without.changed, without.near_ties, without.largest_margin) == (2, 0, None)


UNKNOWN: dict[str, Any] = {"drift": None, "inputs_known": False}
FEW = NoiseFloor(4e-5, 1e-4, changed=2e-4, images=2_000)
OLDER = NoiseFloor(1e-5, 1e-4)


def _stage(stage: str, *, explained: bool = False) -> dict[str, Diagnosis]:
    return {"diagnosis": Diagnosis(stage, "", explained)}


# Outcomes by default, with --strict-drift and with --allow-drift.
PASSES = "passed, passed, passed"
EXPLAINED = "warning, failed, warning"
UNEXPLAINED = "failed, failed, warning"
FAILS = "failed, failed, failed"
BLIND = (
    "changes of logits below 1.0e-04 cannot be told from noise here; "
    "11 of 1,000 predictions have a margin below 2.0e-04 and could change unnoticed"
)


@pytest.mark.parametrize(
    ("evidence", "expected", "reason"),
    [
        ({}, PASSES, ""),
        ({"drift": Drift(3.9e-5, 0.0, 9.9e-5)}, PASSES, ""),
        ({"drift": Drift(4.1e-5, 0.0, 0.0)}, EXPLAINED, ""),
        ({"drift": Drift(4.1e-5, 0.0, 0.0), **_stage("arithmetic")}, UNEXPLAINED, "no named difference"),
        ({"drift": Drift(0.0, 0.0, 2.9e-4, beyond=5), "images": 500}, PASSES, "5 images beyond it"),
        ({"drift": Drift(0.0, 0.0, 2.9e-4, beyond=6), "images": 500}, EXPLAINED, "6 images beyond it"),
        ({"drift": Drift(0.0, 0.0, 2.9e-4, beyond=234), "images": 50_000}, PASSES, ""),
        ({"drift": Drift(0.0, 0.0, 2.9e-4, beyond=235), "images": 50_000}, EXPLAINED, ""),
        ({"drift": Drift(0.0, 0.0, 3.1e-4, beyond=1), "images": 50_000}, EXPLAINED, "1 image beyond it"),
        ({"drift": Drift(0.0, 0.0, 0.9e-4), "noise_floor": OLDER}, PASSES, ""),
        ({"drift": Drift(0.0, 0.0, 1.1e-4), "noise_floor": OLDER}, EXPLAINED, ""),
        ({"changed": 1, "near_ties": 1}, PASSES, ""),
        ({"changed": 1}, FAILS, ""),
        ({"top5_changed": 1, "top5_near_ties": 1}, PASSES, ""),
        ({"top5_changed": 1, "top5_near_ties": 0}, FAILS, ""),
        ({"top5_changed": 1}, PASSES, ""),
        ({"changed": 3, "near_ties": 3, "images": 500, "noise_floor": FEW}, PASSES, ""),
        ({"changed": 4, "near_ties": 4, "images": 500, "noise_floor": FEW}, FAILS, "arithmetic explains, which is"),
        (
            UNKNOWN | {"changed": 15, "lost": 15},
            EXPLAINED,
            "no logits in the baseline: near-ties are margins of this run of up to 2.0e-04",
        ),
        (UNKNOWN | {"changed": 16, "lost": 16}, FAILS, ""),
        (UNKNOWN | {"top5_changed": 15, "top5_gained": 15, "top5_near_ties": 0}, EXPLAINED, ""),
        (UNKNOWN | {"top5_changed": 16, "top5_gained": 16, "top5_near_ties": 0}, FAILS, ""),
        (UNKNOWN | {"changed": 125}, EXPLAINED, ""),
        (UNKNOWN | {"changed": 210}, FAILS, "different inputs explain, which is at most 10%"),
        (_stage("weights"), FAILS, ""),
        (_stage("labels"), FAILS, ""),
        (_stage("counting"), FAILS, ""),
        (_stage("decoded inputs", explained=True), EXPLAINED, ""),
        (_stage("normalization"), UNEXPLAINED, ""),
        ({"close": 11}, PASSES, BLIND),
    ],
)
def test_evidence_is_judged(evidence: dict[str, Any], expected: str, reason: str) -> None:
    """Of 1,000 images; what an older record does not say fails nothing.

    What arithmetic may do is judged by chance: the floor's largest drift is that of 2,000 images, and 15 losses without
    a gain have p = 6e-5 by McNemar's test, 16 have 3e-5, where both metrics share the level of 1e-4.
    """
    found = records.pairing(**evidence)

    checks = [
        judge(Counts(found.images, 250, 300), None, "", msgspec.structs.replace(found, policy=policy)).checks[0]
        for policy in (Policy(), Policy(strict_drift=True), Policy(allow_drift=True))
    ]

    assert expected == ", ".join(check.outcome for check in checks)
    assert reason in checks[0].detail


@pytest.mark.parametrize(("torch", "explained"), [("2.9.1", False), ("2.14.1", True)])
def test_other_pixels_of_some_images_do_not_explain_the_drift_of_others(torch: str, explained: bool) -> None:
    """Another Pillow changed one image, and something else the logits of all."""
    old = side(flat(), environment={"pillow": "12.0.0", "torch": "2.9.1"})
    new = moved(flat(), 0.1)
    assert new.hashes is not None
    new.hashes[5] = 0

    found = paired(old, side(new, environment={"pillow": "13.0.0", "torch": torch})).diagnosis

    assert found.explained == explained
    assert found.cause.startswith("pillow 12.0.0 -> 13.0.0; logits moved where pixels are the same too: ")


def test_other_versions_that_change_nothing_pass_and_are_named() -> None:
    """Here of torch."""
    check = check_of(OLD, side(flat(), **NEWER))

    assert check.outcome == "passed"
    assert check.detail.splitlines() == [
        "unchanged, despite torch 2.9.1 -> 2.14.1",
        "    0 of 40 predictions changed",
        "    logits moved by 0.0e+00 (median), 0.0e+00 (99%), 0.0e+00 (largest) of the logit scale; noise floor "
        "1.0e-03 (median), 1.0e-02 (largest)",
    ]


def test_a_failure_has_the_diagnosis_first_and_then_the_numbers() -> None:
    """One sentence, its likely cause, the effect, the changes with the largest margins, accuracy, and figures."""
    new = moved(swapped(flat(), [7, 9]), 0.5)
    new.top[:30, 4] = 11
    targets = np.where(np.arange(N) < 30, 4, 0).astype(np.int16)

    check = check_of(side(flat(), targets=targets), side(new, targets=targets))

    first, cause, *effect, drift, same = check.detail.splitlines()
    assert check.outcome == "failed"
    assert first == "the arithmetic differs: logits moved by up to 7.5e-01 of the logit scale"
    assert cause.startswith("    likely cause: different code of the model or of this harness")
    assert effect == [
        "    effect: 2 of 40 predictions changed, 2 beyond noise; 30 top-5 sets beyond noise",
        "    example: 00007.JPEG: class 0 -> class 1, margin 2.5e-01",
        "    example: 00009.JPEG: class 0 -> class 1, margin 2.5e-01",
        "    example: 00000.JPEG: top-5: class 4 -> class 11, now wrong, margin 2.5e-01",
        "    top-1 25.000 -> 25.000, top-5 100.000 -> 25.000",
        "    top-1: p = 1 by McNemar's exact test, largest margin 2.5e-01",
        "    top-5: 30 of 40 sets changed, 30 beyond noise; 30 now wrong, 0 now correct; p = 1.9e-09",
    ]
    assert drift.startswith("    logits moved by 7.5e-01 (median)")
    assert same.startswith("    weights, labels, set of images, decoded inputs, versions, hardware")


def test_another_model_under_the_same_name_cannot_be_paired() -> None:
    """Where the number of parameters is known; the message says what to do, unless the baseline is updated."""
    reason = "cannot be paired: a different model under the same name: 101 parameters, before 100"
    failed = Check("baseline", "failed", f"{reason}. Record another: --baseline DIR --baseline-update")
    replaced = Check("baseline", "warning", f"will be replaced despite differences: {reason}")

    for policy, check in ((Policy(), failed), (Policy(updating=True), replaced)):
        evidence = pair(OLD, side(flat(), parameters=101), policy)
        assert (check,) == judge(Counts(N, 1, 2), None, "", evidence).checks
    assert isinstance(pair(side(flat(), parameters=0), OLD), Pairing)


@pytest.mark.parametrize("floor", NOISE_FLOORS.values(), ids=NOISE_FLOORS)
def test_a_noise_floor_is_consistent(floor: NoiseFloor) -> None:
    """The median moves less than the largest; and it says on how many images it is based."""
    assert 0 < floor.median < floor.largest
    assert 500 <= floor.images
