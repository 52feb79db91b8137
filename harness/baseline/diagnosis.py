"""Finds the first stage between files and predictions in which two evaluations of one case differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.options import NVJPEG
from harness.predictions import count
from harness.records.environment import shown_name
from harness.records.evidence import ARITHMETIC, COUNTING, IMAGES, INPUTS, LABELS, NORMALIZATION, WEIGHTS, Diagnosis

if TYPE_CHECKING:
    from harness.baseline.pairing import Side

# What can change a decoded pixel; the rest of the environment, and torchvision, can change the arithmetic.
_DECODERS = ("pillow", "libjpeg_turbo", "torchvision")
_DECODERS_ONLY = ("pillow", "libjpeg_turbo")
_ON_A_GPU = ("cuda", "driver", "device")  # what else can, if the GPU decodes
_NORMALIZING = ("mean", "std")


def first_difference(old: Side, new: Side, moved: float | None = None) -> Diagnosis:
    """Return the first stage in which two evaluations of the same images differ; arithmetic if none before it does.

    Counts that are not those of the predictions come first: whatever else differs, they are wrong. ``moved`` is the
    largest drift of the logits, where it is known.
    """
    for stage in (_counting, _weights, _labels, _inputs, _normalization):
        if (found := stage(old, new)) is not None:
            return found
    return arithmetic(old, new, moved)


def arithmetic(old: Side, new: Side, moved: float | None = None) -> Diagnosis:
    """Return what may have changed the arithmetic of two evaluations of the same inputs."""
    changes = changes_between(old.result.conditions, new.result.conditions)
    facts = changes_between(old.environment.facts, new.environment.facts)
    same_pixels = old.predictions.hashes is not None and new.predictions.hashes is not None
    idle = [change for change in facts if same_pixels and change.startswith(_DECODERS_ONLY)]
    changes += [change for change in facts if change not in idle]
    known = {WEIGHTS: old.result.weights_sha256, INPUTS: same_pixels, NORMALIZATION: old.result.preparation}
    same = ", ".join(stage for stage in (WEIGHTS, LABELS, IMAGES, INPUTS, NORMALIZATION) if known.get(stage, True))
    finding = "nothing before the arithmetic is known to differ" if moved is None else "no logit moved"
    if moved:
        finding = f"the arithmetic differs: logits moved by up to {moved:.1e} of the logit scale"
    if changes:
        return Diagnosis(ARITHMETIC, finding, cause=", ".join(changes + idle), details=f"{same} are the same")
    besides = f" but for {', '.join(idle)}, which can change pixels only" if idle else ""
    cause = "different code of the model or of this harness, or a computation that is not reproducible"
    details = f"{same}, versions, hardware and switches are the same{besides}"
    return Diagnosis(ARITHMETIC, finding, explained=False, cause=cause, details=details)


def images_missing(old: Side, new: Side) -> str | None:
    """Return why the new evaluation's images cannot be found among the old one's; None if they can.

    A subset can be compared with the whole that contains it; a whole dataset only with the whole.
    """
    before, after = old.predictions, new.predictions
    missing = after.ids[before.indices_of(after.ids) < 0]
    if new.total == old.total and not len(missing):
        return None
    if new.total == old.total and len(before) < min(old.total, len(after)):
        return (
            f"{IMAGES}: the baseline holds {len(before):,} of {old.total:,} images, too few for the {len(after):,} "
            f"here; give --limit {len(before)} or less, or record a baseline of all"
        )
    comparable = len(after) in (new.total, len(before))
    gone = before.ids[after.indices_of(before.ids) < 0] if comparable else missing[:0]
    parts = [f"{IMAGES}: {new.total:,} images, before {old.total:,}"]
    named = {"new": missing, "missing": gone}.items()
    parts += [f"{word}: {len(ids):,}, such as {ids[0]}" for word, ids in named if len(ids)]
    return "; ".join(parts)


def changes_between(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return the facts that both know and that differ, as ``name old -> new``."""
    return [
        f"{shown_name(name)} {_text(value)} -> {_text(new[name])}"
        for name, value in old.items()
        if name in new and str(value) != str(new[name])
    ]


def _text(value: object) -> str:
    return f"({', '.join(f'{part:.6g}' for part in value)})" if isinstance(value, (list, tuple)) else str(value)


def class_name(index: int, names: Sequence[str]) -> str:
    """Return the name of a class, in English for a wnid; ``class N`` where it is not known."""
    from harness.formats.imagenet import class_names  # where a class has to be named

    return class_names().get(names[index], names[index]) if index < len(names) else f"class {index}"


def _counting(_old: Side, new: Side) -> Diagnosis | None:
    recounted, counted = count(new.predictions, new.targets), new.result.counts
    if recounted == counted:
        return None
    return Diagnosis(
        COUNTING,
        f"{counted.top1:,} (top-1) and {counted.top5:,} (top-5) correct of {counted.images:,} were counted, but the "
        f"predictions give {recounted.top1:,} and {recounted.top5:,} of {recounted.images:,}",
        explained=False,
        cause="counters that were not reset, or images that were counted twice",
    )


def _weights(old: Side, new: Side) -> Diagnosis | None:
    before, after = old.result.weights_sha256, new.result.weights_sha256
    if not before or before == after:
        return None
    finding = f"the weights differ (sha256 {after[:8]}, before {before[:8]})"
    cause = "a different weights file, or code that changes weights after loading"
    return Diagnosis(WEIGHTS, finding, explained=False, cause=cause)


def _labels(old: Side, new: Side) -> Diagnosis | None:
    differ = np.flatnonzero(old.targets != new.targets)
    if not len(differ):
        return None
    first = differ[0]
    after, before = class_name(int(new.targets[first]), new.classes), class_name(int(old.targets[first]), old.classes)
    return Diagnosis(
        LABELS,
        f"{len(differ):,} of {len(new.targets):,} images have a different label",
        explained=False,
        cause="a different label file, or code that reads it differently",
        details=f"such as {new.predictions.ids[first]}: {after}, before {before}",
    )


def _inputs(old: Side, new: Side) -> Diagnosis | None:
    """A different decoder or library explains different pixels; a different resize or crop is a different model."""
    before, after = old.predictions, new.predictions
    if before.hashes is None or before.samples is None or after.hashes is None or after.samples is None:
        return None
    differ = (before.hashes != after.hashes).any(axis=1)
    if not differ.any():
        return None
    levels = np.abs(before.samples[differ].astype(np.int16) - after.samples[differ])
    moved = levels[levels > 0]
    percent = 100 * len(moved) / levels.size
    recipe = {name: value for name, value in old.result.preparation.items() if name not in _NORMALIZING}
    names = _DECODERS + (_ON_A_GPU if new.result.preparation.get("decoder") == NVJPEG else ())
    libraries = {name: value for name, value in old.environment.facts.items() if name in names}
    changed = changes_between(recipe, new.result.preparation)
    only_the_decoder = all(change.startswith("decoder ") for change in changed)
    changed += changes_between(libraries, new.environment.facts)
    up_to = f", up to {moved.max()} of 255 levels" if len(moved) else ""
    mean = f", by {moved.mean():.1f} levels on average" if len(moved) else ""
    return Diagnosis(
        INPUTS,
        f"the decoded pixels differ ({differ.sum():,} of {len(after):,} images{up_to})",
        explained=only_the_decoder and bool(changed),
        cause=", ".join(changed) or "different image files or code, since decoder, recipe and versions are the same",
        details=f"{format(percent, '.0f' if percent >= 10 else '.2g')}% of their sampled values differ{mean}; "
        f"the first image is {after.ids[differ.argmax()]}",
    )


def _normalization(old: Side, new: Side) -> Diagnosis | None:
    normalizing = {name: value for name, value in old.result.preparation.items() if name in _NORMALIZING}
    changes = ", ".join(changes_between(normalizing, new.result.preparation))
    before, after = old.result.first_input, new.result.first_input
    differ = before.get("id") == after.get("id") and before.get("sha256") != after.get("sha256")
    if not (changes or differ):
        return None
    values, of = "", ""
    if differ and before and after:
        values = f" ({after['low']:.3g} to {after['high']:.3g}, before {before['low']:.3g} to {before['high']:.3g})"
        of = f"the values are those of {after['id']}"
    cause = changes or "different code, since mean and std are the same"
    finding = f"the same pixels were normalized differently{values}"
    return Diagnosis(NORMALIZATION, finding, explained=False, cause=cause, details=of)
