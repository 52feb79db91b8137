"""Tests of harness.precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import pytest
import torch

from harness.errors import DeviceError, EvaluationError
from harness.precision import PRECISIONS, applied, require_supported

CPU = torch.device("cpu")
BACKENDS: Any = torch.backends
NEW_API = hasattr(BACKENDS.cuda.matmul, "fp32_precision")
OLD_SWITCHES = {"cuda.matmul.allow_tf32": False, "cudnn.allow_tf32": False}
CHOICES = {"cudnn.benchmark": False, "cudnn.deterministic": True}
SUMS = {f"cuda.matmul.allow_{half}_reduced_precision_reduction": False for half in ("fp16", "bf16")}
OPERATORS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv")
NEW_SWITCHES = {f"{operator}.fp32_precision": "ieee" for operator in OPERATORS if NEW_API}
EXACT = {**OLD_SWITCHES, **CHOICES, **SUMS, **NEW_SWITCHES, "matmul": "highest"}
"""Every switch that decides what float32 means, as fp32 needs it."""


def state() -> dict[str, Any]:
    """Return every switch, "mixed" where torch rejects to say."""
    values: dict[str, Any] = {"autocast": torch.is_autocast_enabled("cpu")}
    for name in EXACT:
        try:
            values[name] = attrgetter(name)(BACKENDS) if "." in name else torch.get_float32_matmul_precision()
        except RuntimeError:
            values[name] = "mixed"
    return values


@pytest.fixture(autouse=True)
def switches_as_they_were() -> Iterator[None]:
    """Restore torch's switches after a test that sets them, the old ones first."""
    old = torch.get_float32_matmul_precision(), BACKENDS.cudnn.allow_tf32
    owners = [BACKENDS, *(attrgetter(operator)(BACKENDS) for operator in OPERATORS[1:])] if NEW_API else []
    new = [owner.fp32_precision for owner in owners]
    yield
    torch.set_float32_matmul_precision(old[0])
    BACKENDS.cudnn.allow_tf32 = old[1]
    for owner, value in zip(owners, new, strict=True):
        owner.fp32_precision = value


def _set_new(**values: str) -> None:
    if not NEW_API:
        pytest.skip("this torch has no fp32_precision")
    for name, value in values.items():
        attrgetter(name.replace("_", "."))(torch).fp32_precision = value


@pytest.mark.parametrize(
    "user_sets",
    [
        lambda: None,  # torch's defaults: TF32 in cuDNN's convolutions
        lambda: torch.set_float32_matmul_precision("medium"),
        # TF32 everywhere by the new switch, after which the old ones alone have no effect.
        lambda: _set_new(backends="tf32", backends_cudnn_conv="tf32"),
        # One operator by the new switch, after which torch rejects to read the old one.
        lambda: _set_new(backends_cudnn_rnn="ieee"),
        lambda: _set_new(backends_mkldnn_conv="bf16"),
    ],
    ids=["nothing", "the old switch", "the new switch", "both", "bf16 on the CPU"],
)
def test_fp32_is_fp32_whatever_was_set_and_all_is_restored(user_sets: Callable[[], None]) -> None:
    """No switch allows anything below float32 while fp32 is applied; afterwards each is as the user left it."""
    user_sets()
    before = state()

    with applied(PRECISIONS["fp32"], CPU):
        inside = state()

    assert {**EXACT, "autocast": False} == inside
    assert before == state()


def test_switches_are_recorded_as_torch_reports_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what was asked for: a torch that ignores a switch would be seen."""
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")

    with applied(PRECISIONS["fp32"], CPU) as switches:
        pass

    assert ("medium", False) == (switches["float32_matmul_precision"], switches["cudnn.allow_tf32"])


@pytest.mark.parametrize(
    ("name", "dtype", "bits"), [("fp32", "float32", 23), ("bf16", "bfloat16", 7), ("fp16", "float16", 10)]
)
def test_a_precision_is_seen_to_be_applied(name: str, dtype: str, bits: int) -> None:
    """A product has the type and the bits of its row, and the record says so."""
    before = state()

    with applied(PRECISIONS[name], CPU) as switches, torch.inference_mode():
        product, convolution = torch.ones(2, 2) @ torch.ones(2, 2), torch.nn.Conv2d(3, 3, 1)(torch.ones(1, 3, 2, 2))

    assert {getattr(torch, dtype)} == {product.dtype, convolution.dtype}
    assert {f"{dtype}, {bits} bits"} == {switches["product"], switches["convolution"]}
    assert ("off" if name == "fp32" else dtype) == switches["autocast"]
    assert before == state()


@pytest.mark.parametrize(("dtype", "bits"), [(torch.float16, 10), (torch.bfloat16, 7)])
def test_silent_rounding_is_an_error(dtype: torch.dtype, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that multiplies in TF32 or bfloat16 while float32 is asked for gives no accuracy."""
    convolve = torch.nn.functional.conv2d
    monkeypatch.setattr(torch, "conv2d", lambda image, weight: convolve(image.to(dtype).float(), weight))
    before = state()
    reason = rf"a convolution on cpu must give float32 and keep 23 bits, found float32 and {bits} bits: torch ignored"

    with (
        pytest.raises(EvaluationError, match=rf"^under fp32 {reason} its precision settings$"),
        applied(PRECISIONS["fp32"], CPU),
    ):
        pass

    assert before == state()


def test_an_autocast_that_does_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of lower precision is never evaluated in float32 under its name."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: torch.inference_mode())
    reason = r"under bf16 a product on cpu must give bfloat16 and keep 7 bits, found float32 and 23 bits"

    with pytest.raises(EvaluationError, match=reason), applied(PRECISIONS["bf16"], CPU):
        pass


@pytest.mark.parametrize(
    ("device", "capability", "rocm", "supported"),
    [
        ("cpu", (0, 0), None, "fp32, bf16, fp16"),
        ("Tesla M40", (5, 2), None, "fp32"),
        ("Tesla T4", (7, 5), None, "fp32, fp16"),
        ("A100", (8, 0), None, "fp32, tf32, bf16, fp16"),
        ("AMD Instinct MI300X", (9, 4), "6.2.41133", "fp32, bf16, fp16"),  # a capability of another kind
    ],
)
def test_a_device_supports_what_its_generation_does(
    device: str, capability: tuple[int, int], rocm: str | None, supported: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emulated types do not count: they would be measured as what they are not."""
    monkeypatch.setattr(torch.version, "hip", rocm)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: device)
    kind, on = ("ROCm" if rocm else r"compute capability \d\.\d"), torch.device("cpu" if device == "cpu" else "cuda")
    name = "the device cpu" if device == "cpu" else rf"{device} \({kind}\)"

    require_supported(supported.split(", "), on)
    for lacking in PRECISIONS.keys() - set(supported.split(", ")):
        needed = rf"needs an NVIDIA GPU of compute capability \d\.\d or higher; supported here: {supported}"
        with pytest.raises(DeviceError, match=rf"^--precision {lacking}: {name} does not support it; it {needed}$"):
            require_supported(["fp32", lacking], on)
