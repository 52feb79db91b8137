"""Noise floors measured on a machine by ``imagenet-gate noise``, and the file that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.errors import RecordError
from harness.records.evidence import NoiseFloor, Pairing
from harness.records.run_folder import read_whole

HEADROOM = 4
"""Factor above the largest measured value: 50,000 images and other models reach further than a few hundred."""
_LEAST = 1e-6  # a float32 logit has no more digits; on some machines nothing moves at all


class NoiseFloors(msgspec.Struct, frozen=True):
    """The noise floors of one machine, by precision, and what they were measured on."""

    device: str
    torch: str
    images: int
    models: tuple[str, ...]
    floors: dict[str, NoiseFloor]


def noise_floor_above(pairings: Sequence[Pairing]) -> NoiseFloor:
    """Return a noise floor with room above the drift of these pairings, which share one precision."""
    drifts = [pairing.drift for pairing in pairings if pairing.drift is not None]
    changed = max(pairing.changed / pairing.images for pairing in pairings)
    return NoiseFloor(
        median=max(HEADROOM * max(drift.median for drift in drifts), _LEAST),
        largest=max(HEADROOM * max(drift.largest for drift in drifts), _LEAST),
        # Few images cannot show that fewer predictions change than by default.
        changed=min(1.0, max(HEADROOM * changed, pairings[0].noise_floor.changed)),
        images=sum({pairing.against: pairing.images for pairing in pairings}.values()),
    )


def read_noise_floors(path: Path) -> NoiseFloors:
    """Read the file; a RecordError says why it cannot be used."""
    expected = f"{path}: expected a file written by imagenet-gate noise -o"
    try:
        return msgspec.json.decode(read_whole(path), type=NoiseFloors)
    except OSError as error:
        raise RecordError(f"{expected}, but it cannot be read ({error.strerror})") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{expected}: {error}") from error
