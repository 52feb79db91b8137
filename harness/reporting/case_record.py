"""What a run leaves of one case, as plain values that travel between processes and into files."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.setting import MEMORY_FORMATS, Setting
from harness.gate.expected import Expected
from harness.gate.scores import TopK
from harness.gate.tolerance import FLOORS
from harness.gate.verdict import FAILED, HELD, WARNED, Check, Verdict
from harness.reporting.checked import NUMBER, checked, measured, shown
from harness.reporting.environment import UNKNOWN

_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("id", "model", "weights", "precision", "memory_format", "split", "note"), str),
    **dict.fromkeys(("weights_sha256", "inputs_digest"), str),
    **dict.fromkeys(("images", "top1", "top5", "batch_size", "parameters"), int),
    **dict.fromkeys(("images_per_second", "gflops"), NUMBER),
    **dict.fromkeys(("seconds", "preparation", "switches", "first_input"), dict),
    "compiled": bool,
    "checks": list,
}
_LEAST = {"images_per_second": 0, "gflops": 0, "parameters": 0, "batch_size": 0, "weights_bytes": 0}
_PAIRED = ("changed", "real", "lost", "gained", "p", "top5_changed")


@dataclass(frozen=True)
class Phases:
    """Seconds of wall clock that one case took, by what the host waited for; ``total`` is all of it.

    Attributes:
        decode: images being decoded.
        load: the model being built, its weights read and brought to the device.
        transfer: crops read from the store and brought to the device; on a GPU as far as the host could not go on.
        forward: the rest of the evaluation loop.
    """

    decode: float
    load: float
    transfer: float
    forward: float
    total: float


@dataclass(frozen=True)
class CaseRecord:
    """One evaluated and judged case.

    Attributes:
        id: the case's.
        split: the name of what was evaluated.
        measured: hits.
        expected: what was expected on the whole split; None where nothing was published.
        batch_size: images in a forward call.
        parameters: number of weights and biases.
        gflops: multiply-adds of one image, in 10^9.
        images_per_second: of the whole loop, less the time that it waited for images to be decoded.
        weights_sha256: of all parameters and buffers.
        weights_bytes: of all parameters and buffers, which a file of them takes; None where nothing told.
        inputs_digest: sha256 of the hashes of all decoded images, in the split's order.
        preparation: decoder, resize, crop, interpolation, mean and std.
        switches: of torch's arithmetic, as they were in force.
        first_input: what the model was given for the first image: id, sha256, smallest and largest value.
        paired: how it compares with a baseline, in numbers; None without one.
        note: something odd that a reader should know, empty if nothing was.
        correct: for each image, in the split's order, whether top-1 is right: packed bits, as hexadecimal. Not part
            of ``record.json``, which it would swell; it lies beside the predictions.
        best: for each image its best class, 16 bits, as hexadecimal. Not part of ``record.json`` either.
    """

    id: str
    model: str
    weights: str
    precision: str
    memory_format: str
    compiled: bool
    split: str
    measured: TopK
    expected: Expected | None
    verdict: Verdict
    seconds: Phases
    images_per_second: float
    batch_size: int
    parameters: int
    gflops: float
    weights_sha256: str
    inputs_digest: str
    preparation: dict[str, Any] = field(default_factory=dict)
    switches: dict[str, Any] = field(default_factory=dict)
    first_input: dict[str, Any] = field(default_factory=dict)
    paired: dict[str, Any] | None = None
    note: str = ""
    weights_bytes: int | None = None
    correct: str = field(default="", repr=False)
    best: str = field(default="", repr=False)

    @property
    def setting(self) -> Setting:
        """How the forward pass was carried out."""
        return Setting(self.precision, self.memory_format, self.compiled)

    @property
    def outcome(self) -> str:
        """``held``, ``warned``, ``failed``, or ``unjudged`` where there was nothing to compare with."""
        return self.verdict.outcome

    def correct_bits(self) -> NDArray[np.bool_]:
        """Return (N,) whether top-1 is right."""
        packed = np.frombuffer(bytes.fromhex(self.correct), dtype=np.uint8)
        return np.unpackbits(packed, count=self.measured.n).astype(np.bool_)

    def best_classes(self) -> NDArray[np.int16]:
        """Return (N,) the best class of each image."""
        return np.frombuffer(bytes.fromhex(self.best), dtype="<i2").astype(np.int16)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for JSON and for messages between processes."""
        values = {name: value for name, value in asdict(self).items() if name not in ("measured", "verdict")}
        expected = self.expected
        return {
            **values,
            **_hits_to_json(self.measured),
            "expected": expected and {**_hits_to_json(expected.hits), "origin": expected.origin},
            "tolerance": expected and float(expected.tolerance),
            "checks": [_check_to_json(check) for check in self.verdict.checks],
            "outcome": self.outcome,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CaseRecord:
        """Return the record that ``to_json`` made ``values`` of.

        Raises:
            ValueError: a value is not as it is written; so is a KeyError or TypeError.
        """
        checked(values, _KINDS)
        shown(values, ("id", "model", "weights"))
        measured({"weights_bytes": None, **values}, _LEAST)
        if values["paired"] is not None:
            measured(values["paired"], dict.fromkeys(_PAIRED, 0))
            if values["paired"]["drift"] is not None:
                measured(values["paired"]["drift"], dict.fromkeys(("median", "p99", "largest"), 0))
            measured(values["paired"]["floor"], {"largest": 0})
        if values["memory_format"] not in (*MEMORY_FORMATS, UNKNOWN):
            raise ValueError(
                f"memory_format should be one of {', '.join(MEMORY_FORMATS)}, not {values['memory_format']!r}"
            )
        if values["precision"] not in FLOORS:
            raise ValueError(f"precision should be one of {', '.join(FLOORS)}, and is {values['precision']!r}")
        if values["first_input"]:
            checked(values["first_input"], {"id": str, "sha256": str, "low": NUMBER, "high": NUMBER})
        expected = values["expected"]
        derived = {"images", "top1", "top5", "tolerance", "checks", "outcome"}
        return cls(
            **{
                **{name: value for name, value in values.items() if name not in derived},
                "measured": _hits_from_json(values),
                "expected": expected
                and Expected(_hits_from_json(expected), Decimal(str(values["tolerance"])), expected["origin"]),
                "verdict": Verdict(tuple(map(_check_from_json, values["checks"]))),
                "seconds": Phases(**values["seconds"]),
            }
        )


def pack(correct: NDArray[np.bool_]) -> str:
    """Return (N,) booleans as the hexadecimal text of their packed bits."""
    return np.packbits(correct).tobytes().hex()


def pack_classes(best: NDArray[np.int16]) -> str:
    """Return (N,) classes as hexadecimal text, 16 bits each."""
    return best.astype("<i2").tobytes().hex()


def _hits_to_json(hits: TopK) -> dict[str, int]:
    return {"images": hits.n, "top1": hits.top1, "top5": hits.top5}


def _hits_from_json(values: dict[str, Any]) -> TopK:
    n, top1, top5 = (int(values[name]) for name in ("images", "top1", "top5"))
    if not (n > 0 and 0 <= top1 <= top5 <= n):
        raise ValueError(f"{top1} and {top5} hits of {n} images")
    return TopK(n, top1, top5)


def _check_to_json(check: Check) -> dict[str, Any]:
    return asdict(check)


def _check_from_json(values: dict[str, Any]) -> Check:
    if values["outcome"] not in (HELD, WARNED, FAILED):
        raise ValueError(f"the outcome {values['outcome']!r} of a check")
    return Check(**values)
