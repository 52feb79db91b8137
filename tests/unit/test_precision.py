"""Tests of harness.precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from harness.errors import DeviceError, EvaluationError
from harness.precision import PRECISIONS, applied, require_supported

CPU = torch.device("cpu")

NEW_API = hasattr(torch.backends.cuda.matmul, "fp32_precision")
needs_new_api = pytest.mark.skipif(not NEW_API, reason="this torch has no fp32_precision")


def state() -> dict[str, Any]:
    """Return every switch that decides what float32 means, "mixed" where torch refuses to say."""
    readers: dict[str, Callable[[], Any]] = {
        "matmul precision": torch.get_float32_matmul_precision,
        "cuda matmul tf32": lambda: torch.backends.cuda.matmul.allow_tf32,
        "cudnn tf32": lambda: torch.backends.cudnn.allow_tf32,
        "cudnn benchmark": lambda: torch.backends.cudnn.benchmark,
        "cudnn deterministic": lambda: torch.backends.cudnn.deterministic,
        "fp16 sums": lambda: torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction,
        "bf16 sums": lambda: torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
        "autocast": lambda: (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
    }
    if NEW_API:
        backends: Any = torch.backends
        readers |= {
            "cuda matmul": lambda: backends.cuda.matmul.fp32_precision,
            "cudnn conv": lambda: backends.cudnn.conv.fp32_precision,
            "cudnn rnn": lambda: backends.cudnn.rnn.fp32_precision,
            "mkldnn matmul": lambda: backends.mkldnn.matmul.fp32_precision,
            "mkldnn conv": lambda: backends.mkldnn.conv.fp32_precision,
        }
    values = {}
    for name, read in readers.items():
        try:
            values[name] = read()
        except RuntimeError:
            values[name] = "mixed"
    return values


@pytest.fixture(autouse=True)
def switches_as_they_were() -> Iterator[None]:
    """Restore torch's switches after a test that sets them, the old ones first."""
    backends: Any = torch.backends
    old = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
    owners = (
        [backends, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul, backends.mkldnn.conv]
        if NEW_API
        else []
    )
    new = [owner.fp32_precision for owner in owners]
    yield
    torch.set_float32_matmul_precision(old[0])
    backends.cudnn.allow_tf32 = old[1]
    for owner, value in zip(owners, new, strict=True):
        owner.fp32_precision = value


def nothing() -> None:
    """Leave torch's defaults: TF32 in cuDNN's convolutions."""


def medium() -> None:
    """Allow the fastest matrix products by the old switch."""
    torch.set_float32_matmul_precision("medium")


def all_tf32_by_the_new_switch() -> None:
    """Allow TF32 everywhere by the new switch, after which the old ones alone have no effect."""
    backends: Any = torch.backends
    backends.fp32_precision = "tf32"
    backends.cudnn.conv.fp32_precision = "tf32"


def mixed() -> None:
    """Set convolutions alone by the new switch, after which torch refuses to read the old one."""
    backends: Any = torch.backends
    backends.cudnn.rnn.fp32_precision = "ieee"


def bf16_on_the_cpu() -> None:
    """Let oneDNN's convolutions round to bfloat16."""
    backends: Any = torch.backends
    backends.mkldnn.conv.fp32_precision = "bf16"


@pytest.mark.parametrize(
    "user_sets",
    [
        nothing,
        medium,
        pytest.param(all_tf32_by_the_new_switch, marks=needs_new_api),
        pytest.param(mixed, marks=needs_new_api),
        pytest.param(bf16_on_the_cpu, marks=needs_new_api),
    ],
)
def test_fp32_is_fp32_whatever_was_set_and_all_is_restored(user_sets: Callable[[], None]) -> None:
    """No switch allows anything below float32 while fp32 is applied; afterwards each is as the user left it."""
    user_sets()
    before = state()

    with applied(PRECISIONS["fp32"], CPU):
        inside = state()

    assert (inside["cuda matmul tf32"], inside["cudnn tf32"], inside["matmul precision"]) == (False, False, "highest")
    assert {value for name, value in inside.items() if name in NEW_SWITCHES} <= {"ieee"}
    assert (inside["cudnn benchmark"], inside["cudnn deterministic"]) == (False, True)
    assert (inside["fp16 sums"], inside["bf16 sums"]) == (False, False)
    assert state() == before


NEW_SWITCHES = {"cuda matmul", "cudnn conv", "cudnn rnn", "mkldnn matmul", "mkldnn conv"}


def test_switches_are_recorded_as_torch_reports_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what was asked for: a torch that ignores a switch would be seen."""
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")

    with applied(PRECISIONS["fp32"], CPU) as switches:
        pass

    assert switches["float32_matmul_precision"] == "medium"
    assert switches["cudnn.allow_tf32"] is False


@pytest.mark.parametrize(
    ("name", "dtype", "bits"),
    [
        ("fp32", torch.float32, 23),
        ("bf16", torch.bfloat16, 7),
        ("fp16", torch.float16, 10),
    ],
)
def test_a_precision_is_seen_to_be_applied(name: str, dtype: torch.dtype, bits: int) -> None:
    """A product has the type and the bits of its row, and the record says so."""
    before = state()

    with applied(PRECISIONS[name], CPU) as switches, torch.inference_mode():
        types = {
            torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype,
            torch.nn.Conv2d(3, 3, 1)(torch.ones(1, 3, 2, 2)).dtype,
        }

    assert {dtype} == types
    seen = f"{str(dtype).removeprefix('torch.')}, {bits} bits"
    assert (seen, seen) == (switches["product"], switches["convolution"])
    assert ("off" if name == "fp32" else str(dtype).removeprefix("torch.")) == switches["autocast"]
    assert state() == before


@pytest.mark.parametrize("bits", [22, 10, 7])
def test_silent_rounding_is_an_error(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that multiplies in TF32 or bfloat16 while float32 is asked for gives no accuracy."""

    def rounded(image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        drop = 1 << (23 - bits)
        kept = ((image.view(torch.int32) + drop // 2 - 1) & -drop).view(torch.float32)
        return torch.nn.functional.conv2d(kept, weight)

    monkeypatch.setattr(torch, "conv2d", rounded)
    before = state()

    with pytest.raises(EvaluationError) as raised, applied(PRECISIONS["fp32"], CPU):
        pass

    assert (
        f"under fp32 a convolution on cpu must give float32 and keep 23 bits, found float32 and {bits} bits: torch "
        "ignored its precision settings" == str(raised.value)
    )
    assert state() == before


def test_an_autocast_that_does_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of lower precision is never evaluated in float32 under its name."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: torch.inference_mode())
    reason = r"under bf16 a product on cpu must give bfloat16 and keep 7 bits, found float32 and 23 bits"

    with pytest.raises(EvaluationError, match=reason), applied(PRECISIONS["bf16"], CPU):
        pass


def test_a_cpu_has_no_tf32() -> None:
    """The message names what the device supports instead."""
    with pytest.raises(DeviceError) as raised:
        require_supported(["fp32", "tf32"], CPU)

    assert (
        "--precision tf32: the device cpu does not support it; it needs an NVIDIA GPU of compute capability 8.0; "
        "supported here: fp32, bf16, fp16" == str(raised.value)
    )


@pytest.mark.parametrize(
    ("capability", "lacking"),
    [((7, 5), "tf32"), ((7, 5), "bf16"), ((5, 2), "fp16"), ((8, 0), None)],
)
def test_a_gpu_supports_what_its_generation_does(
    capability: tuple[int, int], lacking: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emulated types do not count: they would be measured as what they are not."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    gpu = torch.device("cuda", 0)

    if lacking is None:
        require_supported(list(PRECISIONS), gpu)
    else:
        with pytest.raises(DeviceError, match=rf"--precision {lacking}: Tesla T4 \(compute capability \d\.\d\)"):
            require_supported(["fp32", lacking], gpu)


def test_rocm_has_no_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its capability is a number of another kind: an MI300X calls itself 9.4."""
    monkeypatch.setattr(torch.version, "hip", "6.2.41133")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 4))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "AMD Instinct MI300X")

    require_supported(["fp32", "bf16", "fp16"], torch.device("cuda", 0))
    with pytest.raises(DeviceError, match=r"^--precision tf32: AMD Instinct MI300X \(ROCm\) does not support it; it"):
        require_supported(["tf32"], torch.device("cuda", 0))
