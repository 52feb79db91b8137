"""Tests of harness.gate.baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.data.fingerprints import Fingerprints
from harness.gate.answers import Answers
from harness.gate.baseline import judge_pair
from harness.gate.cause import Evaluated
from harness.gate.tolerance import FLOORS, Floor, floor_of

FLOOR = Floor(median=0.001, largest=0.01, margin=0.02)
N = 40


def evaluated(**changes: Any) -> Evaluated:
    """Return an evaluation of 40 images: classes 0 to 4 for each, the best far ahead, all right."""
    answers = Answers(
        ids=np.array([f"{number:02}.JPEG" for number in range(N)]),
        targets=np.zeros(N, np.int16),
        top5=np.tile(np.arange(5, dtype=np.int16), (N, 1)),
        logits=np.tile(np.array([9, 8, 7, 6, 5], np.float32), (N, 1)),
    )
    values = Evaluated(
        answers=answers,
        counted=answers.hits,
        total=N,
        parameters=100,
        weights="a" * 64,
        fingerprints=Fingerprints(np.ones((N, 16), np.uint8), np.ones((N, 4, 4, 3), np.uint8)),
        preparation={"decoder": "pillow", "mean": [0.5]},
        first_input={"id": "00.JPEG", "sha256": "aa", "low": 0.0, "high": 1.0},
        conditions={"setting": "fp32"},
        environment={"torch": "2.9.1", "pillow": "12.0.0"},
    )
    return replace(values, **changes)


OLD = evaluated()


def _answering(moved: float = 0.0, images: int = N, swapped: int = 0) -> dict[str, Any]:
    """Return changes: logits of some images moved, in units of the spread; the best two of some swapped."""
    assert OLD.answers.logits is not None
    logits, top5 = OLD.answers.logits.copy(), OLD.answers.top5.copy()
    logits[:images] += np.float32(4 * moved)
    top5[:swapped] = top5[:swapped, [1, 0, 2, 3, 4]]
    answers = replace(OLD.answers, logits=logits, top5=top5)
    return {"answers": answers, "counted": answers.hits}


def _close(margin: float) -> Evaluated:
    """Return the old evaluation with the best two of each image so close, in units of the spread."""
    assert OLD.answers.logits is not None
    logits = OLD.answers.logits.copy()
    logits[:, 1] = logits[:, 0] - np.float32(4 * margin)
    return replace(OLD, answers=replace(OLD.answers, logits=logits))


@pytest.mark.parametrize(
    ("moved", "images", "outcome"),
    [
        (0.0, N, "held"),
        (0.0009, N, "held"),
        (0.0011, N, "warned"),
        (0.009, 1, "held"),
        (0.011, 1, "warned"),
    ],
    ids=["equal", "below the median's floor", "above the median's floor", "below the floor", "above the floor"],
)
def test_logits_may_move_as_far_as_arithmetic_moves_them(moved: float, images: int, outcome: str) -> None:
    """The median image and the worst; beyond it is a warning while no answer changed, and a fail if that is wanted."""
    new = evaluated(**_answering(moved, images))

    check, paired = judge_pair(OLD, new, FLOOR, strict=False)
    strictly, _ = judge_pair(OLD, new, FLOOR, strict=True)

    assert (check.outcome, check.held) == (outcome, True)
    assert strictly.outcome == ("failed" if outcome == "warned" else outcome)
    assert paired is not None
    assert paired.drift is not None
    assert paired.drift.largest == pytest.approx(moved, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize(
    ("old", "moved", "outcome"),
    [
        (OLD, 0.0, "failed"),
        (_close(0.019), 0.0, "held"),
        (_close(0.021), 0.0, "failed"),
        (_close(0.004), 0.02, "failed"),
    ],
    ids=["real change", "near-tie", "just beyond a near-tie", "near-tie while logits drift"],
)
def test_a_changed_answer_fails_unless_arithmetic_explains_it(old: Evaluated, moved: float, outcome: str) -> None:
    """By its margin, and only as long as the logits moved no further than arithmetic moves them."""
    assert old.answers.logits is not None
    logits = old.answers.logits + np.float32(4 * moved)
    top5 = old.answers.top5.copy()
    top5[3] = [1, 0, 2, 3, 4]
    # The two that are close change places, each with the logit that the other had, so that they hardly move.
    answers = replace(old.answers, top5=top5, logits=logits)

    check, paired = judge_pair(old, evaluated(answers=answers, counted=answers.hits), _wide(FLOOR), strict=False)

    assert paired is not None
    assert [change.id for change in paired.changed] == ["03.JPEG"]
    assert check.outcome == outcome


def _wide(floor: Floor) -> Floor:
    """Return a floor that lets one image's best two change places, as far as drift is concerned, if they are close."""
    return replace(floor, largest=0.0215)


@pytest.mark.parametrize("strict", [False, True])
def test_other_weights_fail_whatever_they_change(strict: bool) -> None:
    """A model with other weights is another model, though all answers are the same."""
    check, _ = judge_pair(OLD, evaluated(weights="b" * 64), FLOOR, strict=strict)

    assert check.outcome == "failed"
    assert check.detail.startswith("weights: their sha256 is bbbb")
    assert "0 of 40 answers changed" in check.detail


def test_other_labels_fail_whatever_they_change() -> None:
    """A label of an image that was and is wrong changes no hit."""
    targets = OLD.answers.targets.copy()
    targets[5] = 77
    old = replace(OLD, answers=replace(OLD.answers, targets=targets))
    targets = targets.copy()
    targets[5] = 78
    new = evaluated(answers=replace(OLD.answers, targets=targets))
    new = replace(new, counted=new.answers.hits)

    check, paired = judge_pair(old, new, FLOOR, strict=False)

    assert (check.outcome, paired and paired.lost) == ("failed", 0)
    assert check.detail.startswith("labels: 1 of 40 images have another class, such as 05.JPEG: 78, before 77")


def test_hits_that_are_not_the_answers_fail() -> None:
    """Counters that were not reset, while every answer is the same."""
    check, _ = judge_pair(OLD, evaluated(counted=replace(OLD.counted, top1=39)), FLOOR, strict=False)

    assert check.outcome == "failed"
    assert check.detail.startswith("counting: 39 and 40 hits")


def test_other_pixels_that_change_nothing_are_a_warning() -> None:
    """With the versions that moved; and a fail if that is wanted."""
    assert OLD.fingerprints is not None
    new = evaluated(
        fingerprints=replace(OLD.fingerprints, hashes=OLD.fingerprints.hashes + np.uint8(1)),
        environment={"torch": "2.9.1", "pillow": "13.0.0"},
    )

    check, _ = judge_pair(OLD, new, FLOOR, strict=False)
    strictly, _ = judge_pair(OLD, new, FLOOR, strict=True)

    assert (check.outcome, strictly.outcome) == ("warned", "failed")
    assert check.detail.startswith("decoded inputs: 40 of 40 images have other pixels")
    assert "pillow 12.0.0 -> 13.0.0" in check.detail.splitlines()[0]


def test_another_pillow_that_changes_no_pixel_holds_and_is_told() -> None:
    """So is another torch."""
    check, _ = judge_pair(OLD, evaluated(environment={"torch": "2.14.1", "pillow": "13.0.0"}), FLOOR, strict=True)

    assert check.outcome == "held"
    assert check.detail.splitlines() == [
        "the same though torch 2.9.1 -> 2.14.1, pillow 12.0.0 -> 13.0.0",
        "    0 of 40 answers changed",
        "    logits moved by 0.0e+00 of their spread (median), 0.0e+00 (99 %), 0.0e+00 (largest); arithmetic moves "
        "them by up to 1.0e-03 (median), 1.0e-02 (largest)",
    ]


def test_a_fail_tells_the_cause_first_and_then_the_numbers() -> None:
    """One sentence, then changed answers, drift, and the changes with the largest margins."""
    check, _ = judge_pair(OLD, evaluated(**_answering(0.5, swapped=12)), FLOOR, strict=False)

    first, changed, drift, *named = check.detail.splitlines()
    assert first.startswith("arithmetic: weights, labels, set of images, decoded inputs, normalization, versions")
    assert changed == (
        "    12 of 40 answers changed: 12 real, 0 near-ties (margin up to 2.0e-02), largest margin 2.5e-01; "
        "12 right to wrong, 0 wrong to right, p = 0.00049; 0 have other five best"
    )
    assert drift.startswith("    logits moved by 5.0e-01 of their spread (median)")
    assert named == [f"    {number:02}.JPEG: class 0 -> 1, wrong now, margin 2.5e-01" for number in range(3)]


def test_a_subset_is_paired_with_its_part_of_the_baseline() -> None:
    """``--limit`` needs no baseline of its own."""
    places = np.array([3, 5, 8])
    assert OLD.fingerprints is not None
    answers = OLD.answers.at(places)
    new = evaluated(answers=answers, counted=answers.hits, fingerprints=OLD.fingerprints.at(places))
    new = replace(new, first_input={"id": "03.JPEG", "sha256": "cc", "low": 0.0, "high": 1.0})

    check, paired = judge_pair(OLD, new, FLOOR, strict=True)

    assert (check.outcome, paired and paired.images) == ("held", 3)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"parameters": 101},
            "cannot be paired: another model under the same name: 101 parameters, before 100",
        ),
        (
            {"total": 41},
            "cannot be paired: set of images: 41 images, before 40",
        ),
    ],
)
def test_what_cannot_be_paired_is_refused(changes: dict[str, Any], sentence: str) -> None:
    """Another model under the same name, and another set of images."""
    check, paired = judge_pair(OLD, evaluated(**changes), FLOOR, strict=False)

    assert (check.outcome, check.detail, paired) == ("failed", sentence, None)


@pytest.mark.parametrize(("swapped", "outcome"), [(0, "held"), (5, "warned"), (40, "failed")])
def test_a_baseline_of_classes_alone_judges_by_chance(swapped: int, outcome: str) -> None:
    """It does not tell what its model was shown: a few changes prove nothing, many one way do."""
    old = evaluated(
        weights="",
        parameters=0,
        fingerprints=None,
        preparation={},
        first_input={},
        conditions={},
        environment={},
        answers=replace(OLD.answers, logits=None),
    )

    check, _ = judge_pair(old, evaluated(**_answering(swapped=swapped)), FLOOR, strict=False)

    assert check.outcome == outcome
    assert "no logits in the baseline" in check.detail


def test_the_floor_of_two_precisions_is_the_higher() -> None:
    """A bf16 run against an fp32 baseline moves as bf16 does."""
    assert floor_of("fp32", "fp32") == FLOORS["fp32"]
    assert floor_of("bf16", "fp32") == floor_of("fp32", "bf16") == FLOORS["bf16"]


@pytest.mark.parametrize("floor", FLOORS.values(), ids=FLOORS)
def test_a_floor_is_in_order(floor: Floor) -> None:
    """The median moves less than the worst; a margin beyond twice the largest move cannot change an answer."""
    assert 0 < floor.median < floor.largest
    assert 0 < floor.margin <= 2 * floor.largest
