"""A pytest plugin that plants a slowdown: ``SLOWER=0.15 pytest -p benchmarks.slow_forward -m throughput``.

``SLOWER`` is the share by which each call takes longer (default 0.15), and ``SLOWER_FIRST`` that for the first call of
a model, which compiles it (default 0), in the interpreter that ``SLOWER_IN`` names (default: in each), so that
``imagenet-gate ab`` has a slow side.
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from harness.predict import Normalize, forward

SHARE = float(os.environ.get("SLOWER", "0.15"))
FIRST = float(os.environ.get("SLOWER_FIRST", "0"))
_called: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def _slow(model: nn.Module, normalize: Normalize, crops: Tensor) -> Tensor:
    share = SHARE if model in _called else FIRST
    _called.add(model)
    started = time.perf_counter()
    logits = forward(model, normalize, crops)
    end = started + (1 + share) * (time.perf_counter() - started)
    while time.perf_counter() < end:  # sleeping would be longer by a timer's resolution
        pass
    return logits


if os.environ.get("SLOWER_IN", sys.executable) == sys.executable:
    timed: Any = import_module("harness.throughput.timing")
    timed.forward = _slow
