"""A pytest plugin that plants a slowdown of 15 %: ``pytest -p benchmarks.slow_forward -m throughput``."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from harness.predict import Normalize, forward

SHARE = 0.15


def _slow(model: nn.Module, normalize: Normalize, crops: Tensor) -> Tensor:
    started = time.perf_counter()
    logits = forward(model, normalize, crops)
    time.sleep(SHARE * (time.perf_counter() - started))
    return logits


timed: Any = import_module("harness.throughput.timing")
timed.forward = _slow
