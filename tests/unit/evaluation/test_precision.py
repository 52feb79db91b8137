"""Tests of harness.evaluation.precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from harness.evaluation.precision import PRECISIONS, in_force

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
    """No switch allows anything below float32 while fp32 is in force; afterwards each is as the user left it."""
    user_sets()
    before = state()

    with in_force(PRECISIONS["fp32"]):
        inside = state()

    assert (inside["cuda matmul tf32"], inside["cudnn tf32"], inside["matmul precision"]) == (False, False, "highest")
    assert {value for name, value in inside.items() if name in NEW_SWITCHES} <= {"ieee"}
    assert (inside["cudnn benchmark"], inside["cudnn deterministic"]) == (False, True)
    assert state() == before


NEW_SWITCHES = {"cuda matmul", "cudnn conv", "cudnn rnn", "mkldnn matmul", "mkldnn conv"}


def test_what_is_in_force_is_what_torch_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what was asked for: a torch that ignores a switch would be seen."""
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")

    with in_force(PRECISIONS["fp32"]) as switches:
        pass

    assert switches["float32_matmul_precision"] == "medium"
    assert switches["cudnn.allow_tf32"] is False


def test_switches_are_restored_after_an_error() -> None:
    """An evaluation that fails leaves no switch behind."""
    before = state()

    with pytest.raises(ZeroDivisionError), in_force(PRECISIONS["fp32"]):
        raise ZeroDivisionError

    assert state() == before
