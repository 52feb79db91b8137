"""A regression gate for pretrained image classifiers.

>>> from harness import evaluate, open_dataset
>>> result, predictions = evaluate("alexnet-SYNTHETIC_V1", open_dataset("synthetic").subset(100))
>>> result.outcome, result.counts.images, predictions.top5.shape
('passed', 100, (100, 5))
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["evaluate", "open_dataset"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public function when it is first used: ``evaluate`` imports torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module({"evaluate": "harness.evaluator", "open_dataset": "harness.dataset"}[name]), name)
