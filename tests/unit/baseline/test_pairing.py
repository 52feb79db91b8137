"""Tests of the comparison with an earlier run: harness.baseline.pairing and its judgement by harness.verdict."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.baseline import pairing
from harness.baseline.pairing import NOISE_FLOORS, Side, changed_predictions, drifts, noise_floor_of, pair
from harness.errors import RecordError
from harness.predictions import Predictions, count
from harness.records.environment import Environment
from harness.records.evidence import ChangedPrediction, Counts, Drift, NoiseFloor, Pairing, Policy, Unpaired
from harness.records.results import CaseResult
from harness.stats import mcnemar
from harness.verdict import Check, judge
from tests import records
from tests.records import case_result, swapped

FLOOR = NoiseFloor(median=0.001, largest=0.01, images=2_000)
CLASSES = 12
N = 40


@pytest.fixture(autouse=True)
def noise_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the noise floor be that of these tests, which is easy to calculate with."""
    monkeypatch.setattr(pairing, "noise_floor_of", lambda *_, **__: FLOOR)


def from_logits(logits: NDArray[np.float64]) -> Predictions:
    """Return what is kept of (N, classes) logits."""
    top = np.argsort(-logits, axis=1, kind="stable")[:, :6]
    ids = np.array([f"{number:04}.JPEG" for number in range(len(logits))])
    return Predictions(ids, top.astype(np.int16), np.take_along_axis(logits, top, axis=1).astype(np.float32))


def side(predictions: Predictions, targets: NDArray[np.int16] | None = None, **changes: Any) -> Side:
    """Return a side; every target is class 0 unless ``targets`` are given, and the counts are those of both."""
    targets = np.zeros(len(predictions), np.int16) if targets is None else targets
    total, environment = changes.pop("total", len(predictions)), changes.pop("environment", {"torch": "2.9.1"})
    values: dict[str, Any] = {"counts": count(predictions, targets), "parameters": 100, **changes}
    return Side(case_result(**values), predictions, targets, total, Environment(**environment))


def flat(images: int = N) -> Predictions:
    """Return predictions of classes 0 to 5 for each image, logit scale 4, and pixels."""
    logits = np.tile(np.array([9.0, 8, 7, 6, 5, 4]), (images, 1))
    pixels = np.ones((images, 16), np.uint8), np.ones((images, 4, 4, 3), np.uint8)
    return replace(from_logits(logits), hashes=pixels[0], samples=pixels[1])


def moved(predictions: Predictions, by: float, images: slice | int = slice(None)) -> Predictions:
    """Return the predictions with the logits of some images raised by so many logit scales."""
    assert predictions.logits is not None
    logits = predictions.logits.copy()
    logits[images] += np.float32(4 * by)
    return replace(predictions, logits=logits)


def paired(old: Side, new: Side, policy: Policy = Policy()) -> Pairing:  # noqa: B008
    """Return the evidence of two sides that can be compared."""
    found = pair(old, new, policy)
    assert isinstance(found, Pairing)
    return found


def check_of(old: Side, new: Side, policy: Policy = Policy()) -> Check:  # noqa: B008
    """Return the judgement, of the evidence as it is read back from a file."""
    evidence = pair(old, new, policy)
    result = msgspec.structs.replace(new.result, baseline=evidence)
    read = msgspec.convert(msgspec.to_builtins(result), CaseResult)
    assert read == result
    (check,) = judge(read.counts, None, "", read.baseline).checks
    return check


OLD = side(flat())
NVJPEG: dict[str, Any] = {"preparation": {"decoder": "nvjpeg"}}


@pytest.fixture
def logits() -> NDArray[np.float64]:
    """Return logits of 500 images and 12 classes; in half of them the first two are close."""
    drawn = np.random.default_rng(0).normal(size=(500, CLASSES))
    drawn[::2] *= 0.05
    return np.asarray(drawn.astype(np.float32), dtype=np.float64)


@pytest.fixture
def targets() -> NDArray[np.int16]:
    """Return their targets."""
    return np.random.default_rng(1).integers(0, CLASSES, 500).astype(np.int16)


def test_images_are_paired_one_by_one(logits: NDArray[np.float64], targets: NDArray[np.int16]) -> None:
    """Changed, lost, gained, margins and top-5 sets are those of a loop over the images."""
    scale = np.where(np.arange(500) % 4 == 2, 0.05, 0.001)[:, None]
    noisy = logits + np.random.default_rng(2).normal(scale=scale, size=logits.shape)
    old, new = from_logits(logits), from_logits(noisy)

    found = paired(side(old, targets), side(new, targets))
    every = changed_predictions(old, new, targets, targets, FLOOR)

    changed, lost, gained, sets, near_sets, sets_lost, sets_gained = [], 0, 0, 0, 0, 0, 0
    unit = float(np.median([sorted(row)[-1] - sorted(row)[-5] for row in logits.tolist()]))
    for image, (before, after) in enumerate(zip(logits.tolist(), noisy.tolist(), strict=True)):
        one, two, target = before.index(max(before)), after.index(max(after)), int(targets[image])
        lost += one == target != two
        gained += two == target != one
        old_five, new_five = ({row.index(x) for x in sorted(row)[-5:]} for row in (before, after))
        near = _drift(before, after) / unit <= FLOOR.largest
        sets += old_five != new_five
        near_sets += near and old_five != new_five
        sets_lost += target in old_five - new_five
        sets_gained += target in new_five - old_five
        if one != two:
            margin = (sorted(before)[-1] - sorted(before)[-2]) / unit
            changed.append((f"{image:04}.JPEG", one, two, one == target, two == target, margin, near))
    assert len(changed) > 20
    for expected, change in zip(changed, every, strict=True):
        assert expected[:5] == (change.id, change.old, change.new, change.was_correct, change.is_correct)
        assert change.margin == pytest.approx(expected[5], rel=1e-4, abs=1e-6)
        assert change.near_tie == expected[6]
    assert (found.lost, found.gained, found.p) == (lost, gained, mcnemar(lost, gained))
    assert (found.top5_changed, found.images, found.changed) == (sets, 500, len(changed))
    assert (found.top5_near_ties, found.top5_lost, found.top5_gained) == (near_sets, sets_lost, sets_gained)
    assert found.top5_p == mcnemar(sets_lost, sets_gained)
    assert 0 < near_sets < sets
    assert 0 < found.near_ties == sum(change.near_tie for change in every) < len(changed)
    beyond = sorted((change for change in every if not change.near_tie), key=lambda change: -(change.margin or 0))
    assert found.examples == tuple(beyond[:3])
    assert found.largest_margin == beyond[0].margin


def _drift(before: list[float], after: list[float]) -> float:
    """Return how far any logit moved for certain, if no more than the six highest of each run are known."""
    largest = 0.0
    for here, there in ((before, after), (after, before)):
        for index in sorted(range(len(here)), key=here.__getitem__)[-6:]:
            known = there[index] >= sorted(there)[-6]
            moved = abs(here[index] - there[index]) if known else max(here[index] - sorted(there)[-6], 0)
            largest = max(largest, moved)
    return largest


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 0.5, 5.0])
def test_drift_is_never_more_than_the_largest_change(logits: NDArray[np.float64], scale: float) -> None:
    """It is a lower bound, from six logits, of the change of all of them, and close to it."""
    noise = np.random.default_rng(2).normal(scale=scale, size=logits.shape)
    unit = np.median(np.sort(logits)[:, -1] - np.sort(logits)[:, -5])

    found = drifts(from_logits(logits), from_logits(logits + noise))

    assert found is not None
    truth = np.abs(noise).max(axis=1) / unit
    assert (found <= truth * (1 + 1e-3) + 1e-6).all()
    assert np.median(found) > 0.5 * np.median(truth)


@pytest.mark.parametrize("metric", ["top1", "top5"])
@pytest.mark.parametrize("scale", [1e-2, 0.5, 5.0])
def test_a_change_needs_a_margin_of_at_most_twice_the_drift(
    logits: NDArray[np.float64], targets: NDArray[np.int16], scale: float, metric: Any
) -> None:
    """The proof by which near-ties are told, for classes that stay among those kept and for others."""
    new = from_logits(logits + np.random.default_rng(3).normal(scale=scale, size=logits.shape))
    old = from_logits(logits)

    changed = changed_predictions(old, new, targets, targets, FLOOR, metric)

    found = drifts(old, new)
    assert found is not None
    bound = dict(zip(old.ids.tolist(), (2 * found).tolist(), strict=True))
    assert len(changed) > 20
    assert [change for change in changed if change.margin is None or change.margin > bound[change.id]] == []


@pytest.mark.parametrize(
    ("old", "new", "drift"),
    [
        ([9.0, 8, 7, 6, 5, 4, 0], [2.0, 8, 7, 6, 5, 4, 3], (9 - 3) / 4),
        ([9.0, 8, 7, 6, 5, 4, 0], [9.0, 8, 7, 6, 5, 4, 12], (12 - 4) / 4),
    ],
    ids=["class 0 fell at least to the sixth", "class 6 rose at least from the sixth"],
)
def test_a_class_that_is_not_among_the_six_is_known_to_be_below(
    old: list[float], new: list[float], drift: float
) -> None:
    """By hand; the logit scale is 4."""
    found = drifts(from_logits(np.array([old])), from_logits(np.array([new])))

    assert found is not None
    assert found.tolist() == [drift]


def test_drift_is_given_by_median_99th_percentile_and_largest() -> None:
    """Of 201 images 150 move by a quarter of the scale, three of them by more."""
    new = moved(moved(moved(flat(201), 0.25, slice(150)), 1.0, slice(3)), 2.0, 0)

    assert paired(side(flat(201)), side(new)).drift == Drift(0.25, 1.25, 3.25, beyond=150)


def test_classes_that_change_places_drift() -> None:
    """The same five logits of the classes in another order are a difference."""
    assert paired(OLD, side(swapped(flat(), slice(None)))).drift == Drift(0.25, 0.25, 0.25, beyond=N)


def test_without_logits_in_the_baseline_the_margins_are_the_new_runs() -> None:
    """A baseline of classes alone gives no drift, and near-ties are told by the other run."""
    new = from_logits(np.array([[5.001, 5, 3, 2, 1, 0], [6.0, 5, 3, 2, 1, 0]]))
    old = replace(swapped(new, slice(None)), logits=None)

    found = paired(side(old), side(new))

    (margin,) = {change.margin for change in found.examples}
    assert (found.drift, found.changed, found.near_ties) == (None, 2, 1)
    assert found.examples == (
        ChangedPrediction("0001.JPEG", 1, 0, was_correct=False, is_correct=True, margin=margin, near_tie=False),
    )


def test_without_any_logits_nothing_is_a_near_tie() -> None:
    """No margin is known, and none is made up."""
    old = replace(flat(1), logits=None)

    found = paired(side(old), side(swapped(old, 0)))

    assert (found.changed, found.near_ties, found.largest_margin) == (1, 0, None)


def _policies(old: Side, new: Side) -> list[str]:
    """Return the outcomes by default, with ``--strict-drift`` and with ``--allow-drift``."""
    policies = (Policy(), Policy(strict_drift=True), Policy(allow_drift=True))
    return [check_of(old, new, policy).outcome for policy in policies]


@pytest.mark.parametrize(
    ("by", "images", "passes"),
    [
        (0.0, slice(N), True),
        (0.0009, slice(N), True),
        (0.0011, slice(N), False),
        (0.009, slice(1), True),
        (0.031, slice(1), False),
    ],
    ids=["equal", "median below the floor", "median above it", "largest below the floor", "largest far above it"],
)
def test_logits_may_move_up_to_the_noise_floor(by: float, images: slice, passes: bool) -> None:
    """Beyond it is a failure unless something named explains it, and then a warning; the options turn either way."""
    same, other = (side(moved(flat(), by, images), environment={"torch": torch}) for torch in ("2.9.1", "2.14.1"))

    assert _policies(OLD, same) == (["passed"] * 3 if passes else ["failed", "failed", "warning"])
    assert _policies(OLD, other) == (["passed"] * 3 if passes else ["warning", "failed", "warning"])


@pytest.mark.parametrize(
    ("images", "beyond", "by", "outcome"),
    [
        (50_000, 1, 0.012, "passed"),
        (50_000, 234, 0.012, "passed"),
        (50_000, 235, 0.012, "failed"),
        (500, 1, 0.012, "passed"),
        (500, 5, 0.029, "passed"),
        (500, 6, 0.012, "failed"),
        (500, 60, 0.012, "failed"),
        (50_000, 1, 0.031, "failed"),
        (50_000, 1, 1.0, "failed"),
    ],
)
def test_a_few_images_may_drift_beyond_the_noise_floor_but_none_far(
    images: int, beyond: int, by: float, outcome: str
) -> None:
    """The floor is the largest drift of 2,000 images; as many others exceed it as chance may put among them alone."""
    old = replace(flat(images), ids=np.array([f"{number:05}.JPEG" for number in range(images)]))

    check = check_of(side(old), side(moved(old, by, slice(beyond))))

    chance = math.prod(Fraction(images - i, images + FLOOR.images - i) for i in range(beyond))
    assert (outcome == "passed") == (chance >= 1e-4 and by < 0.03)
    assert check.outcome == outcome
    assert f"{beyond} image{'s' if beyond > 1 else ''} beyond it" in check.detail


def test_a_noise_floor_of_an_older_record_is_not_exceeded() -> None:
    """It does not say on how many images it stands, nor the drift how many exceed it; a margin in it is ignored."""
    read = msgspec.convert({"median": 1e-5, "largest": 1e-4, "margin": 3e-4}, NoiseFloor)
    drifts = [msgspec.convert({"median": 0.0, "p99": 0.0, "largest": by}, Drift) for by in (0.9e-4, 1.1e-4)]

    outcomes = [
        judge(Counts(50_000, 1, 2), None, "", records.pairing(images=50_000, noise_floor=read, drift=drift)).outcome
        for drift in drifts
    ]

    assert outcomes == ["passed", "warning"]
    assert read.margin == 2e-4


@pytest.mark.parametrize("rank", [1, 5])
@pytest.mark.parametrize(
    ("margin", "by", "outcome"),
    [
        (0.018, 0.0095, "passed"),
        (0.018, 0.0105, "failed"),
        (0.0, 0.0105, "failed"),
        (0.022, 0.0115, "failed"),
        (0.25, 0.15, "failed"),
    ],
    ids=["near-tie", "its own drift is beyond noise", "equal logits that drift", "a margin beyond noise", "far beyond"],
)
def test_a_change_fails_unless_arithmetic_explains_it(rank: int, margin: float, by: float, outcome: str) -> None:
    """Of the highest class and of the five highest alike: by the drift of the image itself, whatever is named."""
    logits = np.tile(np.array([9.0, 8, 7, 6, 5, 4, 0]), (N, 1))
    logits[:, rank] = logits[:, rank - 1] - 4 * margin
    changed = logits.copy()
    changed[3, rank - 1] -= 4 * by
    changed[3, rank] += 4 * by

    check = check_of(side(from_logits(logits)), side(from_logits(changed), environment={"torch": "2.14.1"}))

    changed_what = "1 of 40 predictions changed" if rank == 1 else "top-5: 1 of 40 sets changed"
    assert check.outcome == outcome
    assert f"{changed_what}, {int(outcome == 'failed')} beyond noise; " in check.detail


def test_other_classes_at_rank_five_fail_though_every_logit_is_the_same() -> None:
    """Of 1,000 images 30 have their class at rank five; the accuracy of top-1 does not change."""
    old = flat(1000)
    new = replace(old, top=old.top.copy())
    new.top[:30, 4] = 11
    targets = np.where(np.arange(1000) < 30, 4, 0).astype(np.int16)

    check = check_of(side(old, targets), side(new, targets))
    without_logits = check_of(side(replace(old, logits=None, hashes=None), targets), side(new, targets))

    assert (check.outcome, without_logits.outcome) == ("failed", "failed")
    lines = check.detail.splitlines()
    assert "    top-5: 30 of 1,000 sets changed, 30 beyond noise; 30 now wrong, 0 now correct; p = 1.9e-09" in lines
    assert "    example: 0002.JPEG: top-5: class 4 -> class 11, now wrong, margin 2.5e-01" in lines
    assert "    top-1 97.000 -> 97.000, top-5 100.000 -> 97.000" in lines


@pytest.mark.parametrize(("lost", "outcome"), [(15, "warning"), (16, "failed")])
@pytest.mark.parametrize("rank", [1, 5])
def test_both_metrics_share_the_level_of_mcnemars_test(rank: int, lost: int, outcome: str) -> None:
    """15 losses and no gain have p = 6e-5, 16 have 3e-5; a baseline of classes alone shows nothing else."""
    old = replace(flat(1000), logits=None, hashes=None)
    new = replace(old, top=old.top.copy())
    new.top[:lost, rank - 1] = 11
    targets = np.full(1000, rank - 1, np.int16)

    assert check_of(side(old, targets), side(new, targets)).outcome == outcome


@pytest.mark.parametrize(("share", "outcome"), [(0.125, "warning"), (0.21, "failed")])
def test_more_changes_than_other_input_explains_are_another_model(share: float, outcome: str) -> None:
    """Where neither logits nor pixels are known, and as many were lost as gained."""
    old = replace(flat(1000), logits=None, hashes=None)
    turned = int(share * 1000)
    targets = (np.arange(1000) % 2).astype(np.int16)

    check = check_of(side(old, targets), side(swapped(old, slice(turned)), targets))

    assert check.outcome == outcome
    assert ("more predictions changed than other input explains, which is at most 10 %" in check.detail) == (
        outcome == "failed"
    )


@pytest.mark.parametrize(("changed", "outcome"), [(3, "passed"), (4, "failed")])
def test_more_near_ties_than_arithmetic_turns_fail(changed: int, outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by itself would be explained; here two of 10,000 predictions may change."""
    floor = msgspec.structs.replace(FLOOR, changed=2e-4)
    monkeypatch.setattr(pairing, "noise_floor_of", lambda *_, **__: floor)
    old = flat(500)
    assert old.logits is not None
    old.logits[:, 1] = old.logits[:, 0] - np.float32(0.01)
    targets = (np.arange(500) % 2).astype(np.int16)

    assert check_of(side(old, targets), side(swapped(old, slice(changed)), targets)).outcome == outcome


def test_evidence_of_an_older_record_is_judged_by_what_it_holds() -> None:
    """It says nothing of top-5, of what explains a difference, or of how many predictions may change."""
    found = paired(OLD, side(moved(swapped(flat(), 3), 0.5)))
    values = msgspec.to_builtins(msgspec.structs.replace(found, near_ties=1))
    for name in ("top5_near_ties", "top5_lost", "top5_gained", "close"):
        del values[name]
    del values["diagnosis"]["explained"], values["noise_floor"]["changed"], values["policy"]["allow_drift"]

    [check] = judge(Counts(N, 39, 40), None, "", msgspec.convert(values, Pairing)).checks

    assert check.outcome == "warning"


def test_a_high_noise_floor_says_what_it_cannot_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of bf16, within which many predictions lie."""
    monkeypatch.setattr(pairing, "noise_floor_of", lambda *_, **__: NOISE_FLOORS["bf16"])

    check = check_of(OLD, OLD)

    assert check.outcome == "passed"
    assert check.detail.splitlines()[-1] == (
        "    changes of logits below 4.0e-01 cannot be told from noise here; 40 of 40 predictions have a margin below "
        "8.0e-01 and could change unnoticed"
    )


@pytest.mark.parametrize("allow", [False, True])
def test_other_weights_fail_whatever_they_change(allow: bool) -> None:
    """A model with other weights is another model, even if all predictions are the same."""
    check = check_of(OLD, side(flat(), weights_sha256="b" * 64), Policy(allow_drift=allow))

    assert check.outcome == "failed"
    assert check.detail.startswith("the model has other weights (sha256 bbbb")
    assert "0 of 40 predictions changed" in check.detail


def test_other_labels_fail_whatever_they_change() -> None:
    """A label of an image that was and is wrong changes no count."""
    before, after = np.zeros((2, N), np.int16)
    before[5], after[5] = 77, 78

    check = check_of(side(flat(), before), side(flat(), after))

    assert check.outcome == "failed"
    assert check.detail.startswith("1 of 40 images have another label\n")
    assert check.detail.endswith("\n    such as 0005.JPEG: class 78, before class 77")


def test_counts_that_are_not_those_of_the_predictions_fail() -> None:
    """As by counters that were not reset, while every prediction is the same."""
    check = check_of(OLD, side(flat(), counts=Counts(N, 39, 40)))

    assert check.outcome == "failed"
    assert check.detail.startswith("39 (top-1) and 40 (top-5) correct of 40 were counted, but the predictions give ")


def test_an_earlier_run_with_other_counts_than_its_predictions_is_damaged() -> None:
    """It is not a finding about the new run."""
    with pytest.raises(RecordError, match=r"give 40 \(top-1\) and 40 \(top-5\) correct of 40, its record 39 and 40"):
        pair(side(flat(), counts=Counts(N, 39, 40)), OLD)


@pytest.mark.parametrize(
    ("old", "new", "explained"),
    [
        ({"environment": {"pillow": "12.0.0"}}, {"environment": {"pillow": "13.0.0"}}, True),
        ({"preparation": {"decoder": "pillow"}}, {"preparation": {"decoder": "torchvision"}}, True),
        ({"preparation": {"resize": 256}}, {"preparation": {"resize": 232}}, False),
        ({"environment": {"torch": "2.9.1"}}, {"environment": {"torch": "2.14.1"}}, False),
        ({"environment": {"driver": "580"}}, {"environment": {"driver": "590"}}, False),
        (NVJPEG | {"environment": {"driver": "580"}}, NVJPEG | {"environment": {"driver": "590"}}, True),
        ({}, {}, False),
    ],
    ids=["Pillow", "decoder", "resize", "torch", "driver", "driver of a GPU that decodes", "nothing"],
)
def test_other_pixels_that_change_nothing_need_a_named_cause(
    old: dict[str, Any], new: dict[str, Any], explained: bool
) -> None:
    """A library or decoder that can change them; another resize is another model, as other weights are."""
    before, after = side(flat(), **old), side(replace(flat(), hashes=np.zeros((N, 16), np.uint8)), **new)

    check = check_of(before, after)

    assert _policies(before, after) == ["warning" if explained else "failed", "failed", "warning"]
    assert check.detail.startswith("the model was shown other pixels (40 of 40 images)\n    likely cause: ")
    assert ("no named difference of the environment or the command explains" in check.detail) == (not explained)


@pytest.mark.parametrize(("torch", "outcome"), [("2.9.1", "failed"), ("2.14.1", "warning")])
def test_other_pixels_of_some_images_do_not_explain_the_drift_of_others(torch: str, outcome: str) -> None:
    """Another Pillow changed one image, and something else the logits of all."""
    old = side(flat(), environment={"pillow": "12.0.0", "torch": "2.9.1"})
    new = moved(replace(flat(), hashes=np.where(np.arange(N)[:, None] == 5, 0, 1).astype(np.uint8).repeat(16, 1)), 0.1)

    check = check_of(old, side(new, environment={"pillow": "13.0.0", "torch": torch}))

    assert check.outcome == outcome
    assert "pillow 12.0.0 -> 13.0.0; logits moved where pixels are the same too: " in check.detail


@pytest.mark.parametrize(
    "changes", [{"preparation": {"mean": [0.5]}}, {"first_input": {"id": "a", "sha256": "0", "low": 0.0, "high": 2.0}}]
)
def test_another_normalization_fails_whatever_it_changes(changes: dict[str, Any]) -> None:
    """No version and no option has an effect on it."""
    known: dict[str, Any] = {
        "preparation": {"mean": [0.4]},
        "first_input": {"id": "a", "sha256": "1", "low": 0.0, "high": 1.0},
    }
    old, new = side(flat(), **known), side(flat(), **{**known, **changes}, environment={"torch": "2.14.1"})

    assert _policies(old, new) == ["failed", "failed", "warning"]


def test_other_versions_that_change_nothing_pass_and_are_named() -> None:
    """Here of torch."""
    check = check_of(OLD, side(flat(), environment={"torch": "2.14.1"}), Policy(strict_drift=True))

    assert check.outcome == "passed"
    assert check.detail.splitlines() == [
        "unchanged, despite torch 2.9.1 -> 2.14.1",
        "    0 of 40 predictions changed",
        "    logits moved by 0.0e+00 (median), 0.0e+00 (99 %), 0.0e+00 (largest) of the logit scale; noise floor "
        "1.0e-03 (median), 1.0e-02 (largest)",
    ]


@pytest.mark.parametrize(("updating", "prefix"), [(False, ""), (True, "will be replaced despite differences: ")])
def test_a_failure_has_the_diagnosis_first_and_then_the_numbers(updating: bool, prefix: str) -> None:
    """One sentence, its likely cause, the effect, the changes with the largest margins, accuracy, and figures."""
    new = side(moved(swapped(flat(), slice(12)), 0.5))

    check = check_of(OLD, new, Policy(updating=updating))

    first, cause, effect, *examples, accuracy, figures, drift, same = check.detail.splitlines()
    assert check.outcome == ("warning" if updating else "failed")
    assert first == f"{prefix}the arithmetic differs: logits moved by up to 7.5e-01 of the logit scale"
    assert cause.startswith("    likely cause: other code of the model or of this harness")
    assert effect == "    effect: 12 of 40 predictions changed, 12 beyond noise; 12 now wrong, 0 now correct"
    assert examples == [
        f"    example: {number:04}.JPEG: class 0 -> class 1, now wrong, margin 2.5e-01" for number in range(3)
    ]
    assert accuracy == "    top-1 100.000 -> 70.000, top-5 100.000 -> 100.000"
    assert figures == "    top-1: p = 0.00049 by McNemar's exact test, largest margin 2.5e-01"
    assert drift.startswith("    logits moved by 5.0e-01 (median)")
    assert same.startswith("    weights, labels, set of images, decoded inputs, versions, hardware")


def test_a_subset_is_paired_with_its_part_of_the_baseline() -> None:
    """``--limit`` needs no baseline of its own."""
    new = side(flat().at(np.array([3, 5, 8])), total=N)

    found = paired(OLD, new, Policy(strict_drift=True))

    assert (check_of(OLD, new, Policy(strict_drift=True)).outcome, found.images, found.diagnosis.stage) == (
        "passed",
        3,
        "arithmetic",
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"parameters": 101}, "another model under the same name: 101 parameters, before 100"),
        ({"total": 41}, "set of images: 41 images, before 40"),
    ],
)
def test_another_model_or_other_images_cannot_be_paired(changes: dict[str, Any], reason: str) -> None:
    """It fails, and the message says what to do; while the baseline is updated neither."""
    new = side(flat(), **changes)

    assert pair(OLD, new) == Unpaired("different", reason)
    assert check_of(OLD, new) == Check(
        "baseline", "failed", f"cannot be paired: {reason}. Record another: --baseline DIR --baseline-update"
    )
    assert check_of(OLD, new, Policy(updating=True)) == Check(
        "baseline", "warning", f"will be replaced despite differences: cannot be paired: {reason}"
    )


@pytest.mark.parametrize(("images", "outcome"), [(0, "passed"), (5, "warning"), (40, "failed")])
def test_a_baseline_of_classes_alone_judges_by_chance(images: int, outcome: str) -> None:
    """It does not hold its pixels: a few changes prove nothing, many in one direction do."""
    classes = Predictions(flat().ids, flat().top)
    old = side(classes, weights_sha256="", parameters=0, environment={"processes": None})

    check = check_of(old, side(swapped(flat(), slice(images))))

    assert check.outcome == outcome
    assert "no logits in the baseline" in check.detail


def test_the_noise_floor_of_two_precisions_is_the_higher() -> None:
    """A bf16 run compared with an fp32 baseline moves as bf16 does."""
    assert noise_floor_of("fp32", "fp32") == NOISE_FLOORS["fp32"]
    assert noise_floor_of("bf16", "fp32") == noise_floor_of("fp32", "bf16") == NOISE_FLOORS["bf16"]


@pytest.mark.parametrize("floor", NOISE_FLOORS.values(), ids=NOISE_FLOORS)
def test_a_noise_floor_is_consistent(floor: NoiseFloor) -> None:
    """The median moves less than the largest; and it says on how many images it stands."""
    assert 0 < floor.median < floor.largest
    assert 500 <= floor.images
