"""Tests of harness.report.page.changes."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from harness.compare.compare import Comparison, compare
from harness.dataset import open_dataset
from harness.formats import imagenet
from harness.predictions import Predictions
from harness.records.evidence import Diagnosis
from harness.records.run_folder import CROP_SIDE, CROPS, Run, read_run, write_arrays
from harness.report.page.changes import Thumbnails, changes, chosen_ids
from tests.colours import write_dataset
from tests.records import case_result, counted, predictions_of, run_record, swapped_by, write_run

CASE = case_result()
OLD = predictions_of(CASE)  # 700 of 1000 correct; the logits are 5 4 3 2 1 0, so the logit scale is 4
NO_PICTURES = Thumbnails(None)
NAMES = imagenet.wnids()


def _comparison(tmp_path: Path, new: Predictions, old: Predictions = OLD) -> Comparison:
    before, after = (
        write_run(tmp_path / name, run_record([counted(predictions)]), resnet18=predictions)
        for name, predictions in (("old", old), ("new", new))
    )
    return compare(before, after)


def test_cards_tell_label_answers_and_margins(tmp_path: Path) -> None:
    """An image that was right and one that was wrong; margins in units of the spread, old and new."""
    [cause] = changes(_comparison(tmp_path, swapped_by(OLD, {3: 2.0, 700: 0.5})), NO_PICTURES, NAMES)

    lost, gained = cause.cards
    assert [("goldfish", "goldfish", "great white shark")] * 2 == [
        (card.label, *sorted([card.before.best[0][0], card.now.best[0][0]])) for card in (lost, gained)
    ]
    assert ("goldfish", "great white shark") == (lost.before.best[0][0], gained.before.best[0][0])
    assert (0.25, 0.5) == (lost.before.margin, lost.now.margin)
    assert (0.25, 0.125) == (gained.before.margin, gained.now.margin)
    shares = [share for _, share in lost.before.best]
    assert [math.exp(logit - 5.5) for logit in (5, 4, 3, 2, 1)] == pytest.approx(shares)
    assert [("", "")] == lost.pictures
    assert (lost.change.id, lost.change.was_correct) == ("0003.JPEG", True)
    assert (gained.change.id, gained.change.is_correct) == ("0700.JPEG", True)
    assert ([CASE.id], 0) == ([pair.new.id for pair in cause.pairs], cause.left_out)


def test_real_changes_come_first_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    """The largest margin first; near-ties after them; 24 cards of a case, and the number of the others."""
    assert OLD.logits is not None
    logits = OLD.logits.copy()
    logits[:6, 0] = logits[:6, 1] + np.float32(1e-5)  # near-ties
    logits[6:40, 0] = logits[6:40, 1] + np.linspace(0.5, 1.5, 34, dtype=np.float32)
    leads = dict.fromkeys(range(40), 0.25) | dict.fromkeys(range(6), 1e-5)
    comparison = _comparison(tmp_path, swapped_by(OLD, leads), replace(OLD, logits=logits))

    [case] = changes(comparison, NO_PICTURES, NAMES)

    assert [card.change.id for card in case.cards] == [f"{index:04}.JPEG" for index in range(39, 15, -1)]
    assert case.left_out == 16
    assert chosen_ids(comparison) == {card.change.id for card in case.cards}
    logits[:6, 0] += np.arange(6, dtype=np.float32) * 1e-6
    few = _comparison(tmp_path, swapped_by(OLD, dict(list(leads.items())[:8])), replace(OLD, logits=logits))
    [case] = changes(few, NO_PICTURES, NAMES)
    assert [card.change.near_tie for card in case.cards] == [False] * 2 + [True] * 6
    margins = [card.before.margin for card in case.cards]
    assert margins[2:] == sorted(margins[2:], key=lambda margin: -(margin or 0))
    assert len(set(margins)) == 8


def _three(tmp_path: Path, **changes: dict[int, float]) -> Comparison:
    """Return a comparison of three models; those of which no changes are given have other weights."""
    names, changed = ("alexnet", "resnet18", "vgg16"), {name: swapped_by(OLD, lead) for name, lead in changes.items()}
    old, new = (
        write_run(tmp_path / when, run_record([counted(found.get(name, OLD), name) for name in names]), **found)
        for when, found in (("old", dict.fromkeys(names, OLD)), ("new", changed))
    )
    return compare(old, new)


def test_models_that_share_a_cause_are_one_block(tmp_path: Path) -> None:
    """An image that changed in several has one card, which names them; the classes are counted over all."""
    comparison = _three(tmp_path, alexnet={3: 2.0, 4: 1.0}, vgg16={3: 2.0, 5: 1.0})

    [cause] = changes(comparison, NO_PICTURES, NAMES)

    assert ["alexnet", "vgg16"] == [pair.new.model for pair in cause.pairs]
    ids = [f"{model}-IMAGENET1K_V1-fp32" for model in ("alexnet", "vgg16")]
    assert {"0003.JPEG": ids, "0004.JPEG": ids[:1], "0005.JPEG": ids[1:]} == {
        card.change.id: card.cases for card in cause.cards
    }
    assert cause.classes is not None
    assert [["goldfish", "2000", "1400", "1396", "-4"]] == cause.classes.rows


def test_other_causes_have_other_blocks(tmp_path: Path) -> None:
    """Each as large as there is room."""
    comparison = _three(tmp_path, alexnet=dict.fromkeys(range(40), 0.25), vgg16=dict.fromkeys(range(40), 0.25))
    [first, second] = (pair for pair in comparison.accuracy if pair.changed)
    evidence = msgspec.structs.replace(second.evidence, diagnosis=Diagnosis("weights", "other", cause="another file"))
    other = replace(second, new=msgspec.structs.replace(second.new, baseline=evidence))

    causes = changes(replace(comparison, accuracy=(first, other)), NO_PICTURES, NAMES)

    assert [(["alexnet"], 24, 16), (["vgg16"], 24, 16)] == [
        ([pair.new.model for pair in cause.pairs], len(cause.cards), cause.left_out) for cause in causes
    ]


def _with_crops(run: Run, *numbers: int, **levels: int) -> Run:
    """Write pictures of the images with these numbers, of one color but for a pixel; return the run, read again."""
    pixels = np.full((len(numbers), CROP_SIDE, CROP_SIDE, 3), 100, np.uint8)
    pixels[:, 5, 7, 1] += np.uint8(levels.get("level", 0))
    ids = np.array([f"{number:04}.JPEG" for number in numbers])
    write_arrays(run.path / CROPS / f"{CASE.id}.npz", {"ids": ids, "pixels": pixels})
    return read_run(run.path)


@pytest.mark.parametrize(("level", "times", "pixel"), [(7, 32, 224), (1, 128, 128), (100, 2, 200)])
def test_a_card_shows_both_crops_and_their_difference(level: int, times: int, pixel: int, tmp_path: Path) -> None:
    """Amplified by a power of two; images of which both runs keep a crop come first."""
    comparison = _comparison(tmp_path, swapped_by(OLD, {3: 2.0, 4: 1.0}))
    old, new = _with_crops(comparison.old, 2, 4), _with_crops(comparison.new, 3, 4, level=level)
    thumbnails = Thumbnails(open_dataset(str(write_dataset(tmp_path / "colours"))))

    [cause] = changes(compare(old, new), thumbnails, NAMES)

    assert ["0004.JPEG", "0003.JPEG"] == [card.change.id for card in cause.cards]
    assert [("", "")] == cause.cards[1].pictures
    assert ["before", "now", f"difference x {times}"] == [caption for caption, _ in cause.cards[0].pictures]
    difference = np.array(Image.open(io.BytesIO(base64.b64decode(cause.cards[0].pictures[2][1].partition(",")[2]))))
    expected = np.zeros((CROP_SIDE, CROP_SIDE), np.uint8)
    expected[5, 7] = pixel
    assert (expected == difference).all()


def test_crops_are_shown_only_where_pictures_may_be(tmp_path: Path) -> None:
    """The terms of the images hold for crops too; equal ones are shown once."""
    comparison = _comparison(tmp_path, swapped_by(OLD, {3: 2.0}))
    old, new = (_with_crops(run, 3) for run in (comparison.old, comparison.new))
    thumbnails = Thumbnails(open_dataset(str(write_dataset(tmp_path / "colours"))))

    [hidden], [shown] = (changes(compare(old, new), pictures, NAMES) for pictures in (NO_PICTURES, thumbnails))

    assert [("", "")] == hidden.cards[0].pictures
    assert ["the same pixels"] == [caption for caption, _ in shown.cards[0].pictures]


def test_classes_that_lost_and_gained(tmp_path: Path) -> None:
    """By correct predictions, old and new."""
    exchanged = dict.fromkeys([20, 21, 730, 731, 732, 733, 734], 1.0)

    [case] = changes(_comparison(tmp_path, swapped_by(OLD, exchanged)), NO_PICTURES, ())

    assert case.classes is not None
    assert case.classes.rows == [["class 1", "1000", "700", "703", "+3"]]


def test_classes_with_as_many_as_before_have_no_row(tmp_path: Path) -> None:
    """One lost and one gained are none."""
    [case] = changes(_comparison(tmp_path, swapped_by(OLD, {20: 1.0, 730: 1.0})), NO_PICTURES, ())

    assert case.classes is None


def test_names_that_are_no_wnids_show_as_they_are(tmp_path: Path) -> None:
    """As those of rendered images; a class without a name by its number."""
    [case] = changes(_comparison(tmp_path, swapped_by(OLD, {3: 2.0})), NO_PICTURES, ("disc", "ring"))

    assert ("ring", "class 2") == (case.cards[0].before.best[0][0], case.cards[0].now.best[0][0])


def test_predictions_without_logits_have_no_margins(tmp_path: Path) -> None:
    """As those published by others: every change counts as beyond noise."""
    [case] = changes(
        _comparison(tmp_path, replace(swapped_by(OLD, {3: 2.0}), logits=None), replace(OLD, logits=None)),
        NO_PICTURES,
        NAMES,
    )

    [card] = case.cards
    assert (False, None, None) == (card.change.near_tie, card.before.margin, card.now.margin)
    assert {None} == {share for _, share in card.before.best}


@pytest.mark.parametrize("names", [NAMES, ()])
def test_equal_answers_leave_nothing_to_show(tmp_path: Path, names: tuple[str, ...]) -> None:
    """No case, no ids, so that no picture is asked for."""
    comparison = _comparison(tmp_path, OLD)

    assert changes(comparison, NO_PICTURES, names) == []
    assert chosen_ids(comparison) == set()
