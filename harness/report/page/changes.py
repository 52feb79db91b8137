"""The changed predictions of two runs, by cause: as cards with small pictures, and by class."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.baseline.diagnosis import class_name
from harness.baseline.pairing import Side, margins_of, on_images_of, side_of
from harness.compare.compare import AccuracyPair, Comparison
from harness.dataset import ImageDataset
from harness.formats.sources import open_bounded
from harness.records.evidence import ChangedPrediction
from harness.report.crops import crops_of
from harness.report.sections import Table, table_of

_MOST_CARDS = 160
_FEWEST_PER_CAUSE, _MOST_PER_CAUSE = 6, 24
_CLASSES = 8
_SIDE, _QUALITY = 128, 72  # of a picture, in pixels, and of its JPEG


class Answer(NamedTuple):
    """What one run predicted for an image: its margin, and its five highest classes by name with probabilities."""

    margin: float | None
    best: list[tuple[str, float | None]]


class Card(NamedTuple):
    """An image whose prediction changed, in one case and maybe in others of the same cause."""

    change: ChangedPrediction
    cases: list[str]  # ids; the first is the one that is shown
    label: str
    before: Answer
    now: Answer
    pictures: list[tuple[str, str]]  # captions, and ``data:`` URIs


class Cause(NamedTuple):
    """The changed predictions of the cases that share a cause: cards, and classes that lost or gained."""

    pairs: list[AccuracyPair]
    cards: list[Card]
    left_out: int  # number of images without a card
    classes: Table | None


class Thumbnails:
    """Pictures of a dataset's images, by id; without a dataset none, and why not, as a sentence for the page."""

    def __init__(self, dataset: ImageDataset | None, why_not: str = "") -> None:
        self.may_be_shown, self.why_not = dataset is not None, why_not
        self.class_names = dataset.classes if dataset else ()
        self._sources = dict(zip(dataset.ids, dataset.sources, strict=True)) if dataset else {}

    def of(self, identity: str) -> str:
        """Return the picture as a ``data:`` URI; empty where none may be shown, or it cannot be read."""
        if (source := self._sources.get(identity)) is None:
            return ""
        try:
            with open_bounded(source.read()) as image:
                small = image.convert("RGB")
        except (OSError, Image.DecompressionBombError):
            return ""
        small.thumbnail((_SIDE, _SIDE))
        return _uri(small, "JPEG")


def chosen_ids(comparison: Comparison) -> set[str]:
    """Return the ids of the images that get a card."""
    return {identity for _, chosen, _ in _chosen(comparison) for identity in chosen}


def changes(comparison: Comparison, thumbnails: Thumbnails, names: Sequence[str]) -> list[Cause]:
    """Return what changed, by cause; ``names`` of the classes, as far as known."""
    found = []
    for pairs, chosen, left_out in _chosen(comparison):
        cards, correct = {}, []
        for pair in pairs:
            new = side_of(comparison.new, pair.new)
            old = on_images_of(side_of(comparison.old, pair.old), new)
            correct.append(_correct_by_class(old, new))
            crops = [crops_of(comparison.old, pair.old), crops_of(comparison.new, pair.new)]
            for identity, changed in chosen.items():
                if changed[0][0] is pair:
                    index = int(np.searchsorted(new.predictions.ids, identity))
                    label, cases = class_name(int(new.targets[index]), names), [other.new.id for other, _ in changed]
                    before, now = (_answer(side, index, names) for side in (old, new))
                    both = [side[identity] for side in crops if identity in side and thumbnails.may_be_shown]
                    pictures = _before_and_now(*both) if len(both) == 2 else [("", thumbnails.of(identity))]
                    cards[identity] = Card(changed[0][1], cases, label, before, now, pictures)
        found.append(Cause(pairs, [cards[identity] for identity in chosen], left_out, _by_class(correct, names)))
    return found


_Changed = list[tuple[AccuracyPair, ChangedPrediction]]


def _chosen(comparison: Comparison) -> Iterator[tuple[list[AccuracyPair], dict[str, _Changed], int]]:
    """Yield the cases of each cause, the changes of each image that gets a card, and the number of other images.

    Changes beyond noise come first, of these the images of which both runs keep a picture, then large margins.
    """
    causes: dict[tuple[str, str], list[AccuracyPair]] = {}
    for pair in comparison.accuracy:
        if pair.pairing and pair.changed:
            diagnosis = pair.pairing.diagnosis
            causes.setdefault((diagnosis.stage, diagnosis.cause or diagnosis.finding), []).append(pair)
    most = max(_FEWEST_PER_CAUSE, min(_MOST_PER_CAUSE, _MOST_CARDS // max(len(causes), 1)))
    for pairs in causes.values():
        ranked = []
        for pair in pairs:
            kept = crops_of(comparison.old, pair.old).keys() & crops_of(comparison.new, pair.new)
            ranked += [((one.near_tie, one.id not in kept, -(one.margin or 0.0)), pair, one) for one in pair.changed]
        images: dict[str, _Changed] = {}
        for _, pair, change in sorted(ranked, key=lambda one: one[0]):
            images.setdefault(change.id, []).append((pair, change))
        yield pairs, dict(islice(images.items(), most)), max(len(images) - most, 0)


def _answer(side: Side, index: int, names: Sequence[str]) -> Answer:
    found, margins = side.predictions, margins_of(side.predictions)
    best = [class_name(int(number), names) for number in found.top5[index]]
    shares: list[float | None] = [None] * len(best)
    if found.logits is not None and found.logsumexp is not None:
        shares = np.exp(found.logits[index, : len(best)] - found.logsumexp[index]).tolist()
    return Answer(None if margins is None else float(margins[index]), list(zip(best, shares, strict=True)))


def _correct_by_class(old: Side, new: Side) -> NDArray[np.int64]:
    """Return (3, classes) numbers of images, and of correct predictions before and now."""
    correct = (side.targets[side.predictions.top1 == side.targets] for side in (old, new))
    return np.array([np.bincount(targets, minlength=2**15) for targets in (new.targets, *correct)])


def _by_class(correct: Sequence[NDArray[np.int64]], names: Sequence[str]) -> Table | None:
    """Return the classes that lost most correct predictions, then those that gained most; the largest first in both."""
    images, before, now = np.sum(correct, axis=0)
    gained = now - before
    order = np.argsort(gained, kind="stable")
    most = [index for index in order[:_CLASSES] if gained[index] < 0]
    most += [index for index in order[::-1][:_CLASSES] if gained[index] > 0]
    rows = []
    for index in map(int, most):
        row = [("<class", class_name(index, names)), ("predictions", str(images[index]))]
        row += [("correct before", str(before[index])), ("correct now", str(now[index]))]
        rows.append([*row, ("diff", f"{gained[index]:+}")])
    return table_of(rows)


def _before_and_now(old: NDArray[np.uint8], new: NDArray[np.uint8]) -> list[tuple[str, str]]:
    """Return both pictures, and how far they differ in any color, times a power of two."""
    levels = np.abs(old.astype(np.int16) - new).max(axis=2)
    times = 2 ** int(np.log2(255 / max(levels.max(), 1)))
    pictures = [("before", _uri(Image.fromarray(old), "JPEG")), ("now", _uri(Image.fromarray(new), "JPEG"))]
    if not levels.any():
        return [("the same pixels", pictures[0][1])]
    difference = Image.fromarray((times * levels).astype(np.uint8))
    return [*pictures, (f"difference x {times}", _uri(difference, "PNG"))]


def _uri(image: Image.Image, form: str) -> str:
    file = io.BytesIO()
    image.save(file, form, quality=_QUALITY, optimize=True)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
