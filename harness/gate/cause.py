"""Two evaluations of one case -> the first link of the chain from files to answers that differs, with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.data.fingerprints import Fingerprints, pixel_difference
from harness.gate.answers import Answers
from harness.gate.scores import TopK

WEIGHTS = "weights"
LABELS = "labels"
IMAGES = "set of images"
INPUTS = "decoded inputs"
NORMALIZATION = "normalization"
ARITHMETIC = "arithmetic"
COUNTING = "counting"

# What can change a decoded pixel; the rest of the environment can only change the arithmetic.
_DECODERS = ("pillow", "libjpeg_turbo", "torchvision")
_NORMALIZING = ("mean", "std")


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What went into the evaluation of a case, and what came out; what is not known is empty or None.

    Attributes:
        answers: to each image.
        counted: the hits that were reported.
        total: images of the whole split.
        parameters: of the model; 0 if not known.
        weights: sha256 of all parameters and buffers.
        fingerprints: of the images, in the answers' order.
        preparation: decoder, resize, crop, interpolation, mean and std.
        first_input: what the model was given for the first image: its id, sha256, smallest and largest value.
        conditions: precision switches, memory format, batch size and the like.
        environment: versions and hardware.
    """

    answers: Answers
    counted: TopK
    total: int
    parameters: int
    weights: str
    fingerprints: Fingerprints | None
    preparation: Mapping[str, object]
    first_input: Mapping[str, Any]
    conditions: Mapping[str, object]
    environment: Mapping[str, object]


@dataclass(frozen=True)
class Cause:
    """The first link that differs: its name, and what was found there in one sentence."""

    link: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.link}: {self.evidence}"


def first_difference(old: Evaluated, new: Evaluated) -> Cause:
    """Return the first link that differs, in the order of the chain; the arithmetic if nothing before it does.

    Args:
        old: the earlier evaluation.
        new: the later one, of the same images in the same order.
    """
    for link, find in _LINKS:
        if evidence := find(old, new):
            return Cause(link, evidence)
    return Cause(ARITHMETIC, _arithmetic(old, new))


def images_missing(old: Evaluated, new: Evaluated) -> Cause | None:
    """Return why the new evaluation's images cannot be found among the old one's; None if they can.

    A subset can be paired with the whole that it is a subset of; a whole only with a whole.
    """
    missing = new.answers.ids[old.answers.places_of(new.answers.ids) < 0]
    if new.total == old.total and not len(missing):
        return None
    if new.total == old.total and len(old.answers) < min(old.total, len(new.answers)):
        return Cause(
            IMAGES,
            f"the baseline holds {len(old.answers):,} of {old.total:,} images, too few for the {len(new.answers):,} "
            f"here; give --limit {len(old.answers)} or less, or record a baseline of all",
        )
    sizes = f"{new.total:,} images, before {old.total:,}"
    alike = len(new.answers) == new.total or len(new.answers) == len(old.answers)
    gone = old.answers.ids[new.answers.places_of(old.answers.ids) < 0] if alike else missing[:0]
    named = [f"new: {_some(missing)}"] if len(missing) else []
    named += [f"gone: {_some(gone)}"] if len(gone) else []
    return Cause(IMAGES, "; ".join([sizes, *named]))


def moved(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return what both know and do not agree on, as ``name old -> new``."""
    return [
        f"{name} {_shown(old[name])} -> {_shown(new[name])}"
        for name in old
        if name in new and str(old[name]) != str(new[name])
    ]


def _shown(value: object) -> str:
    return f"({', '.join(f'{part:.6g}' for part in value)})" if isinstance(value, list) else str(value)


def _some(ids: np.ndarray[tuple[int, ...], np.dtype[np.str_]]) -> str:
    return f"{len(ids):,}, such as {ids[0]}"


def _weights(old: Evaluated, new: Evaluated) -> str:
    if not old.weights or old.weights == new.weights:
        return ""
    return f"their sha256 is {new.weights[:16]}..., before {old.weights[:16]}..."


def _labels(old: Evaluated, new: Evaluated) -> str:
    before, after = old.answers.targets, new.answers.targets
    differ = np.flatnonzero(before != after)
    if not len(differ):
        return ""
    first = differ[0]
    return (
        f"{len(differ):,} of {len(after):,} images have another class, such as {new.answers.ids[first]}: "
        f"{after[first]}, before {before[first]}"
    )


def _inputs(old: Evaluated, new: Evaluated) -> str:
    if old.fingerprints is None or new.fingerprints is None:
        return ""
    difference = pixel_difference(old.fingerprints, new.fingerprints)
    if not difference.images:
        return ""
    recipe = {name: value for name, value in old.preparation.items() if name not in _NORMALIZING}
    libraries = {name: old.environment[name] for name in _DECODERS if name in old.environment}
    changes = [*moved(recipe, new.preparation), *moved(libraries, new.environment)]
    what_moved = ", ".join(changes) or "decoder, recipe and versions are the same: other files, or other code"
    return (
        f"{difference.images:,} of {len(new.answers):,} images have other pixels, such as "
        f"{new.answers.ids[difference.first]}: {_percent(difference.share)} of their sampled values, by up to "
        f"{difference.largest} of 255 levels "
        f"(mean {difference.mean:.1f}); {what_moved}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _normalization(old: Evaluated, new: Evaluated) -> str:
    normalizing = {name: value for name, value in old.preparation.items() if name in _NORMALIZING}
    changes = moved(normalizing, new.preparation)
    here, there = new.first_input, old.first_input
    if here.get("id") != there.get("id") or here.get("sha256") == there.get("sha256"):
        return ", ".join(changes)
    return (
        f"the same pixels of {here['id']} reach the model as values from {here['low']:.4g} to {here['high']:.4g}, "
        f"before from {there['low']:.4g} to {there['high']:.4g}; {', '.join(changes) or 'mean and std are the same'}"
    )


def _arithmetic(old: Evaluated, new: Evaluated) -> str:
    changes = [*moved(old.conditions, new.conditions), *moved(old.environment, new.environment)]
    known = ", ".join(_same(old, new))
    if changes:
        return f"{', '.join(changes)}; {known} are the same"
    return (
        f"{known}, versions, hardware and switches are the same: the code of the model or of this harness is another, "
        "or a computation does not give the same twice"
    )


def _same(old: Evaluated, new: Evaluated) -> Iterator[str]:
    yield from [WEIGHTS] if old.weights else []
    yield from (LABELS, IMAGES)
    yield from [INPUTS] if old.fingerprints and new.fingerprints else []
    yield from [NORMALIZATION] if old.preparation else []


def _counting(_old: Evaluated, new: Evaluated) -> str:
    hits, counted = new.answers.hits, new.counted
    if hits == counted:
        return ""
    return (
        f"{counted.top1:,} and {counted.top5:,} hits of {counted.n:,} images were counted, and the answers hold "
        f"{hits.top1:,} and {hits.top5:,} of {hits.n:,}"
    )


# Hits that are not those of the answers come first: whatever else differs, they are wrong.
_LINKS: tuple[tuple[str, Callable[[Evaluated, Evaluated], str]], ...] = (
    (COUNTING, _counting),
    (WEIGHTS, _weights),
    (LABELS, _labels),
    (INPUTS, _inputs),
    (NORMALIZATION, _normalization),
)
