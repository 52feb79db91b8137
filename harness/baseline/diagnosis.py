"""Finds the first stage between files and predictions in which two evaluations of one case differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from harness.predictions import count
from harness.records.evidence import ARITHMETIC, COUNTING, IMAGES, INPUTS, LABELS, NORMALIZATION, WEIGHTS, Diagnosis

if TYPE_CHECKING:
    from harness.baseline.pairing import Side

# What can change a decoded pixel; the rest of the environment, and torchvision, can change the arithmetic.
_DECODERS = ("pillow", "libjpeg_turbo", "torchvision")
_DECODERS_ONLY = ("pillow", "libjpeg_turbo")
_NORMALIZING = ("mean", "std")


def first_difference(old: Side, new: Side) -> Diagnosis:
    """Return the first stage in which two evaluations of the same images differ; arithmetic if none before it does.

    Counts that are not those of the predictions come first: whatever else differs, they are wrong.
    """
    stages = (
        (COUNTING, _counting),
        (WEIGHTS, _weights),
        (LABELS, _labels),
        (INPUTS, _inputs),
        (NORMALIZATION, _normalization),
    )
    first = next(((stage, finding) for stage, find in stages if (finding := find(old, new))), None)
    if first is None:
        return arithmetic(old, new)
    stage, finding = first
    return Diagnosis(stage, finding, explained=stage == INPUTS and _other_decoder(old, new))


def arithmetic(old: Side, new: Side) -> Diagnosis:
    """Return what may have changed the arithmetic of two evaluations of the same inputs."""
    changes = changes_between(old.result.conditions, new.result.conditions)
    facts = changes_between(old.environment.facts, new.environment.facts)
    same_pixels = old.predictions.hashes is not None and new.predictions.hashes is not None
    idle = [change for change in facts if same_pixels and change.startswith(_DECODERS_ONLY)]
    changes += [change for change in facts if change not in idle]
    known = {WEIGHTS: old.result.weights_sha256, INPUTS: same_pixels, NORMALIZATION: old.result.preparation}
    same = ", ".join(stage for stage in (WEIGHTS, LABELS, IMAGES, INPUTS, NORMALIZATION) if known.get(stage, True))
    if changes:
        return Diagnosis(ARITHMETIC, f"{', '.join(changes + idle)}; {same} are the same")
    besides = f", besides {', '.join(idle)} (which can change pixels only)," if idle else ""
    return Diagnosis(
        ARITHMETIC,
        f"{same}, versions, hardware and switches{besides} are the same: the code of the model or of this harness "
        "differs, or a computation is not reproducible",
        explained=False,
    )


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
    parts += [f"{word}: {len(ids):,}, such as {ids[0]}" for word, ids in (("new", missing), ("gone", gone)) if len(ids)]
    return "; ".join(parts)


def changes_between(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return the facts that both know and that differ, as ``name old -> new``."""
    return [
        f"{name} {_text(value)} -> {_text(new[name])}"
        for name, value in old.items()
        if name in new and str(value) != str(new[name])
    ]


def _text(value: object) -> str:
    return f"({', '.join(f'{part:.6g}' for part in value)})" if isinstance(value, (list, tuple)) else str(value)


def _counting(_old: Side, new: Side) -> str:
    recounted, counted = count(new.predictions, new.targets), new.result.counts
    if recounted == counted:
        return ""
    return (
        f"{counted.top1:,} (top-1) and {counted.top5:,} (top-5) correct of {counted.images:,} images were counted, the "
        f"predictions give {recounted.top1:,} and {recounted.top5:,} of {recounted.images:,}"
    )


def _weights(old: Side, new: Side) -> str:
    before, after = old.result.weights_sha256, new.result.weights_sha256
    return f"their sha256 is {after[:16]}..., before {before[:16]}..." if before and before != after else ""


def _labels(old: Side, new: Side) -> str:
    differ = np.flatnonzero(old.targets != new.targets)
    if not len(differ):
        return ""
    first = differ[0]
    return (
        f"{len(differ):,} of {len(new.targets):,} images have another class, such as {new.predictions.ids[first]}: "
        f"{new.targets[first]}, before {old.targets[first]}"
    )


def _inputs(old: Side, new: Side) -> str:
    before, after = old.predictions, new.predictions
    if before.hashes is None or before.samples is None or after.hashes is None or after.samples is None:
        return ""
    differ = (before.hashes != after.hashes).any(axis=1)
    if not differ.any():
        return ""
    levels = np.abs(before.samples[differ].astype(np.int16) - after.samples[differ])
    moved = levels[levels > 0]
    percent = 100 * len(moved) / levels.size
    what = (
        ", ".join(_changed_recipe(old, new) + _changed_libraries(old, new))
        or "decoder, recipe and versions are the same: other files, or other code"
    )
    return (
        f"{differ.sum():,} of {len(after):,} images have other pixels, such as {after.ids[differ.argmax()]}: "
        f"{format(percent, '.0f' if percent >= 10 else '.2g')} % of their sampled values, by up to "
        f"{moved.max(initial=0)} of 255 levels (mean {moved.mean() if len(moved) else 0.0:.1f}); {what}"
    )


def _changed_recipe(old: Side, new: Side) -> list[str]:
    recipe = {name: value for name, value in old.result.preparation.items() if name not in _NORMALIZING}
    return changes_between(recipe, new.result.preparation)


def _changed_libraries(old: Side, new: Side) -> list[str]:
    libraries = {name: value for name, value in old.environment.facts.items() if name in _DECODERS}
    return changes_between(libraries, new.environment.facts)


def _other_decoder(old: Side, new: Side) -> bool:
    """Return whether another decoder or library explains other pixels; another resize or crop is another model."""
    recipe = _changed_recipe(old, new)
    only_the_decoder = all(change.startswith("decoder ") for change in recipe)
    return only_the_decoder and bool(recipe or _changed_libraries(old, new))


def _normalization(old: Side, new: Side) -> str:
    normalizing = {name: value for name, value in old.result.preparation.items() if name in _NORMALIZING}
    changes = ", ".join(changes_between(normalizing, new.result.preparation))
    before, after = old.result.first_input, new.result.first_input
    if before.get("id") != after.get("id") or before.get("sha256") == after.get("sha256"):
        return changes
    return (
        f"the same pixels of {after['id']} reach the model as values from {after['low']:.4g} to {after['high']:.4g}, "
        f"before from {before['low']:.4g} to {before['high']:.4g}; {changes or 'mean and std are the same'}"
    )
