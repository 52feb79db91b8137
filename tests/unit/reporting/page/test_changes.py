"""Tests of harness.reporting.page.changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.data import imagenet
from harness.gate.answers import Answers
from harness.reporting.compare import Comparison, compare
from harness.reporting.page.changes import Card, changes, shown_ids
from harness.reporting.page.thumbnails import Thumbnails
from tests.records import answers_of, case_record, run_record, write_run

CASE = case_record()
OLD = answers_of(CASE)  # 700 of 1000 right; 5 4 3 2 1 are the logits, so their spread is 4
NO_PICTURES = Thumbnails(None)
NAMES = imagenet.wnids()


def _new(exchanged: dict[int, float]) -> Answers:
    """Return the answers with the best two classes of some images exchanged, the new best ahead by as much."""
    assert OLD.logits is not None
    top5, logits = OLD.top5.copy(), OLD.logits.copy()
    for place, lead in exchanged.items():
        top5[place, :2] = top5[place, 1::-1]
        logits[place, 0] = logits[place, 1] + np.float32(lead)
    return replace(OLD, top5=top5, logits=logits)


def _comparison(tmp_path: Path, new: Answers, old: Answers = OLD) -> Comparison:
    before, after = (
        write_run(tmp_path / name, run_record([replace(CASE, measured=answers.hits)]), resnet18=answers)
        for name, answers in (("old", old), ("new", new))
    )
    return compare(before, after, noise=0.07)


def test_cards_tell_label_answers_and_margins(tmp_path: Path) -> None:
    """An image that was right and one that was wrong; margins in units of the spread, old and new."""
    [case] = changes(_comparison(tmp_path, _new({3: 2.0, 700: 0.5})), NO_PICTURES, NAMES)

    lost = Card("0003.JPEG", "goldfish", "goldfish", "great white shark", "lost", False, 0.25, 0.5, "")
    gained = Card("0700.JPEG", "goldfish", "great white shark", "goldfish", "gained", False, 0.25, 0.125, "")
    assert case.cards == (lost, gained)
    assert (case.id, case.left_out) == (CASE.id, 0)


def test_real_changes_come_first_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    """The largest margin first; near-ties after them; 24 cards of a case, and the number of the others."""
    assert OLD.logits is not None
    logits = OLD.logits.copy()
    logits[:6, 0] = logits[:6, 1] + np.float32(1e-5)  # near-ties
    logits[6:40, 0] = logits[6:40, 1] + np.linspace(0.5, 1.5, 34, dtype=np.float32)
    comparison = _comparison(tmp_path, _new(dict.fromkeys(range(40), 0.25)), replace(OLD, logits=logits))

    [case] = changes(comparison, NO_PICTURES, NAMES)

    assert [card.id for card in case.cards] == [f"{place:04}.JPEG" for place in range(39, 15, -1)]
    assert case.left_out == 16
    assert shown_ids(comparison) == {card.id for card in case.cards}
    logits[:6, 0] += np.arange(6, dtype=np.float32) * 1e-6
    few = _comparison(tmp_path, _new(dict.fromkeys(range(8), 0.25)), replace(OLD, logits=logits))
    [case] = changes(few, NO_PICTURES, NAMES)
    assert [card.near_tie for card in case.cards] == [False] * 2 + [True] * 6
    margins = [card.old_margin for card in case.cards]
    assert margins[2:] == sorted(margins[2:], key=lambda margin: -(margin or 0))
    assert len(set(margins)) == 8


def test_many_cases_share_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the page of all models stays small; each has six cards at least."""
    answers = _new(dict.fromkeys(range(40), 0.25))
    names = ("alexnet", "resnet18", "vgg16")
    old, new = (
        write_run(
            tmp_path / when,
            run_record([replace(case_record(name), measured=found.hits) for name in names]),
            **dict.fromkeys(names, found),
        )
        for when, found in (("old", OLD), ("new", answers))
    )

    for most, each in ((30, 10), (160, 24), (1, 6)):
        monkeypatch.setattr("harness.reporting.page.changes._MOST_CARDS", most)
        assert [len(case.cards) for case in changes(compare(old, new, 0.07), NO_PICTURES, NAMES)] == [each] * 3


def test_classes_that_lost_and_gained(tmp_path: Path) -> None:
    """By hits, old and new; a class whose hits are as many as before has no row."""
    targets = OLD.targets.copy()
    targets[:10], targets[700:705], targets[720] = 7, 2, 3
    old = replace(OLD, targets=targets)
    exchanged = dict.fromkeys([20, 21, 700, 730, 731, 732, 733, 734], 1.0)
    top5 = _new(exchanged).top5
    top5[720, 0], top5[720, 2] = 3, 2
    comparison = _comparison(tmp_path, replace(_new(exchanged), targets=targets, top5=top5), old)

    [case] = changes(comparison, NO_PICTURES, ())

    assert case.classes is not None
    assert case.classes.rows == [
        ["class 2", "5", "5", "4", "-1"],
        ["class 1", "984", "690", "693", "+3"],
        ["class 3", "1", "0", "1", "+1"],
    ]


def test_names_that_are_no_wnids_show_as_they_are(tmp_path: Path) -> None:
    """As those of rendered images; a class without a name by its number."""
    [case] = changes(_comparison(tmp_path, _new({3: 2.0})), NO_PICTURES, ("disc", "ring"))

    assert (case.cards[0].old, case.cards[0].new) == ("ring", "class 2")


def test_answers_without_logits_have_no_margins(tmp_path: Path) -> None:
    """As predictions that others published: every change counts as real."""
    [case] = changes(
        _comparison(tmp_path, replace(_new({3: 2.0}), logits=None), replace(OLD, logits=None)), NO_PICTURES, NAMES
    )

    assert [(card.near_tie, card.old_margin, card.new_margin) for card in case.cards] == [(False, None, None)]


@pytest.mark.parametrize("names", [NAMES, ()])
def test_equal_answers_leave_nothing_to_show(tmp_path: Path, names: tuple[str, ...]) -> None:
    """No case, no ids, so that no picture is asked for."""
    comparison = _comparison(tmp_path, OLD)

    assert changes(comparison, NO_PICTURES, names) == []
    assert shown_ids(comparison) == set()
