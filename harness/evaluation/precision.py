"""The table of precisions: which switches each sets, in force in one place and restored afterwards.

torch is imported when a precision comes into force, so that their names can be listed without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Precision:
    """One row: what the arithmetic of a forward pass may use.

    Attributes:
        name: as given to ``--precision``.
        tf32: whether float32 matrix products and convolutions may round their inputs to TF32.
    """

    name: str
    tf32: bool


PRECISIONS = {row.name: row for row in (Precision("fp32", tf32=False),)}


class Switch(NamedTuple):
    """A process-wide setting of torch: its name, how to read and write it, and the value wanted."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], None]
    value: Any


@contextmanager
def in_force(precision: Precision) -> Iterator[dict[str, Any]]:
    """Set every switch of ``precision``, and cuDNN to choose its algorithms reproducibly; restore all at the end.

    torch's own default is not float32: cuDNN convolutions run in TF32 unless they are told not to. What is yielded
    are the values in force, as torch tells them.
    """
    switches = list(_switches(precision.tf32))
    before = [(switch, value) for switch in switches for value in _readable(switch)]
    try:
        for switch in switches:
            switch.write(switch.value)
        yield {switch.name: value for switch in switches for value in _readable(switch)}
    finally:
        for switch, value in before:
            switch.write(value)


def _switches(tf32: bool) -> Iterator[Switch]:
    """Yield the switches in the order in which they must be set.

    torch 2.9 put ``fp32_precision`` beside ``allow_tf32``. Each is silently ignored where the other has been
    used, and reading the old one raises while the two disagree; so both are set, the old one first.
    """
    import torch

    yield Switch(
        "float32_matmul_precision",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
        "high" if tf32 else "highest",
    )
    yield _attribute("cudnn", torch.backends.cudnn, "allow_tf32", tf32)
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        cudnn: Any = torch.backends.cudnn
        mkldnn: Any = torch.backends.mkldnn
        operators = {
            "cuda.matmul": torch.backends.cuda.matmul,
            "cudnn.conv": cudnn.conv,
            "cudnn.rnn": cudnn.rnn,
            "mkldnn.matmul": mkldnn.matmul,
            "mkldnn.conv": mkldnn.conv,
        }
        for owner, operator in operators.items():
            yield _attribute(owner, operator, "fp32_precision", "tf32" if tf32 else "ieee")
    yield _attribute("cudnn", torch.backends.cudnn, "benchmark", False)
    yield _attribute("cudnn", torch.backends.cudnn, "deterministic", True)


def _attribute(owner: str, module: Any, name: str, value: Any) -> Switch:
    return Switch(f"{owner}.{name}", lambda: getattr(module, name), lambda new: setattr(module, name, new), value)


def _readable(switch: Switch) -> Iterator[Any]:
    """Yield the value, or nothing where the caller has mixed torch's two APIs and torch refuses to say."""
    try:
        yield switch.read()
    except RuntimeError:
        return
