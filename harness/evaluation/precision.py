"""The table of precisions: which switches each sets, in force in one place, observed there, and restored afterwards.

torch is imported when a precision comes into force, so that their names can be listed without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import DeviceError, EvaluationError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Precision:
    """One row: what the arithmetic of a forward pass may use. On CUDA sums are float32 in every row.

    Attributes:
        name: as given to ``--precision``.
        bits: of the fraction that the factors of a product keep: a float32 has 23.
        autocast: torch's name of the type that autocast gives to products and what follows; None for no autocast.
        tf32: whether float32 matrix products and convolutions may round their factors to TF32.
        capability: the least compute capability of a CUDA device that has it.
        on_cpu: whether CPUs have it; where one has no instructions for it, torch computes the same slowly.
    """

    name: str
    bits: int
    autocast: str | None = None
    tf32: bool = False
    capability: tuple[int, int] = (0, 0)
    on_cpu: bool = True


PRECISIONS = {
    row.name: row
    for row in (
        Precision("fp32", bits=23),
        Precision("tf32", bits=10, tf32=True, capability=(8, 0), on_cpu=False),
        Precision("bf16", bits=7, autocast="bfloat16", capability=(8, 0)),
        Precision("fp16", bits=10, autocast="float16", capability=(5, 3)),
    )
}

# A side of the products by which a precision is observed: small, and yet such as tensor cores take.
_SIDE = 64


class Switch(NamedTuple):
    """A process-wide setting of torch: its name, how to read and write it, and the value wanted."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], None]
    value: Any


@contextmanager
def in_force(precision: Precision, device: torch.device) -> Iterator[dict[str, Any]]:
    """Set every switch of ``precision``, and cuDNN to choose its algorithms reproducibly; restore all at the end.

    torch's own default is not float32: cuDNN convolutions run in TF32 unless they are told not to. What is yielded
    are the values in force, as torch tells them, and what a product and a convolution were seen to do.

    Raises:
        EvaluationError: they compute otherwise than the precision says.
    """
    import torch

    switches = list(_switches(precision.tf32))
    before = [(switch, value) for switch in switches for value in _readable(switch)]
    # Weights are cast once: autocast keeps what it has cast until its end, which is that of all batches.
    autocast = torch.autocast(
        device.type,
        getattr(torch, precision.autocast or "bfloat16"),
        enabled=precision.autocast is not None,
    )
    try:
        for switch in switches:
            switch.write(switch.value)
        with autocast:
            seen = observe(device)
            _refuse_another(precision, seen, device)
            yield {
                "autocast": str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
                if torch.is_autocast_enabled(device.type)
                else "off",
                **{switch.name: value for switch in switches for value in _readable(switch)},
                **{name: f"{seen_dtype}, {bits} bits" for name, (seen_dtype, bits) in seen.items()},
            }
    finally:
        for switch, value in before:
            switch.write(value)


def refuse_lacking(precisions: Sequence[str], device: torch.device) -> None:
    """Raise for a precision that the device does not have, rather than evaluate in another under its name.

    Raises:
        DeviceError: naming it, and those that the device has.
    """
    import torch

    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        has = [row.name for row in PRECISIONS.values() if capability >= row.capability]
        what = f"{torch.cuda.get_device_name(device)} (compute capability {'.'.join(map(str, capability))})"
    else:
        has, what = [row.name for row in PRECISIONS.values() if row.on_cpu], "a CPU"
    for name in precisions:
        if name not in has:
            least = ".".join(map(str, PRECISIONS[name].capability))
            raise DeviceError(
                f"--precision {name}: {what} does not have it; it needs a CUDA device of compute capability {least}. "
                f"There are {', '.join(has)}"
            )


def observe(device: torch.device) -> dict[str, tuple[str, int]]:
    """Return what a matrix product and a convolution do just now: the type of the result, and the bits that they keep.

    Products of 1 + 2^-b with 1 are exact as long as b is no more than the bits that are kept.
    """
    import torch

    values = 1 + torch.pow(2.0, -torch.arange(1, _SIDE + 1, device=device).clamp(max=30).float())
    one = torch.eye(_SIDE, device=device)
    with torch.inference_mode():
        product = torch.mm(torch.diag(values), one)
        image = values.view(1, _SIDE, 1, 1).expand(1, _SIDE, 8, 8).contiguous()
        convolved = torch.conv2d(image, one.view(_SIDE, _SIDE, 1, 1))
        return {
            "product": (_type_of(product), _bits(product.diagonal(), values)),
            "convolution": (_type_of(convolved), _bits(convolved[0, :, 0, 0], values)),
        }


def _type_of(result: torch.Tensor) -> str:
    return str(result.dtype).removeprefix("torch.")


def _bits(results: torch.Tensor, values: torch.Tensor) -> int:
    """Return b for which 1 + 2^-b is still told from 1, of those that a float32 can tell."""
    return int(((results.float() == values) & (values > 1)).sum())


def _refuse_another(precision: Precision, seen: dict[str, tuple[str, int]], device: torch.device) -> None:
    expected = precision.autocast or "float32"
    for name, (found, bits) in seen.items():
        if found != expected or bits < precision.bits:
            raise EvaluationError(
                f"under {precision.name} a {name} on {device} should give {expected} and keep {precision.bits} bits, "
                f"and it gives {found} and keeps {bits}: this torch does not heed its own switches"
            )


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
    # Of float16 and bfloat16 products: partial sums and accumulators that are no float32.
    for name in ("allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction"):
        yield _attribute("cuda.matmul", torch.backends.cuda.matmul, name, False)
    if hasattr(torch.backends.cuda.matmul, "allow_fp16_accumulation"):
        yield _attribute("cuda.matmul", torch.backends.cuda.matmul, "allow_fp16_accumulation", False)
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
