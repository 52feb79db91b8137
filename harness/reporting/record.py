"""What a run leaves of one case, as plain values that travel between processes and into files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.gate.expected import Expected
from harness.gate.scores import TopK
from harness.gate.verdict import Check, Verdict


@dataclass(frozen=True)
class CaseRecord:
    """One evaluated and judged case.

    Attributes:
        id: the case's.
        measured: hits.
        expected: expected hits on the whole split, None where nothing was published.
        origin: whether the expected values were published or recorded; empty where there are none.
        correct: for each image, in the split's order, whether top-1 is right: packed bits, as hexadecimal.
        parameters: number of weights and biases.
        gflops: multiply-adds of one image, in 10^9.
        images_per_second: of the whole loop, less the time that it waited for images to be decoded.
        inputs_digest: sha256 of the hashes of all decoded images, in the split's order.
        note: something odd that a reader should know, empty if nothing was.
    """

    id: str
    model: str
    weights: str
    precision: str
    split: str
    measured: TopK
    expected: TopK | None
    origin: str
    verdict: Verdict
    correct: str
    parameters: int
    gflops: float
    images_per_second: float
    inputs_digest: str
    note: str = ""

    def correct_bits(self) -> NDArray[np.bool_]:
        """Return (N,) whether top-1 is right."""
        packed = np.frombuffer(bytes.fromhex(self.correct), dtype=np.uint8)
        return np.unpackbits(packed, count=self.measured.n).astype(np.bool_)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for JSON and for messages between processes."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CaseRecord:
        """Return the record that ``to_json`` made ``values`` of."""
        return cls(
            **{
                **values,
                "measured": TopK(**values["measured"]),
                "expected": values["expected"] and TopK(**values["expected"]),
                "verdict": Verdict(tuple(Check(**check) for check in values["verdict"]["checks"])),
            }
        )


def pack(correct: NDArray[np.bool_]) -> str:
    """Return (N,) booleans as the hexadecimal text of their packed bits."""
    return np.packbits(correct).tobytes().hex()


def expected_hits(expected: Expected | None) -> tuple[TopK | None, str]:
    """Return the hits and their origin."""
    return (expected.hits, expected.origin) if expected else (None, "")
