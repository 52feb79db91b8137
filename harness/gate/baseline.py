"""An evaluation against an earlier one of the same case, image by image -> a check, with the cause where it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.gate.cause import (
    COUNTING,
    INPUTS,
    LABELS,
    NORMALIZATION,
    WEIGHTS,
    Cause,
    Evaluated,
    first_difference,
    images_missing,
    moved,
)
from harness.gate.pairing import Changed, Paired, pair
from harness.gate.stats import BAND_ALPHA
from harness.gate.tolerance import Floor
from harness.gate.verdict import FAILED, HELD, WARNED, Check

BASELINE = "baseline"
_NAMED = 3


def judge_pair(old: Evaluated, new: Evaluated, floor: Floor, *, strict: bool) -> tuple[Check, Paired | None]:
    """Return the check, and the pairing; None where the two cannot be paired.

    Other weights or labels fail, whatever they change, and so do hits that are not those of the answers. So do answers
    that arithmetic alone cannot have changed, and more of them gone one way than by chance. Logits that moved by more
    than arithmetic moves them, or decoded inputs that differ, are a warning as long as no answer changed.

    Args:
        old: the baseline's.
        new: what is judged.
        floor: what arithmetic alone moves.
        strict: let what would be a warning fail.
    """
    if old.parameters and old.parameters != new.parameters:
        return _refused(
            f"another model under the same name: {new.parameters:,} parameters, before {old.parameters:,}"
        ), None
    if missing := images_missing(old, new):
        return _refused(str(missing)), None
    old = _shared(old, new)
    paired = pair(old.answers, new.answers, floor)
    cause = first_difference(old, new)
    outcome = _outcome(paired, cause, floor, inputs_known=old.fingerprints is not None)
    if outcome == WARNED and strict:
        outcome = FAILED
    first = str(cause) if outcome != HELD else _what_moved(old, new)
    lines = [*([first] if first else []), *_numbers(paired, floor)]
    if outcome != HELD:
        lines += [_named(change) for change in paired.real[:_NAMED]]
    return Check(BASELINE, outcome, "\n    ".join(lines)), paired


def _refused(why: str) -> Check:
    return Check(BASELINE, FAILED, f"cannot be paired: {why}")


def _shared(old: Evaluated, new: Evaluated) -> Evaluated:
    """Return the earlier evaluation of those images only that the new one has."""
    places = old.answers.places_of(new.answers.ids)
    fingerprints = old.fingerprints and old.fingerprints.at(places)
    return replace(old, answers=old.answers.at(places), fingerprints=fingerprints)


def _outcome(paired: Paired, cause: Cause, floor: Floor, *, inputs_known: bool) -> str:
    if cause.link in (WEIGHTS, LABELS, COUNTING) or paired.p < BAND_ALPHA:
        return FAILED
    drifted = paired.drift is not None and (paired.drift.median > floor.median or paired.drift.largest > floor.largest)
    if paired.changed and inputs_known and (paired.real or drifted):
        return FAILED
    # A baseline that does not tell what its model was shown proves nothing by a changed answer.
    unexplained = paired.changed and not inputs_known
    return WARNED if drifted or unexplained or cause.link in (INPUTS, NORMALIZATION) else HELD


def _what_moved(old: Evaluated, new: Evaluated) -> str:
    changes = moved(old.environment, new.environment)
    return f"the same though {', '.join(changes)}" if changes else ""


def _numbers(paired: Paired, floor: Floor) -> Iterator[str]:
    changed = f"{len(paired.changed):,} of {paired.images:,} answers changed"
    if paired.changed:
        margin = "" if paired.largest_margin is None else f", largest margin {paired.largest_margin:.1e}"
        changed += (
            f": {len(paired.real):,} real, {paired.near_ties:,} near-ties (margin up to {floor.margin:.1e}){margin}; "
            f"{paired.lost:,} right to wrong, {paired.gained:,} wrong to right, p = {paired.p:.2g}; "
            f"{paired.top5_changed:,} have other five best"
        )
    elif paired.lost or paired.gained:
        changed += f", {paired.lost:,} right to wrong, {paired.gained:,} wrong to right, p = {paired.p:.2g}"
    yield changed
    if paired.drift is None:
        yield "no logits in the baseline: near-ties are told by the margins of this run"
    else:
        yield (
            f"logits moved by {paired.drift.median:.1e} of their spread (median), {paired.drift.p99:.1e} (99 %), "
            f"{paired.drift.largest:.1e} (largest); arithmetic moves them by up to {floor.median:.1e} (median), "
            f"{floor.largest:.1e} (largest)"
        )


def _named(change: Changed) -> str:
    turn = ", wrong now" if change.was_right else ", right now" if change.is_right else ""
    margin = "" if change.margin is None else f", margin {change.margin:.1e}"
    return f"{change.id}: class {change.old} -> {change.new}{turn}{margin}"
