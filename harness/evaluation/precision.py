"""The table of precisions: which switches each sets, in force in one place and restored afterwards.

torch is imported when a precision comes into force, so that their names can be listed without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


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


@contextmanager
def in_force(precision: Precision) -> Iterator[None]:
    """Set every switch of ``precision``, and cuDNN to choose its algorithms reproducibly; restore all at the end.

    torch's own default is not float32: cuDNN convolutions run in TF32 unless they are told not to.
    """
    switches = list(_switches(precision.tf32))
    before = [(set_value, value) for get_value, set_value, _ in switches for value in _readable(get_value)]
    try:
        for _, set_value, value in switches:
            set_value(value)
        yield
    finally:
        for set_value, value in before:
            set_value(value)


def _switches(tf32: bool) -> Iterator[tuple[Callable[[], Any], Callable[[Any], None], Any]]:
    """Yield a getter, a setter and the value wanted, in the order in which they must be set.

    torch 2.9 put ``fp32_precision`` beside ``allow_tf32``. Each is silently ignored where the other has been
    used, and reading the old one raises while the two disagree; so both are set, the old one first.
    """
    import torch

    yield (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
        "high" if tf32 else "highest",
    )
    yield _attribute(torch.backends.cudnn, "allow_tf32", tf32)
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        cudnn: Any = torch.backends.cudnn
        mkldnn: Any = torch.backends.mkldnn
        for operator in (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv):
            yield _attribute(operator, "fp32_precision", "tf32" if tf32 else "ieee")
    yield _attribute(torch.backends.cudnn, "benchmark", False)
    yield _attribute(torch.backends.cudnn, "deterministic", True)


def _attribute(module: Any, name: str, value: Any) -> tuple[Callable[[], Any], Callable[[Any], None], Any]:
    return (lambda: getattr(module, name)), (lambda new: setattr(module, name, new)), value


def _readable(get_value: Callable[[], Any]) -> Iterator[Any]:
    """Yield the value, or nothing where the caller has mixed torch's two APIs and torch refuses to say."""
    try:
        yield get_value()
    except RuntimeError:
        return
