"""The changed predictions of two runs: as cards with small pictures, and by class."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from harness.baseline.diagnosis import class_name
from harness.baseline.pairing import Side, margins_of, on_images_of, side_of
from harness.compare.compare import AccuracyPair, Comparison
from harness.dataset import ImageDataset
from harness.formats.sources import Source, open_bounded
from harness.records.evidence import ChangedPrediction
from harness.report.sections import Table, table_of

_MOST_CARDS = 160
_FEWEST_PER_CASE, _MOST_PER_CASE = 6, 24
_CLASSES = 8
_SIDE, _QUALITY = 128, 72  # of a picture, in pixels, and of its JPEG


class Card(NamedTuple):
    """One changed prediction: names of its classes, margins in both runs, and a picture as a ``data:`` URI."""

    change: ChangedPrediction
    label: str
    old: str
    new: str
    old_margin: float | None
    new_margin: float | None
    picture: str


class CaseChanges(NamedTuple):
    """The changed predictions of one case: cards, the number of those without one, and classes that lost or gained."""

    pair: AccuracyPair
    cards: list[Card]
    left_out: int
    classes: Table | None


class Thumbnails:
    """Pictures of a dataset's images, by id; without a dataset none, and why not, as a sentence for the page."""

    def __init__(self, dataset: ImageDataset | None, why_not: str = "") -> None:
        self.why_not = why_not
        self.class_names = dataset.classes if dataset else ()
        self._sources = dict(zip(dataset.ids, dataset.sources, strict=True)) if dataset else {}
        self._made: dict[str, str] = {}

    def of(self, identity: str) -> str:
        """Return the picture as a ``data:`` URI; empty where none may be shown, or it cannot be read."""
        if identity not in self._made:
            source = self._sources.get(identity)
            self._made[identity] = _picture(source) if source else ""
        return self._made[identity]


def chosen_ids(comparison: Comparison) -> set[str]:
    """Return the ids of the images that get a card."""
    return {change.id for _, chosen in _chosen(comparison) for change in chosen}


def changes(comparison: Comparison, thumbnails: Thumbnails, names: Sequence[str]) -> list[CaseChanges]:
    """Return what changed in each case that has changed predictions; ``names`` of the classes, as far as known."""
    found = []
    for pair, chosen in _chosen(comparison):
        new = side_of(comparison.new, pair.new)
        old = on_images_of(side_of(comparison.old, pair.old), new)
        margins = margins_of(old.predictions), margins_of(new.predictions)
        cards = []
        for change in chosen:
            index = int(np.searchsorted(new.predictions.ids, change.id))
            label, before, now = (
                class_name(number, names) for number in (int(new.targets[index]), change.old, change.new)
            )
            old_margin, new_margin = (None if margin is None else float(margin[index]) for margin in margins)
            cards.append(Card(change, label, before, now, old_margin, new_margin, thumbnails.of(change.id)))
        found.append(CaseChanges(pair, cards, len(pair.changed) - len(cards), _by_class(old, new, names)))
    return found


def _chosen(comparison: Comparison) -> Iterator[tuple[AccuracyPair, list[ChangedPrediction]]]:
    """Yield each case with changed predictions, and those with a card: beyond noise and with large margins first."""
    pairs = [pair for pair in comparison.accuracy if pair.changed]
    for pair in pairs:
        most = max(_FEWEST_PER_CASE, min(_MOST_PER_CASE, _MOST_CARDS // len(pairs)))
        yield pair, sorted(pair.changed, key=lambda change: (change.near_tie, -(change.margin or 0.0)))[:most]


def _by_class(old: Side, new: Side, names: Sequence[str]) -> Table | None:
    """Return the classes that lost most correct predictions, then those that gained most; the largest first in both."""
    classes = int(max(old.targets.max(), new.targets.max())) + 1
    images, before, after = (
        np.bincount(targets, minlength=classes)
        for targets in (new.targets, *(side.targets[side.predictions.top1 == side.targets] for side in (old, new)))
    )
    gained = after - before
    order = np.argsort(gained, kind="stable")
    most = [index for index in order[:_CLASSES] if gained[index] < 0]
    most += [index for index in order[::-1][:_CLASSES] if gained[index] > 0]
    rows = []
    for index in map(int, most):
        row = [
            ("<class", class_name(index, names)),
            ("images", str(images[index])),
            ("correct before", str(before[index])),
        ]
        rows.append([*row, ("correct now", str(after[index])), ("diff", f"{gained[index]:+}")])
    return table_of(rows)


def _picture(source: Source) -> str:
    try:
        with open_bounded(source.read()) as image:
            small = image.convert("RGB")
    except (OSError, Image.DecompressionBombError):
        return ""
    small.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
