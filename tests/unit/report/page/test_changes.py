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
from harness.report.page.changes import Cause, Thumbnails, changes, chosen_ids
from tests.colors import write_dataset
from tests.images import save
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


def _changes(comparison: Comparison, names: tuple[str, ...] = NAMES) -> list[Cause]:
    return changes(comparison, NO_PICTURES, names)


def test_cards_tell_label_answers_and_margins(tmp_path: Path) -> None:
    """An image that was right and one that was wrong, so that no class lost; margins in units of the spread."""
    [cause] = _changes(_comparison(tmp_path, swapped_by(OLD, {3: 2.0, 700: 0.5})))

    lost, gained = cause.cards
    right, wrong = "goldfish", "great white shark"
    assert (right, right, wrong) == (lost.label, lost.before.best[0][0], lost.now.best[0][0])
    assert (right, wrong, right) == (gained.label, gained.before.best[0][0], gained.now.best[0][0])
    assert (0.25, 0.5) == (lost.before.margin, lost.now.margin)
    assert (0.25, 0.125) == (gained.before.margin, gained.now.margin)
    shares = [share for _, share in lost.before.best]
    assert pytest.approx(shares) == [math.exp(logit - 5.5) for logit in (5, 4, 3, 2, 1)]
    assert [("", "")] == lost.pictures
    assert ("0003.JPEG", True) == (lost.change.id, lost.change.was_correct)
    assert ("0700.JPEG", True) == (gained.change.id, gained.change.is_correct)
    assert ([CASE.id], 0, None) == ([pair.new.id for pair in cause.pairs], cause.left_out, cause.classes)


def test_real_changes_come_first_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    """The largest margin first; near-ties after them; 24 cards of a case, and the number of the others."""
    near, real = {row: 1e-5 + row * 1e-6 for row in range(6)}, {row: 0.5 + row / 40 for row in range(6, 40)}
    old = replace(swapped_by(OLD, near | real), top=OLD.top)
    comparison = _comparison(tmp_path / "many", swapped_by(old, near | dict.fromkeys(real, 0.25)), old)

    [many] = _changes(comparison)
    [few] = _changes(_comparison(tmp_path / "few", swapped_by(old, near | {6: 0.25, 7: 0.25}), old))

    assert [f"{row:04}.JPEG" for row in range(39, 15, -1)] == [card.change.id for card in many.cards]
    assert 16 == many.left_out
    assert chosen_ids(comparison) == {card.change.id for card in many.cards}
    assert [f"{row:04}.JPEG" for row in (7, 6, 5, 4, 3, 2, 1, 0)] == [card.change.id for card in few.cards]
    assert [False] * 2 + [True] * 6 == [card.change.near_tie for card in few.cards]


def test_models_that_share_a_cause_are_one_block(tmp_path: Path) -> None:
    """An image that changed in several has one card, which names them; the classes are counted over all.

    Other causes have other blocks, each as large as there is room.
    """
    models, leads = ("alexnet", "resnet18", "vgg16"), dict.fromkeys([3, *range(5, 44)], 1.0)
    changed = {"alexnet": swapped_by(OLD, {3: 2.0, 4: 1.0}), "vgg16": swapped_by(OLD, leads)}
    old = write_run(tmp_path / "old", run_record([case_result(model) for model in models]))
    cases = [counted(changed.get(model, OLD), model) for model in models]
    comparison = compare(old, write_run(tmp_path / "new", run_record(cases), **changed))
    first, _, last = comparison.accuracy
    evidence = msgspec.structs.replace(last.evidence, diagnosis=Diagnosis("weights", "other", cause="another file"))
    other = replace(last, new=msgspec.structs.replace(last.new, baseline=evidence))

    [cause] = _changes(comparison)
    apart = _changes(replace(comparison, accuracy=(first, other)))

    alexnet, vgg16 = first.new.id, last.new.id
    assert [alexnet, vgg16] == [pair.new.id for pair in cause.pairs]
    named = {card.change.id: card.cases for card in cause.cards}
    others = {f"{number:04}.JPEG": [vgg16] for number in range(5, 27)}
    assert {"0003.JPEG": [alexnet, vgg16], "0004.JPEG": [alexnet], **others} == named
    assert cause.classes is not None
    assert [["goldfish", "2000", "1400", "1358", "-42"]] == cause.classes.rows
    assert [[alexnet], [vgg16]] == [[pair.new.id for pair in cause.pairs] for cause in apart]
    assert [(2, 0), (24, 16)] == [(len(cause.cards), cause.left_out) for cause in apart]


def _pixels(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.fixture
def colors(tmp_path: Path) -> Thumbnails:
    """Pictures of 16 images in ``tmp_path``."""
    return Thumbnails(open_dataset(str(write_dataset(tmp_path / "colors"))))


def _with_crops(run: Run, levels: dict[int, int]) -> Run:
    """Write pictures of images by number, of one color but for a lighter pixel; return the run, read again."""
    pixels = np.full((len(levels), CROP_SIDE, CROP_SIDE, 3), 100, np.uint8)
    pixels[:, 5, 7, 1] += np.array(list(levels.values()), np.uint8)
    ids = np.array([f"{number:04}.JPEG" for number in levels])
    write_arrays(run.path / CROPS / f"{CASE.id}.npz", {"ids": ids, "pixels": pixels})
    return read_run(run.path)


def test_a_card_shows_both_crops_and_their_difference(tmp_path: Path, colors: Thumbnails) -> None:
    """Amplified by a power of two; equal ones are shown once, and all only where pictures may be.

    Images of which both runs keep a crop come first.
    """
    levels = {4: 7, 5: 1, 6: 100, 7: 0}
    comparison = _comparison(tmp_path, swapped_by(OLD, dict.fromkeys([3, *levels], 1.0)))
    old = _with_crops(comparison.old, {2: 0, **dict.fromkeys(levels, 0)})
    comparison = compare(old, _with_crops(comparison.new, {3: 0, **levels}))

    [shown], [hidden] = (changes(comparison, pictures, NAMES) for pictures in (colors, NO_PICTURES))

    *different, same, other = shown.cards
    assert [f"000{number}.JPEG" for number in (4, 5, 6, 7, 3)] == [card.change.id for card in shown.cards]
    for card, times, pixel in zip(different, (32, 128, 2), (224, 128, 200), strict=True):
        assert ["before", "now", f"difference x {times}"] == [caption for caption, _ in card.pictures]
        expected = np.zeros((CROP_SIDE, CROP_SIDE), np.uint8)
        expected[5, 7] = pixel
        assert (expected == np.array(_pixels(card.pictures[2][1]))).all()
    assert ["the same pixels"] == [caption for caption, _ in same.pictures]
    assert [[("", "")]] * 6 == [card.pictures for card in (other, *hidden.cards)]


def test_without_names_or_logits_there_are_numbers_and_no_margins(tmp_path: Path) -> None:
    """Names that are no wnids show as they are, and classes without one by number; every change is beyond noise."""
    old, new = (replace(found, logits=None) for found in (OLD, swapped_by(OLD, {700: 2.0})))

    [cause] = _changes(_comparison(tmp_path, new, old), ("disc", "ring"))

    [card] = cause.cards
    assert ("class 2", "ring") == (card.before.best[0][0], card.now.best[0][0])
    assert (False, None, None) == (card.change.near_tie, card.before.margin, card.now.margin)
    assert {None} == {share for _, share in card.before.best}
    assert cause.classes is not None
    assert [["ring", "1000", "700", "701", "+1"]] == cause.classes.rows


def test_pictures_are_small_and_of_the_right_image(tmp_path: Path) -> None:
    """At most 128 pixels a side, whatever the file's mode and size."""
    root = write_dataset(tmp_path / "colors")
    [path] = root.glob("*/05.JPEG")
    save(Image.new("L", (900, 300), 200), path)
    thumbnails = Thumbnails(open_dataset(str(root)))

    uri = thumbnails.of("05.JPEG")

    picture = _pixels(uri)
    assert uri.startswith("data:image/jpeg;base64,")
    assert ((128, 43), "RGB") == (picture.size, picture.mode)
    assert np.abs(np.array(picture).astype(int) - 200).max() < 4
    assert (20, 14) == _pixels(thumbnails.of("04.JPEG")).size


def test_a_file_that_cannot_be_read_has_no_picture(
    colors: Thumbnails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor has one that Pillow rejects to decode, as it may be made to fill the memory; nor any without a dataset."""
    for number, path in enumerate(sorted(tmp_path.glob("colors/*/0[12].JPEG"))):
        path.write_bytes(b"none" * number)

    assert ["", ""] == [colors.of("01.JPEG"), colors.of("02.JPEG")]
    assert colors.of("03.JPEG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "" == colors.of("03.JPEG") == NO_PICTURES.of("03.JPEG")
