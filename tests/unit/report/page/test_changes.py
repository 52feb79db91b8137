"""Tests of harness.report.page.changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.compare.compare import Comparison, compare
from harness.formats import imagenet
from harness.predictions import Predictions, count
from harness.records.results import CaseResult
from harness.report.page.changes import Thumbnails, changes, chosen_ids
from tests.records import TARGET, case_result, predictions_of, run_record, write_run

CASE = case_result()
OLD = predictions_of(CASE)  # 700 of 1000 correct; the logits are 5 4 3 2 1 0, so the logit scale is 4
NO_PICTURES = Thumbnails(None)
NAMES = imagenet.wnids()


def _new(exchanged: dict[int, float]) -> Predictions:
    """Return predictions with the first two classes of some images exchanged; the new first one has this lead."""
    assert OLD.logits is not None
    top, logits = OLD.top.copy(), OLD.logits.copy()
    for index, lead in exchanged.items():
        top[index, :2] = top[index, 1::-1]
        logits[index, 0] = logits[index, 1] + np.float32(lead)
    return replace(OLD, top=top, logits=logits)


def _counted(predictions: Predictions, model: str = "resnet18") -> CaseResult:
    return case_result(model, count(predictions, np.full(len(predictions), TARGET, np.int16)))


def _comparison(tmp_path: Path, new: Predictions, old: Predictions = OLD) -> Comparison:
    before, after = (
        write_run(tmp_path / name, run_record([_counted(predictions)]), resnet18=predictions)
        for name, predictions in (("old", old), ("new", new))
    )
    return compare(before, after)


def test_cards_tell_label_answers_and_margins(tmp_path: Path) -> None:
    """An image that was right and one that was wrong; margins in units of the spread, old and new."""
    [case] = changes(_comparison(tmp_path, _new({3: 2.0, 700: 0.5})), NO_PICTURES, NAMES)

    lost, gained = case.cards
    assert lost[1:] == ("goldfish", "goldfish", "great white shark", 0.25, 0.5, "")
    assert gained[1:] == ("goldfish", "great white shark", "goldfish", 0.25, 0.125, "")
    assert (lost.change.id, lost.change.was_correct) == ("0003.JPEG", True)
    assert (gained.change.id, gained.change.is_correct) == ("0700.JPEG", True)
    assert (case.pair.new.id, case.left_out) == (CASE.id, 0)


def test_real_changes_come_first_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    """The largest margin first; near-ties after them; 24 cards of a case, and the number of the others."""
    assert OLD.logits is not None
    logits = OLD.logits.copy()
    logits[:6, 0] = logits[:6, 1] + np.float32(1e-5)  # near-ties
    logits[6:40, 0] = logits[6:40, 1] + np.linspace(0.5, 1.5, 34, dtype=np.float32)
    leads = dict.fromkeys(range(40), 0.25) | dict.fromkeys(range(6), 1e-5)
    comparison = _comparison(tmp_path, _new(leads), replace(OLD, logits=logits))

    [case] = changes(comparison, NO_PICTURES, NAMES)

    assert [card.change.id for card in case.cards] == [f"{index:04}.JPEG" for index in range(39, 15, -1)]
    assert case.left_out == 16
    assert chosen_ids(comparison) == {card.change.id for card in case.cards}
    logits[:6, 0] += np.arange(6, dtype=np.float32) * 1e-6
    few = _comparison(tmp_path, _new(dict(list(leads.items())[:8])), replace(OLD, logits=logits))
    [case] = changes(few, NO_PICTURES, NAMES)
    assert [card.change.near_tie for card in case.cards] == [False] * 2 + [True] * 6
    margins = [card.old_margin for card in case.cards]
    assert margins[2:] == sorted(margins[2:], key=lambda margin: -(margin or 0))
    assert len(set(margins)) == 8


def test_many_cases_share_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the page of all models stays small; each has six cards at least."""
    changed = _new(dict.fromkeys(range(40), 0.25))
    names = ("alexnet", "resnet18", "vgg16")
    old, new = (
        write_run(
            tmp_path / when,
            run_record([_counted(found, name) for name in names]),
            **dict.fromkeys(names, found),
        )
        for when, found in (("old", OLD), ("new", changed))
    )

    for most, each in ((30, 10), (160, 24), (1, 6)):
        monkeypatch.setattr("harness.report.page.changes._MOST_CARDS", most)
        assert [len(case.cards) for case in changes(compare(old, new), NO_PICTURES, NAMES)] == [each] * 3


def test_classes_that_lost_and_gained(tmp_path: Path) -> None:
    """By correct predictions, old and new."""
    exchanged = dict.fromkeys([20, 21, 730, 731, 732, 733, 734], 1.0)

    [case] = changes(_comparison(tmp_path, _new(exchanged)), NO_PICTURES, ())

    assert case.classes is not None
    assert case.classes.rows == [["class 1", "1000", "700", "703", "+3"]]


def test_classes_with_as_many_as_before_have_no_row(tmp_path: Path) -> None:
    """One lost and one gained are none."""
    [case] = changes(_comparison(tmp_path, _new({20: 1.0, 730: 1.0})), NO_PICTURES, ())

    assert case.classes is None


def test_names_that_are_no_wnids_show_as_they_are(tmp_path: Path) -> None:
    """As those of rendered images; a class without a name by its number."""
    [case] = changes(_comparison(tmp_path, _new({3: 2.0})), NO_PICTURES, ("disc", "ring"))

    assert (case.cards[0].old, case.cards[0].new) == ("ring", "class 2")


def test_predictions_without_logits_have_no_margins(tmp_path: Path) -> None:
    """As those published by others: every change counts as beyond noise."""
    [case] = changes(
        _comparison(tmp_path, replace(_new({3: 2.0}), logits=None), replace(OLD, logits=None)), NO_PICTURES, NAMES
    )

    assert [(card.change.near_tie, card.old_margin, card.new_margin) for card in case.cards] == [(False, None, None)]


@pytest.mark.parametrize("names", [NAMES, ()])
def test_equal_answers_leave_nothing_to_show(tmp_path: Path, names: tuple[str, ...]) -> None:
    """No case, no ids, so that no picture is asked for."""
    comparison = _comparison(tmp_path, OLD)

    assert changes(comparison, NO_PICTURES, names) == []
    assert chosen_ids(comparison) == set()
