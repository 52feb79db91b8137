"""The precisions: which of torch's switches each one sets, verified while in effect and restored afterwards.

torch is imported when a precision is applied, so that precisions and settings can be named without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from harness.errors import DeviceError, EvaluationError

if TYPE_CHECKING:
    import torch

MEMORY_FORMATS = {"channels_last": "channels_last", "contiguous": "contiguous_format"}
"""The memory formats by the names given to ``--memory-format``, and torch's names for them."""


@dataclass(frozen=True)
class Setting:
    """How a forward pass is carried out: what may change a model's speed, and its logits in the last digits.

    >>> str(Setting()), str(Setting("fp32", "contiguous", compiled=True))
    ('fp32', 'fp32-contiguous-compiled')
    """

    precision: str = "fp32"  # a name in PRECISIONS
    memory_format: str = "channels_last"  # of weights and activations, a name in MEMORY_FORMATS
    compiled: bool = False  # by torch.compile

    def __str__(self) -> str:
        memory_format = "" if self.memory_format == "channels_last" else f"-{self.memory_format}"
        return f"{self.precision}{memory_format}{'-compiled' if self.compiled else ''}"


DEFAULT = Setting()
"""The precision of the published values, in the memory format that is fastest."""


@dataclass(frozen=True)
class Precision:
    """The arithmetic that a forward pass may use. On CUDA sums are float32 in every precision."""

    name: str  # as given to --precision
    bits: int  # fraction bits that the factors of a product keep: a float32 has 23
    autocast: str | None = None  # torch's name of the dtype that autocast casts products to; None for no autocast
    tf32: bool = False  # whether float32 matrix products and convolutions may round their factors to TF32
    capability: tuple[int, int] = (0, 0)  # smallest compute capability of a CUDA device that supports it
    on_cpu: bool = True  # whether CPUs support it; one without instructions for it is correct but slow


PRECISIONS = {
    row.name: row
    for row in (
        Precision("fp32", bits=23),
        Precision("tf32", bits=10, tf32=True, capability=(8, 0), on_cpu=False),
        Precision("bf16", bits=7, autocast="bfloat16", capability=(8, 0)),
        Precision("fp16", bits=10, autocast="float16", capability=(5, 3)),
    )
}

_MATMUL = "float32_matmul_precision"
# Side of the products that show a precision: small, but large enough for tensor cores.
_SIDE = 64


@contextmanager
def applied(precision: Precision, device: torch.device) -> Iterator[dict[str, Any]]:
    """Set every switch of ``precision``, and cuDNN to choose its algorithms reproducibly; restore all at the end.

    torch's own default is not float32: cuDNN convolutions run in TF32 unless that is switched off.

    Yields:
        The switches' values as torch reports them, and what a product and a convolution were observed to do.

    Raises:
        EvaluationError: they compute in another precision.
    """
    import torch

    switches = _switches(precision.tf32)
    before = _read(switches)
    # Weights are cast once: autocast keeps what it has cast until it ends, after the last batch.
    dtype = getattr(torch, precision.autocast or "bfloat16")
    autocast = torch.autocast(device.type, dtype, enabled=precision.autocast is not None)
    try:
        _write(switches)
        with autocast:
            seen = observe(device)
            _check_observed(precision, seen, device)
            cast = str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
            yield {
                "autocast": cast if torch.is_autocast_enabled(device.type) else "off",
                **_read(switches),
                **{name: f"{seen_dtype}, {bits} bits" for name, (seen_dtype, bits) in seen.items()},
            }
    finally:
        _write(before)


def require_supported(precisions: Sequence[str], device: torch.device) -> None:
    """Raise a DeviceError for a precision that the device does not support: another one would run under its name."""
    import torch

    if device.type == "cuda":
        capability, rocm = torch.cuda.get_device_capability(device), torch.version.hip is not None
        has = [row.name for row in PRECISIONS.values() if capability >= row.capability and not (row.tf32 and rocm)]
        kind = "ROCm" if rocm else f"compute capability {'.'.join(map(str, capability))}"
        what = f"{torch.cuda.get_device_name(device)} ({kind})"
    else:
        has, what = [row.name for row in PRECISIONS.values() if row.on_cpu], f"the device {device.type}"
    for name in precisions:
        if name not in has:
            least = ".".join(map(str, PRECISIONS[name].capability))
            raise DeviceError(
                f"--precision {name}: {what} does not support it; it needs an NVIDIA GPU of compute capability "
                f"{least} or higher; supported here: {', '.join(has)}"
            )


def observe(device: torch.device) -> dict[str, tuple[str, int]]:
    """Return the dtype and the bits kept by a matrix product, convolutions and attention under the switches.

    Products of 1 + 2^-b with 1 are exact as long as b is at most the number of bits kept. Attention to a single key
    has the weight 1, and returns its value.
    """
    import torch
    from torch.nn.functional import pad, scaled_dot_product_attention

    # From the host: a device's own powers of two need not be exact.
    values = (1 + torch.pow(2.0, -torch.arange(1, _SIDE + 1).clamp(max=30).double())).float().to(device)
    with torch.inference_mode():
        one, image = torch.eye(_SIDE, device=device), values.view(1, _SIDE, 1, 1).repeat(1, 1, 8, 8)
        kernel = one.view(_SIDE, _SIDE, 1, 1)
        query, key = torch.zeros((1, 1, _SIDE, _SIDE), device=device), torch.zeros((1, 1, 1, _SIDE), device=device)
        results = {
            "product": torch.mm(torch.diag(values), one).diagonal(),
            "convolution": torch.conv2d(image, kernel)[0, :, 0, 0],
            "3x3 convolution": torch.conv2d(image, pad(kernel, (1, 1, 1, 1)))[0, :, 0, 0],
            "attention": scaled_dot_product_attention(query, key, values.view(1, 1, 1, _SIDE))[0, 0, 0],
        }
    # The bits are the largest b for which 1 + 2^-b was distinguished from 1; float32 reaches 23.
    return {
        name: (str(result.dtype).removeprefix("torch."), int(((result.float() == values) & (values > 1)).sum()))
        for name, result in results.items()
    }


def _check_observed(precision: Precision, seen: dict[str, tuple[str, int]], device: torch.device) -> None:
    expected = precision.autocast or "float32"
    for name, (found, bits) in seen.items():
        if found != expected or bits < precision.bits:
            raise EvaluationError(
                f"under {precision.name} a {name} on {device} must give {expected} and keep {precision.bits} bits, "
                f"found {found} and {bits} bits: torch ignored its precision settings"
            )


def _switches(tf32: bool) -> dict[str, Any]:
    """Return the wanted values of torch's process-wide switches, in the order in which they must be set.

    They are named by their path in ``torch.backends``, except for the first.

    torch 2.9 put ``fp32_precision`` beside ``allow_tf32``. Each is silently ignored where the other has been
    used, and reading the old one raises while the two disagree; so both are set, the old one first.
    """
    import torch

    matmul = torch.backends.cuda.matmul
    wanted: dict[str, Any] = {_MATMUL: "high" if tf32 else "highest", "cudnn.allow_tf32": tf32}
    if hasattr(matmul, "fp32_precision"):
        for operator in ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv"):
            wanted[f"{operator}.fp32_precision"] = "tf32" if tf32 else "ieee"
    # Partial sums and accumulators of float16 and bfloat16 products that would not be float32.
    wanted["cuda.matmul.allow_fp16_reduced_precision_reduction"] = False
    wanted["cuda.matmul.allow_bf16_reduced_precision_reduction"] = False
    if hasattr(matmul, "allow_fp16_accumulation"):
        wanted["cuda.matmul.allow_fp16_accumulation"] = False
    return {**wanted, "cudnn.benchmark": False, "cudnn.deterministic": True}


def _read(names: Iterable[str]) -> dict[str, Any]:
    """Return the values, except those that cannot be read because the caller has mixed torch's two APIs."""
    import torch

    values = {}
    for name in names:
        with suppress(RuntimeError):
            values[name] = torch.get_float32_matmul_precision() if name == _MATMUL else attrgetter(name)(torch.backends)
    return values


def _write(values: Mapping[str, Any]) -> None:
    import torch

    for name, value in values.items():
        if name == _MATMUL:
            torch.set_float32_matmul_precision(value)
        else:
            owner, _, attribute = name.rpartition(".")
            setattr(attrgetter(owner)(torch.backends), attribute, value)
