"""Tests of harness.gate.pairing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.gate.answers import Answers
from harness.gate.pairing import Changed, Drift, drifts, pair
from harness.gate.stats import mcnemar
from harness.gate.tolerance import Floor

FLOOR = Floor(median=0.001, largest=0.01, margin=0.02)
CLASSES = 12


def from_logits(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> Answers:
    """Return what the gate keeps of (N, classes) logits."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    ids = np.array([f"{number:04}.JPEG" for number in range(len(logits))])
    return Answers(
        ids,
        targets.astype(np.int16),
        best.astype(np.int16),
        np.take_along_axis(logits, best, axis=1).astype(np.float32),
    )


@pytest.fixture
def logits() -> NDArray[np.float64]:
    """Return logits of 500 images and 12 classes, the best of half of them close to the second."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(500, CLASSES))
    drawn[::2] *= 0.05
    return np.asarray(drawn.astype(np.float32), dtype=np.float64)


@pytest.fixture
def targets() -> NDArray[np.int64]:
    """Return their targets."""
    return np.random.default_rng(1).integers(0, CLASSES, 500)


def test_images_are_paired_one_by_one(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> None:
    """Changed, lost, gained, margins and the sets of five against a loop over the images, for noisy logits."""
    noisy = logits + np.random.default_rng(2).normal(scale=0.05, size=logits.shape)
    old, new = from_logits(logits, targets), from_logits(noisy, targets)

    paired = pair(old, new, FLOOR)

    changed, lost, gained, fives = [], 0, 0, 0
    unit = float(np.median([sorted(row)[-1] - sorted(row)[-5] for row in logits.tolist()]))
    for image, (before, after) in enumerate(zip(logits.tolist(), noisy.tolist(), strict=True)):
        one, two, target = before.index(max(before)), after.index(max(after)), int(targets[image])
        lost += one == target != two
        gained += two == target != one
        fives += {before.index(x) for x in sorted(before)[-5:]} != {after.index(x) for x in sorted(after)[-5:]}
        if one != two:
            margin = (sorted(before)[-1] - sorted(before)[-2]) / unit
            changed.append((f"{image:04}.JPEG", one, two, one == target, two == target, margin, margin <= FLOOR.margin))
    assert len(changed) > 20
    for expected, found in zip(changed, paired.changed, strict=True):
        assert expected[:5] == (found.id, found.old, found.new, found.was_right, found.is_right)
        assert found.margin == pytest.approx(expected[5], rel=1e-4, abs=1e-6)
        assert found.near_tie == expected[6]
    assert (paired.lost, paired.gained, paired.p) == (lost, gained, mcnemar(lost, gained))
    assert (paired.top5_changed, paired.images) == (fives, 500)
    assert 0 < paired.near_ties < len(changed)
    assert len(paired.real) == len(changed) - paired.near_ties
    margins = [change.margin or 0.0 for change in paired.real]
    assert margins == sorted(margins, reverse=True)
    assert paired.largest_margin == max(margins)


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 0.5, 5.0])
def test_drift_is_never_more_than_the_largest_change(
    logits: NDArray[np.float64], targets: NDArray[np.int64], scale: float
) -> None:
    """From five logits it is a lower bound of the change of all of them, and close to it while classes stay."""
    noise = np.random.default_rng(2).normal(scale=scale, size=logits.shape)
    old, new = from_logits(logits, targets), from_logits(logits + noise, targets)
    unit = np.median(np.sort(logits)[:, -1] - np.sort(logits)[:, -5])

    moved = drifts(old, new)

    assert moved is not None
    truth = np.abs(noise).max(axis=1) / unit
    assert (moved <= truth * (1 + 1e-3) + 1e-6).all()
    assert np.median(moved) > 0.5 * np.median(truth)


def test_a_class_that_fell_out_of_the_five_counts_by_how_far_it_must_have_fallen() -> None:
    """At least to the fifth; by hand."""
    old = Answers(
        np.array(["a"]), np.array([0], np.int16), np.array([[0, 1, 2, 3, 4]], np.int16),
        np.array([[9, 8, 7, 6, 5]], np.float32),
    )  # fmt: skip
    new = Answers(
        np.array(["a"]), np.array([0], np.int16), np.array([[1, 2, 3, 4, 5]], np.int16),
        np.array([[8, 7, 6, 5, 4]], np.float32),
    )  # fmt: skip

    moved = drifts(old, new)

    assert moved is not None
    assert moved.tolist() == [(9 - 4) / 4]  # class 0 was 9 and is 4 at most; the spread is 4


def test_a_class_that_came_into_the_five_counts_by_how_far_it_must_have_risen() -> None:
    """At least from the fifth; by hand, while the others stay."""
    old = from_logits(np.array([[9.0, 8, 7, 6, 5, 0]]), np.array([0]))
    new = from_logits(np.array([[9.0, 8, 7, 6, 5, 12]]), np.array([0]))

    moved = drifts(old, new)

    assert moved is not None
    assert moved.tolist() == [(12 - 5) / 4]


def test_drift_is_told_by_the_median_the_99th_percentile_and_the_largest() -> None:
    """Of a hundred images: half of them move a little, two a lot."""
    logits = np.tile(np.array([9.0, 8, 7, 6, 5, 0]), (201, 1))
    old = from_logits(logits, np.zeros(201, np.int64))
    logits[:150] += 4 * 0.25
    logits[:3] += 4 * 1.0
    logits[0] += 4 * 2.0

    assert pair(old, from_logits(logits, np.zeros(201, np.int64)), FLOOR).drift == Drift(0.25, 1.25, 3.25)


def test_classes_that_change_places_drift() -> None:
    """The same five logits in another order of classes are no agreement."""
    old = from_logits(np.array([[5.0, 4, 3, 2, 1, 0]]), np.array([0]))
    new = replace(old, top5=old.top5[:, [1, 0, 2, 3, 4]])

    assert pair(old, new, FLOOR).drift == Drift(0.25, 0.25, 0.25)


def test_equal_answers_do_not_drift(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> None:
    """Nothing changed, p = 1, no margin."""
    answers = from_logits(logits, targets)

    paired = pair(answers, answers, FLOOR)

    assert (paired.changed, paired.lost, paired.gained, paired.p) == ((), 0, 0, 1.0)
    assert paired.drift == Drift(0.0, 0.0, 0.0)
    assert (paired.largest_margin, paired.top5_changed) == (None, 0)


def test_a_near_tie_is_told_from_a_real_change() -> None:
    """By the old run's margin in units of the spread: at the bound it is a tie, beyond it is not."""
    bound = FLOOR.margin * 4
    old = from_logits(np.array([[5 + bound, 5, 3, 2, 1, 0], [5.1 + bound, 5, 3, 2, 1, 0]] * 2), np.zeros(4, np.int64))
    old.logits[:, 4] = old.logits[:, 0] - 4  # type: ignore[index]
    new = replace(old, top5=old.top5[:, [1, 0, 2, 3, 4]])

    paired = pair(old, new, replace(FLOOR, margin=FLOOR.margin * 1.0001))

    assert [change.near_tie for change in paired.changed] == [True, False, True, False]
    assert (paired.near_ties, [change.id for change in paired.real]) == (2, ["0001.JPEG", "0003.JPEG"])


def test_without_logits_in_the_baseline_margins_are_the_new_runs() -> None:
    """A baseline of classes alone gives no drift, and near-ties are told from the other side."""
    new = from_logits(np.array([[5.001, 5, 3, 2, 1, 0], [6.0, 5, 3, 2, 1, 0]]), np.zeros(2, np.int64))
    old = replace(new, top5=new.top5[:, [1, 0, 2, 3, 4]], logits=None)

    paired = pair(old, new, FLOOR)

    assert paired.drift is None
    assert [change.near_tie for change in paired.changed] == [True, False]
    assert paired.changed[1] == Changed(
        "0001.JPEG", old=1, new=0, was_right=False, is_right=True, margin=paired.changed[1].margin, near_tie=False
    )


def test_without_any_logits_nothing_is_a_near_tie() -> None:
    """No margin is known, and none is made up."""
    old = replace(from_logits(np.array([[5.0, 4, 3, 2, 1, 0]]), np.array([0])), logits=None)
    new = replace(old, top5=old.top5[:, [1, 0, 2, 3, 4]])

    paired = pair(old, new, FLOOR)

    assert [(change.margin, change.near_tie) for change in paired.changed] == [(None, False)]
    assert paired.largest_margin is None


def test_other_images_are_not_paired(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> None:
    """Nor the same images in another order."""
    answers = from_logits(logits, targets)

    with pytest.raises(ValueError, match="different images"):
        pair(answers, replace(answers, ids=answers.ids[::-1]), FLOOR)
