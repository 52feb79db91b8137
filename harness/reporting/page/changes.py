"""The answers that changed between two runs: as cards, and by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.data.imagenet import class_names
from harness.gate.answers import Answers
from harness.gate.pairing import Changed, margins_of
from harness.reporting.accuracy_pair import AccuracyPair
from harness.reporting.compare import Comparison
from harness.reporting.page.thumbnails import Thumbnails
from harness.reporting.run_folder import Run
from harness.reporting.table import Table

_MOST_CARDS = 160
_FEWEST_A_CASE, _MOST_A_CASE = 6, 24
_CLASSES = 8


@dataclass(frozen=True)
class Card:
    """One changed answer.

    Attributes:
        label: what is right.
        turn: ``lost``, ``gained``, or ``still wrong``.
        old_margin: how far the old answer was ahead of its second, in units of the logits' spread; None if not known.
        new_margin: the same of the new answer.
        picture: a ``data:`` URI; empty where there is none.
    """

    id: str
    label: str
    old: str
    new: str
    turn: str
    near_tie: bool
    old_margin: float | None
    new_margin: float | None
    picture: str


@dataclass(frozen=True)
class CaseChanges:
    """What changed in one case.

    Attributes:
        cards: real changes first, largest margin first.
        left_out: changed answers that have no card.
        classes: gains and losses by class; None where no class has another number of hits.
    """

    id: str
    pair: AccuracyPair
    cards: tuple[Card, ...]
    left_out: int
    classes: Table | None


def shown_ids(comparison: Comparison) -> set[str]:
    """Return the ids of the images that get a card."""
    return {change.id for pair in _changed(comparison) for change in _chosen(pair, comparison)}


def changes(comparison: Comparison, thumbnails: Thumbnails, names: Sequence[str]) -> list[CaseChanges]:
    """Return what changed, case by case; nothing of cases whose images were not paired or all answered alike.

    Args:
        names: of the classes, by class index; empty where they are not known.

    Raises:
        RecordError: answers cannot be read.
    """
    return [_case_changes(pair, comparison, thumbnails, names) for pair in _changed(comparison)]


def _changed(comparison: Comparison) -> list[AccuracyPair]:
    return [pair for pair in comparison.accuracy if pair.paired and pair.paired.changed]


def _chosen(pair: AccuracyPair, comparison: Comparison) -> list[Changed]:
    most = max(_FEWEST_A_CASE, min(_MOST_A_CASE, _MOST_CARDS // len(_changed(comparison))))
    assert pair.paired is not None
    near_ties = [change for change in pair.paired.changed if change.near_tie]
    near_ties.sort(key=lambda change: -(change.margin or 0.0))
    return [*pair.paired.real, *near_ties][:most]


def _case_changes(
    pair: AccuracyPair, comparison: Comparison, thumbnails: Thumbnails, names: Sequence[str]
) -> CaseChanges:
    assert pair.paired is not None
    old, new = _answers(comparison.old, pair.old.id), _answers(comparison.new, pair.new.id)
    margins = margins_of(old), margins_of(new)
    cards = []
    for change in _chosen(pair, comparison):
        place = int(np.searchsorted(new.ids, change.id))
        old_margin, new_margin = (None if margin is None else float(margin[place]) for margin in margins)
        cards.append(
            Card(
                id=change.id,
                label=_named(int(new.targets[place]), names),
                old=_named(change.old, names),
                new=_named(change.new, names),
                turn="lost" if change.was_right else "gained" if change.is_right else "still wrong",
                near_tie=change.near_tie,
                old_margin=old_margin,
                new_margin=new_margin,
                picture=thumbnails.of(change.id),
            )
        )
    left_out = len(pair.paired.changed) - len(cards)
    return CaseChanges(pair.new.id, pair, tuple(cards), left_out, _by_class(old, new, names))


def _answers(run: Run, case: str) -> Answers:
    answers = run.answers(case)
    assert answers is not None  # the case was paired
    return answers


def _by_class(old: Answers, new: Answers, names: Sequence[str]) -> Table | None:
    """Return the classes that lost most hits, and then those that gained most; the largest first in both."""
    classes = int(max(old.targets.max(), new.targets.max())) + 1
    images = np.bincount(new.targets, minlength=classes)
    before = np.bincount(old.targets[old.correct], minlength=classes)
    after = np.bincount(new.targets[new.correct], minlength=classes)
    gained = after - before
    order = np.argsort(gained, kind="stable")
    lost_most = [index for index in order[:_CLASSES] if gained[index] < 0]
    gained_most = [index for index in order[::-1][:_CLASSES] if gained[index] > 0]
    if not (lost_most or gained_most):
        return None
    rows = [
        [_named(index, names), str(images[index]), str(before[index]), str(after[index]), f"{gained[index]:+}"]
        for index in map(int, [*lost_most, *gained_most])
    ]
    return Table(["class", "images", "right before", "right now", "diff"], rows, frozenset({0}))


def _named(index: int, names: Sequence[str]) -> str:
    """Return what a class is called; by its number where that is not known."""
    if index >= len(names):
        return f"class {index}"
    return class_names().get(names[index], names[index])
